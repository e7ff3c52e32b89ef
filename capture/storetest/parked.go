package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// This file is about postbacks that come before their click, as another node
// still has it.

// testManyUnclicked: so are all that wait for the clicks of one block.
func testManyUnclicked(t *testing.T, p *place) {
	const clicks, each = 50, 6
	list := make([]*capture.Click, clicks)
	for i := range list {
		list[i] = p.click()
	}
	block := p.block(list...)
	var posts []*capture.Postback
	for i := range each {
		round := make([]any, 0, clicks)
		for _, c := range list {
			b := p.post(c, named(sale, fmt.Sprint(i)))
			posts, round = append(posts, b), append(round, b)
		}
		p.commit(round...)
	}
	p.waiting(posts...)
	p.commit(block)
	p.waiting()
	if got := p.counts(); got.Conversions != clicks*each {
		t.Errorf("%d conversions are counted, want %d", got.Conversions, clicks*each)
	}
}

// testUnclicked: they wait, and are booked with the block that brings the click.
func testUnclicked(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	block := p.block(c)
	first, repeated := p.post(c, sale), p.post(c, sale)
	other := p.post(c, named(sale, "2"))
	bad := p.post(c, named(sale, "3"), problem(capture.BadTime))
	p.commit(first, repeated, other, bad)
	for _, b := range []*capture.Postback{first, repeated, other, bad} {
		p.want(b.Result, capture.Quarantined, capture.UnknownClick)
		if b.Result.Entry.Parked == nil {
			t.Errorf("entry %d is not parked", b.Seq)
		}
	}
	// One is replayed in vain: it is still booked by itself.
	replay := p.post(c, named(sale, "2"))
	replay.Replays = other.Seq
	p.want(p.book(replay), capture.Quarantined, capture.UnknownClick)
	p.reopen()
	p.commit(p.block(d)) // another click is not what they wait for
	p.waiting(first, repeated, other, bad)

	p.now = p.now.Add(time.Minute)
	p.commit(block)
	p.waiting(bad)
	if got := p.counts(); got.Conversions != 2 || got.Clicks != 2 || got.Revenue["USD"].String() != "25" {
		t.Errorf("the report counts %+v", got)
	}
	list, err := p.store.ClickConversions(background, c.Ref)
	p.must(err)
	if len(list) != 2 {
		t.Fatalf("%d conversions are booked", len(list))
	}
	for _, b := range []*capture.Postback{first, repeated, other} {
		e, err := p.store.Entry(background, b.Seq)
		if err != nil || e.Waiting() || e.Parked != nil || e.Campaign != "acme" || e.Conversion == (attribution.ConversionID{}) {
			t.Errorf("the entry that waited is %+v: %v", e, err)
		}
	}
	if e, err := p.store.Entry(background, bad.Seq); err != nil || e.Reason != capture.BadTime || e.Parked != nil {
		t.Errorf("the entry with a problem is %+v: %v", e, err)
	}

	// Nothing of it counts once more, whoever says it again.
	p.reopen()
	p.want(p.book(p.post(c, sale)), capture.Duplicate, "")
	replay = p.post(c, sale)
	replay.Replays = first.Seq
	p.want(p.book(replay), capture.Duplicate, "")
	if got := p.counts(); got.Conversions != 2 || got.Revenue["USD"].String() != "25" {
		t.Errorf("the report counts %+v", got)
	}

	// In one batch with the click.
	e := p.click()
	last := p.block(e)
	early := p.post(e, sale)
	p.commit(early)
	together := p.post(e, named(sale, "2"))
	p.commit(last, together)
	p.want(together.Result, capture.Recorded, "")
	p.waiting(bad)
	if got := p.counts(); got.Conversions != 4 {
		t.Errorf("the report counts %+v", got)
	}
}
