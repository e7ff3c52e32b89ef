package capture

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
)

var yes = true

// What Stripe, Shopify, WooCommerce and Awin send, in the forms in which they
// document it.
var (
	stripeKinds = Route{
		Fields: map[Field][]string{
			FieldClickID: {"data.object.client_reference_id", "data.object.metadata.click_id"},
			FieldTxID:    {"data.object.payment_intent", "data.object.id"},
			FieldPayout:  {"data.object.amount_total", "data.object.amount"}, FieldCurrency: {"data.object.currency"},
			FieldTime: {"created"}, FieldMessageID: {"id"},
		},
		Minor: true,
		Kinds: []Kind{
			{
				Name: "unpaid", When: map[string][]string{"type": {"checkout.session.completed"}, "data.object.payment_status": {"unpaid"}},
				Event: "sale", Status: attribution.Pending,
			},
			{Name: "sale", When: map[string][]string{"type": {"checkout.session.completed"}}, Event: "sale", Status: attribution.Approved},
			{
				Name: "refund", When: map[string][]string{"type": {"charge.refunded"}}, Event: "sale",
				Less: []string{"data.object.amount_refunded"}, ByTxID: true,
			},
			{Name: "payout", When: map[string][]string{"type": {"payout.paid", "payout.created"}}, Ignore: "it is Stripe's payment to you"},
		},
	}
	shopifyKinds = Route{
		Fields: map[Field][]string{
			FieldClickID: {"note_attributes[name=click_id].value", "landing_site?click_id"}, FieldTxID: {"id"},
			FieldPayout: {"total_price"}, FieldCurrency: {"currency"}, FieldTime: {"created_at"}, FieldMessageID: {"header:X-Shopify-Webhook-Id"},
			FieldStatus: {"financial_status"},
		},
		Statuses: map[string]attribution.Status{"paid": attribution.Approved},
		Kinds: []Kind{
			{
				Name: "order", When: map[string][]string{"header:X-Shopify-Topic": {"orders/create", "orders/paid"}},
				Unless: map[string][]string{"test": {"true"}}, Statuses: map[string]attribution.Status{"authorized": attribution.Pending},
			},
			{
				Name: "refund", When: map[string][]string{"header:X-Shopify-Topic": {"refunds/create"}}, Refund: true, ByTxID: true,
				Fields: map[Field][]string{
					FieldTxID: {"order_id"}, FieldPayout: {"transactions[status=success].amount"}, FieldCurrency: {"transactions.*.currency"},
					FieldMessageID: {"id"},
				},
				Status: attribution.Approved,
			},
			{Name: "test order", When: map[string][]string{"test": {"true"}}, Ignore: "a test order"},
		},
	}
	wooKinds = Route{
		Fields: map[Field][]string{
			FieldClickID: {"meta_data[key=click_id].value"}, FieldTxID: {"id"}, FieldPayout: {"total"}, FieldCurrency: {"currency"},
			FieldStatus: {"status"},
		},
		Statuses: map[string]attribution.Status{"processing": attribution.Approved, "on-hold": attribution.Pending},
		Kinds: []Kind{
			{
				Name: "ping", When: map[string][]string{"webhook_id": {"*"}, "header:X-Wc-Webhook-Signature": {""}},
				Ignore: "WooCommerce says that the webhook was created", Unsigned: true,
			},
			{
				Name: "order", When: map[string][]string{"header:X-Wc-Webhook-Topic": {"order.created", "order.updated"}},
				Event: "order", Less: []string{"refunds.*.total"},
			},
		},
	}
)

