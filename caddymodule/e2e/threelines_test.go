package e2e

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// threeLines is the smallest useful Caddyfile: no global option, so the store is in Caddy's data
// directory and the admin API where CADDY_ADMIN says.
const threeLines = `http://127.0.0.1:$PORT {
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	postback /postback
	reverse_proxy $UPSTREAM
}
`

// upstream starts the application behind a site and returns its address.
func upstream(t testing.TB, h http.HandlerFunc) string {
	app := httptest.NewServer(h)
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

func TestThreeLines(t *testing.T) {
	s := startServer(t, threeLines, "$UPSTREAM", upstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "the site: "+r.URL.Path)
	}))
	id := threeLinesClick(t, s)
	conversion := threeLinesPostbacks(t, s, id)
	t.Run("api", func(t *testing.T) { threeLinesAPI(t, s, id, conversion) })
	t.Run("commands", func(t *testing.T) { threeLinesCommands(t, s, id, conversion) })
	t.Run("test command", func(t *testing.T) { threeLinesTest(t, s) })
	s.stop()
	t.Run("server is down", func(t *testing.T) {
		for _, args := range [][]string{{"report"}, {"conversions"}, {"journal"}, {"click", id}, {"test"}} {
			if r := s.caddy(append([]string{"capture"}, args...)...); r.code == 0 || r.stderr == "" {
				t.Errorf("caddy capture %s: exit status %d, says %q", args[0], r.code, r.stderr)
			}
		}
	})
}

func threeLinesClick(t *testing.T, s *server) (id string) {
	if a := s.get("/about"); a.status != 200 || a.body != "the site: /about" {
		t.Errorf("the rest of the site: status %d %q", a.status, a.body)
	}
	a := s.get("/go/acme?source=newsletter&sub1=top&creative=unknown")
	id = a.parameter("aff_sub")
	if a.status != 302 || !clickIDs.MatchString(id) || a.header.Get("Location") != "https://acme.example/offer?aff_sub="+id {
		t.Fatalf("click: status %d, Location %q", a.status, a.header.Get("Location"))
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if got := a.header.Values("Set-Cookie"); len(got) > 0 {
		t.Errorf("cookies %q", got)
	}
	if other := s.click("/go/acme", "aff_sub"); other == id {
		t.Errorf("two clicks have the ID %s", id)
	}
	return id
}

// threeLinesPostbacks reports a sale, again, and its refund, and then a second sale.
func threeLinesPostbacks(t *testing.T, s *server, id string) (conversion string) {
	send := func(query string) map[string]any {
		a := s.get("/postback?click_id=" + id + "&event=sale&currency=USD&" + query)
		if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
			t.Fatalf("postback %s: status %d %q %s", query, a.status, a.header.Get("Content-Type"), a.body)
		}
		var got map[string]any
		decode(t, a.body, &got)
		conversion, _ := got["conversion_id"].(string)
		want := fmt.Sprintf(`{"outcome":%q,"conversion_id":%q,"click_id":%q,"campaign":"acme","event":"sale","status":%q,"payout":%q,"currency":"USD"}`,
			got["outcome"], conversion, id, got["status"], got["payout"])
		if conversion == "" || strings.TrimSpace(a.body) != want {
			t.Errorf("postback %s:\n got %s\nwant %s", query, a.body, want)
		}
		return got
	}
	expect := func(got map[string]any, outcome, status, payout string) {
		t.Helper()
		if got["outcome"] != outcome || got["status"] != status || got["payout"] != payout {
			t.Errorf("postback: got %v, want %s, %s, %s", got, outcome, status, payout)
		}
	}
	first := send("txid=order-1&payout=12.50")
	expect(first, "recorded", "approved", "12.50")
	again := send("txid=order-1&payout=12.50")
	expect(again, "duplicate", "approved", "12.50")
	refund := send("txid=order-1&payout=12.50&status=reversed")
	expect(refund, "updated", "reversed", "12.50")
	other := send("txid=order-2&payout=3.05")
	expect(other, "recorded", "approved", "3.05")
	if again["conversion_id"] != first["conversion_id"] || refund["conversion_id"] != first["conversion_id"] {
		t.Error("one conversion has several IDs")
	}
	if other["conversion_id"] == first["conversion_id"] {
		t.Error("two conversions have one ID")
	}
	return first["conversion_id"].(string)
}

var threeLinesRows = map[string]string{
	"acme|newsletter": "clicks 1 bots 0 conversions 2 (pending 0 approved 1 rejected 0 reversed 1) revenue [USD 61/20] cost []",
	"acme|":           "clicks 1 bots 0 conversions 0 (pending 0 approved 0 rejected 0 reversed 0) revenue [] cost []",
}

