package storetest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// This file is about messages that name no click and come before their sale.

// unsold makes a postback that names no click.
func (p *place) unsold(claim attribution.Claim, change ...func(*capture.Postback)) *capture.Postback {
	return p.postRef(clickid.Ref{}, claim, append([]func(*capture.Postback){byTxID}, change...)...)
}

// named makes the transaction of a claim another.
func named(c attribution.Claim, txid string) attribution.Claim {
	c.TxID = txid
	return c
}

// known says by which other transactions the sale may be known.
func known(txids ...string) func(*capture.Postback) {
	return func(p *capture.Postback) { p.TxIDs = txids }
}

// testAwaiting: what comes before its sale is booked with it, in its own place.
func testAwaiting(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d))
	euro := with(refund("b", "1"), func(c *attribution.Claim) { c.Payout.Currency = "EUR" })
	first, again, other := p.unsold(refund("a", "2.50")), p.unsold(refund("a", "2.50")), p.unsold(euro)
	bad := p.unsold(refund("c", "1"), problem(capture.BadTime))
	strangers := []*capture.Postback{
		p.unsold(named(refund("d", "1"), "2")), p.unsold(refund("d", "1"), on("other")), p.unsold(refund("d", "1"), to("other.example")),
	}
	p.commit(first, again, other, bad, strangers[0], strangers[1], strangers[2])
	for _, b := range []*capture.Postback{first, again, other, bad} {
		p.want(b.Result, capture.Quarantined, capture.UnknownClick)
	}
	p.reopen() // all that is known now is on disk
	sold := p.post(c, sale, indexed)
	p.tryFirst("the sale", []*capture.Postback{sold})
	r := sold.Result
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "10")
	p.waiting(append(strangers, other, bad)...)
	for _, b := range []*capture.Postback{first, again} {
		e, err := p.store.Entry(background, b.Seq)
		if err != nil || e.Resolved != sold.Seq || e.Conversion != r.Conversion.ID || e.Click != c.Ref || !e.HasClick || e.Campaign != "acme" {
			t.Errorf("the refund that waited is %+v: %v", e, err)
		}
	}
	if e, err := p.store.Entry(background, other.Seq); err != nil || e.Reason != capture.BadCurrency || e.Click != c.Ref {
		t.Errorf("the refund in another currency is %+v: %v", e, err)
	}
	conv, err := p.store.Conversion(background, r.Conversion.ID)
	p.must(err)
	i := slices.IndexFunc(conv.History, func(e attribution.Entry) bool { return e.Refund })
	if record(conv) != record(r.Conversion) || i < 0 || conv.History[i].Seq != first.Seq || conv.History[i].Seen != 2 ||
		!conv.History[i].ReceivedAt.Equal(first.Time) || r.Lag != conv.Lag() {
		t.Errorf("stored is\n%+v, the sender is told of\n%+v", conv, r.Conversion)
	}
	// Nothing of it counts once more.
	p.want(p.refunded(refund("a", "2.50")), capture.Duplicate, "")
	replay := p.unsold(refund("a", "2.50"))
	replay.Replays = again.Seq
	p.want(p.book(replay), capture.Duplicate, "")
	if got := p.counts(); got.Conversions != 1 || got.Revenue["USD"].String() != "10" {
		t.Errorf("the report counts %+v", got)
	}

	// In one batch, with what is no refund; and a sale that is replayed.
	dispute := attribution.Claim{Event: "dispute", TxID: "d", Status: attribution.Reversed, SentAt: p.now.Add(time.Hour)}
	before := sent(named(sale, "d"), p.now.Add(time.Minute))
	stuck := p.post(d, before, indexed, problem(capture.BadPayout), arrives(p.now.Add(2*time.Hour)))
	p.now = stuck.Time
	p.tryFirst("a sale that is stuck", []*capture.Postback{p.unsold(dispute, arrives(p.now)), p.unsold(named(refund("a", "1"), "d")), stuck})
	mended := p.post(d, before, indexed)
	mended.Replays = stuck.Seq
	p.tryFirst("a sale that is replayed", []*capture.Postback{mended})
	p.want(mended.Result, capture.Recorded, "")
	p.remains(mended.Result, attribution.Reversed, "12.50")
	p.waiting(append(strangers, other, bad)...)

	// Its problem is mended while it still waits.
	e := p.click()
	p.commit(p.block(e))
	unread := p.unsold(attribution.Claim{TxID: "e", Refund: true, Key: "a"}, problem(capture.BadPayout))
	p.want(p.book(unread), capture.Quarantined, capture.UnknownClick)
	reread := p.unsold(named(refund("a", "2.50"), "e"))
	reread.Replays = unread.Seq
	p.want(p.book(reread), capture.Quarantined, capture.UnknownClick)
	r = p.book(p.post(e, named(sale, "e"), indexed))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "10")
}

