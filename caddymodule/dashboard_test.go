package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// stats puts a dashboard into a site as people are told to.
func stats(block string) string {
	return "handle_path /stats/* {\n" + block + "\n}"
}

func TestDashboardForbidden(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, stats("capture_dashboard"))
	click(t, "secretive", 0)
	for _, path := range []string{
		"/stats/", "/stats/report", "/stats/report.csv", "/stats/journal", "/stats/quarantine", "/stats/setup", "/stats/live",
		"/stats/clicks/x", "/stats/conversions/x", "/stats/find?id=x", "/stats/assets/app.css", "/stats/nothing",
	} {
		// The requests come from the loopback interface, which is no excuse.
		for name, value := range map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "::1", "X-Forwarded-User": "admin", "Remote-User": "admin",
			"Authorization": "Basic YWRtaW46YWRtaW4=", "Http.auth.user.id": "admin", "Host": "localhost",
		} {
			req, err := http.NewRequest(http.MethodGet, s.url(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(name, value)
			res, body := s.do(req)
			if res.StatusCode != http.StatusForbidden || !strings.Contains(body, "basic_auth") || strings.Contains(body, "secretive") {
				t.Errorf("%s with %s: got %d %s", path, name, res.StatusCode, body)
			}
		}
	}
}

// TestDashboardThroughProxies asks by way of two more servers, so that every
// request comes from this machine, as behind a tunnel.
func TestDashboardThroughProxies(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	outer, inner := freeAddress(t), freeAddress(t)
	chain := func(dashboard string) string {
		cfg := s.caddyfile("servers {\n trusted_proxies static private_ranges\n}\n"+option, stats(dashboard))
		return cfg + fmt.Sprintf(`
http://%s {
	bind 127.0.0.1
	reverse_proxy %s
}
http://%s {
	bind 127.0.0.1
	reverse_proxy %s {
		header_up Host {upstream_hostport}
		lb_try_duration 10s
	}
}
`, outer, inner, inner, s.addr)
	}
	loadText := func(text string) {
		t.Helper()
		// The proxies name the site that they ask by its own address, and try
		// again where a reload resets a connection.
		data, err := adapt(strings.Replace(text, "reverse_proxy "+inner+"\n", "reverse_proxy "+inner+" {\n header_up Host {upstream_hostport}\n lb_try_duration 10s\n}\n", 1))
		if err != nil {
			t.Fatal(err)
		}
		if err := loadAlone(t, data, s.addr, outer, inner); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(user, password string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+outer+"/stats/setup", nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, password)
		}
		res, body := s.do(req)
		return res.StatusCode, body
	}
	loadText(chain("capture_dashboard"))
	if status, body := ask("", ""); status != http.StatusForbidden || !strings.Contains(body, "capture_dashboard") {
		t.Errorf("got %d %s", status, body)
	}
	loadText(chain("basic_auth {\n admin " + hashed + "\n}\ncapture_dashboard"))
	if status, _ := ask("", ""); status != http.StatusUnauthorized {
		t.Errorf("without a name: got %d", status)
	}
	// For a name that it does not know Caddy takes a hash of its own, which costs seconds.
	if status, _ := ask("admin", "wrong horse"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong password: got %d", status)
	}
	if status, body := ask("admin", "correct horse"); status != http.StatusOK || !strings.Contains(body, "for those who are signed in") {
		t.Errorf("signed in: got %d %s", status, body)
	}
	loadText(chain("capture_dashboard {\n open\n}"))
	if status, body := ask("", ""); status != http.StatusOK || !strings.Contains(body, "open to everybody who reaches them") {
		t.Errorf("open: got %d %s", status, body)
	}
}

// TestDashboardOrder writes the directives in the wrong order: authentication
// comes first all the same.
func TestDashboardOrder(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "capture_dashboard /report\nbasic_auth {\n admin "+hashed+"\n}")
	req, err := http.NewRequest(http.MethodGet, s.url("/report"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "correct horse")
	if res, body := s.do(req); res.StatusCode != http.StatusOK || !strings.Contains(body, "Report by Campaign") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	if res, _ := s.get("/report"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %d", res.StatusCode)
	}
}

