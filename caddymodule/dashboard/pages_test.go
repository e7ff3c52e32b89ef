package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// all are the addresses of all pages of a story.
func (s story) all() []string {
	return []string{
		"/", "/?tz=America/New_York", "/report", "/report?by=campaign,day,sub.creative&from=7days&tz=Europe/Berlin",
		"/report?by=", "/report?by=hour&from=yesterday", "/report?by=month&metric=rate", "/report?by=source&none=source",
		"/journal", "/journal?outcome=recorded", "/journal?entry=1", "/quarantine", "/quarantine?reason=unresolved_macro",
		"/setup", "/clicks/" + s.acme, "/clicks/" + s.shoes, "/conversions/" + s.conversion,
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	for path, want := range map[string][]string{
		"/":                   {"Today", "New conversion", "Conversion changed", "The sender did not replace a macro", "/postback"},
		"/report?by=campaign": {"Report by Campaign", "acme", "shoes"},
		"/journal":            {"In quarantine", "Known already", "order-1"},
		"/quarantine":         {"caddy capture replay --dry-run", "unresolved_macro", "order-3"},
		"/setup": {
			"https://example.com/postback?click_id={click_id}&amp;token=***", "anyone can report here", "v9.9.9",
			"/var/lib/caddy/capture", "its matchers are not known", "90 days",
		},
		"/clicks/" + s.acme:            {"gclid", "g-1", "creative", "blue", "Mozilla/5.0", "https://news.example/", s.conversion, "0.25 USD"},
		"/conversions/" + s.conversion: {s.acme, "Booked as pending, 12.50 USD", "Status from pending to approved", "came 2 times", "Changed nothing", "Pending never overrides a final status", "token=REDACTED"},
	} {
		body := f.page(path)
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s: %q is missing", path, text)
			}
		}
	}
	for _, path := range s.all() {
		f.page(path)
	}
}

// What was not booked says so first, and has no tag with the status under which
// it was sent: that would read as if it had been booked.
func TestNotBookedIsNoStatus(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	for path, element := range map[string]string{
		"/":                             `(?s)<li data-seq="\d+" class="quarantined">.*?</li>`,
		"/quarantine":                   `(?s)<li class="entry panel quarantined".*?</li>`,
		"/journal?outcome=quarantined":  `(?s)<li class="entry panel quarantined".*?</li>`,
		"/journal?outcome=duplicate":    `(?s)<li class="entry panel duplicate".*?</li>`,
		"/journal?outcome=recorded":     `(?s)<li class="entry panel recorded".*?</li>`,
		"/?tz=Asia/Tokyo":               `(?s)<li data-seq="\d+" class="recorded">.*?</li>`,
		"/journal?entry=6&tz=Asia/Aden": `(?s)<li class="entry panel quarantined".*?</li>`,
	} {
		found := regexp.MustCompile(element).FindAllString(f.page(path), -1)
		if len(found) == 0 {
			t.Errorf("%s: nothing to look at", path)
		}
		booked := strings.Contains(element, "recorded")
		for _, item := range found {
			outcome := regexp.MustCompile("In quarantine|Known already|New conversion").FindStringIndex(item)
			status := regexp.MustCompile(` data-status="| data-said="`).FindStringIndex(item)
			if outcome == nil || status == nil || outcome[0] > status[0] {
				t.Errorf("%s: the outcome is not what comes first:\n%s", path, item)
			}
			if strings.Contains(item, " data-status=") != booked {
				t.Errorf("%s: booked is %v, but:\n%s", path, booked, item)
			}
		}
	}
}