const (
	stripeSession = `{"id":"evt_1","object":"event","created":1772366400,"type":"checkout.session.completed","data":{"object":{"id":"cs_1",
		"object":"checkout.session","amount_total":10950,"currency":"usd","client_reference_id":"CLICK","payment_intent":"pi_1","payment_status":"paid"}}}`
	stripeRefund = `{"id":"evt_2","type":"charge.refunded","created":1772366400,"data":{"object":{"id":"ch_1","object":"charge","amount":10950,
		"amount_refunded":2950,"currency":"usd","payment_intent":"pi_1","refunded":false,"metadata":{}}}}`
	shopifyOrder = `{"id":820982911946154508,"test":false,"total_price":"199.65","currency":"CAD","financial_status":"paid","created_at":"2026-03-01T07:00:00-05:00",
		"landing_site":"/products/x?utm_source=y","note_attributes":[{"name":"gift","value":"no"},{"name":"click_id","value":"CLICK"}]}`
	shopifyRefund = `{"id":509562969,"order_id":820982911946154508,"transactions":[{"id":1,"amount":"41.94","currency":"CAD","status":"success"},
		{"id":2,"amount":"99.00","currency":"CAD","status":"failure"},{"id":3,"amount":"8.06","currency":"CAD","status":"success"}]}`
	wooOrder = `{"id":727,"status":"processing","currency":"EUR","total":"29.35","refunds":[],
		"meta_data":[{"id":1,"key":"is_vat","value":"no"},{"id":2,"key":"click_id","value":"CLICK"}]}`
	awinPush = `{"transactionId":1700000001,"commission":1.25,"transactionCurrency":"GBP","clickRefs":{"clickRef":"CLICK"},"products":[]}`
)

// told is the request with the route's headers set, on a route with a token.
func told(rt Route, body string, header ...string) (Route, *http.Request) {
	rt.Tokens = [][]byte{[]byte("s3cret")}
	r := postRequest("application/json", body)
	r.Header.Set("Authorization", "Bearer s3cret")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return rt, r
}

