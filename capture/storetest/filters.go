package storetest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// takes tells whether a filter takes a fact. Clicks have no event, and a filter
// for one leaves them.
func (f fact) takes(filter attribution.Filter) bool {
	switch filter.Dimension {
	case "campaign":
		return f.campaign == filter.Value
	case "source":
		return f.source == filter.Value
	case "destination":
		return f.destination == filter.Value
	case "event":
		return f.event == "" || f.event == filter.Value
	case "sub.creative":
		return f.subs == filter.Value
	}
	return filter.Value == ""
}

// testFilters asks for narrowed reports, and counts by hand what they are of.
func testFilters(t *testing.T, p *place) {
	facts := p.history(rand.New(rand.NewPCG(3, 4)))
	p.tidy()
	value := map[string]func(fact) string{
		"campaign":     func(f fact) string { return f.campaign },
		"source":       func(f fact) string { return f.source },
		"destination":  func(f fact) string { return f.destination },
		"event":        func(f fact) string { return f.event },
		"sub.creative": func(f fact) string { return f.subs },
		"sub.none":     func(fact) string { return "" },
	}
	names := []string{"campaign", "source", "destination", "event", "sub.creative", "sub.none"}
	rapid.Check(t, func(t *rapid.T) {
		q := attribution.Query{
			By:   rapid.SliceOfNDistinct(rapid.SampledFrom(append(slices.Clone(names), "day", "hour")), 0, 3, rapid.ID).Draw(t, "by"),
			From: noon.AddDate(0, -1, 0), To: noon.AddDate(0, 6, 0),
		}
		if rapid.Bool().Draw(t, "unaligned") {
			q.From = q.From.Add(time.Second)
		}
		left := facts
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, 3, rapid.ID).Draw(t, "filters") {
			// Of a fact, so that most filters take something.
			filter := attribution.Filter{Dimension: name, Value: value[name](rapid.SampledFrom(facts).Draw(t, name))}
			q.Filters = append(q.Filters, filter)
			left = slices.DeleteFunc(slices.Clone(left), func(f fact) bool { return !f.takes(filter) })
		}
		r, err := p.store.Report(background, q)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, r, oracle(q, left), q)
	})
}
