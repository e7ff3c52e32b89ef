package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Senders promise no order. A refund that comes before its sale waits, says so in words, and is booked with
// the sale, which then stands where it would have stood in the other order; a replay finds nothing left to do.
func TestRefundBeforeSale(t *testing.T) {
	s, setups := sendersSite(t)
	for _, tt := range []struct {
		network      string
		refund, sale string
		want         string
	}{
		{"stripe", "refund_partial", "checkout", "approved 39.00 EUR"},
		{"shopify", "refund", "order_paid", "approved 79.95 EUR"},
		{"paddle", "refund", "sale", "approved 12.00 USD"},
	} {
		t.Run(tt.network, func(t *testing.T) {
			i := slices.IndexFunc(journeys, func(j journey) bool { return j.network == tt.network })
			j, target := journeys[i], "/pb/"+tt.network
			id := s.click("/go/"+tt.network, "click_id")
			secret := setups[tt.network].secret
			now := time.Now()
			state := func() string {
				var got string
				for _, c := range s.all("/capture/conversions?campaign=" + tt.network) {
					got += fmt.Sprintf("%v %v %v", c["status"], c["payout"], c["currency"])
				}
				return got
			}
			a := s.send(j.sign(t, secret, target, readPayload(t, tt.network, tt.refund, now.Add(2*time.Second))))
			if a.status/100 != 2 || !containsAll(a.body, `"quarantined"`, `"reason":"unknown_click"`, `"detail":"`) {
				t.Errorf("the refund: status %d %s", a.status, a.body)
			}
			p := readPayload(t, tt.network, tt.sale, now.Add(time.Second))
			p.body = withClick(p.body, id)
			if a := s.send(j.sign(t, secret, target, p)); a.status != 200 || !containsAll(a.body, `"recorded"`) || state() != tt.want {
				t.Errorf("the sale: status %d %s, stands at %s", a.status, a.body, state())
			}
			s.output("capture", "replay", "--reason", "unknown_click")
			if got := state(); got != tt.want {
				t.Errorf("after a replay: %s, want %s", got, tt.want)
			}
		})
	}
}
