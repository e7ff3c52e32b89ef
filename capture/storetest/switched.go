package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// said is a claim of an approved conversion.
func said(event, txid string, dollars int64) attribution.Claim {
	return attribution.Claim{
		Event: event, TxID: txid, Status: attribution.Approved, Payout: cents(100*dollars, "USD"), HasPayout: true,
	}
}

// testDedupSwitchedMany changes the rule when clicks have several conversions:
// every repeat finds its own, and money neither doubles nor vanishes.
func testDedupSwitchedMany(t *testing.T, p *place) {
	lead, first, second, third := said("lead", "", 1), said("sale", "t1", 50), said("sale", "t2", 20), said("sale", "t3", 7)
	type said struct {
		mode  attribution.Dedup
		claim attribution.Claim
		want  capture.Outcome
	}
	const txid, event, click = attribution.DedupTxID, attribution.DedupEvent, attribution.DedupClick
	for name, c := range map[string]struct {
		says    []said
		dollars string // what each click has earned
		count   int    // conversions of each click
	}{
		"txid to click": {[]said{
			{txid, lead, capture.Recorded}, {txid, first, capture.Recorded},
			{click, lead, capture.Duplicate}, {click, first, capture.Duplicate}, {txid, first, capture.Duplicate},
		}, "51", 2},
		"txid to event": {[]said{
			{txid, first, capture.Recorded}, {txid, second, capture.Recorded},
			{event, first, capture.Duplicate}, {event, second, capture.Duplicate}, {event, lead, capture.Recorded},
		}, "71", 3},
		"txid to event and back": {[]said{
			{txid, first, capture.Recorded}, {event, second, capture.Updated}, {txid, second, capture.Duplicate},
			{txid, third, capture.Recorded}, {txid, first, capture.Updated},
		}, "57", 2},
		// The ID that the rule makes is known, and is not of this transaction.
		"event to txid and back": {[]said{
			{event, first, capture.Recorded}, {txid, second, capture.Recorded}, {event, second, capture.Duplicate},
			{click, second, capture.Duplicate}, {event, first, capture.Duplicate},
		}, "70", 2},
		"click to txid and back": {[]said{
			{click, lead, capture.Recorded}, {txid, first, capture.Recorded}, {click, first, capture.Duplicate},
			{click, second, capture.Updated}, {event, lead, capture.Duplicate},
		}, "21", 2},
		// An unknown transaction goes to where the event is known.
		"the event first": {[]said{
			{txid, lead, capture.Recorded}, {txid, first, capture.Recorded}, {click, second, capture.Updated},
			{txid, second, capture.Duplicate}, {event, third, capture.Updated},
		}, "8", 2},
	} {
		before := p.counts()
		const clicks = 8 // their conversions come in any order
		for range clicks {
			click := p.click()
			p.commit(p.block(click))
			for i, s := range c.says {
				if got := p.book(p.post(click, s.claim, under(deduped(s.mode)))); got.Outcome != s.want {
					t.Errorf("%s: postback %d is %q, want %q", name, i, got.Outcome, s.want)
				}
			}
			list := p.ofClick(click.Ref)
			var sum attribution.Totals
			for _, conv := range list {
				sum.Add(conv.State.Payout)
			}
			if len(list) != c.count || sum["USD"].String() != c.dollars {
				t.Errorf("%s: the click has %d conversions of %s USD, want %d of %s", name, len(list), sum["USD"], c.count, c.dollars)
			}
			p.reopen()
		}
		if got := p.counts(); got.Conversions != before.Conversions+clicks*int64(c.count) {
			t.Errorf("%s: %d conversions are counted", name, got.Conversions-before.Conversions)
		}
	}
}