// hashed is "correct horse" as basic_auth wants it.
const hashed = "$2a$04$BcMyo8uynOb4fgXc6lomUO/ltrrexRc.9qQ.AcrAyc1wRgbGc5dC6"

// TestDashboardPages looks at pages over a whole configuration: what is set up
// is shown, and secrets are not.
func TestDashboardPages(t *testing.T) {
	t.Setenv("DASHBOARD_TOKEN", "hush-hush-hush-hush")
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, `
	track_click /go/acme https://acme.example/?aff_sub={click_id}
	postback /postback {
		token {env.DASHBOARD_TOKEN}
	}
	postback /net/* {
		network everflow
		token {env.DASHBOARD_TOKEN}
	}
	postback /open
`+stats("capture_dashboard {\n open\n}"))
	res, _ := s.get("/go/acme?source=newsletter")
	id := res.Header.Get("Location")[strings.Index(res.Header.Get("Location"), "aff_sub=")+len("aff_sub="):]
	if _, body := s.get("/postback?token=hush-hush-hush-hush&click_id=" + id + "&txid=o-1&payout=12.50&currency=USD"); !strings.Contains(body, "recorded") {
		t.Fatal(body)
	}
	page := func(path string) string {
		t.Helper()
		res, body := s.get(path)
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %d %s", path, res.StatusCode, body)
		}
		if strings.Contains(body, "hush-hush") {
			t.Errorf("%s shows the token", path)
		}
		return body
	}
	setup := page("/stats/setup")
	for _, want := range []string{
		"http://" + s.addr + "/postback?click_id={click_id}&amp;txid={txid}", "token=***", "http://" + s.addr + "/go/acme",
		"https://acme.example/?aff_sub={click_id}", "Everflow", "click_id={sub1}", "open_route", "the click ID alone", Version(),
	} {
		if !strings.Contains(setup, want) {
			t.Errorf("the setup does not show %s", want)
		}
	}
	if body := page("/stats/"); !strings.Contains(body, `data-figure="conversions" data-value="1"`) || !strings.Contains(body, "12.50 USD") {
		t.Error("the conversion is not on the first page")
	}
	if body := page("/stats/report?by=source"); !strings.Contains(body, `data-value="newsletter"`) {
		t.Error("the source is not in the report")
	}
	if body := page("/stats/clicks/" + id); !strings.Contains(body, "o-1") {
		t.Error("the conversion is not on the page of its click")
	}
	if body := page("/stats/journal"); !strings.Contains(body, "token=REDACTED") {
		t.Error("the journal does not show the request")
	}

	// Without the slash at the end relative links would lead beside the pages.
	s.load(option, "handle /stats {\n uri strip_prefix /stats\n capture_dashboard {\n open\n}\n}")
	res, _ = s.get("/stats?tz=UTC")
	if got := res.Header.Get("Location"); res.StatusCode != http.StatusSeeOther || got != "./stats/?tz=UTC" {
		t.Errorf("got %d %q", res.StatusCode, got)
	}
}

// TestDashboardReload wants live streams to end when their configuration does,
// so that servers are not held up, and nothing to be left behind.
func TestDashboardReload(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	directives := "postback /postback\n" + stats("capture_dashboard {\n open\n}")
	s.load(option, directives)
	open := func() *bufio.Reader {
		t.Helper()
		res, err := client.Get(s.url("/stats/live"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		r := bufio.NewReader(res.Body)
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "retry:") {
			t.Fatalf("got %q %v", line, err)
		}
		return r
	}
	ends := func(r *bufio.Reader) {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, r)
			done <- err
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Error("the stream goes on")
		}
	}
	stream := open()
	id := click(t, "acme", 0)
	if _, body := s.get("/postback?click_id=" + id); !strings.Contains(body, "recorded") {
		t.Fatal(body)
	}
	for _, want := range []string{"\n", "event: entry\n"} {
		if line, err := stream.ReadString('\n'); err != nil || line != want {
			t.Errorf("got %q %v, want %q", line, err, want)
		}
	}
	s.load(option, directives+"\n# again")
	ends(stream)

	// A server that is to end waits for all requests before anything is
	// cleaned up, so that the event alone has to do it.
	stream = open()
	events, err := caddy.ActiveContext().App("events")
	if err != nil {
		t.Fatal(err)
	}
	events.(*caddyevents.App).Emit(caddy.ActiveContext(), "stopping", nil)
	ends(stream)

	s.load(option, directives+"\n# once more")
	stream = open()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	ends(stream)
	place.want(t, 1, 1)
}

