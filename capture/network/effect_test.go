package network

import (
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// What senders say one after the other comes to the right end in the ledger.
func TestEffects(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want     string
		payloads []string
	}{
		{"approved 49.00 EUR", []string{"stripe/checkout_unpaid", "stripe/checkout_async_succeeded"}},
		{"rejected 49.00 EUR", []string{"stripe/checkout_unpaid", "stripe/checkout_async_failed"}},
		{"approved 39.00 EUR", []string{"stripe/checkout", "stripe/refund_partial"}},
		{"reversed 49.00 EUR", []string{"stripe/checkout", "stripe/refund_full"}},
		{"reversed 49.00 EUR", []string{"stripe/checkout", "stripe/dispute_created"}},
		{"reversed 49.00 EUR", []string{"stripe/checkout", "stripe/dispute_created", "stripe/dispute_lost"}},
		{"approved 49.00 EUR", []string{"stripe/checkout", "stripe/dispute_created", "stripe/dispute_won"}},
		{"approved 19.00 USD", []string{"stripe/checkout_subscription", "stripe/invoice_first"}},
		{"approved 99.95 EUR", []string{"shopify/order_created", "shopify/order_paid"}},
		{"approved 79.95 EUR", []string{"shopify/order_created", "shopify/order_paid", "shopify/refund", "shopify/order_updated_partly_refunded", "shopify/refund"}},
		{"reversed 99.95 EUR", []string{"shopify/order_paid", "shopify/order_updated_refunded"}},
		{"rejected 99.95 EUR", []string{"shopify/order_created", "shopify/order_cancelled_unpaid"}},
		{"approved 15.00 USD", []string{"woocommerce/order_created", "woocommerce/order_paid", "woocommerce/order_partly_refunded"}},
		{"reversed 29.35 USD", []string{"woocommerce/order_paid", "woocommerce/order_refunded"}},
		{"approved 84.95 EUR", []string{"shopify/order_paid", "shopify/refund_half_failed"}},
		{"reversed 1500.00 BRL", []string{"hotmart/billet", "hotmart/sale", "hotmart/refund"}},
		{"rejected 1500.00 BRL", []string{"hotmart/billet", "hotmart/expired"}},
		{"rejected 29.35 USD", []string{"woocommerce/order_created", "woocommerce/order_deleted"}},
		{"approved 12.00 USD", []string{"paddle/sale", "paddle/refund", "paddle/refund"}},
		{"reversed 12.34 USD", []string{"clickbank-ins/sale", "clickbank-ins/refund"}},
		{"reversed 47.00 EUR", []string{"digistore24-ipn/payment", "digistore24-ipn/refund"}},
		{"reversed 47.00 USD", []string{"jvzoo/sale", "jvzoo/chargeback"}},
		{"reversed 27.00 USD", []string{"warriorplus/sale", "warriorplus/dispute"}},
		{"rejected 20.00 EUR", []string{"firstpromoter/commission", "firstpromoter/commission_denied"}},
		{"reversed 100.00 USD", []string{"rewardful/sale", "rewardful/refund"}},
	} {
		var h attribution.History
		for i, name := range tc.payloads {
			c := received(t, name)
			if len(h) > 0 && (c.Event != h[0].Event || c.TxID != h[0].TxID) {
				t.Errorf("%v: %s is another conversion", tc.payloads, name)
			}
			c.ReceivedAt, c.Seq = arrivalTime.Add(time.Duration(i)*time.Minute), uint64(i+1)
			// The samples have one number and time for all of an account's
			// messages, which senders never have.
			if !c.Refund {
				c.Key = ""
			}
			if !c.SentAt.IsZero() {
				c.SentAt = c.SentAt.Add(time.Duration(i) * time.Minute)
			}
			h.Add(c, time.Time{})
		}
		s := h.State(time.Time{})
		if got := s.Status.String() + " " + s.Payout.String(); got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.payloads, got, tc.want)
		}
	}
}