func TestReceiveKinds(t *testing.T) {
	t.Parallel()
	replaced := func(s string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(s) }
	order := []string{"X-Shopify-Topic", "orders/paid", "X-Shopify-Webhook-Id", "w-1"}
	refund := []string{"X-Shopify-Topic", "refunds/create", "X-Shopify-Webhook-Id", "w-2"}
	woo := []string{"X-WC-Webhook-Topic", "order.updated"}
	for name, c := range map[string]struct {
		rt     Route
		body   string
		header []string
		want   string // txid event status payout, then what is special
		click  bool
	}{
		"Stripe sale":             {stripeKinds, stripeSession, nil, "pi_1 sale approved 109.50 USD key=evt_1", true},
		"Stripe sale in yen":      {stripeKinds, replaced(stripeSession, "usd", "jpy"), nil, "pi_1 sale approved 10950 JPY key=evt_1", true},
		"Stripe sale in dinar":    {stripeKinds, replaced(stripeSession, "usd", "kwd"), nil, "pi_1 sale approved 10.950 KWD key=evt_1", true},
		"Stripe unpaid":           {stripeKinds, replaced(stripeSession, `"paid"`, `"unpaid"`), nil, "pi_1 sale pending 109.50 USD key=evt_1", true},
		"Stripe part refund":      {stripeKinds, stripeRefund, nil, "pi_1 sale approved 80.00 USD key=evt_2 by txid", false},
		"Stripe refund":           {stripeKinds, replaced(stripeRefund, "2950", "10950"), nil, "pi_1 sale reversed 109.50 USD key=evt_2 by txid", false},
		"Stripe nothing back":     {stripeKinds, replaced(stripeRefund, "2950", "0"), nil, "pi_1 sale approved 109.50 USD key=evt_2 by txid", false},
		"Stripe refund of naught": {stripeKinds, replaced(stripeRefund, "10950", "0", "2950", "0"), nil, "pi_1 sale approved 0.00 USD key=evt_2 by txid", false},
		"Stripe refund, macro":    {stripeKinds, replaced(stripeRefund, `"pi_1"`, `"{txid}"`), nil, " sale approved 80.00 USD key=evt_2 by txid unresolved_macro: txid is", false},
		"Stripe refund, no txid":  {stripeKinds, replaced(stripeRefund, "payment_intent", "x", `"ch_1"`, "null"), nil, " sale approved 80.00 USD key=evt_2 by txid missing_click_id: \"refund\" name instead", false},
		"Stripe fraction":         {stripeKinds, replaced(stripeSession, "10950", "109.5"), nil, "pi_1 sale approved - key=evt_1 bad_payout: parts of the minor unit of USD", true},
		"Stripe ignored":          {stripeKinds, `{"id":"evt_3","type":"PAYOUT.paid","data":{"object":{"amount":"{x}"}}}`, nil, " conversion approved - key=evt_3 ignored: payment to you", false},
		"Shopify order":           {shopifyKinds, shopifyOrder, order, "820982911946154508 conversion approved 199.65 CAD key=w-1", true},
		"Shopify landing":         {shopifyKinds, replaced(shopifyOrder, `"click_id"`, `"x"`, "utm_source=y", "a=b\\u0026click_id=CLICK"), order, "820982911946154508 conversion approved 199.65 CAD key=w-1", true},
		"Shopify kind's status":   {shopifyKinds, replaced(shopifyOrder, `"paid"`, `"Authorized"`), order, "820982911946154508 conversion pending 199.65 CAD key=w-1", true},
		"Shopify status":          {shopifyKinds, replaced(shopifyOrder, `"paid"`, `"expired"`), order, "820982911946154508 conversion  199.65 CAD key=w-1 unmapped_status: approved expired", true},
		"Shopify test order":      {shopifyKinds, replaced(shopifyOrder, "false", "true"), order, "820982911946154508 conversion approved 199.65 CAD key=w-1 ignored: a test order", true},
		"Shopify refund":          {shopifyKinds, shopifyRefund, refund, "820982911946154508 conversion approved 50.00 CAD key=509562969 by txid refund", false},
		"Shopify refund, no ID":   {shopifyKinds, replaced(shopifyRefund, "509562969", "null"), refund, "820982911946154508 conversion approved 50.00 CAD key= by txid refund bad_payout: no ID by which it would be known again", false},
		"Shopify refund, failed":  {shopifyKinds, replaced(shopifyRefund, "success", "pending"), refund, "820982911946154508 conversion approved - key=509562969 by txid refund bad_payout: names no amount", false},
		"Shopify mixed refund":    {shopifyKinds, replaced(shopifyRefund, `"8.06"`, `"8.06 USD"`), refund, "820982911946154508 conversion approved - key=509562969 by txid refund bad_currency: USD", false},
		"WooCommerce order":       {wooKinds, wooOrder, woo, "727 order approved 29.35 EUR key=", true},
		"WooCommerce part refund": {wooKinds, replaced(wooOrder, "[]", `[{"id":1,"total":"-10.00"},{"id":2,"total":"-0.35"}]`), woo, "727 order approved 19.00 EUR key=", true},
		"WooCommerce refund":      {wooKinds, replaced(wooOrder, "[]", `[{"total":"-20.00"},{"total":"-9.35"}]`), woo, "727 order reversed 29.35 EUR key=", true},
		"WooCommerce odd refund":  {wooKinds, replaced(wooOrder, "[]", `[{"total":"1,234"}]`), woo, "727 order approved - key= bad_payout: refunds.*.total: reading payout", true},
		"WooCommerce mixed":       {wooKinds, replaced(wooOrder, "[]", `[{"total":"1 USD"}]`), woo, "727 order approved - key= bad_currency: refunds.*.total is \"1 USD\", but the payout is in EUR", true},
	} {
		rt, r := told(c.rt, c.body, c.header...)
		p := accepted(t, compiled(t, rt), r)
		got := describeClaim(p)
		want, detail, _ := strings.Cut(c.want, ": ")
		if got != want || !strings.Contains(p.ProblemDetail+p.Ignored, detail) || p.HasRef != c.click {
			t.Errorf("%s: got %q (%s%s) click %v,\nwant %q", name, got, p.ProblemDetail, p.Ignored, p.HasRef, c.want)
		}
	}
}

