package storetest

import (
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// refund is a claim about one refund of the transaction of sale.
func refund(key, amount string) attribution.Claim {
	return attribution.Claim{TxID: "1", Status: attribution.Approved, Payout: usd(amount), HasPayout: true, Refund: true, Key: key}
}

// indexed is how a route books that has messages without a click.
func indexed(p *capture.Postback) { p.IndexTxID = true }

// byTxID makes a postback that names no click.
func byTxID(p *capture.Postback) {
	p.Ref, p.HasRef, p.ByTxID, p.IndexTxID = clickid.Ref{}, false, true, true
}

func on(route string) func(*capture.Postback) { return func(p *capture.Postback) { p.Route = route } }

// to says which host was called.
func to(host string) func(*capture.Postback) {
	return func(p *capture.Postback) { p.Raw.Method, p.Raw.Host = "POST", host }
}

// refunded books a refund that names no click.
func (p *place) refunded(claim attribution.Claim, change ...func(*capture.Postback)) capture.Result {
	p.t.Helper()
	return p.book(p.postRef(clickid.Ref{}, claim, append([]func(*capture.Postback){byTxID}, change...)...))
}

func (p *place) remains(r capture.Result, status attribution.Status, payout string) {
	p.t.Helper()
	if s := r.Conversion.State; s.Status != status || !s.Payout.Equal(usd(payout)) {
		p.t.Errorf("the conversion is %s at %s, want %s at %s", s.Status, s.Payout, status, payout)
	}
}

// testRefunds takes refunds off a sale that they know only by its transaction.
func testRefunds(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	before := p.refunded(refund("a", "2.50"))
	p.want(before, capture.Quarantined, capture.UnknownClick)
	waits := before.Entry.Seq
	sold := p.book(p.post(c, sale, indexed))
	p.want(sold, capture.Recorded, "")

	replay := func() capture.Result {
		return p.refunded(refund("a", "2.50"), func(b *capture.Postback) { b.Replays = waits })
	}
	p.remains(sold, attribution.Approved, "10")
	if e, err := p.store.Entry(background, waits); err != nil || e.Waiting() || e.Click != c.Ref || !e.HasClick || e.Campaign != "acme" ||
		e.Conversion != sold.Conversion.ID || e.Resolved != sold.Entry.Seq {
		t.Errorf("the entry that waited is %+v: %v", e, err)
	}
	p.want(replay(), capture.Duplicate, "")
	p.want(p.refunded(refund("a", "-2.50")), capture.Duplicate, "")
	for what, x := range map[string]struct {
		claim  attribution.Claim
		reason capture.Reason
	}{
		"another currency": {with(refund("b", "1"), func(c *attribution.Claim) { c.Payout.Currency = "EUR" }), capture.BadCurrency},
		"no ID":            {refund("", "1"), capture.BadPayout},
		"no amount":        {with(refund("b", "1"), func(c *attribution.Claim) { c.Payout, c.HasPayout = attribution.Money{}, false }), capture.BadPayout},
		"another sale":     {with(refund("b", "1"), func(c *attribution.Claim) { c.TxID = "2" }), capture.UnknownClick},
		"no sale":          {with(refund("b", "1"), func(c *attribution.Claim) { c.TxID = "" }), capture.MissingClickID},
		"before the click": {sent(refund("b", "1"), noon.Add(-2*day)), capture.BadTime},
	} {
		if r := p.refunded(x.claim); r.Outcome != capture.Quarantined || r.Reason != x.reason || r.Detail == "" {
			t.Errorf("%s: %q %q (%s), want %q", what, r.Outcome, r.Reason, r.Detail, x.reason)
		}
	}
	p.want(p.refunded(refund("b", "1"), on("another")), capture.Quarantined, capture.UnknownClick)
	p.want(p.refunded(refund("b", "1"), problem(capture.BadPayout)), capture.Quarantined, capture.BadPayout)
	p.want(p.refunded(refund("b", "1"), func(b *capture.Postback) { b.OnlyCampaign = "else" }), capture.Quarantined, capture.WrongCampaign)
	if got := p.counts(); got.Conversions != 1 || got.Approved != 1 || got.Revenue["USD"].String() != "10" {
		t.Errorf("the report counts %+v", got)
	}

	// The rest, when the click is long gone, and after a restart.
	p.reopen()
	p.sweep(noon.Add(100*day), rules.Retain)
	p.gone(c.Ref)
	late := arrives(noon.Add(100 * day))
	r := p.refunded(refund("c", "10"), late)
	p.want(r, capture.Updated, "")
	p.remains(r, attribution.Reversed, "12.50")
	if at := r.Conversion.State.Time; !at.Equal(sold.Conversion.State.Time) {
		t.Errorf("the refund moved the sale from %s to %s", sold.Conversion.State.Time, at)
	}
	if got := p.counts(); got.Conversions != 1 || got.Reversed != 1 || len(got.Revenue) != 0 {
		t.Errorf("the report counts %+v", got)
	}
	p.want(p.refunded(refund("d", "1"), late), capture.Duplicate, "")
}

// testByTxID: what names no click need be no refund.
func testByTxID(t *testing.T, p *place) {
	reversed := attribution.Claim{Event: "chargeback", TxID: "1", Status: attribution.Reversed}
	for _, mode := range modes {
		c := p.click()
		parts := []any{p.block(c)}
		r, route := under(deduped(mode)), on(mode.String())
		lead := with(sale, func(c *attribution.Claim) { c.Event, c.TxID = "lead", "0" })
		second := with(sale, func(c *attribution.Claim) { c.TxID = "2" })
		// Everything in one batch.
		posts := []*capture.Postback{
			p.post(c, lead, r, route, indexed), p.post(c, sale, r, route, indexed), p.post(c, second, r, route, indexed),
			p.postRef(c.Ref, refund("a", "2.50"), r, route, byTxID), p.postRef(c.Ref, reversed, r, route, byTxID),
			p.postRef(c.Ref, reversed, r, route, byTxID),
		}
		for _, b := range posts {
			parts = append(parts, b)
		}
		p.commit(parts...)
		p.want(posts[3].Result, capture.Updated, "")
		p.remains(posts[3].Result, attribution.Approved, "10")
		p.want(posts[4].Result, capture.Updated, "")
		p.remains(posts[4].Result, attribution.Reversed, "12.50")
		p.want(posts[5].Result, capture.Duplicate, "")
		if id := posts[1].Result.Conversion.ID; posts[3].Result.Conversion.ID != id || posts[4].Result.Conversion.State.Event != "sale" {
			t.Errorf("dedup %s: the conversion is %+v, want %s", mode, posts[4].Result.Conversion, id)
		}
		want := map[attribution.Dedup]int{attribution.DedupTxID: 3, attribution.DedupEvent: 2, attribution.DedupClick: 1}[mode]
		if n := len(p.ofClick(c.Ref)); n != want {
			t.Errorf("dedup %s: the click has %d conversions, want %d", mode, n, want)
		}
		// Under another rule than it was made under.
		for _, now := range modes {
			p.want(p.refunded(refund("a", "2.50"), under(deduped(now)), route), capture.Duplicate, "")
		}
	}

	// Nothing is found where no route asked for it.
	c := p.click()
	p.commit(p.block(c), p.post(c, sale, on("plain")))
	p.want(p.refunded(refund("a", "1"), on("plain")), capture.Quarantined, capture.UnknownClick)
	// A repeat of the sale makes up for it.
	again := p.book(p.post(c, sale, on("plain"), indexed))
	p.want(again, capture.Duplicate, "")
	p.remains(again, attribution.Approved, "11.50")
	p.want(p.refunded(refund("a", "1"), on("plain")), capture.Duplicate, "")

	// What names a click all the same is about that one.
	d := p.click()
	p.commit(p.block(d), p.post(d, with(sale, func(c *attribution.Claim) { c.TxID = "d" }), indexed, on("plain")))
	both := func(b *capture.Postback) { b.ByTxID = true }
	p.want(p.book(p.post(c, refund("b", "1"), on("plain"), both)), capture.Updated, "")
	p.want(p.book(p.post(d, with(refund("b", "1"), func(c *attribution.Claim) { c.Event = "sale" }), on("plain"), both)),
		capture.Quarantined, capture.UnknownClick)
}

// testAmbiguousTxID: where two conversions can be meant, nothing is guessed.
func testAmbiguousTxID(t *testing.T, p *place) {
	c, d, test := p.click(), p.click(), p.click(flags(capture.FlagTest))
	p.commit(p.block(c, d, test))
	lead := with(sale, func(c *attribution.Claim) { c.Event, c.Payout, c.HasPayout = "lead", attribution.Money{}, false })
	late := with(sent(sale, noon.Add(2*day)), func(c *attribution.Claim) { c.Event = "late" })
	// A test, an event without a payout, and what is outside the window do not
	// stand in the way.
	p.commit(p.post(c, sale, indexed), p.post(c, lead, indexed), p.post(test, sale, indexed),
		p.post(d, late, indexed, under(windowed(day)), arrives(noon.Add(2*day))))
	r := p.refunded(refund("a", "2.50"))
	p.want(r, capture.Updated, "")
	if r.Conversion.Click != c.Ref || r.Conversion.State.Event != "sale" {
		t.Errorf("the refund went to %+v", r.Conversion)
	}
	// Two events with payouts: the sender has to say which.
	other := with(sale, func(c *attribution.Claim) { c.Event = "upsell" })
	p.commit(p.post(c, other, indexed))
	p.want(p.refunded(refund("b", "1")), capture.Quarantined, capture.UnknownClick)
	p.want(p.refunded(with(refund("b", "1"), func(c *attribution.Claim) { c.Event = "upsell" })), capture.Updated, "")
	// Two clicks: it does not help to say which event.
	p.commit(p.post(d, other, indexed))
	p.want(p.refunded(with(refund("c", "1"), func(c *attribution.Claim) { c.Event = "upsell" })), capture.Quarantined, capture.UnknownClick)

	// Far too many.
	var posts []any
	for i := range 100 {
		e := with(sale, func(c *attribution.Claim) { c.Event, c.TxID = name("event %d", i), "many" })
		posts = append(posts, p.post(c, e, indexed))
	}
	p.commit(posts...)
	p.want(p.refunded(with(refund("d", "1"), func(c *attribution.Claim) { c.Event, c.TxID = "event 1", "many" })),
		capture.Quarantined, capture.UnknownClick)
}

// testRefundFirst: a refund that names its click may come before the sale.
func testRefundFirst(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	named := func(key, amount, currency string) attribution.Claim {
		return with(refund(key, amount), func(c *attribution.Claim) { c.Event, c.Payout.Currency = "sale", attribution.Currency(currency) })
	}
	mine, other := p.post(c, named("a", "2.50", "USD")), p.post(c, named("b", "1", "EUR"))
	for _, b := range []*capture.Postback{mine, other, p.post(c, named("a", "2.50", "USD"))} {
		p.want(p.book(b), capture.Quarantined, capture.UnknownClick)
	}
	if got := p.counts(); got.Conversions != 0 || len(p.ofClick(c.Ref)) != 0 || p.store.Status().Quarantine[capture.UnknownClick] != 3 {
		t.Errorf("a refund alone counts: %+v", got)
	}
	p.reopen()
	// It does not let a sale in that comes when the click has expired.
	p.want(p.book(p.post(c, sale, arrives(noon.Add(100*day)))), capture.Quarantined, capture.ExpiredClick)
	r := p.book(p.post(c, sale))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "10")
	if e, err := p.store.Entry(background, mine.Seq); err != nil || e.Resolved != r.Entry.Seq || e.Conversion != r.Conversion.ID {
		t.Errorf("the refund is %+v: %v", e, err)
	}
	if e, err := p.store.Entry(background, other.Seq); err != nil || !e.Waiting() || e.Reason != capture.BadCurrency {
		t.Errorf("the refund in another currency is %+v: %v", e, err)
	}
	q := p.store.Status().Quarantine
	if q[capture.UnknownClick] != 0 || q[capture.BadCurrency] != 1 || p.counts().Revenue["USD"].String() != "10" {
		t.Errorf("the quarantine is %v, the report counts %+v", q, p.counts())
	}

	// All of it, first.
	d := p.click()
	p.commit(p.block(d), p.post(d, named("a", "12.50", "USD")))
	r = p.book(p.post(d, sale))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Reversed, "12.50")

	// A default payout is for sales, not for refunds.
	paying := *rules
	paying.Campaigns = map[string]capture.CampaignRules{"acme": {Payout: usd("9")}}
	e := p.click()
	bare := with(named("a", "1", "USD"), func(c *attribution.Claim) { c.Payout, c.HasPayout = attribution.Money{}, false })
	p.commit(p.block(e), p.post(e, with(sale, func(c *attribution.Claim) { c.Payout, c.HasPayout = attribution.Money{}, false }), under(&paying)))
	p.want(p.book(p.post(e, bare, under(&paying))), capture.Quarantined, capture.BadPayout)
	r = p.book(p.post(e, named("a", "1", "USD"), under(&paying)))
	p.want(r, capture.Updated, "")
	p.remains(r, attribution.Approved, "8")
}

