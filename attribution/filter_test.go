package attribution

import (
	"strings"
	"testing"
	"time"
)

// TestFilters compares a filtered report with the rows of the whole one.
func TestFilters(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	add := func(b *Builder) {
		for i, d := range []Dims{
			{Campaign: "a", Source: "x", Destination: "d", Sub: func(n string) string { return n + "1" }},
			{Campaign: "a", Destination: "e"},
			{Campaign: "b", Source: "x", Destination: "d", Sub: func(string) string { return "" }},
		} {
			b.Add(d, at, Counts{Clicks: 1 << i})
			d.Event = []string{"sale", "lead", "sale"}[i]
			b.Add(d, at, Counts{Conversions: 1 << i})
			b.AddLag(d, at, time.Second)
		}
	}
	for _, c := range []struct {
		filters             []Filter
		clicks, conversions int64
		lags                int64
	}{
		{nil, 7, 7, 3},
		{[]Filter{{"campaign", "a"}}, 3, 3, 2},
		{[]Filter{{"source", ""}}, 2, 2, 1},
		{[]Filter{{"destination", "d"}, {"source", "x"}}, 5, 5, 2},
		{[]Filter{{"sub.k", "k1"}}, 1, 1, 1},
		{[]Filter{{"sub.k", ""}}, 6, 6, 2},
		{[]Filter{{"event", "sale"}}, 7, 5, 2},
		{[]Filter{{"event", ""}}, 7, 0, 0},
		{[]Filter{{"event", "sale"}, {"campaign", "b"}}, 4, 4, 1},
		{[]Filter{{"campaign", "c"}}, 0, 0, 0},
	} {
		q := Query{From: at, To: at.Add(time.Hour), Filters: c.filters, Lags: true}
		if err := q.Validate(); err != nil {
			t.Fatal(err)
		}
		b := NewBuilder(q)
		add(b)
		r := b.Report()
		lags := int64(0)
		if r.TotalExtra.Lag != nil {
			lags = r.TotalExtra.Lag.Conversions
		}
		if r.Total.Clicks != c.clicks || r.Total.Conversions != c.conversions || lags != c.lags {
			t.Errorf("%v: got %d clicks, %d conversions, %d lags", c.filters, r.Total.Clicks, r.Total.Conversions, lags)
		}
	}
	for _, name := range []string{"day", "sub.", "", "colour"} {
		q := Query{From: at, To: at.Add(time.Hour), Filters: []Filter{{name, "x"}}}
		if err := q.Validate(); err == nil || !strings.Contains(err.Error(), "unknown filter") {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if !(Query{Filters: []Filter{{"sub.k", "1"}}}).NeedsSub() || (Query{Filters: []Filter{{"source", "1"}}}).NeedsSub() {
		t.Error("NeedsSub does not look at filters as it should")
	}
}