// describeClaim writes what a postback says, and what is special about it.
func describeClaim(p *Postback) string {
	c := &p.Claim
	payout := "-"
	if c.HasPayout {
		payout = c.Payout.String()
	}
	words := []string{c.TxID, c.Event, c.Status.String(), payout, "key=" + c.Key}
	for _, w := range []struct {
		word string
		is   bool
	}{{"by txid", p.ByTxID}, {"refund", c.Refund}, {string(p.Problem), p.Problem != ""}, {"ignored", p.Ignored != ""}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

func TestReceiveUnknownKind(t *testing.T) {
	t.Parallel()
	many := Route{Kinds: []Kind{{Name: "a", When: map[string][]string{"p": {"1"}, "q": {"1"}, "r": {"1"}, "s": {"1"}}}}}
	for _, c := range []struct {
		rt           Route
		body, detail string
	}{
		{stripeKinds, `{"type":"customer.created"}`, `type is "customer.created", which this route does not know`},
		{stripeKinds, `{"type":"` + strings.Repeat("x", 9999) + `"}`, `type is "` + strings.Repeat("x", 61) + `...", which`},
		{stripeKinds, `{"data":{"object":{"payment_status":"x"}}}`, `data.object.payment_status is "x", which this route does not know`},
		{stripeKinds, `{}`, "it has none of the parameters data.object.payment_status, type by which"},
		{shopifyKinds, `{"test":false}`, `test is "false", which`},
		{many, `{"p":2,"q":2,"r":2,"s":2,"click_id":"CLICK"}`, `p is "2" and q is "2" and r is "2", which`},
	} {
		rt, r := told(c.rt, c.body)
		p := accepted(t, compiled(t, rt), r)
		if p.Problem != UnmappedStatus || !strings.Contains(p.ProblemDetail, c.detail) || p.Ignored != "" {
			t.Errorf("%.60s: got %s %q, want %q", c.body, p.Problem, p.ProblemDetail, c.detail)
		}
	}
}

// The first kind that fits decides; conditions fold case, "*" is any value and
// "" none.
func TestKindConditions(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Tokens: [][]byte{[]byte("s")}, Kinds: []Kind{
		{Name: "none", When: map[string][]string{"a": {"", "null"}, "b": {"x"}}, Event: "none"},
		{Name: "any", When: map[string][]string{"a": {"*"}}, Unless: map[string][]string{"c": {"*"}, "d": {"no", "never"}}, Event: "any"},
		{Name: "some", When: map[string][]string{"a": {"one", "two"}}, Event: "some"},
		{Name: "rest", Unless: map[string][]string{"a": {"three"}}, Event: "rest"},
	}})
	for query, want := range map[string]string{
		"b=X": "none", "a=NULL&b=x": "none", "a=+&b=x": "none", "a=y&b=x": "any", "a=one": "any", "a=one&c=1": "some", "a=TWO&d=Never": "some",
		"a=four&c=1": "rest", "": "rest", "b=y": "rest", "a=three&c=1": "",
	} {
		p := accepted(t, rt, getRequest("token=s&click_id=CLICK&"+query))
		if got := p.Claim.Event; want != "" && (got != want || p.Problem != "") || (want == "") != (p.Problem == UnmappedStatus) {
			t.Errorf("%s: got %q %s, want %q", query, got, p.Problem, want)
		}
	}
}

// A route's own event goes first, a kind's before the sender's; a kind's
// status before the sender's; a fixed payout stays and still can be taken back.
func TestKindPrecedence(t *testing.T) {
	t.Parallel()
	fixed, err := attribution.ParseAmount("7")
	if err != nil {
		t.Fatal(err)
	}
	kinds := []Kind{
		{Name: "x", When: map[string][]string{"k": {"x"}}, Event: "kind", Status: attribution.Rejected, Minor: new(bool)},
		{Name: "y", When: map[string][]string{"k": {"y"}}, Less: []string{"back"}, Minor: &yes},
		{Name: "z", When: map[string][]string{"k": {"z"}}, Refund: true, Fields: map[Field][]string{FieldMessageID: {"m"}}},
	}
	plain, event := Route{Kinds: kinds, Minor: true}, Route{Kinds: kinds, Event: "route"}
	money := Route{Kinds: kinds, Payout: attribution.Money{Amount: fixed, Currency: "EUR"}}
	for _, c := range []struct {
		rt          Route
		query, want string
	}{
		{plain, "k=x&event=sent&status=pending&payout=5", " kind rejected 5.00 USD key="},
		{plain, "k=x&event={e}&status={s}&payout=5.5", " kind rejected 5.50 USD key="},
		{plain, "k=x&status=nobody+knows", " kind rejected - key="},
		{event, "k=x&event={e}", " route rejected - key="},
		{plain, "k=y&event=sent&payout=500&back=-100", " sent approved 4.00 USD key="},
		{plain, "k=y&payout=500&back=100&back=50", " conversion approved 3.50 USD key="},
		{plain, "k=y&payout=500&back=100&BACK=900", " conversion approved 4.00 USD key="},
		{plain, "k=y&payout=500&BACK=900&back=100", " conversion approved 4.00 USD key="},
		{plain, "k=y&payout=500&back=501&status=pending", " conversion reversed 5.00 USD key="},
		{plain, "k=y&payout=500&back=501&status=rejected", " conversion rejected 5.00 USD key="},
		{plain, "k=y&back=501", " conversion approved - key="},
		{plain, "k=y&payout=500&back=0.5", " conversion approved - key= bad_payout"},
		{money, "k=y&payout=500&back=100", " conversion approved 7.00 EUR key="},
		{money, "k=y&payout=500&back=500", " conversion reversed 7.00 EUR key="},
		{money, "k=y&payout={p}&back=500", " conversion approved 7.00 EUR key="},
		{money, "k=z&payout=-5&m=r1", " conversion approved 5.00 USD key=r1 refund"},
		{plain, "k=z&payout=-5&m={id}", " conversion approved 0.05 USD key= refund unresolved_macro"},
		{plain, "k=z&payout={p}&m=r1", " conversion approved - key=r1 refund unresolved_macro"},
	} {
		c.rt.Currency = "USD"
		p := accepted(t, compiled(t, c.rt), getRequest("click_id=CLICK&"+c.query))
		if got := describeClaim(p); got != c.want {
			t.Errorf("%s: got %q (%s), want %q", c.query, got, p.ProblemDetail, c.want)
		}
	}
}

