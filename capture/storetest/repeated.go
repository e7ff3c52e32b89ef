package storetest

import (
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// request gives a postback a raw request that others can have too.
func request(query string) func(*capture.Postback) {
	return func(b *capture.Postback) {
		b.Raw = capture.Raw{Method: "GET", URI: "/postback?" + query, Host: "go.example", UserAgent: b.Time.String()}
	}
}

// waiting wants these postbacks, and no others, to wait in quarantine.
func (p *place) waiting(want ...*capture.Postback) {
	p.t.Helper()
	open := make(map[uint64]bool)
	for _, e := range p.journal(capture.JournalQuery{Open: true}) {
		open[e.Seq] = true
	}
	n := int64(0)
	for _, count := range p.store.Status().Quarantine {
		n += count
	}
	if len(open) != len(want) || n != int64(len(want)) {
		p.t.Errorf("%d are listed as waiting, and %d counted, want %d", len(open), n, len(want))
	}
	for _, b := range want {
		if !open[b.Seq] {
			p.t.Errorf("entry %d waits no longer", b.Seq)
		}
	}
}

// testRepeated: what waits in quarantine is booked with the next arrival of
// the same request that can be.
func testRepeated(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d))
	bad := problem(capture.BadPayout)
	post := func(change ...func(*capture.Postback)) *capture.Postback {
		return p.post(c, sale, append([]func(*capture.Postback){request("a")}, change...)...)
	}
	first, second := post(bad), post(bad)
	// All that differs from the request which will be repeated.
	others := []*capture.Postback{
		post(bad, request("b")),
		post(bad, func(b *capture.Postback) { b.Raw.Method = "POST" }),
		post(bad, func(b *capture.Postback) { b.Raw.Body = []byte("x") }),
		post(bad, func(b *capture.Postback) { b.Raw.ContentType = "text/plain" }),
		post(bad, func(b *capture.Postback) { b.Route = "other" }),
		post(bad, func(b *capture.Postback) { b.Claim.Key = "delivery" }),
		post(bad, func(b *capture.Postback) { b.Raw = capture.Raw{} }),
		p.post(d, sale, request("a"), bad),
	}
	nobody := post(nameless(capture.InvalidClickID), func(b *capture.Postback) { b.ClickID = "x" })
	all := []any{first, second, nobody}
	for _, b := range others {
		all = append(all, b)
	}
	p.commit(all...)
	p.reopen() // all that is known now is on disk
	p.want(p.book(post(bad)), capture.Quarantined, capture.BadPayout)
	p.want(p.book(p.post(d, sale, request("z"))), capture.Recorded, "")
	before := p.counts()

	p.now = p.now.Add(time.Hour)
	good := post()
	p.tryFirst("repeated", []*capture.Postback{good})
	p.want(good.Result, capture.Recorded, "")
	p.waiting(others...)
	for _, b := range []*capture.Postback{first, second, nobody} {
		e, err := p.store.Entry(background, b.Seq)
		p.must(err)
		if e.Waiting() || e.Resolved != good.Seq || e.Conversion != good.Result.Conversion.ID || e.Campaign != "acme" ||
			!e.HasClick || e.Click != c.Ref || e.Raw.URI != "/postback?a" {
			t.Errorf("the entry that waited is %+v", e)
		}
	}
	// The conversion is as if all of them had been booked.
	conv, err := p.store.Conversion(background, good.Result.Conversion.ID)
	p.must(err)
	if record(conv) != record(good.Result.Conversion) {
		t.Errorf("the sender is told of\n%+v, stored is\n%+v", good.Result.Conversion, conv)
	}
	seen := 0
	for _, h := range conv.History {
		seen += h.Seen
	}
	if !conv.State.Time.Equal(first.Time) || seen != 5 || good.Result.Lag != conv.Lag() {
		t.Errorf("the conversion is of %s, was claimed %d times and has a lag of %s: %+v", conv.State.Time, seen, good.Result.Lag, conv)
	}
	if now := p.counts(); now.Conversions != before.Conversions+1 {
		t.Errorf("there are %d conversions after %d", now.Conversions, before.Conversions)
	}

	// One that is known already is no reason to go on waiting either.
	late := post(bad)
	p.commit(late)
	p.waiting(append(others, late)...)
	p.want(p.book(post()), capture.Duplicate, "")
	p.waiting(others...)

	// In one batch, and when both come at once.
	third := post(bad, request("c"))
	p.commit(third, post(request("c")), p.post(d, sale, request("a")))
	p.waiting(others[:len(others)-1]...)
}

// testRepeatedClaims: the claim that waited keeps its place in time.
func testRepeatedClaims(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	waits := p.post(c, sale, request("approved"), problem(capture.BadCurrency))
	reversed := p.post(c, status(attribution.Reversed), request("reversed"))
	p.commit(waits)
	p.want(p.book(reversed), capture.Recorded, "")
	// What the sender says now is its latest word, whatever it said before.
	p.want(p.book(p.post(c, sale, request("approved"))), capture.Updated, "")
	p.waiting()
	conv := p.ofClick(c.Ref)[0]
	if conv.State.Status != attribution.Approved || !conv.State.Time.Equal(waits.Time) {
		t.Errorf("the conversion is %+v", conv.State)
	}

	// Outside the window it is booked no more than the one before, and waits.
	d := p.click()
	p.commit(p.block(d))
	week := under(windowed(7 * day))
	old := p.post(d, sale, request("late"), week, arrives(p.now.Add(8*day)))
	p.want(p.book(old), capture.Quarantined, capture.OutsideWindow)
	again := p.post(d, sale, request("late"), week, arrives(p.now.Add(9*day)))
	p.want(p.book(again), capture.Quarantined, capture.OutsideWindow)
	p.waiting(old, again)
	p.want(p.book(p.post(d, sale, request("late"), arrives(p.now.Add(10*day)))), capture.Recorded, "")
	p.waiting()

	// More than one postback takes along at once is left for the next.
	var parts []any
	for range 100 {
		parts = append(parts, p.post(c, sale, request("many"), problem(capture.BadCurrency)))
	}
	p.commit(parts...)
	for range 2 {
		p.book(p.post(c, sale, request("many")))
	}
	p.waiting()
}
