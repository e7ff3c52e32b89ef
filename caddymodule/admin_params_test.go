package caddymodule

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

var testNow = time.Date(2026, 11, 22, 15, 4, 5, 6000, time.UTC)

func TestTimeRange(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ query, from, to string }{
		{"", "2026-10-24T00:00:00Z", "2026-11-23T00:00:00Z"},
		{"tz=Asia/Tokyo", "2026-10-24T15:00:00Z", "2026-11-23T15:00:00Z"},
		{"tz=America/New_York", "2026-10-24T04:00:00Z", "2026-11-23T05:00:00Z"}, // the clock changed in between
		{"from=2026-11-01&to=2026-11-02", "2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z"},
		{"from=2026-11-01&to=2026-11-01&tz=Europe/Berlin", "2026-10-31T23:00:00Z", "2026-11-01T23:00:00Z"},
		{"from=2026-11-01T10:00:00Z&to=2026-11-01T11:00:00Z", "2026-11-01T10:00:00Z", "2026-11-01T11:00:00Z"},
		{"from=2026-11-01T10:00:00%2B02:00", "2026-11-01T08:00:00Z", "2026-11-23T00:00:00Z"},
		{"from=2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00Z", "2026-11-23T00:00:00Z"},
		{"to=2026-01-31", "2026-01-02T00:00:00Z", "2026-02-01T00:00:00Z"},
		{"from=7d", "2026-11-15T15:00:00Z", "2026-11-23T00:00:00Z"},
		{"from=90m&to=0h", "2026-11-22T13:30:00Z", "2026-11-22T15:00:00Z"},
		{"from=1d12h", "2026-11-21T03:00:00Z", "2026-11-23T00:00:00Z"},
		{"from=yesterday&to=yesterday&tz=Asia/Tokyo", "2026-11-21T15:00:00Z", "2026-11-22T15:00:00Z"}, // it is the 23rd there
		{"from=today&tz=America/New_York", "2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z"},
		{"from=last+month&to=last+month&tz=Europe/Berlin", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{"from=this-month", "2026-11-01T00:00:00Z", "2026-11-23T00:00:00Z"},
	} {
		r := httptest.NewRequest("GET", "/capture/report?"+tc.query, nil)
		p := readParams(r, testNow, "from", "to", "tz")
		p.Zone("tz")
		from, to := p.ReportRange(p.Times())
		if p.Err() != nil {
			t.Errorf("%q: %v", tc.query, p.Err())
			continue
		}
		if got := from.UTC().Format(time.RFC3339); got != tc.from {
			t.Errorf("%q begins %s, want %s", tc.query, got, tc.from)
		}
		if got := to.UTC().Format(time.RFC3339); got != tc.to {
			t.Errorf("%q ends %s, want %s", tc.query, got, tc.to)
		}
	}
}

func TestParamsRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ query, want string }{
		{"form=7d", `unknown parameter "form": allowed are from, to, tz`},
		{"from=7d&from=8d", `"from" is given 2 times`},
		{"from=tomorrow", `from: "tomorrow" is no time: use a date like 2026-01-31, RFC 3339, how long ago like 7d or 12h, or one of today, `},
		{"from=-7d", "no time"},
		{"from=2026-02-30", "no time"},
		{"tz=Middle/Earth", `tz is "Middle/Earth", which is no time zone`},
		{"tz=Local", "no time zone"},
		{"tz=../etc/passwd", "no time zone"},
		{"limit=0", "use a number from 1 to 1000"},
		{"limit=1001", "use a number from 1 to 1000"},
		{"limit=x", "use a number from 1 to 1000"},
		{"test=yes", "use 1 or 0"},
		{"status=paid", "use pending, approved, rejected or reversed"},
		{"outcome=lost", "use one of recorded, updated"},
		{"reason=rain", "unknown_click"},
		{"after=12", `give the value of "next"`},
		{"after=12.", `give the value of "next"`},
		{"seq=0", `give the value of "next"`},
		{"seq=-1", `give the value of "next"`},
		{"%zz=1", "reading the query"},
		{"a=1;b=2", "reading the query"},
	} {
		r := httptest.NewRequest("GET", "/capture/report", nil)
		r.URL.RawQuery = tc.query
		allowed := []string{"from", "to", "tz"}
		if name, _, _ := strings.Cut(tc.query, "="); name != "form" {
			allowed = append(allowed, "limit", "test", "status", "outcome", "reason", "after", "seq")
		}
		p := readParams(r, testNow, allowed...)
		p.Zone("tz")
		p.Times()
		p.limit()
		p.Flag("test")
		p.Status("status")
		p.Outcome("outcome")
		p.Reason("reason")
		p.cursor("after")
		p.seq("seq")
		if p.Err() == nil || !strings.Contains(p.Err().Error(), tc.want) {
			t.Errorf("%q: %v; want %q in it", tc.query, p.Err(), tc.want)
		}
	}
}

func TestCursorRoundTrip(t *testing.T) {
	t.Parallel()
	c := capture.Cursor{
		Time: testNow.Truncate(time.Millisecond),
		ID:   attribution.NewConversionID(attribution.DedupTxID, [16]byte{1}, 1, "sale", "x"),
	}
	r := httptest.NewRequest("GET", "/?after="+formatCursor(c), nil)
	p := readParams(r, testNow, "after")
	if got := p.cursor("after"); p.Err() != nil || !got.Time.Equal(c.Time) || got.ID != c.ID {
		t.Errorf("got %v, %v; want %v", got, p.Err(), c)
	}
}

func TestWantsStream(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"":                                       false,
		"*/*":                                    false,
		"application/json":                       false,
		"text/event-stream":                      true,
		"Text/Event-Stream;q=1":                  true,
		"application/json, text/event-stream; x": true,
		"text/event-streams":                     false,
	} {
		if got := wantsStream([]string{accept}); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
}
