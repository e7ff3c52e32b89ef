package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// result is what a trial and a commit have to agree upon.
func result(r capture.Result) string {
	s := name("%s %s %s %s test=%t", r.Outcome, r.Reason, r.Detail, r.Lag, r.Test)
	if c := r.Conversion; c != nil {
		s += name(" %s %+v", c.ID, c.State)
	}
	return s
}

// testTry tries every batch of a history before it is committed.
func testTry(t *testing.T, p *place) {
	c, d := p.click(), p.click(flags(capture.FlagTest))
	p.commit(p.block(c, d))
	later := noon.Add(100 * day)
	other := with(sale, func(c *attribution.Claim) { c.TxID = "other" })
	waits := p.post(c, other, problem(capture.BadPayout))
	for i, batch := range [][]*capture.Postback{
		{p.post(c, status(attribution.Pending)), p.post(c, sale), p.post(c, sale), p.post(d, sale)},
		{waits, p.post(c, sale, nameless(capture.MissingClickID))},
		{p.post(c, status(attribution.Reversed)), p.post(c, sale, arrives(later)), p.post(c, other, arrives(later))},
		{p.post(c, sent(other, noon.Add(50*day)), under(windowed(day)), arrives(later)), p.post(c, sent(other, noon.Add(time.Hour)), under(windowed(day)), arrives(later))},
	} {
		p.tryFirst(name("batch %d", i), batch)
	}
	// A conversion is recognised under another rule, whether it was committed
	// before or is in the same batch.
	e := p.click()
	p.commit(p.block(e))
	lead := with(sale, func(c *attribution.Claim) { c.Event, c.TxID = "lead", "x" })
	p.tryFirst("before the rule is switched", []*capture.Postback{
		p.post(e, sale), p.post(e, lead, under(deduped(attribution.DedupEvent))), p.post(e, with(lead, func(c *attribution.Claim) { c.TxID = "x" })),
	})
	p.tryFirst("after the rule is switched", []*capture.Postback{
		p.post(e, sale, under(deduped(attribution.DedupEvent))), p.post(e, status(attribution.Reversed), under(deduped(attribution.DedupClick))),
		p.post(e, lead),
	})
	again := p.post(c, other)
	again.Replays = waits.Seq
	p.tryFirst("replay", []*capture.Postback{again})
	again = p.post(c, other)
	again.Replays = waits.Seq
	p.tryFirst("replay again", []*capture.Postback{again})
	if e, err := p.store.Entry(background, waits.Seq); err != nil || e.Waiting() || e.Seq != waits.Seq {
		t.Errorf("the entry replayed is %+v: %v", e, err)
	}
	if _, err := p.store.Entry(background, p.seq+10); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("an entry that does not exist: %v", err)
	}
}

func (p *place) tryFirst(what string, batch []*capture.Postback) {
	p.t.Helper()
	before, entries := p.counts(), len(p.journal(capture.JournalQuery{}))
	p.must(p.store.Try(background, &capture.Batch{Now: p.now, Postbacks: batch}, new(capture.Trial)))
	var tried []string
	parts := make([]any, 0, len(batch))
	for i, b := range batch {
		if b.Seq != 0 {
			p.t.Errorf("%s: postback %d got number %d from a trial", what, i, b.Seq)
		}
		tried = append(tried, result(b.Result))
		b.Result = capture.Result{}
		parts = append(parts, b)
	}
	if record(p.counts()) != record(before) || len(p.journal(capture.JournalQuery{})) != entries {
		p.t.Errorf("%s: a trial left something behind", what)
	}
	p.commit(parts...)
	for i, b := range batch {
		if got := result(b.Result); got != tried[i] {
			p.t.Errorf("%s, postback %d: tried\n%s, and committed\n%s", what, i, tried[i], got)
		}
	}
}

