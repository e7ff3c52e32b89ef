package dashboard

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
	"github.com/caddy-capture/caddy-capture/capture"
)

// TestUntilNow wants the second of two hours of the same name to be meant when
// it is now, and days to begin where the clocks skip midnight.
func TestUntilNow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone, now  string
		back       int
		begin, end string
	}{
		{"America/New_York", "2026-11-01T05:30:10Z", 0, "2026-11-01T00:00:00-04:00", "2026-11-01T01:30:11-04:00"},
		{"America/New_York", "2026-11-01T06:30:10Z", 0, "2026-11-01T00:00:00-04:00", "2026-11-01T01:30:11-05:00"},
		{"Europe/Berlin", "2026-10-25T00:30:00Z", 0, "2026-10-25T00:00:00+02:00", "2026-10-25T02:30:01+02:00"},
		{"America/Santiago", "2026-09-07T15:00:00Z", 1, "2026-09-06T01:00:00-03:00", "2026-09-06T12:00:01-03:00"},
		{"UTC", "2026-11-20T12:07:30Z", 7, "2026-11-13T00:00:00Z", "2026-11-13T12:07:31Z"},
	} {
		loc, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		begin, end := untilNow(now.In(loc), c.back)
		if begin.Format(time.RFC3339) != c.begin || end.Format(time.RFC3339) != c.end {
			t.Errorf("%s %s, %d days back: from %s to %s, want %s to %s", c.zone, c.now, c.back, begin, end, c.begin, c.end)
		}
	}
	// The same time of day a day ago, at a time of day that was skipped then.
	f := newFixture(t)
	f.now = time.Date(2026, 9, 7, 3, 20, 0, 0, time.UTC) // 00:20 in Santiago
	f.click(capture.Click{Time: time.Date(2026, 9, 6, 3, 59, 0, 0, time.UTC), Campaign: "a"})
	santiago, err := time.LoadLocation("America/Santiago")
	if err != nil {
		t.Fatal(err)
	}
	row, err := f.pages.dayUntilNow(&call{r: httptest.NewRequest(http.MethodGet, "/", nil), loc: santiago}, f.now, 1)
	if err != nil || row.Clicks != 0 {
		t.Errorf("got %d clicks of the day before, %v", row.Clicks, err)
	}
}

// TestFiguresAreKept wants many open pages not to mean as many reports.
func TestFiguresAreKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := func(when, path, clicks string) {
		t.Helper()
		if got := value(t, f.page(path), "clicks"); got != clicks {
			t.Errorf("%s: %s clicks, want %s", when, got, clicks)
		}
	}
	want("at first", "/", "0")
	f.click(capture.Click{Time: noon.Add(-time.Minute), Campaign: "a"})
	want("at once", "/", "0")
	want("in another zone", "/?tz=Asia/Tokyo", "1")
	f.now = noon.Add(keepFigures)
	want("a little later", "/", "1")
	f.now = noon.Add(-time.Hour)
	want("when the clock was set back", "/", "0")
}

// TestTodayIsExact wants a total made of two parts to be rounded once.
func TestTodayIsExact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var err error
	if f.rates, err = attribution.ParseRates([]byte("EUR,1,2026-01-01\nUSD,0.5,2026-01-01\n")); err != nil {
		t.Fatal(err)
	}
	for i, at := range []time.Time{noon.Add(-time.Hour), noon.Add(-time.Minute)} { // before and after the last quarter
		id := f.click(capture.Click{Time: at, Campaign: "a"})
		f.postback(at, "click_id="+id+"&txid="+[]string{"x", "y"}[i]+"&payout=0.01&currency=USD")
	}
	if got, all := value(t, f.page("/"), "total_revenue.EUR"), value(t, f.page("/report"), "total_revenue.EUR"); got != "0.01" || got != all {
		t.Errorf("today is %s, and the report says %s", got, all)
	}
}

// A change that is not nothing must not read as if it were, or had the other sign.
func TestSmallChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		then, today int64
		want        string
	}{
		{100, 150, "+50\u00a0%"}, {343, 342, "\u22120.3\u00a0%"}, {342, 343, "+0.3\u00a0%"}, {10_000, 9_999, "\u22120.01\u00a0%"},
		{100_000_000, 99_999_999, "almost the same"}, {1000, 996, "\u22120.4\u00a0%"}, {1, 100, "over 10\u00a0×"}, {7, 7, "the same"}, {0, 7, ""},
	} {
		row := func(n int64) *attribution.Row { return &attribution.Row{Counts: attribution.Counts{Clicks: n}} }
		if got := compare(sheet.Counts[0], row(tt.today), row(tt.then)).Change; got != tt.want {
			t.Errorf("from %d to %d is %q, want %q", tt.then, tt.today, got, tt.want)
		}
	}
}
