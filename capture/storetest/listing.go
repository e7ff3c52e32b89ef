package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

func testJournal(t *testing.T, p *place) {
	c, d := p.click(), p.click(of("beta", "x"))
	p.commit(p.block(c, d))
	var all []*capture.Entry // oldest first
	for i := range 60 {
		claim := with(sale, func(c *attribution.Claim) { c.TxID = name("%d", i/2) })
		b := p.post([]*capture.Click{c, d}[i%2], claim, func(b *capture.Postback) {
			b.Time, b.Route = noon.Add(time.Duration(i)*time.Hour), []string{"a", "b", "c"}[i%3]
			switch i % 5 {
			case 3:
				problem(capture.BadPayout)(b)
			case 4:
				nameless(capture.MissingClickID)(b)
			}
		})
		p.commit(b)
		all = append(all, b.Result.Entry)
	}
	newest := slices.Clone(all)
	slices.Reverse(newest)
	check := func() {
		t.Helper()
		for _, q := range []capture.JournalQuery{
			{},
			{From: noon.Add(10 * time.Hour)},
			{To: noon.Add(10 * time.Hour)},
			{From: noon.Add(10 * time.Hour), To: noon.Add(20 * time.Hour)},
			{From: noon.Add(1000 * day)},
			{Outcome: capture.Recorded}, {Outcome: capture.Duplicate}, {Outcome: capture.Quarantined},
			{Reason: capture.BadPayout}, {Route: "b"}, {Campaign: "beta"}, {Campaign: "none"}, {Open: true},
			{Before: all[30].Seq}, {Before: all[0].Seq}, {Before: all[59].Seq + 100},
			{Open: true, Reason: capture.MissingClickID, Route: "c", Before: all[50].Seq, From: noon.Add(time.Hour)},
		} {
			var want []*capture.Entry
			for _, e := range newest {
				if q.Takes(e) {
					want = append(want, e)
				}
			}
			got := p.journal(q)
			if !slices.EqualFunc(got, want, func(a, b *capture.Entry) bool { return record(a) == record(b) }) {
				t.Errorf("%+v: got %v, want %v", q, seqs(got), seqs(want))
			}
			// The same in pages of 7.
			var paged []*capture.Entry
			for page := q; ; {
				n := 0
				p.must(p.store.Journal(background, page, func(e *capture.Entry) bool {
					paged = append(paged, e)
					n++
					return n < 7
				}))
				if n < 7 {
					break
				}
				page.Before = paged[len(paged)-1].Seq
			}
			if !slices.Equal(seqs(paged), seqs(want)) {
				t.Errorf("%+v in pages: got %v, want %v", q, seqs(paged), seqs(want))
			}
		}
	}
	check()
	p.reopen()
	check()
}

func seqs(list []*capture.Entry) []uint64 {
	var s []uint64
	for _, e := range list {
		s = append(s, e.Seq)
	}
	return s
}

func testConversions(t *testing.T, p *place) {
	var all []*capture.Conversion
	for i := range 40 {
		c := p.click(of([]string{"acme", "beta"}[i%2], []string{"", "x", "y"}[i%3]))
		if i%10 == 9 {
			c.Flags = capture.FlagTest
		}
		claim := with(sale, func(c *attribution.Claim) {
			c.Event, c.Status = []string{"sale", "lead"}[i%4/2], attribution.Status(1+i%4)
		})
		// Some of the same time, and not in the order of time.
		b := p.block(c)
		post := p.post(c, sent(claim, noon.Add(time.Duration(i*7%20)*time.Hour)), arrives(noon.Add(day)))
		p.commit(b, post)
		all = append(all, post.Result.Conversion)
	}
	check := func() {
		t.Helper()
		for _, q := range []capture.ConversionQuery{
			{}, {Test: true}, {Campaign: "beta"}, {Source: "x"}, {Event: "lead"}, {Status: attribution.Reversed},
			{Campaign: "none"}, {From: noon.Add(5 * time.Hour)}, {To: noon.Add(5 * time.Hour)},
			{From: noon.Add(5 * time.Hour), To: noon.Add(9 * time.Hour), Event: "sale"},
			{From: noon.Add(5*time.Hour + time.Millisecond)}, {From: noon.Add(100 * day)},
		} {
			var want []string
			for _, c := range all {
				if q.Takes(c) {
					want = append(want, record(c))
				}
			}
			slices.Sort(want)
			for _, limit := range []int{1000, 6, 1} {
				got := p.pages(q, limit)
				if !slices.IsSortedFunc(got, func(a, b *capture.Conversion) int { return b.State.Time.Compare(a.State.Time) }) {
					t.Errorf("%+v in pages of %d is not newest first", q, limit)
				}
				var texts []string
				for _, c := range got {
					texts = append(texts, record(c))
				}
				slices.Sort(texts)
				if !slices.Equal(texts, want) {
					t.Errorf("%+v in pages of %d gives %d conversions, want %d", q, limit, len(texts), len(want))
				}
			}
		}
	}
	check()
	p.reopen()
	check()
	if _, err := p.store.Conversion(background, attribution.ConversionID{1}); err == nil {
		t.Error("a conversion that does not exist was found")
	}
}