// testAwaitingOutside: a sale that does not count takes its refunds along when
// it does.
func testAwaitingOutside(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	p.now = p.now.Add(2 * day)
	refunded, other := p.unsold(refund("a", "2.50"), known("also 1")), p.unsold(named(refund("b", "1"), "also 1"))
	late := p.post(c, sale, indexed, under(windowed(day)))
	p.commit(refunded, other, late)
	p.want(late.Result, capture.Quarantined, capture.OutsideWindow)
	p.waiting(refunded, other, late)
	for _, b := range []*capture.Postback{refunded, other} {
		if e, err := p.store.Entry(background, b.Seq); err != nil || e.Reason != capture.OutsideWindow || e.Click != c.Ref {
			t.Errorf("the refund is %+v: %v", e, err)
		}
	}
	again := p.post(c, sale, indexed)
	again.Replays = late.Seq
	p.tryFirst("under a longer window", []*capture.Postback{again})
	p.want(again.Result, capture.Recorded, "")
	p.remains(again.Result, attribution.Approved, "9")
	p.waiting()
}

// testAwaitingMany: one sale takes along so many, the next message the rest.
func testAwaitingMany(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	parts := []any{p.block(c, d)}
	const many, large = 100, 10
	for i := range many {
		parts = append(parts, p.unsold(refund(name("%d", i), "0.01")))
	}
	for i := range large {
		parts = append(parts, p.unsold(named(refund(name("%d", i), "0.01"), "large"), func(b *capture.Postback) {
			b.Raw.Method, b.Raw.Body = "POST", bytes.Repeat([]byte{'x'}, 60<<10)
		}))
	}
	p.commit(parts...)
	left := func(txid string, want int) {
		t.Helper()
		n := 0
		for _, e := range p.journal(capture.JournalQuery{Open: true}) {
			if e.Claim.TxID == txid {
				n++
			}
		}
		if n != want {
			t.Errorf("of %s %d wait, want %d", txid, n, want)
		}
	}
	p.tryFirst("large", []*capture.Postback{p.post(d, named(sale, "large"), indexed)})
	left("large", large-4)
	more := p.unsold(refund("more", "0.01"))
	p.tryFirst("many", []*capture.Postback{p.post(c, sale, indexed), more})
	r := more.Result
	p.want(r, capture.Updated, "")
	p.remains(r, attribution.Approved, "11.49")
	left("1", 0)
	for range 2 {
		r = p.book(p.post(d, named(sale, "large"), indexed))
	}
	p.want(r, capture.Duplicate, "")
	p.remains(r, attribution.Approved, "12.40")
	p.waiting()
}