// testManyRefunds: there is a limit, and nothing beyond it is lost.
func testManyRefunds(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c), p.post(c, with(sale, func(c *attribution.Claim) { c.Payout = usd("1000") }), indexed))
	for i := range attribution.MaxRefunds {
		p.want(p.refunded(refund(name("%d", i), "1")), capture.Updated, "")
	}
	p.want(p.refunded(refund("more", "1")), capture.Quarantined, capture.BadPayout)
	p.want(p.refunded(refund("0", "1")), capture.Duplicate, "")
	if got := p.counts().Revenue["USD"].String(); got != name("%d", 1000-attribution.MaxRefunds) {
		t.Errorf("%s is left", got)
	}

	// Many transactions of one conversion: the last ones are found.
	d := p.click()
	p.commit(p.block(d))
	r := under(deduped(attribution.DedupClick))
	const sales = 100
	for i := range sales {
		p.commit(p.post(d, with(sale, func(c *attribution.Claim) { c.TxID = name("%d of d", i) }), indexed, r))
	}
	of := func(n int) capture.Result {
		return p.refunded(with(refund("x", "1"), func(c *attribution.Claim) { c.TxID = name("%d of d", n) }), r)
	}
	p.want(of(sales-1), capture.Updated, "")
	p.want(of(0), capture.Quarantined, capture.UnknownClick)
}

