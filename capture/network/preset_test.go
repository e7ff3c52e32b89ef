package network

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func find(tb testing.TB, name string) *Network {
	tb.Helper()
	n, err := Find(name)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// What the route says itself stays, everywhere.
func TestPresetKeepsTheRoutes(t *testing.T) {
	t.Parallel()
	rt := &capture.Route{
		Fields:   map[capture.Field][]string{capture.FieldPayout: {"mine"}, capture.FieldClickID: {"my.click"}},
		Statuses: map[string]attribution.Status{"Paid": attribution.Pending},
		Event:    "order", Currency: "CHF", Unwrap: "wrapped",
	}
	n := find(t, "shopify")
	n.Preset(rt)
	if got := rt.Fields[capture.FieldPayout]; !reflect.DeepEqual(got, []string{"mine"}) {
		t.Errorf("payout is read from %v", got)
	}
	if got := rt.Fields[capture.FieldTxID]; !reflect.DeepEqual(got, []string{"id"}) {
		t.Errorf("txid is read from %v", got)
	}
	if rt.Statuses["Paid"] != attribution.Pending || rt.Statuses["paid"] != 0 || rt.Statuses["voided"] != attribution.Rejected {
		t.Errorf("statuses are %v", rt.Statuses)
	}
	if rt.Event != "order" || rt.Currency != "CHF" || rt.Unwrap != "wrapped" {
		t.Errorf("got event %q, currency %q, unwrap %q", rt.Event, rt.Currency, rt.Unwrap)
	}
	for _, k := range rt.Kinds {
		if k.Event != "" {
			t.Errorf("kind %q has an event beside the route's", k.Name)
		}
		if k.Fields[capture.FieldPayout] != nil || k.Fields[capture.FieldClickID] != nil {
			t.Errorf("kind %q reads %v instead of the route's own", k.Name, k.Fields)
		}
	}
	if err := rt.Compile(); err != nil {
		t.Error(err)
	}
}

// A fixed payout brings its currency; own kinds replace the catalogue's.
func TestPresetFixed(t *testing.T) {
	t.Parallel()
	amount, _, err := attribution.ParsePayout("5")
	if err != nil {
		t.Fatal(err)
	}
	own := []capture.Kind{{Name: "own", When: map[string][]string{"a": {"b"}}, Event: "x"}}
	rt := &capture.Route{Payout: attribution.Money{Amount: amount, Currency: "EUR"}, Kinds: own}
	find(t, "clickbank").Preset(rt)
	if rt.Currency != "" || len(rt.Kinds) != 1 || rt.Kinds[0].Event != "x" {
		t.Errorf("got currency %q and kinds %v", rt.Currency, rt.Kinds)
	}
}

// Who sends whole orders may send large ones, unless the route says otherwise.
func TestPresetMaxBody(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"clickbank-ins", "paddle", "shopify", "stripe", "woocommerce"} {
		rt := new(capture.Route)
		find(t, name).Preset(rt)
		if rt.MaxBody != 512<<10 {
			t.Errorf("%s takes %d bytes", name, rt.MaxBody)
		}
	}
	rt := &capture.Route{MaxBody: 1000}
	find(t, "shopify").Preset(rt)
	other := new(capture.Route)
	find(t, "everflow").Preset(other)
	if rt.MaxBody != 1000 || other.MaxBody != 0 {
		t.Errorf("got %d and %d", rt.MaxBody, other.MaxBody)
	}
	// An order of 120 items, as large as shops send them, is taken and read.
	p := readPayload(t, "testdata/shopify/order_paid.http")
	body, err := io.ReadAll(p.request.Body)
	if err != nil {
		t.Fatal(err)
	}
	item := fmt.Sprintf(`{"id":866550311766439020,"name":%q,"price":"0.75","quantity":1},`, strings.Repeat("Shirt ", 110))
	text := strings.Replace(string(body), `"line_items": [`, `"line_items": [`+strings.Repeat(item, 120), 1)
	if len(text) < 83_000 {
		t.Fatalf("the order has %d bytes only", len(text))
	}
	p.request.Body, p.request.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	got, rej := p.route(t).Receive(p.request, newArrival())
	if text := describe(got, rej); text != p.want {
		t.Errorf("got %s", text)
	}
}

// Cents are the sender's: what the shop put into its message, and the route
// names as the payout, is as people write amounts.
func TestPresetOwnPayout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ payload, name, in, put, want string }{
		{"stripe/checkout", "data.object.metadata.commission", `"metadata": {}`, `"metadata": {"commission": "12"}`, "12.00 EUR"},
		{"stripe/checkout", "data.object.amount_subtotal", "", "", "49.00 EUR"},
		{"paddle/sale", "data.custom_data.commission", `"custom_data": {`, `"custom_data": {"commission": "7.50",`, "7.50 USD"},
	} {
		p := readPayload(t, "testdata/"+c.payload+".http")
		body, err := io.ReadAll(p.request.Body)
		if err != nil || !strings.Contains(string(body), c.in) {
			t.Fatalf("%s has no %s: %v", c.payload, c.in, err)
		}
		p.request.Body, p.request.ContentLength = io.NopCloser(strings.NewReader(strings.Replace(string(body), c.in, c.put, 1))), -1
		p.fields = map[capture.Field][]string{capture.FieldPayout: {c.name}}
		got, rej := p.route(t).Receive(p.request, newArrival())
		if rej != nil || got.Problem != "" || got.Claim.Payout.String() != c.want {
			t.Errorf("%s by %s: got %s, want %s", c.payload, c.name, describe(got, rej), c.want)
		}
	}
}

