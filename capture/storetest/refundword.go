package storetest

import (
	"slices"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// testLastWord: senders without timestamps change their minds. The last word
// about a refund and the last word about its sale count, whichever of them was
// known first, and a repeat of the last word is a duplicate.
func testLastWord(t *testing.T, p *place) {
	made := with(refund("a", "2.50"), func(c *attribution.Claim) { c.Event = "sale" })
	failed := with(made, func(c *attribution.Claim) { c.Status = attribution.Rejected })
	all := with(made, func(c *attribution.Claim) { c.Payout, c.Key = usd("12.50"), "all" })
	notAll := with(all, func(c *attribution.Claim) { c.Status = attribution.Rejected })
	reversed := status(attribution.Reversed)
	for i, x := range []struct {
		refunds, sales []attribution.Claim
		status         attribution.Status
		payout         string
	}{
		{[]attribution.Claim{made, failed, made}, []attribution.Claim{sale}, attribution.Approved, "10"},
		{[]attribution.Claim{failed, made, failed}, []attribution.Claim{sale}, attribution.Approved, "12.50"},
		{[]attribution.Claim{made, failed, made}, []attribution.Claim{sale, reversed, sale}, attribution.Approved, "10"},
		{[]attribution.Claim{all, made, failed, made, notAll}, []attribution.Claim{sale}, attribution.Approved, "10"},
		{[]attribution.Claim{all, notAll}, []attribution.Claim{sale, reversed, sale}, attribution.Approved, "12.50"},
		{[]attribution.Claim{all, notAll}, []attribution.Claim{reversed, sale, reversed}, attribution.Reversed, "12.50"},
	} {
		n := len(x.refunds)
		for first := range n + 1 { // so many refunds come before the sale
			list := slices.Concat(x.refunds[:first], x.sales, x.refunds[first:])
			for _, way := range []func(*capture.Postback){indexed, byTxID} {
				c, route := p.click(), on(name("route %d", p.seq))
				p.commit(p.block(c))
				book := func(claim attribution.Claim) capture.Result {
					if claim.Refund {
						return p.book(p.post(c, claim, way, route))
					}
					return p.book(p.post(c, claim, indexed, route))
				}
				for _, claim := range list {
					book(claim)
				}
				p.want(book(x.refunds[n-1]), capture.Duplicate, "")
				r := book(x.sales[len(x.sales)-1])
				p.want(r, capture.Duplicate, "")
				if s := r.Conversion.State; s.Status != x.status || !s.Payout.Equal(usd(x.payout)) {
					t.Errorf("%d, %d refunds before the sale: the conversion is %s at %s, want %s at %s", i, first, s.Status, s.Payout, x.status, x.payout)
				}
				if open := p.journal(capture.JournalQuery{Open: true}); len(open) != 0 {
					t.Fatalf("%d, %d refunds before the sale: %d entries wait", i, first, len(open))
				}
			}
		}
	}
}