func TestNowFigures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	body := f.page("/")
	for name, want := range map[string]string{
		"clicks": "3", "conversions": "2", "rate": "66.67", "revenue.USD": "12.50", "revenue.EUR": "1234567.89", "waiting": "1",
	} {
		if got := value(t, body, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	card := regexp.MustCompile(`(?s)data-figure="clicks".*?</article>`).FindString(body)
	for _, want := range []string{
		`data-compare="yesterday" data-value="1"`, `data-compare="week" data-value="1"`, `<span class="trend up">&#43;200 %</span>`,
	} {
		if !strings.Contains(card, want) {
			t.Errorf("%s is missing in %s", want, card)
		}
	}
	if want := "1\u202f234\u202f567.89"; !strings.Contains(body, want) {
		t.Errorf("large amounts are not grouped")
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	for _, path := range append(s.all(), "/nothing", "/report?by=nothing", "/report.csv", "/assets/"+assetName("app.js")) {
		w := f.get(path)
		hd := w.Result().Header
		if got := hd.Get("Content-Security-Policy"); got != policy {
			t.Errorf("%s: policy %q", path, got)
		}
		if hd.Get("X-Content-Type-Options") != "nosniff" || hd.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: got %v", path, hd)
		}
		want := "no-store"
		if strings.HasPrefix(path, "/assets/") {
			want = "private, max-age=31536000, immutable"
		}
		if got := hd.Get("Cache-Control"); got != want {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		head := f.get(path, func(r *http.Request) { r.Method = http.MethodHead })
		if head.Code != w.Code || head.Body.Len() != 0 {
			t.Errorf("HEAD %s: status %d instead of %d, %d bytes", path, head.Code, w.Code, head.Body.Len())
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS"} {
		w := f.get("/report", func(r *http.Request) { r.Method = method })
		if w.Code != http.StatusMethodNotAllowed || w.Result().Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %d %v", method, w.Code, w.Result().Header)
		}
	}
}

var (
	linkPattern   = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)
	scriptPattern = regexp.MustCompile(`<script[^>]*>`)

	valuePattern   = regexp.MustCompile(`="[^"]*"`)
	handlerPattern = regexp.MustCompile(`<[a-z][^<>]*\s(?:on[a-z]+|style)\s*=`)
)

// checkMarkup wants of a page what its policy relies on: only our own scripts,
// no handlers or styles in attributes, only relative links.
func checkMarkup(t *testing.T, path, body string) {
	t.Helper()
	for _, m := range linkPattern.FindAllStringSubmatch(body, -1) {
		if !strings.HasPrefix(m[1], "./") && !strings.HasPrefix(m[1], "../") && m[1] != "#main" && m[1] != "" {
			t.Errorf("%s: the link %q is not relative", path, m[1])
		}
	}
	for _, tag := range scriptPattern.FindAllString(body, -1) {
		ours := strings.HasSuffix(tag, ` defer>`) && strings.Contains(tag, "/assets/") ||
			tag == `<script type="application/json" data-chart>`
		if !ours {
			t.Errorf("%s: got %s", path, tag)
		}
	}
	// What stands between the quotes of an attribute is its value.
	names := valuePattern.ReplaceAllString(body, `=""`)
	if m := handlerPattern.FindString(names); m != "" {
		t.Errorf("%s: got %s", path, m)
	}
}

func TestLinksAreRelative(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	for _, path := range s.all() {
		body := f.page(path)
		checkMarkup(t, path, body)
		base := "./"
		if strings.Count(path, "/") > 1 && !strings.Contains(path, "?") {
			base = "../"
		}
		if !strings.Contains(body, `href="`+base+`journal`) {
			t.Errorf("%s: links do not begin with %s", path, base)
		}
	}
}

// TestPageLinks follows every link of every page: all lead to a page.
func TestPageLinks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	seen := map[string]bool{}
	for _, path := range s.all() {
		for _, m := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(f.page(path), -1) {
			to := strings.ReplaceAll(m[1], "&amp;", "&")
			to = "/" + strings.TrimLeft(to, "./")
			if strings.HasPrefix(to, "/#") || seen[to] {
				continue
			}
			seen[to] = true
			if w := f.get(to); w.Code != http.StatusOK {
				t.Errorf("%s links to %s: status %d: %s", path, to, w.Code, problemText(w.Body.String()))
			}
		}
	}
	if len(seen) < 60 {
		t.Errorf("only %d links were found", len(seen))
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/nothing":                     {404, "Nothing is served at this address"},
		"/report/":                     {404, "Nothing is served"},
		"/clicks/a/b":                  {404, "Nothing is served"},
		"/assets/app.css":              {404, "another version"},
		"/report?by=colour":            {400, `unknown dimension "colour"`},
		"/report?by=day,day,hour&x=1":  {400, `unknown parameter "x"`},
		"/report?from=soon":            {400, `from: "soon" is no time`},
		"/report?from=today&to=7d":     {400, "not after its beginning"},
		"/report?tz=Mars/Olympus":      {400, `tz is "Mars/Olympus"`},
		"/report?tz=Local":             {400, `tz is "Local"`},
		"/report?sort=colour":          {400, `sort is "colour"`},
		"/report?metric=revenue.usd":   {400, `metric is "revenue.usd"`},
		"/report?limit=0":              {400, `limit is "0"`},
		"/report?none=day":             {400, `none names "day"`},
		"/report?source=a&none=source": {400, "source is given and none"},
		"/report?from=today&from=7d":   {400, `"from" is given 2 times`},
		"/report?sub.=x":               {400, `unknown filter "sub."`},
		"/report?a=%zz":                {400, "broken"},
		"/report.csv?by=colour":        {400, `unknown dimension "colour"`},
		"/journal?outcome=eaten":       {400, `outcome is "eaten"`},
		"/journal?reason=none":         {400, `reason is "none"`},
		"/journal?before=-1":           {400, `before is "-1"`},
		"/journal?entry=999":           {404, "no entry 999"},
		"/quarantine?outcome=recorded": {400, `unknown parameter "outcome"`},
		"/quarantine?limit=201":        {400, `limit is "201"`},
		"/?x=1":                        {400, `unknown parameter "x"`},
		"/setup?x=1":                   {400, `unknown parameter "x"`},
		"/live?after=x":                {400, `after is "x"`},
		"/clicks/nonsense":             {400, "cannot be read"},
		"/conversions/nonsense":        {400, "reading conversion ID"},
		"/clicks/" + s.acme + "?x=1":   {400, `unknown parameter "x"`},
		"/find?id=nonsense":            {404, "neither the ID of a click"},
		"/conversions/" + attribution.NewConversionID(attribution.DedupTxID, [16]byte{}, 1, "a", "b").String(): {404, "No conversion is stored"},
	} {
		w := f.get(path)
		if got := problemText(w.Body.String()); w.Code != want.status || !strings.Contains(got, want.text) {
			t.Errorf("%s: got %d %q, want %d %q", path, w.Code, got, want.status, want.text)
		}
		checkMarkup(t, path, w.Body.String())
	}
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	f.down = fmt.Errorf("%w: the disk is full", capture.ErrUnavailable)
	for _, path := range s.all() {
		if path == "/setup" {
			f.page(path)
			continue
		}
		w := f.get(path)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(problemText(w.Body.String()), "the disk is full") {
			t.Errorf("%s: got %d %s", path, w.Code, problemText(w.Body.String()))
		}
	}
	f.down = errors.New("something else")
	if w := f.get("/journal"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("got %d", w.Code)
	}
}