func TestDashboardValidate(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	before := goroutines()
	if err := s.validate(option, stats("capture_dashboard")); err != nil {
		t.Fatal(err)
	}
	place.want(t, 0, 0)
	eventually(t, "there are no more goroutines than before", func() bool { return goroutines() <= before })
}

func TestDashboardCaddyfile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"capture_dashboard":                        "",
		"capture_dashboard {\n open\n}":            "",
		"capture_dashboard open":                   `no argument "open"`,
		"capture_dashboard {\n open yes\n}":        "wrong argument count",
		"capture_dashboard {\n open\n open\n}":     "open is given twice",
		"capture_dashboard {\n closed\n}":          `unknown option "closed"`,
		"capture_dashboard {\n open {\n  x\n }\n}": `unknown option "{"`,
	} {
		var d Dashboard
		err := d.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want == "" && d.Open != strings.Contains(text, "open"):
			t.Errorf("%s: open is %v", text, d.Open)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestDashboardInExample wants the example to show the pages on its local site,
// and to be written as `caddy fmt` would.
func TestDashboardInExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := adapt(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(cfg), `{"handler":"capture_dashboard","open":true}`) {
		t.Errorf("the example has no dashboard: %s", cfg)
	}
	if formatted := caddyfile.Format(text); string(formatted) != string(text) {
		t.Errorf("caddy fmt would write\n%s", formatted)
	}
}

// TestDashboardInReadme loads what the README tells people to write, and wants
// the address without the slash at its end to lead to the pages.
func TestDashboardInReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## Dashboard\n")
	_, rest, _ = strings.Cut(rest, "```caddyfile\n")
	snippet, _, ok := strings.Cut(rest, "```\n")
	if !ok || !strings.Contains(snippet, "capture_dashboard") {
		t.Fatalf("the README has no example: %q", snippet)
	}
	s := newSite(t)
	option, _ := memoryOption(t)
	hash := "$2a$04$3Af6ZKeMnUqs7YhVIUm7LOMLRWbCqDfVi0IZhpZ6ufAEFqsCJhzxG"
	s.load(option, strings.Replace(snippet, "PASTE_WHAT_caddy_hash-password_PRINTS", hash, 1))
	res, _ := s.get("/stats")
	if got := res.Header.Get("Location"); res.StatusCode != http.StatusFound || got != "/stats/" {
		t.Errorf("/stats: got %d %q", res.StatusCode, got)
	}
	if res, _ := s.get("/stats/"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("/stats/: got %d", res.StatusCode)
	}
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"badger /var/lib/x":                          "badger /var/lib/x",
		"postgres postgres://me:hush@db/x?sslmode=x": "postgres postgres://me:xxxxx@db/x?sslmode=x",
		"postgres host=db password=hush user=me":     "postgres host=db password=xxxxx user=me",
		"postgres password='hu sh' user=me":          "postgres password=xxxxx user=me",
		`postgres password = 'h\'u sh' user=me`:      "postgres password = xxxxx user=me",
		`postgres password=hu\ sh user=me`:           "postgres password=xxxxx user=me",
		"postgres PASSWORD='hush user=me":            "postgres PASSWORD=xxxxx",
		`postgres password="hu sh" user=me`:          "postgres password=xxxxx user=me",
		"postgres://db/x?password=hush&sslmode=x":    "postgres://db/x?password=xxxxx&sslmode=x",
		"postgres://db/x?sslmode=x&password=hu'sh":   "postgres://db/x?sslmode=x&password=xxxxx",
		"postgres://db/x?sslpassword=hush":           "postgres://db/x?sslpassword=xxxxx",
		"postgres://me:hu@sh:@db/x":                  "postgres://me:xxxxx@db/x",
		"badger /var/lib/passwords":                  "badger /var/lib/passwords",
	} {
		if got := withoutPassword(in); got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
}