// testRefundsKept: retention, erasure and backups.
func testRefundsKept(t *testing.T, p *place) {
	c, d := p.telling(), p.click()
	p.commit(p.block(c, d))
	early := p.refunded(refund("a", "1"), tells, problem(capture.BadPayout))
	p.want(early, capture.Quarantined, capture.UnknownClick)
	other := p.refunded(with(refund("a", "1"), func(c *attribution.Claim) { c.TxID = "other" }), tells)
	p.commit(p.post(c, sale, indexed, tells))
	p.commit(p.post(d, with(sale, func(c *attribution.Claim) { c.TxID = "d" }), indexed, arrives(noon.Add(30*day))))

	// What waits for the sale of an erased click is about its visitor, too.
	if r := p.erase(c.Ref); r.Entries != 2 || r.Conversions != 1 {
		t.Errorf("the erasure changed %+v", r)
	}
	for seq, waits := range map[uint64]bool{early.Entry.Seq: false, other.Entry.Seq: true} {
		if e, err := p.store.Entry(background, seq); err != nil || e.Waiting() != waits || (e.Sender != "") != waits || (e.Raw.URI != "") != waits {
			t.Errorf("entry %d is %+v: %v", seq, e, err)
		}
	}
	here := to("go.example")
	r := p.refunded(refund("b", "2.50"), here)
	p.want(r, capture.Updated, "")
	if len(r.Conversion.Subs) != 0 {
		t.Errorf("the visitor came back: %+v", r.Conversion)
	}

	q := p.restored(t, p.backup())
	q.healthy()
	q.want(q.refunded(refund("c", "2.50"), here), capture.Updated, "")
	q.want(q.refunded(refund("b", "2.50"), here), capture.Duplicate, "")

	// The index goes with the conversion, and only with it.
	if n := p.sweep(noon.Add(40*day), capture.Retention{Clicks: 20 * day, Conversions: 20 * day}); n.Conversions != 1 {
		t.Errorf("the sweep deleted %+v", n)
	}
	p.healthy()
	p.want(p.refunded(refund("c", "2.50"), here), capture.Quarantined, capture.UnknownClick)
	of := with(refund("c", "2.50"), func(c *attribution.Claim) { c.TxID = "d" })
	p.want(p.refunded(of, arrives(noon.Add(41*day))), capture.Updated, "")
	p.reopen()
	p.want(p.refunded(of, arrives(noon.Add(41*day))), capture.Duplicate, "")

	// A refund whose sale never comes goes by its own age.
	e := p.click()
	p.commit(p.block(e), p.post(e, with(refund("a", "1"), func(c *attribution.Claim) { c.Event = "sale" }), indexed))
	if n := p.sweep(noon.Add(40*day), capture.Retention{Clicks: 50 * day, Conversions: 50 * day}); n.Conversions != 0 {
		t.Errorf("the sweep deleted %+v", n)
	}
	if n := p.sweep(noon.Add(40*day), capture.Retention{Clicks: 39 * day, Conversions: 39 * day}); n.Conversions != 1 {
		t.Errorf("the sweep deleted %+v", n)
	}
}

