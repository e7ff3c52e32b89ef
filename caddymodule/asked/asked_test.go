package asked

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

var now = time.Date(2026, 11, 22, 15, 4, 5, 0, time.UTC)

func TestParams(t *testing.T) {
	t.Parallel()
	p := Read(url.Values{
		"tz": {"Asia/Tokyo"}, "from": {"2026-11-01"}, "n": {"7"}, "on": {"1"}, "status": {"reversed"},
		"outcome": {"quarantined"}, "reason": {"bad_payout"}, "sub.creative": {"blue"}, "empty": {""},
	}, now, "tz", "from", "to", "n", "on", "status", "outcome", "reason", "sub.", "empty")
	if p.Zone("none") != time.UTC || p.Zone("tz").String() != "Asia/Tokyo" {
		t.Errorf("the zone is %v", p.Loc)
	}
	from, to := p.Times()
	if !from.Equal(time.Date(2026, 10, 31, 15, 0, 0, 0, time.UTC)) || !to.IsZero() {
		t.Errorf("from %v to %v", from, to)
	}
	if _, end := p.ReportRange(from, to); !end.Equal(time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)) {
		t.Errorf("it ends at %v", end)
	}
	if p.Number("n", 1, 1, 9) != 7 || p.Number("empty", 5, 1, 9) != 5 || !p.Flag("on") || p.Flag("off") ||
		p.Status("status") != attribution.Reversed || p.Status("none") != 0 || p.Outcome("outcome") != capture.Quarantined ||
		p.Outcome("none") != "" || p.Reason("reason") != capture.BadPayout || p.Get("sub.creative") != "blue" {
		t.Errorf("something was read wrongly of %v", p.Values)
	}
	if p.Err() != nil {
		t.Error(p.Err())
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 1000)
	for query, want := range map[string]string{
		"x=1":                       `unknown parameter "x": allowed are a, b.<name>, tz, status`,
		"b=1":                       `unknown parameter "b"`,
		"a=1&a=2":                   `parameter "a" is given 2 times: give it once`,
		"c=1&x=1":                   `unknown parameter "c"`, // the first of them, whatever the order
		"tz=Local":                  "no time zone",
		"tz=" + long:                "…",
		long + "=1":                 "…",
		"a=10":                      `a is "10": use a number from 1 to 9`,
		"a=" + long:                 "use a number",
		"a=%F0%28":                  "a is \"\uFFFD(\"",
		"a=99999999999999999999999": "use a number",
		"status=paid":               `unknown status "paid": use pending, approved, rejected or reversed`,
		"status=%F0%28":             "unknown status \"\uFFFD(\": use",
		"status=" + long:            "…\": use pending",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		p := Read(values, now, "a", "b.", "tz", "status")
		p.Zone("tz")
		p.Status("status")
		p.Number("a", 1, 1, 9)
		if p.Err() == nil || len(p.Err().Error()) > 400 || !strings.Contains(p.Err().Error(), want) {
			t.Errorf("%.40s: %v; want %q in it", query, p.Err(), want)
		}
	}
	if p := Read(url.Values{"a": {""}}, now); p.Err() == nil || !strings.Contains(p.Err().Error(), "none is allowed here") {
		t.Errorf("got %v", p.Err())
	}
}

// FuzzRead wants an error or values within their bounds, and messages that can
// be shown.
func FuzzRead(f *testing.F) {
	for _, query := range []string{"", "tz=Europe/Berlin&from=7d&to=today&n=3&on=1", "status=x", "a=1&a=2", "\xff=\xff", "outcome=recorded&reason=none", "from=0001-01-01"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, _ := url.ParseQuery(query) // as much of it as there is
		p := Read(values, now, "tz", "from", "to", "n", "on", "status", "outcome", "reason", "sub.")
		p.Zone("tz")
		begin, end := p.ReportRange(p.Times())
		n := p.Number("n", 2, 1, 9)
		p.Flag("on")
		p.Status("status")
		p.Outcome("outcome")
		p.Reason("reason")
		if n < 1 || n > 9 || p.Loc == nil {
			t.Errorf("got %d, %v", n, p.Loc)
		}
		if p.Get("from") == "" && p.Get("to") == "" && end.Sub(begin) < (reportDays-1)*24*time.Hour {
			t.Errorf("a report from %v to %v", begin, end)
		}
		if err := p.Err(); err != nil && !utf8.ValidString(err.Error()) {
			t.Errorf("got %q", err)
		}
	})
}