// Hotmart's secret is in a header, which the journal does not keep.
func TestHotmartHeader(t *testing.T) {
	t.Parallel()
	n := find(t, "hotmart")
	for secret, ok := range map[string]bool{"abc": true, "abd": false} {
		v, err := signature.NewSharedSecret(n.Verify.Field, [][]byte{[]byte(secret)}, "")
		if err != nil {
			t.Fatal(err)
		}
		p := readPayload(t, "testdata/hotmart/sale.http")
		rt := &capture.Route{Name: "hotmart", Verifiers: []signature.Verifier{v}}
		n.Preset(rt)
		if err := rt.Compile(); err != nil {
			t.Fatal(err)
		}
		got, rej := rt.Receive(p.request, newArrival())
		if (rej == nil) != ok || ok && (describe(got, rej) != p.want || len(got.Raw.Headers) > 0) {
			t.Errorf("%s: got %s", secret, describe(got, rej))
		}
	}
}

// A name with a meaning of its own is not read as what it usually means.
func TestPresetDefaults(t *testing.T) {
	t.Parallel()
	rt := new(capture.Route)
	find(t, "kuala").Preset(rt)
	want := map[capture.Field][]string{
		capture.FieldClickID: {"click_id", "tid", "clickid", "cid", "subid", "aff_sub", "sub1", "s2s_click_id"},
		capture.FieldTxID:    {"txid", "xid", "transaction_id", "transactionid", "order_id"},
	}
	if !reflect.DeepEqual(rt.Fields, want) {
		t.Errorf("got %v", rt.Fields)
	}
	rt = new(capture.Route)
	find(t, "affise").Preset(rt)
	if rt.Fields != nil {
		t.Errorf("a network that only fills in macros has fields %v", rt.Fields)
	}
}

// Routes share nothing with the catalogue, nor with each other.
func TestPresetShares(t *testing.T) {
	t.Parallel()
	n := find(t, "stripe")
	var a, b, c capture.Route
	n.Preset(&a)
	n.Preset(&b)
	for f := range a.Fields {
		a.Fields[f][0] = "changed"
	}
	for i := range a.Kinds {
		for name := range a.Kinds[i].When {
			a.Kinds[i].When[name][0] = "changed"
		}
		for f := range a.Kinds[i].Fields {
			a.Kinds[i].Fields[f][0] = "changed"
		}
		for j := range a.Kinds[i].Less {
			a.Kinds[i].Less[j] = "changed"
		}
	}
	n.Preset(&c)
	if !reflect.DeepEqual(b, c) || reflect.DeepEqual(a, b) {
		t.Error("a change to one route is seen by another")
	}
}

// A sale and what takes it back are one conversion: the same event and txid.
func TestPairs(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{
		{"stripe/checkout", "stripe/refund_full"}, {"stripe/checkout", "stripe/refund_partial"},
		{"stripe/checkout", "stripe/dispute_created"}, {"stripe/checkout", "stripe/dispute_won"},
		{"stripe/checkout", "stripe/checkout_unpaid"}, {"stripe/checkout_unpaid", "stripe/checkout_async_failed"},
		{"stripe/checkout_subscription", "stripe/invoice_first"}, {"stripe/invoice_renewal", "stripe/refund_subscription_old_api"},
		{"shopify/order_created", "shopify/order_paid"}, {"shopify/order_paid", "shopify/order_cancelled"},
		{"shopify/order_paid", "shopify/refund"}, {"woocommerce/order_created", "woocommerce/order_partly_refunded"},
		{"woocommerce/order_paid", "woocommerce/order_refunded"}, {"woocommerce/order_paid", "woocommerce/order_deleted"},
		{"paddle/sale", "paddle/refund"}, {"clickbank-ins/sale", "clickbank-ins/refund"}, {"clickbank-ins/sale", "clickbank-ins/chargeback"},
		{"digistore24-ipn/payment", "digistore24-ipn/refund"}, {"digistore24-ipn/payment", "digistore24-ipn/chargeback"},
		{"digistore24/payment", "digistore24/refund"}, {"jvzoo/sale", "jvzoo/refund"}, {"warriorplus/sale", "warriorplus/refund"},
		{"rewardful/sale", "rewardful/refund"}, {"firstpromoter/commission", "firstpromoter/commission_denied"},
		{"everflow/webhook", "everflow/webhook_invalid"}, {"affise/hold", "affise/declined"},
	} {
		a, b := received(t, pair[0]), received(t, pair[1])
		if a.Event != b.Event || a.TxID != b.TxID || a.TxID == "" {
			t.Errorf("%s is %s %s, but %s is %s %s", pair[0], a.Event, a.TxID, pair[1], b.Event, b.TxID)
		}
	}
	for _, pair := range [][2]string{
		{"stripe/checkout_subscription", "stripe/checkout"}, {"clickbank-ins/sale", "clickbank-ins/rebill"}, {"jvzoo/sale", "jvzoo/rebill"},
		{"digistore24-ipn/payment", "digistore24-ipn/rebill"}, {"warriorplus/sale", "warriorplus/recurring"}, {"paddle/sale", "paddle/renewal"},
	} {
		if a, b := received(t, pair[0]), received(t, pair[1]); a.TxID == b.TxID {
			t.Errorf("%s and %s are one conversion", pair[0], pair[1])
		}
	}
}