// testTryRefunds tries refunds before they are committed.
func testTryRefunds(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d))
	posted := func(claim attribution.Claim) *capture.Postback { return p.postRef(clickid.Ref{}, claim, byTxID) }
	waits := posted(refund("a", "1"))
	p.tryFirst("before the sale", []*capture.Postback{waits})
	again := posted(refund("a", "1"))
	again.Replays = waits.Seq
	p.tryFirst("with the sale", []*capture.Postback{p.post(c, sale, indexed), posted(refund("b", "1")), again, posted(refund("b", "1"))})
	p.tryFirst("after the sale", []*capture.Postback{posted(refund("c", "20")), posted(refund("c", "20")), posted(refund("d", "1"))})
	p.tryFirst("two clicks", []*capture.Postback{p.post(d, sale, indexed), posted(refund("d", "1"))})
}

// testIgnored: what there is nothing to book of is in the journal, and leaves
// quarantine.
func testIgnored(t *testing.T, p *place) {
	c, test := p.click(), p.click(flags(capture.FlagTest))
	p.commit(p.block(c, test))
	ignored := func(b *capture.Postback) { b.Ignored, b.Notes = "a ping", []string{"a note"} }
	for _, b := range []*capture.Postback{
		p.post(c, sale, ignored), p.post(c, sale, nameless(""), ignored), p.post(test, sale, ignored),
		p.postRef(clickid.Ref{}, sale, byTxID, ignored),
	} {
		r := p.book(b)
		p.want(r, capture.Ignored, "")
		e, err := p.store.Entry(background, b.Seq)
		p.must(err)
		if e.Detail != "a ping" || len(e.Notes) != 1 || e.Waiting() || (e.Campaign == "acme") != b.HasRef || e.Test != (b.Ref == test.Ref) {
			t.Errorf("the entry is %+v", e)
		}
	}
	waits := p.post(c, sale, problem(capture.UnmappedStatus))
	p.want(p.book(waits), capture.Quarantined, capture.UnmappedStatus)
	again := p.post(c, sale, ignored)
	again.Replays = waits.Seq
	p.want(p.book(again), capture.Ignored, "")
	if e, err := p.store.Entry(background, waits.Seq); err != nil || e.Waiting() || e.Resolved != again.Seq {
		t.Errorf("the entry that waited is %+v: %v", e, err)
	}
	if got := p.counts(); got.Conversions != 0 || len(p.ofClick(c.Ref)) != 0 || len(p.store.Status().Quarantine) != 0 {
		t.Errorf("the report counts %+v", got)
	}
}