func testExportClicks(t *testing.T, p *place) {
	var all []*capture.Click
	for i := range 300 {
		// Two a minute, so that blocks cross quarters.
		c := p.click(of([]string{"acme", "beta"}[i%2], []string{"", "x", "y"}[i%3]), at(noon.Add(time.Duration(i)*30*time.Second)))
		c.Subs = []capture.Param{{Name: "n", Value: name("%d", i)}}
		if i%10 == 9 {
			c.Flags = capture.FlagTest
		}
		all = append(all, c)
	}
	for rest := all; len(rest) > 0; {
		n := min(len(rest), 7+len(rest)%20)
		p.commit(p.block(rest[:n]...))
		rest = rest[n:]
	}
	check := func() {
		t.Helper()
		for _, q := range []capture.ClickQuery{
			{}, {Test: true}, {Campaign: "beta"}, {Source: "x"}, {Campaign: "none"},
			{From: noon.Add(20 * time.Minute)}, {To: noon.Add(20 * time.Minute)},
			{From: noon.Add(7*time.Minute + time.Second), To: noon.Add(70 * time.Minute), Source: "y"},
			{From: noon.Add(15 * time.Minute), To: noon.Add(30 * time.Minute)}, {From: noon.Add(day)}, {To: noon},
		} {
			var want []*capture.Click
			for _, c := range all {
				if q.Takes(c) {
					want = append(want, c)
				}
			}
			for _, limit := range []int{1000, 5} {
				want := want[:min(limit, len(want))]
				var got []*capture.Click
				p.must(p.store.Clicks(background, q, func(c *capture.Click) bool {
					own := *c
					own.Subs, own.Kept = slices.Clone(c.Subs), slices.Clone(c.Kept)
					got = append(got, &own)
					return len(got) < limit
				}))
				if !slices.EqualFunc(got, want, sameClick) {
					t.Errorf("%+v gives %d clicks, want %d, or in another order", q, len(got), len(want))
				}
			}
		}
	}
	check()
	p.reopen()
	check()
}

// testLags asks for lags by way of the sums and of the records.
func testLags(t *testing.T, p *place) {
	c, d, test := p.click(at(noon)), p.click(at(noon), of("beta", "x")), p.click(at(noon), flags(capture.FlagTest))
	p.commit(p.block(c, d, test))
	for i := range 10 {
		claim := with(sale, func(c *attribution.Claim) { c.TxID = name("%d", i) })
		claim.SentAt = noon.Add(time.Duration(i+1) * time.Minute)
		arrival := arrives(noon.Add(time.Hour))
		p.commit(p.post(c, claim, arrival), p.post(test, claim, arrival))
	}
	late := sent(sale, noon.Add(2*day))
	p.commit(p.post(d, late, arrives(noon.Add(3*day))))
	p.commit(p.post(d, with(late, func(c *attribution.Claim) { c.TxID = "out"; c.SentAt = noon.Add(4 * day) }),
		under(windowed(day)), arrives(noon.Add(5*day))))
	for _, q := range []attribution.Query{
		{By: []string{"campaign"}, From: noon.Add(-day), To: noon.Add(10 * day)},
		{By: []string{"campaign"}, From: noon.Add(-day - time.Millisecond), To: noon.Add(10 * day)},
	} {
		if r := p.report(q); r.TotalExtra.Lag != nil {
			t.Errorf("there are lags that nobody asked for: %+v", r.TotalExtra.Lag)
		}
		q.Lags = true
		r := p.report(q)
		if len(r.Rows) != 2 || r.TotalExtra.Lag == nil || r.TotalExtra.Lag.Conversions != 11 {
			t.Fatalf("the report is %+v", r)
		}
		if l := r.Rows[0].Lag; *l != (attribution.Lag{Conversions: 10, Median: 300, P90: 540}) {
			t.Errorf("the lag of the first row is %+v", l)
		}
		if l := r.Rows[1].Lag; l.Conversions != 1 || l.Median != 2*24*3600 {
			t.Errorf("the lag of the second row is %+v", l)
		}
		q.Campaign = "beta"
		if r := p.report(q); r.TotalExtra.Lag.Conversions != 1 {
			t.Errorf("the lags of one campaign are %+v", r.TotalExtra.Lag)
		}
	}
}
