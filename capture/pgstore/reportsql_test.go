package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

var (
	oddSubs  = []string{"", "one", "two\x00", `th"ree\`, "ü"}
	oddNames = []string{"sub1", `a'"b\`, "nul\x00", "ü"}
)

// oddHistory writes clicks and conversions over some days, with names that a
// careless statement would confuse.
func (n *node) oddHistory() {
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // no secret
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	for range 6 {
		b := n.block(40)
		var posts []*capture.Postback
		for _, c := range b.Clicks {
			c.Time = noon.Add(time.Duration(r.Int64N(int64(72*time.Hour/time.Millisecond))) * time.Millisecond)
			c.Ref.Second = uint32(c.Time.Unix()) //nolint:gosec // of 2026
			c.Campaign, c.Source = pick("acme", "a\x00b", ""), pick("", "x", "y'\"")
			for _, name := range oddNames {
				if value := pick(oddSubs...); value != "" {
					c.Subs = append(c.Subs, capture.Param{Name: name, Value: value})
				}
			}
			if r.IntN(2) == 0 {
				c.Cost = attribution.Money{Amount: attribution.AmountOf(r.Int64N(999), 3), Currency: attribution.Currency(pick("USD", "EUR"))}
			}
			if r.IntN(8) == 0 {
				c.Flags = []capture.ClickFlags{capture.FlagTest, capture.FlagBot}[r.IntN(2)]
			}
			for i := range r.IntN(3) {
				p := sale(c, fmt.Sprint(i))
				p.Time = noon.Add(400 * time.Hour)
				p.Claim.SentAt = c.Time.Add(time.Duration(r.Int64N(int64(50*time.Hour/time.Millisecond))) * time.Millisecond)
				p.Claim.Event = pick("sale", "lead\x00")
				p.Claim.Status = attribution.Status(1 + r.IntN(4))
				p.Claim.Payout = attribution.Money{Amount: attribution.AmountOf(r.Int64N(99999)-5000, 3), Currency: attribution.Currency(pick("USD", "EUR", "JPY"))}
				p.Claim.HasPayout = r.IntN(5) > 0
				posts = append(posts, p)
			}
		}
		n.must(n.commit([]*capture.Block{b}, posts...))
	}
}

// TestReportsAreOfRecords: what is counted in the database is what the records
// come to, one by one.
func TestReportsAreOfRecords(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	n.oddHistory()
	n.healthy()
	checkViews(t, n.s)
	var clicks []*capture.Click
	var convs []*capture.Conversion
	ctx := context.Background()
	n.must(n.s.Clicks(ctx, capture.ClickQuery{}, func(c *capture.Click) bool {
		own := *c
		own.Subs = append([]capture.Param(nil), c.Subs...)
		clicks = append(clicks, &own)
		return true
	}))
	n.must(n.s.Conversions(ctx, capture.ConversionQuery{}, func(c *capture.Conversion) bool {
		convs = append(convs, c)
		return true
	}))
	if len(clicks) < 200 || len(convs) < 150 {
		t.Fatalf("there are only %d clicks and %d conversions", len(clicks), len(convs))
	}
	rates, err := attribution.ParseRates([]byte("currency,rate,date\nEUR,1,2026-01-01\nUSD,0.9,2026-01-01\nUSD,0.8,2026-03-03\n"))
	n.must(err)
	rapid.Check(t, func(t *rapid.T) {
		q := drawReport(t, rates)
		b := attribution.NewBuilder(q)
		for _, c := range clicks {
			b.Add(c.Dims(), c.Time, c.Counts())
		}
		for _, c := range convs {
			b.Add(c.Dims(), c.State.Time, c.Counts())
			if q.Lags {
				b.AddLag(c.Dims(), c.State.Time, c.Lag())
			}
		}
		got, err := n.s.Report(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := json.Marshal(b.Report())
		have, _ := json.Marshal(got)
		if string(want) != string(have) {
			t.Errorf("%+v:\n got %s\nwant %s", q, have, want)
		}
	})
}

func drawReport(t *rapid.T, rates *attribution.Rates) attribution.Query {
	dims := []string{"campaign", "source", "destination", "event", "hour", "day", "month", "sub.none"}
	for _, name := range oddNames {
		dims = append(dims, "sub."+name)
	}
	q := attribution.Query{
		By:   rapid.SliceOfNDistinct(rapid.SampledFrom(dims), 0, 4, rapid.ID).Draw(t, "by"),
		From: noon.Add(time.Duration(rapid.IntRange(-30, 150).Draw(t, "from")) * 45 * time.Minute),
		// The last is no zone of today's; its days begin between two quarters.
		Location: rapid.SampledFrom([]*time.Location{nil, time.FixedZone("", 19800), time.FixedZone("", -2670)}).Draw(t, "zone"),
		Lags:     rapid.Bool().Draw(t, "lags"),
	}
	if rapid.Bool().Draw(t, "unaligned") {
		q.From = q.From.Add(time.Duration(rapid.IntRange(0, 899_999_999).Draw(t, "off")) * time.Microsecond)
	}
	q.To = q.From.Add(time.Duration(rapid.IntRange(1, 8000).Draw(t, "length")) * time.Minute)
	if rapid.Bool().Draw(t, "rates") {
		q.Rates = rates
	}
	if rapid.IntRange(0, 3).Draw(t, "campaign") == 0 {
		q.Campaign = "a\x00b"
	}
	filters := map[string][]string{
		"campaign": {"acme", ""}, "source": {"x", "y'\""}, "event": {"sale", "lead\x00", ""}, "sub.nul\x00": oddSubs, "sub.sub1": oddSubs,
	}
	for range rapid.IntRange(0, 2).Draw(t, "filters") {
		dim := rapid.SampledFrom([]string{"campaign", "source", "event", "sub.nul\x00", "sub.sub1"}).Draw(t, "dimension")
		q.Filters = append(q.Filters, attribution.Filter{Dimension: dim, Value: rapid.SampledFrom(filters[dim]).Draw(t, "value")})
	}
	return q
}