// Without authentication of the route, a message has to bear a genuine click
// ID: to be booked, to be named by its transaction, and to be kept if ignored.
func TestKindsWithoutAuthentication(t *testing.T) {
	t.Parallel()
	rt := compiled(t, stripeKinds)
	if _, rej := received(t, rt, postRequest("", stripeRefund), newArrival()); rej == nil || rej.Reason != MissingClickID ||
		!strings.Contains(rej.Detail, `the kind "refund" name no click`) {
		t.Errorf("a refund by txid: got %v", rej)
	}
	// What only its click ID proved goes by its click also when it is booked
	// again on a route that has got a token since.
	later := stripeKinds
	later.Tokens = [][]byte{[]byte("s3cret")}
	again := compiled(t, later).Reread(&Entry{Authentic: "click ID", Raw: Raw{Body: []byte(stripeRefund)}}, newArrival())
	if again.ByTxID || again.Problem != MissingClickID {
		t.Errorf("read again: got %+v", again)
	}
	_, rej := received(t, rt, postRequest("", `{"type":"payout.paid"}`), newArrival())
	if rej == nil || rej.Status != 200 || rej.Outcome() != Ignored || rej.Reason != "" || rej.Error() != "ignored: it is Stripe's payment to you" {
		t.Errorf("ignored without a click: got %v", rej)
	}
	p := accepted(t, rt, postRequest("", `{"type":"payout.paid","data":{"object":{"client_reference_id":"CLICK"}}}`))
	if p.Ignored == "" || p.Authentic != "click ID" || !p.HasRef || p.Problem != "" {
		t.Errorf("ignored with a click: got %+v", p)
	}
}

// The ID of a message is read again with the rest of it; one that is not there
// stays as it was known.
func TestRereadKey(t *testing.T) {
	t.Parallel()
	for rt, want := range map[*Route]string{
		compiled(t, Route{}): "known", compiled(t, Route{Fields: map[Field][]string{FieldMessageID: {"m"}}}): "sent",
	} {
		e := &Entry{Authentic: "token", Raw: Raw{URI: fill("/p?click_id=CLICK&m=sent")}, Claim: attribution.Claim{Key: "known"}}
		if p := rt.Reread(e, newArrival()); p.Claim.Key != want {
			t.Errorf("got %q, want %q", p.Claim.Key, want)
		}
	}
}

