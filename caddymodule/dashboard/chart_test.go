package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
	"github.com/caddy-capture/caddy-capture/capture"
)

func viewOf(t testing.TB, query string, now time.Time) *view {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := parseView(values, now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDaysWithoutMidnight asks for days on which the clocks skip midnight.
func TestDaysWithoutMidnight(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		zone, day, first, last string
	}{
		{"America/Santiago", "2026-09-06", "2026-09-06T04:00:00Z", "2026-09-07T02:59:59Z"},
		{"Atlantic/Azores", "2026-03-29", "2026-03-29T01:00:00Z", "2026-03-29T23:59:59Z"},
		{"America/Havana", "2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T03:59:59Z"},
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T01:59:59Z"},
	} {
		var at [2]time.Time
		for i, s := range []string{c.first, c.last} {
			var err error
			if at[i], err = time.Parse(time.RFC3339, s); err != nil {
				t.Fatal(err)
			}
		}
		f.now = at[1].AddDate(0, 1, 0)
		campaign := c.zone
		for _, when := range []time.Time{at[0].Add(-time.Second), at[0], at[1], at[1].Add(time.Second)} {
			f.click(capture.Click{Time: when, Campaign: campaign})
		}
		filter := query("campaign", campaign, "tz", c.zone, "from", c.day, "to", c.day)
		if got := value(t, f.page("/"+link("report", filter)), "clicks"); got != "2" {
			t.Errorf("%s has %s clicks on %s, want 2", c.zone, got, c.day)
		}
		day := at[0].AddDate(0, 0, -4)
		filter.Set("from", day.Format(time.DateOnly))
		filter.Set("to", at[0].AddDate(0, 0, 4).Format(time.DateOnly))
		filter.Set("by", "day")
		var ch chart
		readChart(t, f.page("/"+link("report", filter)), &ch)
		var want []string
		for i := range 9 {
			want = append(want, day.AddDate(0, 0, i).Format(time.DateOnly))
		}
		if !slices.Equal(ch.Labels, want) || !slices.IsSorted(ch.X) {
			t.Errorf("%s: the plot is of %q, want %q", c.zone, ch.Labels, want)
		}
		for _, step := range []string{"hour", "month"} {
			filter.Set("by", step)
			f.page("/" + link("report", filter))
		}
	}
	// Links down to a day of the table lead to just that day.
	v := viewOf(t, "by=day&tz=America/Santiago&from=2026-09-06&to=2026-09-06", noon)
	if got := v.to.Sub(v.from); got != 23*time.Hour {
		t.Errorf("the day has %s", got)
	}
	// Without a range it is 30 whole days, whatever day the last or the first is.
	for _, now := range []string{"2026-09-06T15:00:00Z", "2026-10-05T15:00:00Z"} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		v := viewOf(t, "tz=America/Santiago", at)
		if got := attribution.StartOfDayOf(v.from, v.loc); !got.Equal(v.from) {
			t.Errorf("at %s it begins at %s", now, v.from.In(v.loc))
		}
	}
}

func readChart(t testing.TB, body string, into *chart) {
	t.Helper()
	m := chartPattern.FindStringSubmatch(body)
	if m == nil {
		t.Fatal("there is no chart")
	}
	if err := json.Unmarshal([]byte(m[1]), into); err != nil {
		t.Fatal(err)
	}
}

func TestNextStep(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/Santiago", "America/Havana", "Atlantic/Azores", "Pacific/Apia", "America/Sao_Paulo", "UTC"} {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []string{"hour", "day", "month"} {
			at := time.Date(2011, 1, 1, 0, 0, 0, 0, loc)
			for range 9000 {
				next := nextStep(step, at)
				if !next.After(at) {
					t.Fatalf("%s: the %s after %s is %s", zone, step, at, next)
				}
				at = next
			}
		}
	}
}

