package storetest

import (
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// replays books an entry again that waits.
func (p *place) replays(waits *capture.Postback, c *capture.Click, claim attribution.Claim, change ...func(*capture.Postback)) *capture.Postback {
	again := p.post(c, claim, change...)
	again.Replays, again.Claim.ReceivedAt = waits.Seq, waits.Claim.ReceivedAt
	return again
}

// testReplayedOutside: what still is outside the window when it is booked again
// has not arrived once more.
func testReplayedOutside(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	r, late := under(windowed(time.Hour)), arrives(noon.Add(5*time.Hour))
	claim := sent(sale, noon.Add(4*time.Hour))
	first, second := p.post(c, claim, r, late), p.post(c, claim, r, late)
	unread := p.post(c, claim, problem(capture.BadPayout), r, late)
	p.commit(first, second, unread)
	waiting := []*capture.Postback{first, second, unread}
	for range 3 {
		for _, w := range waiting {
			p.want(p.book(p.replays(w, c, claim, r, late)), capture.Quarantined, capture.OutsideWindow)
		}
	}
	if n := p.store.Status().Quarantine[capture.OutsideWindow]; n != 3 {
		t.Errorf("%d wait outside the window, want 3", n)
	}
	// Today's configuration knows a payout.
	bare := with(claim, func(c *attribution.Claim) { c.TxID, c.HasPayout = "bare", false })
	w := p.post(c, bare, r, late)
	p.commit(w)
	paid := windowed(2 * time.Hour)
	paid.Campaigns = map[string]capture.CampaignRules{"acme": {Payout: usd("3")}}
	p.want(p.book(p.replays(w, c, bare, under(paid), late)), capture.Quarantined, capture.OutsideWindow)
	p.want(p.book(p.replays(w, c, bare, under(paid), late)), capture.Quarantined, capture.OutsideWindow)
	wide := *paid
	wide.Window = day
	booked := p.book(p.replays(w, c, bare, under(&wide), late))
	p.want(booked, capture.Recorded, "")
	if h := booked.Conversion.History; len(h) != 1 || h[0].Seen != 1 || booked.Conversion.State.Payout.String() != "3.00 USD" {
		t.Errorf("the history is %+v", h)
	}
	booked = p.book(p.replays(first, c, claim, under(&wide), late))
	p.want(booked, capture.Recorded, "")
	if h := booked.Conversion.History; len(h) != 1 || h[0].Seen != 3 {
		t.Errorf("of 3 arrivals the history has %+v", h)
	}
	if n := len(p.journal(capture.JournalQuery{Open: true})); n != 0 {
		t.Errorf("%d entries still wait", n)
	}
}

// testReplayedMisread: what waits and was misread counts as it is read under a
// mended configuration, also where another message says the same.
func testReplayedMisread(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d))
	failed := with(refund("a", "2.50"), func(c *attribution.Claim) { c.Event, c.Status = "sale", attribution.Rejected })
	made := with(failed, func(c *attribution.Claim) { c.Status = attribution.Approved })
	first, misread := p.post(c, failed), p.post(c, made)
	p.commit(first, misread)
	for range 2 {
		p.want(p.book(p.replays(misread, c, failed)), capture.Quarantined, capture.UnknownClick)
	}
	r := p.book(p.post(c, sale))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "12.50")

	narrow, late := under(windowed(time.Hour)), arrives(noon.Add(5*time.Hour))
	message := with(sale, func(c *attribution.Claim) { c.Key = "message" })
	rejected := with(message, func(c *attribution.Claim) { c.Status = attribution.Rejected })
	misread = p.post(d, rejected, narrow, late)
	p.want(p.book(misread), capture.Quarantined, capture.OutsideWindow)
	p.want(p.book(p.replays(misread, d, message, narrow, late)), capture.Quarantined, capture.OutsideWindow)
	r = p.book(p.replays(misread, d, message, late))
	p.want(r, capture.Recorded, "")
	p.remains(r, attribution.Approved, "12.50")
	if open := p.journal(capture.JournalQuery{Open: true}); len(open) != 0 {
		t.Errorf("%d entries still wait", len(open))
	}
}