func TestReceiveUnwrap(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{
		Unwrap: "AwinTransactionPush",
		Fields: map[Field][]string{
			FieldClickID: {"clickRefs.clickRef"}, FieldTxID: {"transactionId"}, FieldPayout: {"commission"},
			FieldCurrency: {"transactionCurrency"}, FieldEvent: {"goal"},
		},
	})
	push := "AwinTransactionPush=" + strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", ",", "%2C", ":", "%3A").Replace(awinPush)
	multi := "--b\r\nContent-Disposition: form-data; name=\"AwinTransactionPush\"\r\n\r\n" + awinPush + "\r\n--b--\r\n"
	for name, r := range map[string]*http.Request{
		"form":      postRequest(formType, "goal=sale&"+push),
		"upper":     postRequest(formType, strings.Replace(push, "Awin", "AWIN", 1)),
		"no type":   postRequest("", push),
		"unescaped": postRequest(formType, "AwinTransactionPush="+awinPush),
		"multipart": postRequest("multipart/form-data; boundary=b", multi),
		"query":     getRequest(push),
	} {
		p := accepted(t, rt, r)
		again := rt.Reread(&Entry{Authentic: "click ID", Raw: p.Raw}, newArrival())
		for _, p := range []*Postback{p, again} {
			if got := describeClaim(p); !p.HasRef || !strings.HasPrefix(got, "1700000001 ") || !strings.HasSuffix(got, " approved 1.25 GBP key=") {
				t.Errorf("%s: got %q %s", name, got, p.ProblemDetail)
			}
		}
	}
	plain := accepted(t, rt, postRequest("", "clickRefs.clickRef=CLICK&commission=5&transactionCurrency=USD"))
	if plain.Claim.Payout.String() != "5.00 USD" {
		t.Errorf("a plain form: got %+v", plain.Claim)
	}
	for body, want := range map[string]string{
		"AwinTransactionPush=%7B%22a%22": `parameter "AwinTransactionPush": this is no JSON`,
		"AwinTransactionPush=x":          "this is no JSON",
		"AwinTransactionPush=" + strings.Repeat("[", 40) + strings.Repeat("]", 40): "deeper than 32 levels",
		`AwinTransactionPush={"a":1,"a":2}`:                                        `"a" twice`,
	} {
		if _, rej := received(t, rt, postRequest(formType, body), newArrival()); rej == nil || rej.Reason != MalformedRequest || !strings.Contains(rej.Detail, want) {
			t.Errorf("%s: got %v", body, rej)
		}
	}
}

func TestCompileKindsRefuses(t *testing.T) {
	t.Parallel()
	when := map[string][]string{"a": {"1"}}
	for name, c := range map[string]struct {
		kind Kind
		want string
	}{
		"bad parameter":   {Kind{When: map[string][]string{"a?": {"1"}}}, `when: parameter name "a?"`},
		"no value":        {Kind{Unless: map[string][]string{"a": {}}}, `unless: parameter "a" has no value`},
		"token":           {Kind{When: map[string][]string{"Token": {"1"}}}, "taken by the route's token"},
		"field":           {Kind{Fields: map[Field][]string{"x": {"a"}}}, `"x" is no field`},
		"empty field":     {Kind{Fields: map[Field][]string{FieldTxID: nil}}, "txid has no parameter name"},
		"status":          {Kind{Status: 9}, "number 9"},
		"word":            {Kind{Statuses: map[string]attribution.Status{"": 1}}, `word ""`},
		"event":           {Kind{Event: "{x}"}, `event is "{x}"`},
		"less":            {Kind{Less: []string{"a[x=].b"}}, `less: parameter name "a[x=].b"`},
		"ignored refund":  {Kind{Ignore: "x", Refund: true}, "cannot be a refund"},
		"refund less":     {Kind{Refund: true, Less: []string{"a"}, Fields: map[Field][]string{FieldMessageID: {"m"}}}, "takes no less"},
		"refund, no ID":   {Kind{Refund: true}, "message_id"},
		"unsigned":        {Kind{Unsigned: true, When: when}, "can only be ignored"},
		"unsigned path":   {Kind{Unsigned: true, Ignore: "x", When: map[string][]string{"a.*.b": {"1"}, "header:S": {""}}}, `parameter "a.*.b"`},
		"unsigned header": {Kind{Unsigned: true, Ignore: "x", When: when}, "signature's header being empty"},
	} {
		c.kind.Name = "the kind"
		rt := Route{Tokens: [][]byte{[]byte("s")}, Kinds: []Kind{c.kind}}
		if err := rt.Compile(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), `kind "the kind": `) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	for unwrap, want := range map[string]string{"a?b": "plain name", "header:X": "plain name", "a.*": "plain name", " ": "blanks", "token": "taken"} {
		rt := Route{Tokens: [][]byte{[]byte("s")}, Unwrap: unwrap}
		if err := rt.Compile(); err == nil || !strings.HasPrefix(err.Error(), "unwrap") || !strings.Contains(err.Error(), want) {
			t.Errorf("unwrap %q: got %v", unwrap, err)
		}
	}
}