func threeLinesAPI(t *testing.T, s *server, id, conversion string) {
	eventually(t, waitForClicks, func() error { return s.hasClicks(2) })
	r := s.report("by=campaign,source")
	expectRows(t, "campaign,source", r.Rows, threeLinesRows)
	if want := "clicks 2 bots 0 conversions 2 (pending 0 approved 1 rejected 0 reversed 1) revenue [USD 61/20] cost []"; r.Total.String() != want {
		t.Errorf("total %s", r.Total)
	}
	if a := s.api("/capture/report?by=campaign"); !strings.Contains(a.body, `"revenue":{"USD":"3.05"}`) {
		t.Errorf("report without an exact amount: %s", a.body)
	}
	if a := s.api("/capture/clicks/" + id); a.status != 200 || !containsAll(a.body, id, conversion, "acme", "newsletter", "top", "reversed") {
		t.Errorf("click: status %d %s", a.status, a.body)
	}
	if got := column(s.all("/capture/conversions"), "status"); !slices.Equal(got, []string{"approved", "reversed"}) {
		t.Errorf("conversions, newest first: %q", got)
	}
	if got := column(s.all("/capture/journal"), "outcome"); !slices.Equal(got, []string{"recorded", "updated", "duplicate", "recorded"}) {
		t.Errorf("journal, newest first: %q", got)
	}
	if got := s.all("/capture/journal?outcome=duplicate"); len(got) != 1 {
		t.Errorf("journal of duplicates: %v", got)
	}
	if got := items(t, s.api("/capture/journal?limit=1").body); len(got) != 1 || got[0]["outcome"] != "recorded" {
		t.Errorf("journal, one entry: %v", got)
	}
	if a := s.api("/capture/health"); a.status != 200 || !strings.HasPrefix(a.body, "{") {
		t.Errorf("health: status %d %s", a.status, a.body)
	}
	for target, status := range map[string]int{
		"/capture/report?by=colour":       400,
		"/capture/report?from=someday":    400,
		"/capture/report?tz=Mars/Olympus": 400,
		"/capture/clicks/nonsense":        404,
	} {
		a := s.api(target)
		if (a.status != status && !(status == 404 && a.status == 400)) || !strings.HasPrefix(a.body, `{"error":"`) {
			t.Errorf("GET %s: status %d %s", target, a.status, a.body)
		}
	}
}

func threeLinesCommands(t *testing.T, s *server, id, conversion string) {
	commands := map[string]struct {
		args  []string
		words []string
	}{
		"report":      {[]string{"report", "--by", "campaign,source"}, []string{"acme", "newsletter", "3.05"}},
		"conversions": {[]string{"conversions"}, []string{id, "reversed", "12.50", "3.05"}},
		"journal":     {[]string{"journal"}, []string{"recorded", "updated", "duplicate"}},
		"click":       {[]string{"click", id}, []string{id, "acme", "newsletter", "top"}},
	}
	for name, c := range commands {
		for _, format := range []string{"table", "csv", "json"} {
			args := append([]string{"capture"}, c.args...)
			if format != "table" {
				args = append(args, "--format", format)
			}
			out := s.output(args...)
			if !containsAll(out, c.words...) {
				t.Errorf("%s as %s without one of %q:\n%s", name, format, c.words, out)
			}
			switch format {
			case "csv":
				if rows, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(rows) < 2 {
					t.Errorf("%s as CSV: %d rows, %v\n%s", name, len(rows), err, out)
				}
			case "json":
				var v any
				decode(t, out, &v)
			}
		}
	}
	got := parseReport(t, answer{status: 200, body: s.output("capture", "report", "--by", "campaign,source", "--format", "json")})
	expectRows(t, "of the command", got.Rows, threeLinesRows)
	got = parseReport(t, answer{status: 200, body: s.output("capture", "report", "--by", "campaign", "--source", "newsletter",
		"--from", "2020-01-01", "--tz", "Europe/Berlin", "--format", "json", "--address", s.admin)})
	expectRows(t, "of one source", got.Rows, map[string]string{"acme": threeLinesRows["acme|newsletter"]})
	for _, args := range [][]string{
		{"report", "--by", "colour"}, {"report", "--format", "xml"}, {"click", "nonsense"}, {"click"}, {"conversions", "--limit", "many"}, {"dance"},
	} {
		if r := s.caddy(append([]string{"capture"}, args...)...); r.code == 0 || r.stderr == "" {
			t.Errorf("caddy capture %q: exit status %d, says %q", args, r.code, r.stderr)
		}
	}
}

// threeLinesTest runs the server's own test, which must leave the reports as they were.
func threeLinesTest(t *testing.T, s *server) {
	before := s.report("by=campaign,source,event")
	out := s.output("capture", "test")
	if !containsAll(strings.ToLower(out), "click", "postback") {
		t.Errorf("caddy capture test says:\n%s", out)
	}
	after := s.report("by=campaign,source,event")
	want := make(map[string]string)
	for key, f := range before.Rows {
		want[key] = f.String()
	}
	expectRows(t, "after the test command", after.Rows, want)
}

func containsAll(text string, words ...string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}