// testDedupSwitchedFull changes the rule when a click has more conversions
// than are looked through: those that an ID leads to are found all the same.
func testDedupSwitchedFull(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	var posts []any
	const n = 400
	for i := range int64(n) {
		posts = append(posts, p.post(c, said("sale", name("%d", i), i+1)))
	}
	p.commit(posts...)
	want := p.counts()
	for _, mode := range []attribution.Dedup{attribution.DedupEvent, attribution.DedupClick, attribution.DedupTxID} {
		var again []any
		for i := range int64(n) {
			again = append(again, p.post(c, said("sale", name("%d", i), i+1), under(deduped(mode))))
		}
		p.commit(again...)
		if slices.ContainsFunc(again, func(b any) bool { return b.(*capture.Postback).Result.Outcome != capture.Duplicate }) {
			t.Errorf("under dedup %s not all are duplicates", mode)
		}
		if got := p.counts(); record(got) != record(want) {
			t.Errorf("under dedup %s the report counts %+v, before %+v", mode, got, want)
		}
	}
}

// testCorrected names the conversion itself, under every rule.
func testCorrected(t *testing.T, p *place) {
	correct := func(id attribution.ConversionID, key string, change ...func(*capture.Postback)) *capture.Postback {
		return p.postRef(p.click().Ref, attribution.Claim{Key: key}, append(change, func(b *capture.Postback) {
			b.Correction = &id
		})...)
	}
	reversed := func(b *capture.Postback) { b.Claim.Status = attribution.Reversed }
	pays := func(b *capture.Postback) { b.Claim.Payout, b.Claim.HasPayout = usd("9"), true }
	for _, mode := range modes {
		c := p.click()
		p.commit(p.block(c))
		ahead := p.now.Add(2 * time.Hour)
		one := p.book(p.post(c, sent(said("sale", "t1", 50), ahead))).Conversion
		two := p.book(p.post(c, sent(said("sale", "t2", 20), ahead))).Conversion
		r := under(deduped(mode))
		p.want(p.book(correct(two.ID, "a", reversed, r)), capture.Updated, "")
		if got := p.ofClick(c.Ref); len(got) != 2 {
			t.Fatalf("dedup %s: the click has %d conversions", mode, len(got))
		}
		// Nothing is said of the status, so it stays; also when it changes later.
		p.want(p.book(correct(two.ID, "b", pays, r)), capture.Updated, "")
		p.want(p.book(correct(two.ID, "b", pays, r)), capture.Duplicate, "")
		p.want(p.book(correct(one.ID, "b", pays, r)), capture.Updated, "")
		late := with(sent(said("sale", "t1", 50), ahead.Add(time.Minute)), func(c *attribution.Claim) { c.Status, c.HasPayout = attribution.Rejected, false })
		p.want(p.book(p.post(c, late)), capture.Updated, "")
		for _, want := range []struct {
			id     attribution.ConversionID
			txid   string
			status attribution.Status
		}{{one.ID, "t1", attribution.Rejected}, {two.ID, "t2", attribution.Reversed}} {
			got, err := p.store.Conversion(background, want.id)
			p.must(err)
			if s := got.State; s.TxID != want.txid || s.Status != want.status || !s.Payout.Equal(usd("9")) || !s.Time.Equal(ahead) {
				t.Errorf("dedup %s: %s is %+v", mode, want.txid, s)
			}
		}
		// The click is gone, and the conversion still can be corrected.
		again := correct(one.ID, "c", reversed, r, arrives(p.now.Add(200*day)))
		p.want(p.book(again), capture.Updated, "")
		if e := again.Result.Entry; e.Claim.TxID != "t1" || e.Campaign != "acme" {
			t.Errorf("the entry is %+v", e)
		}
	}
	unknown := p.book(correct(attribution.ConversionID{1}, "d", reversed))
	p.want(unknown, capture.Quarantined, capture.UnknownClick)
	if want := name("no conversion %s is known", attribution.ConversionID{1}); unknown.Detail != want {
		t.Errorf("the detail is %q, want %q", unknown.Detail, want)
	}
}
