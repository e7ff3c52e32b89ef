package storetest

import (
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

func (p *place) sweep(now time.Time, keep capture.Retention) capture.SweepResult {
	p.t.Helper()
	n, err := p.store.Sweep(background, now, keep)
	p.must(err)
	return n
}

func testSweepClicks(t *testing.T, p *place) {
	var old, young []*capture.Click
	for i := range 5 {
		o := []*capture.Click{p.click(at(noon.Add(time.Duration(i) * time.Hour))), p.click(at(noon.Add(time.Duration(i) * time.Hour)))}
		p.commit(p.block(o...), p.post(o[0], sale))
		old = append(old, o...)
	}
	for i := range 3 {
		y := p.click(at(noon.Add(20*day + time.Duration(i)*time.Hour)))
		p.commit(p.block(y), p.post(y, sale, arrives(noon.Add(21*day))))
		young = append(young, y)
	}
	before := p.counts()
	if n := p.sweep(noon.Add(25*day), capture.Retention{}); n != (capture.SweepResult{}) {
		t.Errorf("a sweep that keeps all for ever deleted %+v", n)
	}
	if n := p.sweep(noon.Add(25*day), rules.Retain); n != (capture.SweepResult{}) {
		t.Errorf("a sweep after 25 days of 90 deleted %+v", n)
	}
	p.find(old[0])
	n := p.sweep(noon.Add(25*day), capture.Retention{Clicks: 10 * day})
	if n.Blocks != 5 || n.Entries != 0 || n.Conversions != 0 {
		t.Errorf("the sweep deleted %+v, want 5 blocks", n)
	}
	for range 2 {
		for _, c := range old {
			p.gone(c.Ref)
		}
		for _, c := range young {
			p.find(c)
		}
		if got := p.counts(); record(got) != record(before) || got.Clicks != 13 || got.Conversions != 8 {
			t.Errorf("the sums are %+v after the sweep, %+v before", got, before)
		}
		if len(p.ofClick(old[0].Ref)) != 1 || len(p.conversions(capture.ConversionQuery{})) != 8 {
			t.Error("a conversion went with its click")
		}
		// What is counted by sub-ID reaches back only as far as the clicks.
		got := p.report(attribution.Query{By: []string{"sub.x"}, From: noon.Add(-day), To: noon.Add(30 * day)}).Total
		if got.Clicks != 3 || got.Conversions != 8 {
			t.Errorf("by sub-ID the report counts %+v", got)
		}
		p.reopen()
	}
	if n := p.sweep(noon.Add(25*day), capture.Retention{Clicks: 10 * day}); n != (capture.SweepResult{}) {
		t.Errorf("a second sweep deleted %+v", n)
	}
	if p.next <= young[2].Ref.Block {
		t.Error("block numbers are used twice after a sweep")
	}
	if n := p.sweep(noon.Add(100*day), capture.Retention{Clicks: 10 * day}); n.Blocks != 3 {
		t.Errorf("the last sweep deleted %+v, want 3 blocks", n)
	}
	p.reopen()
	if p.next <= young[2].Ref.Block {
		t.Error("block numbers are used twice when all blocks are swept")
	}
}

func testSweepJournal(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	for i := range 10 {
		p.commit(
			p.post(c, sale, problem(capture.BadPayout), arrives(noon.Add(time.Duration(i)*day))),
			p.post(c, sale, arrives(noon.Add(time.Duration(i)*day))),
		)
	}
	seq := p.seq
	// Days 0 to 4 go.
	n := p.sweep(noon.Add(14*day+time.Hour), capture.Retention{Journal: 10 * day})
	if n.Entries != 10 || n.Blocks != 0 || n.Conversions != 0 {
		t.Errorf("the sweep deleted %+v, want 10 entries", n)
	}
	for range 2 {
		if list := p.journal(capture.JournalQuery{}); len(list) != 10 || !list[9].Time.Equal(noon.Add(5*day)) {
			t.Errorf("the journal has %d entries left, want 10", len(list))
		}
		if n := len(p.journal(capture.JournalQuery{Open: true})); n != 5 {
			t.Errorf("%d entries are open, want 5", n)
		}
		if n := p.store.Status().Quarantine[capture.BadPayout]; n != 5 {
			t.Errorf("%d wait in quarantine, want 5", n)
		}
		p.reopen()
	}
	if n := p.sweep(noon.Add(1000*day), capture.Retention{Journal: 10 * day}); n.Entries != 10 {
		t.Errorf("the last sweep deleted %+v, want 10 entries", n)
	}
	p.reopen()
	if p.seq != seq {
		t.Errorf("the next entry is %d after all were swept, want %d", p.seq, seq)
	}
	if got := p.counts(); got.Conversions != 1 {
		t.Errorf("the report counts %+v", got)
	}
}

// testSweepClock: for a while the clock was set in the future. What came later
// expires all the same.
func testSweepClock(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	arrived := func(n int, at time.Time) {
		var parts []any
		for range n {
			parts = append(parts, p.post(c, sale, problem(capture.BadPayout), arrives(at)))
		}
		p.commit(parts...)
	}
	// Short runs from the future, and a long one.
	ahead := 0
	for i, n := range []int{1, 10, 100, 700} {
		arrived(1, noon.Add(time.Duration(i)*time.Hour))
		arrived(n, noon.Add(1000*day))
		ahead += n
	}
	arrived(1000, noon.Add(5*time.Hour))
	arrived(2000, noon.Add(20*day))
	if n := p.sweep(noon.Add(21*day), capture.Retention{Journal: 10 * day}); n != (capture.SweepResult{Entries: 1004}) {
		t.Errorf("the sweep deleted %+v, want 1004 entries", n)
	}
	if n := len(p.journal(capture.JournalQuery{To: noon.Add(15 * day)})); n != 0 {
		t.Errorf("%d old entries are left", n)
	}
	if n := p.store.Status().Quarantine[capture.BadPayout]; n != int64(2000+ahead) {
		t.Errorf("%d wait in quarantine, want %d", n, 2000+ahead)
	}
}

func testSweepConversions(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d))
	first := p.book(p.post(c, sale))
	p.commit(p.post(d, sale, arrives(noon.Add(30*day))))
	// While postbacks about the click are booked, so that a repetition could
	// come, its conversion has to be known.
	for _, keep := range []capture.Retention{{Conversions: day}, {Conversions: day, Clicks: 41 * day}} {
		if n := p.sweep(noon.Add(40*day), keep); n != (capture.SweepResult{}) {
			t.Errorf("a sweep that keeps the click deleted %+v", n)
		}
		p.want(p.book(p.post(c, sale, arrives(noon.Add(40*day)))), capture.Duplicate, "")
	}
	keep := capture.Retention{Conversions: 20 * day, Clicks: 39 * day}
	if n := p.sweep(noon.Add(40*day), keep); n != (capture.SweepResult{Blocks: 1, Conversions: 1}) {
		t.Errorf("the sweep deleted %+v, want 1 conversion", n)
	}
	kept := keep.Clicks
	p.want(p.book(p.post(c, sale, arrives(noon.Add(40*day)), func(b *capture.Postback) {
		b.Rules = &capture.Rules{Retain: capture.Retention{Clicks: kept}}
	})), capture.Quarantined, capture.ExpiredClick)
	for range 2 {
		if _, err := p.store.Conversion(background, first.Conversion.ID); err == nil {
			t.Error("the old conversion is still there")
		}
		if list := p.conversions(capture.ConversionQuery{}); len(list) != 1 || list[0].Click != d.Ref {
			t.Errorf("the conversions left are %+v", list)
		}
		if len(p.ofClick(c.Ref)) != 0 || len(p.ofClick(d.Ref)) != 1 {
			t.Error("the clicks' conversions are wrong")
		}
		if got := p.counts(); got.Conversions != 2 || got.Revenue["USD"].String() != "25" {
			t.Errorf("the sums are %+v, want both conversions", got)
		}
		p.reopen()
	}
	// A postback that comes still later meets nothing it could trip over.
	p.want(p.book(p.post(d, status(attribution.Reversed), arrives(noon.Add(41*day)))), capture.Updated, "")
}