// pages lists conversions in pages.
func (p *place) pages(q capture.ConversionQuery, limit int) []*capture.Conversion {
	p.t.Helper()
	var list []*capture.Conversion
	for {
		n := 0
		p.must(p.store.Conversions(background, q, func(c *capture.Conversion) bool {
			list = append(list, c)
			n++
			return n < limit
		}))
		if n < limit || len(list) > 10000 {
			return list
		}
		q.After = list[len(list)-1].Cursor()
	}
}

// testConversionMoves: an earlier claim moves a conversion in listings and
// reports.
func testConversionMoves(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d))
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	p.commit(p.post(c, sent(sale, hour(9)), arrives(hour(10))), p.post(d, sent(sale, hour(5)), arrives(hour(10))))
	order := func(want ...*capture.Click) {
		t.Helper()
		list := p.conversions(capture.ConversionQuery{})
		var got, refs []clickid.Ref
		for _, c := range list {
			got = append(got, c.Click)
		}
		for _, c := range want {
			refs = append(refs, c.Ref)
		}
		if !slices.Equal(got, refs) {
			t.Errorf("the order is %v, want %v", got, refs)
		}
	}
	order(c, d)
	p.want(p.book(p.post(c, sent(status(attribution.Pending), hour(1)), arrives(hour(10)))), capture.Duplicate, "")
	order(d, c)
	p.reopen()
	order(d, c)
	if n := len(p.conversions(capture.ConversionQuery{From: hour(9)})); n != 0 {
		t.Errorf("%d conversions are still where one was before", n)
	}
	by := p.report(attribution.Query{By: []string{"hour"}, From: noon, To: noon.Add(day)})
	var hours []string
	for _, r := range by.Rows {
		if r.Conversions > 0 {
			hours = append(hours, r.Keys[0])
		}
	}
	if !slices.Equal(hours, []string{"2026-03-01T13:00:00Z", "2026-03-01T17:00:00Z"}) {
		t.Errorf("the conversions count at %v", hours)
	}
}

func testQuarantine(t *testing.T, p *place) {
	c, test := p.click(), p.click(flags(capture.FlagTest))
	p.commit(p.block(c, test))
	p.commit(
		p.post(c, sale, problem(capture.BadPayout)), p.post(c, sale, problem(capture.BadPayout)),
		p.post(c, sale, problem(capture.BadCurrency)), p.post(c, sale, nameless(capture.MissingClickID)),
		p.post(test, sale, problem(capture.BadPayout)), p.post(c, sale),
	)
	check := func() {
		t.Helper()
		got := p.store.Status().Quarantine
		want := map[capture.Reason]int64{capture.BadPayout: 2, capture.BadCurrency: 1, capture.MissingClickID: 1}
		for _, r := range capture.QuarantineReasons {
			if got[r] != want[r] {
				t.Errorf("%d wait for %q, want %d", got[r], r, want[r])
			}
		}
	}
	check()
	if n := len(p.journal(capture.JournalQuery{Open: true})); n != 4 {
		t.Errorf("%d entries are open, want 4", n)
	}
	if st := p.store.Status(); !st.Writable || st.Failed {
		t.Errorf("the status is %+v", st)
	}
	p.reopen()
	check()
}

func testTestData(t *testing.T, p *place) {
	test, bot := p.click(flags(capture.FlagTest)), p.click(flags(capture.FlagBot))
	ahead, both := p.click(flags(capture.FlagPrefetch)), p.click(flags(capture.FlagTest|capture.FlagBot))
	for _, c := range []*capture.Click{test, bot, ahead, both} {
		c.Cost = usd("1")
	}
	p.commit(p.block(test, bot, ahead, both), p.post(test, sale), p.post(bot, sale), p.post(ahead, sale), p.post(both, sale))
	for _, from := range []time.Time{noon, noon.Add(time.Millisecond)} {
		got := p.report(attribution.Query{From: from, To: noon.Add(day)}).Total
		if got.Clicks != 0 || got.BotClicks != 2 || got.Conversions != 2 || got.Revenue["USD"].String() != "25" || len(got.Cost) != 0 {
			t.Errorf("from %s the report counts %+v", from, got)
		}
	}
	if n := len(p.conversions(capture.ConversionQuery{})); n != 2 {
		t.Errorf("%d conversions are listed, want 2", n)
	}
	list := p.conversions(capture.ConversionQuery{Test: true})
	if len(list) != 2 || !list[0].Test {
		t.Errorf("%d test conversions are listed, want 2", len(list))
	}
	if n := len(p.ofClick(test.Ref)); n != 1 {
		t.Errorf("the test click has %d conversions, want 1", n)
	}
	for _, e := range p.journal(capture.JournalQuery{}) {
		if want := e.Click == test.Ref || e.Click == both.Ref; e.Test != want {
			t.Errorf("entry %d is test data: %t, want %t", e.Seq, e.Test, want)
		}
	}
}