// hourly is a report by campaign, source and hour.
func hourly(keys ...[3]string) *attribution.Report {
	r := &attribution.Report{By: []string{"campaign", "source", "hour"}}
	for i, k := range keys {
		r.Rows = append(r.Rows, attribution.Row{Keys: k[:], Counts: attribution.Counts{Clicks: int64(i + 1)}})
	}
	return r
}

// TestSeriesApart wants different rows to be different series, whatever stands
// in their values.
func TestSeriesApart(t *testing.T) {
	t.Parallel()
	const hour = "2026-11-20T10:00:00Z"
	r := hourly([3]string{"a / b", "c", hour}, [3]string{"a", "b / c", hour}, [3]string{"(none)", "", hour}, [3]string{"", "(none)", hour})
	v := viewOf(t, "by=campaign,source,hour&from=today", noon)
	ch, err := makeChart(t.Context(), r, r.By, "hour", sheet.Counts[0], v)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(ch.Labels, "2026-11-20 10:00 +00:00")
	var got []string
	for _, s := range ch.Series {
		got = append(got, s.Texts[at])
	}
	if want := []string{"4", "3", "2", "1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestManySeries wants a plot of many combinations to need room for those that
// are drawn only.
func TestManySeries(t *testing.T) {
	t.Parallel()
	keys := make([][3]string, 20_000)
	for i := range keys {
		keys[i] = [3]string{strconv.Itoa(i), "s", noon.Add(-time.Duration(i%500) * time.Hour).Truncate(time.Hour).Format(time.RFC3339)}
	}
	r := hourly(keys...)
	v := viewOf(t, "by=campaign,source,hour&from=30d", noon)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ch, err := makeChart(t.Context(), r, r.By, "hour", sheet.Counts[0], v)
	runtime.ReadMemStats(&after)
	if err != nil || len(ch.Series) != maxSeries || ch.More != len(keys)-maxSeries {
		t.Fatalf("%v, %d series, %d more", err, len(ch.Series), ch.More)
	}
	for i, s := range ch.Series { // the largest are the last
		if want := fmt.Sprintf("%d / s", len(keys)-1-i); s.Label != want || len(s.Points) != len(ch.X) {
			t.Errorf("series %d is %q, want %q", i, s.Label, want)
		}
	}
	// All series laid out were more than 20,000 times 700 points of 24 bytes.
	if got := after.TotalAlloc - before.TotalAlloc; got > 150<<20 {
		t.Errorf("it took %d MiB", got>>20)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := makeChart(gone, r, r.By, "hour", sheet.Counts[0], v); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// fullStore has more rows than a report can have.
type fullStore struct{ capture.Reader }

func (fullStore) Report(context.Context, attribution.Query) (attribution.Report, error) {
	return attribution.Report{}, fmt.Errorf("reading: %w", attribution.ErrTooManyRows)
}

type fullSource struct{ *fixture }

func (fullSource) Reader() (capture.Reader, error) { return fullStore{}, nil }

func TestTooManyRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.pages = New(fullSource{f})
	if w := f.get("/report?by=sub.click"); w.Code != 400 || !slices.Contains([]string{
		"Reading: the report has too many combinations, more than 200000 rows: narrow the time range or the filters, or ask for fewer dimensions.",
	}, problemText(w.Body.String())) {
		t.Errorf("got %d %s", w.Code, problemText(w.Body.String()))
	}
}

// TestLongValues looks into the longest values that are kept.
func TestLongValues(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := string(slices.Repeat([]byte("x"), capture.MaxValue))
	f.click(capture.Click{
		Time: noon.Add(-time.Hour), Campaign: long, Source: long, Destination: long,
		Subs: []capture.Param{{Name: "creative", Value: long}},
	})
	for _, dimension := range []string{"campaign", "source", "destination", "sub.creative"} {
		v := viewOf(t, "by="+dimension, noon)
		if got := value(t, f.page("/"+v.drill(dimension, long)), "clicks"); got != "1" {
			t.Errorf("%s: %s clicks", dimension, got)
		}
	}
	if w := f.get("/" + link("report", query("campaign", long+"x"))); w.Code != 400 {
		t.Errorf("got %d", w.Code)
	}
}
