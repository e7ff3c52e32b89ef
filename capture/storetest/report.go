package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests name zones, and a machine may know none

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// fact is what the oracle knows of one click or conversion: enough to count it
// by hand. Amounts are in hundredths.
type fact struct {
	at                                  time.Time
	campaign, source, destination, subs string
	event                               string
	clicks, bots                        int64
	status                              attribution.Status
	currency                            string
	cents                               int64
}

// sum is one row of the oracle.
type sum struct {
	clicks, bots int64
	by           [attribution.Reversed + 1]int64
	revenue      map[string]int64
	cost         map[string]int64
}

func (s sum) String() string {
	return fmt.Sprint(s.clicks, s.bots, s.by, s.revenue, s.cost)
}

// sumOf writes a report's counts in the same way.
func sumOf(c attribution.Counts) sum {
	s := sum{clicks: c.Clicks, bots: c.BotClicks, revenue: map[string]int64{}, cost: map[string]int64{}}
	s.by = [...]int64{0, c.Pending, c.Approved, c.Rejected, c.Reversed}
	for to, totals := range map[*map[string]int64]attribution.Totals{&s.revenue: c.Revenue, &s.cost: c.Cost} {
		for currency, amount := range totals {
			(*to)[string(currency)] = hundredths(attribution.Money{Amount: amount, Currency: currency})
		}
	}
	return s
}

// hundredths is the inverse of cents.
func hundredths(m attribution.Money) int64 {
	n, err := strconv.ParseInt(strings.Replace(m.Format(), ".", "", 1), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", m.Format(), err))
	}
	return n
}

// oracle counts facts one by one.
func oracle(q attribution.Query, facts []fact) map[string]*sum {
	rows := make(map[string]*sum)
	for _, f := range facts {
		if f.at.Before(q.From) || !f.at.Before(q.To) || q.Campaign != "" && f.campaign != q.Campaign ||
			q.Source != "" && f.source != q.Source {
			continue
		}
		key := f.key(q)
		s := rows[key]
		if s == nil {
			s = &sum{revenue: map[string]int64{}, cost: map[string]int64{}}
			rows[key] = s
		}
		s.clicks += f.clicks
		s.bots += f.bots
		switch {
		case f.status == attribution.Approved:
			s.revenue[f.currency] += f.cents
		case f.clicks > 0 && f.cents > 0:
			s.cost[f.currency] += f.cents
		}
		if f.status > 0 {
			s.by[f.status]++
		}
	}
	return rows
}

func (f fact) key(q attribution.Query) string {
	local := f.at.UTC()
	if q.Location != nil {
		local = f.at.In(q.Location)
	}
	var keys []string
	for _, d := range q.By {
		keys = append(keys, map[string]string{
			"campaign": f.campaign, "source": f.source, "destination": f.destination, "event": f.event,
			"sub.creative": f.subs, "sub.none": "",
			"hour": local.Format("2006-01-02T15:00:00Z07:00"), "day": local.Format("2006-01-02"), "month": local.Format("2006-01"),
		}[d])
	}
	return strings.Join(keys, "\x01")
}

func compare(t rapid.TB, r attribution.Report, want map[string]*sum, q attribution.Query) {
	t.Helper()
	total := sum{revenue: map[string]int64{}, cost: map[string]int64{}}
	got := make(map[string]string)
	for _, row := range r.Rows {
		got[strings.Join(row.Keys, "\x01")] = sumOf(row.Counts).String()
	}
	for key, s := range want {
		if len(q.By) > 0 && got[key] != s.String() {
			t.Errorf("%+v: row %q is %s, want %s", q, key, got[key], s)
		}
		delete(got, key)
		total.clicks += s.clicks
		total.bots += s.bots
		for i := range s.by {
			total.by[i] += s.by[i]
		}
		for c, n := range s.revenue {
			total.revenue[c] += n
		}
		for c, n := range s.cost {
			total.cost[c] += n
		}
	}
	for key, s := range got {
		t.Errorf("%+v: row %q is there with %s", q, key, s)
	}
	maps.DeleteFunc(total.revenue, func(_ string, n int64) bool { return n == 0 }) // rows can cancel out
	if got := sumOf(r.Total).String(); got != total.String() {
		t.Errorf("%+v: the total is %s, want %s", q, got, total)
	}
	if n := r.Total.Pending + r.Total.Approved + r.Total.Rejected + r.Total.Reversed; n != r.Total.Conversions {
		t.Errorf("%+v: %d conversions, and %d of all statuses", q, r.Total.Conversions, n)
	}
}

// The dimensions include names that a careless key would confuse.
var (
	campaigns = []string{"acme", "", "a\x00b", "a", "böse/‱", strings.Repeat("long", 80)}
	sources   = []string{"", "x", "\x00b", "b", "\x01x", "y/z"}
	creatives = []string{"", "one", "two\x00"}
	events    = []string{"sale", "lead", "s"}
)