// testAwaitingNames: a payment can have several names.
func testAwaitingNames(t *testing.T, p *place) {
	for _, first := range []bool{true, false} {
		for _, names := range [][]string{{"pi", "in"}, {"pi", "pi", "", "x", "in"}, {"in", "pi"}, {"", "in"}} {
			c := p.click()
			p.commit(p.block(c))
			route := on(name("%v %v", first, names))
			refunded := p.unsold(named(refund("a", "2.50"), names[0]), known(names[1:]...), route)
			sold := p.post(c, named(sale, "in"), indexed, route)
			batch := []*capture.Postback{sold, refunded}
			if first {
				slices.Reverse(batch)
			}
			p.tryFirst(name("%v, first %v", names, first), batch)
			// It is known by all names now, but goes by its own.
			r := p.refunded(named(refund("b", "1"), "in"), route)
			p.want(r, capture.Updated, "")
			p.remains(r, attribution.Approved, "9")
			disputed := attribution.Claim{Event: "dispute", TxID: "pi", Status: attribution.Reversed}
			if names[0] == "" {
				disputed.TxID = "in"
			}
			r = p.refunded(disputed, route)
			p.want(r, capture.Updated, "")
			p.remains(r, attribution.Reversed, "12.50")
			list := p.ofClick(c.Ref)
			if len(list) != 1 || list[0].State.TxID != "in" || list[0].Known().Mixed {
				t.Errorf("%v, first %v: %d conversions, of which %+v", names, first, len(list), list[0])
			}
		}
	}
	// The first that leads to just one counts.
	c, d, e := p.click(), p.click(), p.click()
	p.commit(p.block(c, d, e))
	p.commit(p.post(c, named(sale, "two"), indexed), p.post(d, named(sale, "two"), indexed), p.post(e, named(sale, "e"), indexed))
	other := p.unsold(named(refund("b", "2"), "other"))
	p.want(p.book(other), capture.Quarantined, capture.UnknownClick)
	both := p.unsold(named(refund("a", "1"), "two"), known("other", "e"))
	p.tryFirst("several names", []*capture.Postback{both})
	r := both.Result
	p.want(r, capture.Updated, "")
	// And all are known for its names from now on, which other messages await.
	p.remains(r, attribution.Approved, "9.50")
	if r.Conversion.Click != e.Ref || r.Entry.Claim.TxID != "e" {
		t.Errorf("the refund went to %+v", r.Conversion)
	}
	p.want(p.refunded(named(refund("b", "2"), "other")), capture.Duplicate, "")
	// Too many names.
	p.want(p.refunded(named(refund("b", "1"), "1"), known("2", "3", "4", "e")), capture.Quarantined, capture.UnknownClick)
	// Where it is not known which is meant, it waits on.
	unclear := p.unsold(named(refund("b", "1"), "two"), known("none"))
	p.want(p.book(unclear), capture.Quarantined, capture.UnknownClick)
	p.tryFirst("still two", []*capture.Postback{p.post(d, named(sale, "two"), indexed)})
	f := p.click()
	p.commit(p.block(f))
	r = p.book(p.post(f, named(sale, "none"), indexed))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "11.50")
}

// testAwaitingKept: retention, erasure and backups of what waits.
func testAwaitingKept(t *testing.T, p *place) {
	c, d := p.telling(), p.click()
	p.commit(p.block(c, d))
	mine := p.unsold(named(refund("a", "1"), "pi"), known("in"), tells)
	theirs := p.unsold(named(refund("a", "1"), "d"), tells)
	p.commit(mine, theirs)
	q := p.restored(t, p.backup())
	q.healthy()
	q.tryFirst("in a restored store", []*capture.Postback{q.post(c, named(sale, "in"), indexed, tells)})
	q.waiting(theirs)

	// What waits because it is not known which is meant is about the visitor.
	p.commit(p.post(c, named(sale, "both"), indexed, tells), p.post(d, named(sale, "both"), indexed, tells))
	unclear := p.unsold(named(refund("b", "1"), "nothing"), known("both"), tells)
	p.want(p.book(unclear), capture.Quarantined, capture.UnknownClick)
	if r := p.erase(c.Ref); r.Entries != 2 {
		t.Errorf("the erasure changed %+v", r)
	}
	p.waiting(mine, theirs)
	p.healthy()
	// What is erased is booked no more.
	e := p.click()
	p.commit(p.block(e))
	p.want(p.book(p.post(e, named(sale, "nothing"), indexed, tells)), capture.Recorded, "")
	if got := p.ofClick(e.Ref)[0].State.Payout; !got.Equal(usd("12.50")) {
		t.Errorf("the conversion is %s", got)
	}

	// The journal's retention.
	late := p.unsold(named(refund("a", "1"), "late"), arrives(noon.Add(30*day)))
	p.commit(late)
	p.sweep(noon.Add(40*day), capture.Retention{Journal: 20 * day})
	p.healthy()
	p.waiting(late)
	r := p.book(p.post(d, named(sale, "d"), indexed, tells))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "12.50")
	p.reopen()
	p.want(p.book(p.post(d, named(sale, "late"), indexed)), capture.Recorded, "")
	p.waiting()
}
