package network

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// booked sends payloads one after the other to one route of a store, and
// returns the conversions of the click and what still waits.
func booked(t *testing.T, names []string) (conversions []*capture.Conversion, waiting []*capture.Entry) {
	t.Helper()
	ctx := context.Background()
	store, err := memstore.New().Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := codec.Decode(clickID)
	if err != nil {
		t.Fatal(err)
	}
	at := store.Position()
	block := &capture.Block{Number: ref.Block}
	for slot := range ref.Slot + 1 {
		r := ref
		r.Slot = slot
		block.Clicks = append(block.Clicks, &capture.Click{Ref: r, Time: r.Time(), Campaign: "shop"})
	}
	batch := &capture.Batch{Number: at.NextBatch, Now: arrivalTime, Blocks: []*capture.Block{block}}
	for i, name := range names {
		p := readPayload(t, "testdata/"+name+".http")
		arrival := newArrival()
		arrival.Time = arrivalTime.Add(time.Duration(i) * time.Minute)
		arrival.Rules = &capture.Rules{Retain: capture.Retention{Clicks: 90 * 24 * time.Hour}, Window: 30 * 24 * time.Hour}
		got, rej := p.route(t).Receive(p.request, arrival)
		if rej != nil {
			t.Fatalf("%s: %v", name, rej)
		}
		// The samples have one ID and one time, which senders never have.
		got.Claim.Key += p.name
		got.Claim.SentAt = arrivalTime.Add(-time.Hour).Add(time.Duration(slices.Index(inOrder, p.name)) * time.Minute)
		got.Seq = at.NextSeq + uint64(i)
		batch.Postbacks = append(batch.Postbacks, got)
		if err := store.Commit(ctx, batch); err != nil {
			t.Fatal(err)
		}
		batch = &capture.Batch{Number: batch.Number + 1, Now: arrival.Time}
	}
	conversions, err = store.ClickConversions(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	for i := range names {
		e, err := store.Entry(ctx, at.NextSeq+uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if e.Waiting() {
			waiting = append(waiting, e)
		}
	}
	return conversions, waiting
}

// inOrder is the order in which things happen at the sender.
var inOrder = []string{"invoice_renewal", "invoice_payment", "dispute_subscription", "refund_subscription"}

// permutations are all orders of a list.
func permutations(list []string) (all [][]string) {
	if len(list) == 0 {
		return [][]string{nil}
	}
	for i, first := range list {
		for _, rest := range permutations(slices.Delete(slices.Clone(list), i, i+1)) {
			all = append(all, append([]string{first}, rest...))
		}
	}
	return all
}

// Stripe's refunds and disputes of subscription payments name the payment, and
// the sale its invoice. What tells that they belong together may come first or
// last.
func TestStripeSubscriptionRefunds(t *testing.T) {
	t.Parallel()
	for _, last := range []string{"stripe/refund_subscription", "stripe/dispute_subscription"} {
		for _, names := range permutations([]string{"stripe/invoice_renewal", "stripe/invoice_payment", last}) {
			conversions, waiting := booked(t, names)
			if len(conversions) != 1 || len(waiting) != 0 {
				for _, e := range waiting {
					t.Log(e.Detail)
				}
				t.Errorf("%v: %d conversions, %d waiting", names, len(conversions), len(waiting))
				continue
			}
			if s := conversions[0].State; s.Status.String() != "reversed" || s.Payout.String() != "19.00 USD" ||
				s.TxID != "in_1MtHbELkdIwHu7ixl4OzzPMv" {
				t.Errorf("%v: %v %s of %s", names, s.Status, s.Payout, s.TxID)
			}
		}
		// Without that message they wait, and say for what.
		conversions, waiting := booked(t, []string{"stripe/invoice_renewal", last})
		if len(conversions) != 1 || conversions[0].State.Status.String() != "approved" || len(waiting) != 1 ||
			!strings.Contains(waiting[0].Detail, "pi_3SubscriptionPayment") {
			t.Errorf("%s alone: %v, %d waiting", last, conversions, len(waiting))
		}
	}
}