func TestHealthBanner(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	f.health = &capture.Health{State: "degraded", Why: "the disk has no room <left>"}
	for _, path := range s.all() {
		if body := f.page(path); !strings.Contains(body, `data-state="degraded"`) || !strings.Contains(body, "no room &lt;left&gt;") {
			t.Errorf("%s does not say that the store is degraded", path)
		}
	}
	if body := f.page("/setup"); !strings.Contains(body, "The store needs you") {
		t.Error("the next steps do not begin with the store")
	}
	f.health = &capture.Health{State: "ok", Store: capture.StoreStatus{Spool: &capture.SpoolStatus{State: capture.SpoolSpooling, Clicks: 1200, Postbacks: 3}}}
	if body := f.page("/report"); !strings.Contains(body, `data-state="spooling"`) || !strings.Contains(body, "<strong>The database does not take") || strings.Contains(body, `role="alert"`) {
		t.Error("the report does not say that something waits for the database")
	}
	f.health.Store.Spool.Since, f.health.Store.Spool.Why = time.Now().Add(-time.Hour), "connection <refused>"
	if body := f.page("/setup"); !strings.Contains(body, "1200 clicks, 3 postbacks") || !strings.Contains(body, "spooling since ") || !strings.Contains(body, "connection &lt;refused&gt;") ||
		!strings.Contains(body, "in the database") {
		t.Error("the setup does not say what waits for the database, since when and why")
	}
	f.health.Store.Spool = &capture.SpoolStatus{State: capture.SpoolShared}
	if body := f.page("/report"); strings.Contains(body, "data-state") {
		t.Error("the report speaks of a spool that is empty")
	}
	f.health = nil
	if strings.Contains(f.page("/"), `role="alert"`) {
		t.Error("there is an alert without a cause")
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	for id, want := range map[string]string{
		s.acme:                        "./clicks/" + s.acme,
		" " + strings.ToUpper(s.acme): "./clicks/" + s.acme,
		s.conversion:                  "./conversions/" + s.conversion,
	} {
		w := f.get("/find", func(r *http.Request) { r.URL.RawQuery = query("id", id).Encode() })
		if got := w.Result().Header.Get("Location"); w.Code != http.StatusSeeOther || got != want {
			t.Errorf("%q: got %d %q, want %q", id, w.Code, got, want)
		}
	}
}

func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := f.tell()
	for _, path := range s.all() {
		if body := f.page(path); strings.Contains(body, token) {
			t.Errorf("%s shows the token", path)
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		w := httptest.NewRecorder()
		Forbidden(w, httptest.NewRequest(method, "/report?by=campaign", nil))
		body := w.Body.String()
		if w.Code != http.StatusForbidden || method != http.MethodHead && (!strings.Contains(body, "basic_auth") || !strings.Contains(body, "open")) {
			t.Errorf("%s: got %d %s", method, w.Code, body)
		}
		if method == http.MethodHead && body != "" {
			t.Error("HEAD has a body")
		}
		if p := w.Result().Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
			t.Errorf("policy %q", p)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, "href=") {
			t.Error("it is more than an explanation")
		}
	}
}
