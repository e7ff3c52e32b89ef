package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// testTwoSites: a sender reaches what was sold on its own site, and nothing else.
func testTwoSites(t *testing.T, p *place) {
	c, d := p.click(), p.click()
	p.commit(p.block(c, d), p.post(c, sale, indexed, to("a.example")))
	deleted := attribution.Claim{Event: "deleted", TxID: "1", Status: attribution.Rejected}
	for _, host := range []string{"b.example", "", "a.example.", "x.a.example"} {
		p.want(p.refunded(deleted, to(host)), capture.Quarantined, capture.UnknownClick)
	}
	if got := p.counts(); got.Approved != 1 {
		t.Errorf("the report counts %+v", got)
	}
	// The other site's own sale of that number takes its own along.
	r := p.book(p.post(d, sale, indexed, to("b.example")))
	p.want(r, capture.Recorded, "")
	if s := p.ofClick(d.Ref)[0].State.Status; s != attribution.Approved { // it came before the sale, without a time
		t.Errorf("the conversion is %s", s)
	}
	r = p.refunded(deleted, to("A.example:8443"))
	p.want(r, capture.Updated, "")
	if r.Conversion.Click != c.Ref {
		t.Errorf("it went to %+v", r.Conversion)
	}

	// The same request on another site is not the same request.
	raw := func(host string) func(*capture.Postback) {
		return func(b *capture.Postback) {
			b.Raw = capture.Raw{Method: "POST", URI: "/woo", Host: host, Body: []byte("{}")}
		}
	}
	before := p.journal(capture.JournalQuery{Open: true})
	waits := p.unsold(named(refund("a", "1"), "2"), raw("a.example"))
	p.commit(waits, p.post(d, named(sale, "2"), indexed, to("b.example")))
	p.want(p.refunded(named(refund("a", "1"), "2"), raw("b.example")), capture.Updated, "")
	if now := p.journal(capture.JournalQuery{Open: true}); len(now) != len(before)+1 || now[0].Seq != waits.Seq {
		t.Errorf("%d entries wait, then %d", len(before), len(now))
	}
}

// testAwaitingAnyOrder sends the same sales, refunds and disputes in two orders,
// all but the refunds with timestamps: the books come out the same.
func testAwaitingAnyOrder(t *testing.T, p *place) {
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		mode := rapid.SampledFrom(modes).Draw(t, "mode")
		campaign := name("world %d", n)
		rules := *rules
		rules.Campaigns = map[string]capture.CampaignRules{campaign: {Dedup: mode}}
		timeOf := func() time.Time {
			return noon.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "time")) * time.Hour)
		}
		txid := func() string { return rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "txid") }
		type message struct {
			claim  attribution.Claim
			others []string
			byTxID bool
		}
		var pool []message
		for range rapid.IntRange(1, 4).Draw(t, "sales") {
			paid := cents(int64(rapid.IntRange(1, 9).Draw(t, "payout"))*100, "USD")
			pool = append(pool, message{claim: attribution.Claim{
				Event: "sale", TxID: txid(), Status: attribution.Approved, Payout: paid, HasPayout: true, SentAt: timeOf(),
			}})
		}
		for i := range rapid.IntRange(1, 5).Draw(t, "messages") {
			m := message{byTxID: true, claim: attribution.Claim{TxID: txid(), Status: attribution.Reversed, SentAt: timeOf(), Event: "dispute"}}
			if rapid.Bool().Draw(t, "refund") {
				m.claim = with(refund(name("%d", i), name("%d", rapid.IntRange(1, 4).Draw(t, "amount"))),
					func(c *attribution.Claim) { c.TxID = m.claim.TxID })
				if rapid.Bool().Draw(t, "timed") {
					m.claim.SentAt = timeOf()
				}
			}
			// Each has another name, by which some are called first, and some only.
			switch alias := "also " + m.claim.TxID; rapid.IntRange(0, 3).Draw(t, "names") {
			case 1:
				m.claim.TxID, m.others = alias, []string{m.claim.TxID}
			case 2:
				m.others = []string{alias}
			case 3:
				m.claim.TxID = alias
			}
			pool = append(pool, m)
		}
		var books []string
		for range 2 {
			c := p.click(of(campaign, "news"), at(noon))
			p.commit(p.block(c))
			batch, route := []any{}, name("%s %d", campaign, len(books))
			for i, m := range rapid.Permutation(pool).Draw(t, "order") {
				change := []func(*capture.Postback){on(route), under(&rules), arrives(noon.Add(day + time.Duration(i)*time.Minute)), indexed}
				if m.byTxID {
					batch = append(batch, p.unsold(m.claim, append(change, known(m.others...))...))
				} else {
					batch = append(batch, p.post(c, m.claim, change...))
				}
				if rapid.Bool().Draw(t, "commit") {
					p.commit(batch...)
					batch = nil
				}
			}
			p.commit(batch...)
			book := []string{name("%d wait", len(p.journal(capture.JournalQuery{Route: route, Open: true})))}
			for _, conv := range p.ofClick(c.Ref) {
				s := conv.State
				if mode != attribution.DedupTxID {
					s.TxID = "" // it has several, and what has another name only may be about any
				}
				book = append(book, name("%s %q %s %s at %s", s.Event, s.TxID, s.Status, s.Payout, s.Time))
			}
			slices.Sort(book)
			books = append(books, strings.Join(book, "\n"))
		}
		if books[0] != books[1] {
			t.Fatalf("in one order the books are\n%s\nin the other\n%s", books[0], books[1])
		}
	})
}