// history fills the place with clicks and conversions over three days, across
// the change of the clocks in New York.
func (p *place) history(r *rand.Rand) []fact {
	var facts []fact
	start := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	for round := range 40 {
		if round%6 == 5 {
			p.tidy()
		}
		var parts []any
		for range 1 + r.IntN(2) {
			var clicks []*capture.Click
			for range 1 + r.IntN(16) {
				c := p.click(of(pick(campaigns), pick(sources)))
				c.Time = start.Add(time.Duration(r.Int64N(int64(3*day)) / int64(time.Millisecond) * int64(time.Millisecond)))
				if r.IntN(4) == 0 {
					c.Time = c.Time.Truncate(time.Hour) // right on a boundary
				}
				c.Destination = pick([]string{"https://a.example/", "https://b.example/"})
				c.Flags = []capture.ClickFlags{0, 0, 0, capture.FlagBot, capture.FlagPrefetch, capture.FlagTest, capture.FlagCut}[r.IntN(7)]
				if s := pick(creatives); s != "" {
					c.Subs = []capture.Param{{Name: "creative", Value: s}}
				}
				f := fact{at: c.Time, campaign: c.Campaign, source: c.Source, destination: c.Destination, subs: c.Sub("creative")}
				if r.IntN(2) == 0 {
					f.cents = 1 + r.Int64N(1000)
					f.currency = pick([]string{"USD", "EUR"})
					c.Cost = cents(f.cents, f.currency)
				}
				clicks = append(clicks, c)
				f.add(c, &facts)
			}
			parts = append(parts, p.block(clicks...))
			for _, c := range clicks {
				for n := range r.IntN(3) {
					parts = append(parts, p.convert(r, c, n, &facts)...)
				}
			}
		}
		p.commit(parts...)
	}
	return facts
}

func (f fact) add(c *capture.Click, facts *[]fact) {
	switch {
	case c.Flags&capture.FlagTest != 0:
		return
	case c.Flags&(capture.FlagBot|capture.FlagPrefetch) != 0:
		f.bots, f.cents = 1, 0
	default:
		f.clicks = 1
	}
	*facts = append(*facts, f)
}

// convert makes the postbacks of one conversion: one or two, the second of
// which has the last word.
func (p *place) convert(r *rand.Rand, c *capture.Click, n int, facts *[]fact) []any {
	f := fact{
		at: c.Time.Add(time.Duration(r.IntN(3000)) * time.Minute), campaign: c.Campaign, source: c.Source,
		destination: c.Destination, subs: c.Sub("creative"), event: events[r.IntN(len(events))],
		status: attribution.Status(1 + r.IntN(4)), currency: []string{"USD", "EUR"}[r.IntN(2)], cents: 1 + r.Int64N(100000),
	}
	claim := attribution.Claim{
		Event: f.event, TxID: name("%d", n), Status: f.status, Payout: cents(f.cents, f.currency), HasPayout: true, SentAt: f.at,
	}
	arrival := arrives(f.at.Add(time.Minute))
	var posts []any
	if r.IntN(2) == 0 {
		first := claim
		first.Status, first.Payout = attribution.Pending, cents(77, "JPY")
		if f.status == attribution.Pending {
			first = claim
		}
		posts = append(posts, p.post(c, first, arrival))
	}
	posts = append(posts, p.post(c, claim, arrival))
	if c.Flags&capture.FlagTest == 0 {
		*facts = append(*facts, f)
	}
	return posts
}

func cents(n int64, currency string) attribution.Money {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	m := usd(fmt.Sprintf("%s%d.%02d", sign, n/100, n%100))
	m.Currency = attribution.Currency(currency)
	return m
}

func testReports(t *testing.T, p *place) {
	facts := p.history(rand.New(rand.NewPCG(1, 2)))
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	p.must(err)
	newYork, err := time.LoadLocation("America/New_York")
	p.must(err)
	start := time.Date(2026, 3, 7, 0, 0, 0, 0, time.UTC)
	question := rapid.Custom(func(t *rapid.T) attribution.Query {
		all := []string{"campaign", "source", "destination", "event", "hour", "day", "month", "sub.creative", "sub.none"}
		q := attribution.Query{
			By:       rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, 4, rapid.ID).Draw(t, "by"),
			From:     start.Add(time.Duration(rapid.IntRange(-8, 300).Draw(t, "from")) * 15 * time.Minute),
			Location: rapid.SampledFrom([]*time.Location{nil, time.UTC, kolkata, newYork}).Draw(t, "zone"),
		}
		q.To = q.From.Add(time.Duration(rapid.IntRange(1, 500).Draw(t, "length")) * 15 * time.Minute)
		if rapid.Bool().Draw(t, "unaligned") {
			q.From = q.From.Add(time.Duration(rapid.IntRange(0, 899_999).Draw(t, "off")) * time.Millisecond)
			q.To = q.To.Add(time.Duration(rapid.IntRange(0, 899_999).Draw(t, "off the end")) * time.Millisecond)
		}
		if !q.To.After(q.From) {
			q.To = q.From.Add(time.Millisecond)
		}
		if rapid.Bool().Draw(t, "narrow") {
			q.Campaign = rapid.SampledFrom(campaigns).Draw(t, "campaign")
			q.Source = rapid.SampledFrom(sources).Draw(t, "source")
		}
		return q
	})
	for range 2 {
		whole := attribution.Query{By: []string{"day"}, From: start.Add(-day), To: start.Add(10 * day), Location: newYork}
		compare(t, p.report(whole), oracle(whole, facts), whole)
		rapid.Check(t, func(t *rapid.T) {
			q := question.Draw(t, "query")
			r, err := p.store.Report(background, q)
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			compare(t, r, oracle(q, facts), q)
		})
		p.tidy()
		p.reopen()
	}
}

// tidy lets the store do what it does once in a while. It deletes nothing.
func (p *place) tidy() {
	p.t.Helper()
	_, err := p.store.Sweep(background, noon, capture.Retention{})
	p.must(err)
}
