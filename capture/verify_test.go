package capture

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// verifier is a scheme of the test's own.
type verifier struct {
	name    string
	verify  func(m *signature.Message) (signature.Proof, error)
	secrets []string
}

func (v *verifier) Name() string { return v.name }
func (v *verifier) Verify(m *signature.Message) (signature.Proof, error) {
	if v.verify == nil {
		return signature.Proof{}, nil
	}
	return v.verify(m)
}
func (v *verifier) Secrets() []string { return v.secrets }

func refusing(err error) *verifier {
	return &verifier{name: "test", verify: func(*signature.Message) (signature.Proof, error) { return signature.Proof{}, err }}
}

// scheme returns a real verifier.
func scheme(tb testing.TB, v signature.Verifier, err error) []signature.Verifier {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
	return []signature.Verifier{v}
}

func hmacScheme(tb testing.TB, c signature.HMACConfig) []signature.Verifier {
	tb.Helper()
	c.Secrets = [][]byte{[]byte("hush")}
	v, err := signature.NewHMAC(c)
	return scheme(tb, v, err)
}

func sum(text string) []byte {
	h := hmac.New(sha256.New, []byte("hush"))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// signed is a request signed as Stripe signs.
func signed(at time.Time, body string) *http.Request {
	r := postRequest("application/json", body)
	r.Header.Set("Stripe-Signature", fmt.Sprintf("t=%d,v1=%x", at.Unix(), sum(fmt.Sprintf("%d.%s", at.Unix(), fill(body)))))
	return r
}

// Verifiers come after what is cheap and before the body is read; each of them
// has to pass.
func TestVerifyOrder(t *testing.T) {
	t.Parallel()
	var asked []string
	refuse := map[string]bool{}
	step := func(name string) signature.Verifier {
		return &verifier{name: name, verify: func(m *signature.Message) (signature.Proof, error) {
			asked = append(asked, name)
			if refuse[name] {
				return signature.Proof{}, &signature.Failure{Kind: signature.BadSignature, Detail: name + " is wrong"}
			}
			return signature.Proof{}, nil
		}}
	}
	rt := compiled(t, Route{
		Verifiers: []signature.Verifier{step("one"), step("two")}, Tokens: [][]byte{[]byte("right")},
		Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, MaxBody: 20,
	})
	body, query, a := strings.Repeat("{", 21), "token=wrong", newArrival()
	a.Sender = netip.MustParseAddr("192.0.2.1")
	refuse["one"], refuse["two"] = true, true
	for _, c := range []struct {
		reason Reason
		asked  string
		mend   func()
	}{
		{AddressNotAllowed, "", func() { a.Sender = netip.MustParseAddr("203.0.113.1") }},
		{BodyTooLarge, "", func() { body = `{"a":` }},
		{BadToken, "", func() { query = "token=right" }},
		{BadSignature, "one", func() { refuse["one"] = false }},
		{BadSignature, "one two", func() { refuse["two"] = false }},
		{MalformedRequest, "one two", func() { body = "{}" }},
	} {
		asked = nil
		r := postRequest("application/json", body)
		r.URL.RawQuery, r.RequestURI = query, "/postback?"+query
		_, rej := received(t, rt, r, a)
		if rej == nil || rej.Reason != c.reason || strings.Join(asked, " ") != c.asked {
			t.Fatalf("got %v and asked %q, want %s %q", rej, asked, c.reason, c.asked)
		}
		c.mend()
	}
	r := postRequest("application/json", body)
	r.URL.RawQuery, r.RequestURI = query, "/postback?"+query
	p, rej := received(t, rt, r, a)
	if rej != nil || p.Authentic != "token and address, one, two" || p.Problem != MissingClickID {
		t.Errorf("got %+v, %v", p, rej)
	}
	if err := (&Route{Verifiers: []signature.Verifier{nil}}).Compile(); err == nil {
		t.Error("a nil verifier was taken")
	}
}

func TestVerifyRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		reason Reason
		detail string
	}{
		{&signature.Failure{Kind: signature.BadSignature, Detail: "no header"}, BadSignature, "no header"},
		{fmt.Errorf("x: %w", &signature.Failure{Kind: signature.StaleTimestamp, Detail: "too old"}), StaleTimestamp, "too old"},
		{&signature.Failure{Kind: signature.BadSignature, Detail: strings.Repeat("x", 999) + "\xff"}, BadSignature, strings.Repeat("x", 300)},
		{errors.New("the secret is hush"), BadSignature, "test: the proof could not be checked"},
	} {
		rt := compiled(t, Route{Verifiers: []signature.Verifier{refusing(c.err)}})
		_, rej := received(t, rt, getRequest("click_id=CLICK"), newArrival())
		if rej == nil || rej.Status != 401 || rej.Reason != c.reason || rej.Detail != c.detail || rej.Outcome() != Rejected {
			t.Errorf("%v: got %v", c.err, rej)
		}
	}
}

// What verifiers ask for is found as the route finds it.
func TestVerifyField(t *testing.T) {
	t.Parallel()
	var got []string
	rt := compiled(t, Route{Verifiers: []signature.Verifier{&verifier{name: "v", verify: func(m *signature.Message) (signature.Proof, error) {
		for _, name := range []string{"pass", "PASS", "a.b", "a.*", "l[k=x].v", "url?k", "header:X-K", "none", "a[", ""} {
			got = append(got, m.Field(name))
		}
		if m.Request == nil || !m.Now.Equal(arrivalTime) {
			t.Errorf("got %+v", m)
		}
		return signature.Proof{}, nil
	}}}})
	const doc = `{"pass":"body","a":{"b":"1"},"l":[{"v":"2","k":"x"}],"url":"/?k=3"}`
	r := postRequest("application/json", doc)
	r.URL.RawQuery, r.RequestURI = "pass=query", "/postback?pass=query"
	r.Header.Set("X-K", "4")
	ask := func(r *http.Request) string {
		got = nil
		_, _ = rt.Receive(r, newArrival())
		return strings.Join(got, ",")
	}
	if s := ask(r); s != "query,query,1,,2,3,4,,," {
		t.Errorf("got %s", s)
	}
	if s := ask(postRequest("", "pass=form&url=/%3Fk=5")); s != "form,form,,,,5,,,," {
		t.Errorf("a form: got %s", s)
	}
	// A document that the route would refuse proves nothing.
	if s := ask(postRequest("", `{"pass":"1","pass":"2"}`)); s != ",,,,,,,,," {
		t.Errorf("a damaged document: got %s", s)
	}
}

// A message that was booked is a replay; one that was not can come again.
func TestReplayed(t *testing.T) {
	t.Parallel()
	rt := stripeKinds
	rt.Verifiers = hmacScheme(t, signature.HMACConfig{Preset: "stripe"})
	one := compiled(t, rt)
	a := newArrival()
	send := func(rt *Route, at time.Time) (*Postback, *Reject) {
		return received(t, rt, signed(at, stripeSession), a)
	}
	p, rej := send(one, arrivalTime)
	if rej != nil || describeClaim(p) != "pi_1 sale approved 109.50 USD key=evt_1" || p.Authentic != one.Verifiers[0].Name() {
		t.Fatalf("got %+v, %v", p, rej)
	}
	// It was told to come again, so it does.
	if p, rej = send(one, arrivalTime); rej != nil {
		t.Fatalf("what was not booked is refused: %v", rej)
	}
	p.Booked()
	if _, rej := send(one, arrivalTime); rej == nil || rej.Status != 401 || rej.Reason != ReplayedMessage {
		t.Errorf("what was booked is taken again: %v", rej)
	}
	rt.Memory = one.Memory
	if _, rej := send(compiled(t, rt), arrivalTime); rej == nil || rej.Reason != ReplayedMessage {
		t.Errorf("after a reload it is taken again: %v", rej)
	}
	if _, rej := send(one, arrivalTime.Add(time.Second)); rej != nil {
		t.Errorf("an honest repeat is refused: %v", rej)
	}
	if _, rej := send(one, arrivalTime.Add(-time.Hour)); rej == nil || rej.Reason != StaleTimestamp {
		t.Errorf("an old one: got %v", rej)
	}
	forged := signed(arrivalTime.Add(time.Second), stripeSession)
	forged.Body = postRequest("", stripeRefund).Body
	forged.ContentLength = -1
	if _, rej := received(t, one, forged, a); rej == nil || rej.Reason != BadSignature {
		t.Errorf("a forged one: got %v", rej)
	}
}

// A scheme's name keeps what two schemes call the same apart.
func TestReplayedByScheme(t *testing.T) {
	t.Parallel()
	once := func(name string) signature.Verifier {
		return &verifier{name: name, verify: func(m *signature.Message) (signature.Proof, error) {
			return signature.Proof{Once: m.Field(name), Expires: m.Now.Add(time.Hour)}, nil
		}}
	}
	rt := compiled(t, Route{Verifiers: []signature.Verifier{once("a"), once("b")}})
	for _, c := range []struct {
		query string
		taken bool
	}{{"a=1&b=2", true}, {"a=2&b=1", true}, {"a=3", true}, {"a=3", false}, {"a=4&b=1", false}, {"a=4&b=4", true}, {"", true}, {"", true}} {
		p, rej := received(t, rt, getRequest("click_id=CLICK&"+c.query), newArrival())
		if (rej == nil) != c.taken || rej != nil && rej.Reason != ReplayedMessage {
			t.Errorf("%s: got %v", c.query, rej)
		}
		if rej == nil {
			p.Booked()
		}
	}
}

// An unsigned ping is answered; what only looks like one is not.
func TestUnsignedPing(t *testing.T) {
	t.Parallel()
	rt := wooKinds
	rt.Verifiers = hmacScheme(t, signature.HMACConfig{Preset: "woocommerce"})
	one := compiled(t, rt)
	_, rej := received(t, one, postRequest("", "webhook_id=123"), newArrival())
	if rej == nil || rej.Status != 200 || rej.Outcome() != Ignored || rej.Detail != wooKinds.Kinds[0].Ignore {
		t.Fatalf("got %v", rej)
	}
	wrong := postRequest("", "webhook_id=123")
	wrong.Header.Set("X-Wc-Webhook-Signature", base64.StdEncoding.EncodeToString(sum("another body")))
	for name, r := range map[string]*http.Request{
		"a wrong signature": wrong, "a large body": postRequest("", "webhook_id=123&x="+strings.Repeat("x", 256)),
		"JSON": postRequest("application/json", `{"webhook_id":123}`), "an order": postRequest("", wooOrder), "nothing": postRequest("", "x=1"),
		"an empty ID": postRequest("", "webhook_id="),
	} {
		if _, rej := received(t, one, r, newArrival()); rej == nil || rej.Reason != BadSignature {
			t.Errorf("%s: got %v", name, rej)
		}
	}
	r := postRequest("", wooOrder)
	r.Header.Set("X-Wc-Webhook-Topic", "order.created")
	r.Header.Set("X-Wc-Webhook-Signature", base64.StdEncoding.EncodeToString(sum(fill(wooOrder))))
	if p := accepted(t, one, r); describeClaim(p) != "727 order approved 29.35 EUR key=" || !p.HasRef {
		t.Errorf("got %s %s", describeClaim(p), p.ProblemDetail)
	}
}

// ClickBank's notification is decrypted when it arrives and when it is booked
// again; the journal keeps it as it came.
func TestClickBank(t *testing.T) {
	t.Parallel()
	const sealed = `{"notification":"mQHeGPlDZJh9iABayh3ku9h0gyTg2T/U4v9O3gXpz45FfbZU+CufHobummTecuMg","iv":"AAECAwQFBgcICQoLDA0ODw=="}`
	v, err := signature.NewClickBank([][]byte{[]byte("MYSECRETKEY")})
	rt := compiled(t, Route{
		Verifiers: scheme(t, v, err), Tokens: [][]byte{[]byte("s3cret")}, Fields: map[Field][]string{FieldTxID: {"receipt"}},
		Kinds: []Kind{
			{Name: "test", When: map[string][]string{"transactionType": {"TEST"}}, Status: attribution.Pending},
		},
	})
	r := postRequest("application/json", sealed)
	r.URL.RawQuery = "token=s3cret&receipt=forged&click_id=" + genuineID
	r.RequestURI = "/postback?" + r.URL.RawQuery
	p := accepted(t, rt, r)
	again := rt.Reread(&Entry{Seq: 7, Authentic: p.Authentic, Raw: p.Raw, Time: arrivalTime}, newArrival())
	for _, p := range []*Postback{p, again} {
		if describeClaim(p) != "TESTRCPT conversion pending - key= missing_click_id" || p.Authentic != "token, clickbank" ||
			string(p.Raw.Body) != sealed || !strings.Contains(p.ProblemDetail, "nothing is read from the query") {
			t.Errorf("got %s %q by %s", describeClaim(p), p.ProblemDetail, p.Authentic)
		}
	}
	other, err := signature.NewClickBank([][]byte{[]byte("ANOTHERKEY")})
	changed := compiled(t, Route{Verifiers: scheme(t, other, err)})
	if p := changed.Reread(&Entry{Authentic: "clickbank", Raw: p.Raw}, newArrival()); p.Problem != MalformedRequest {
		t.Errorf("with another key: got %s %s", p.Problem, p.ProblemDetail)
	}
}

// Where a signature covers only a part of a request, nothing that is booked is
// read from the other.
func TestUnsignedParts(t *testing.T) {
	t.Parallel()
	body := compiled(t, Route{Verifiers: hmacScheme(t, signature.HMACConfig{Preset: "github"}), Tokens: [][]byte{[]byte("s3cret")}})
	query := compiled(t, Route{Verifiers: hmacScheme(t, signature.HMACConfig{Parameter: "sig"})})
	send := func(rt *Route, q, text string, sign func(*http.Request)) *Postback {
		r := postRequest("", text)
		r.URL.RawQuery, r.RequestURI = fill(q), fill("/postback?"+q)
		sign(r)
		return accepted(t, rt, r)
	}
	header := func(text string) func(r *http.Request) {
		return func(r *http.Request) {
			r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sum(fill(text))))
		}
	}
	p := send(body, "token=s3cret&txid=forged&payout=99&currency=USD", "click_id=CLICK&txid=t1", header("click_id=CLICK&txid=t1"))
	if describeClaim(p) != "t1 conversion approved - key=" || p.Problem != "" || p.Raw.Unsigned != signature.PartQuery {
		t.Errorf("the body is signed: got %s %s", describeClaim(p), p.ProblemDetail)
	}
	p = send(body, "token=s3cret&click_id=CLICK", "txid=t1", header("txid=t1"))
	if p.Problem != MissingClickID || !strings.HasSuffix(p.ProblemDetail, "the sender's signature does not cover it") {
		t.Errorf("the click ID is not signed: got %s %s", p.Problem, p.ProblemDetail)
	}
	q := fill("click_id=CLICK&txid=t1")
	p = send(query, q+"&sig="+hex.EncodeToString(sum(q)), "txid=forged&payout=9&currency=USD&event=x", func(*http.Request) {})
	again := query.Reread(&Entry{Authentic: p.Authentic, Raw: p.Raw}, newArrival())
	for _, p := range []*Postback{p, again} {
		if describeClaim(p) != "t1 conversion approved - key=" || p.Raw.Unsigned != signature.PartBody {
			t.Errorf("the query is signed: got %s %s", describeClaim(p), p.ProblemDetail)
		}
	}
	p = send(query, "txid=t1&sig="+hex.EncodeToString(sum("txid=t1")), "click_id=CLICK", func(*http.Request) {})
	if p.Problem != MissingClickID || !strings.Contains(p.ProblemDetail, "nothing is read from the body") {
		t.Errorf("the click ID is not signed: got %s %s", p.Problem, p.ProblemDetail)
	}
}

// No secret of a verifier is shown, wherever the sender put it.
func TestSecretParams(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{
		Unwrap: "data", Tokens: [][]byte{[]byte("s3cret")}, Verifiers: []signature.Verifier{
			&verifier{name: "a", secrets: []string{"WP_SECURITYKEY", "auth.*.key", "header:X-Pass"}},
		},
		Fields: map[Field][]string{FieldEvent: {"header:x-topic"}},
	})
	raw := Raw{
		URI: "/p?wp_securitykey=hush&a=1&data=%7B%22token%22%3A%22hush%22%7D", ContentType: formType,
		Body:    []byte(`a=b&data=%7B%22x%22%3A1%2C%22auth%22%3A%5B%7B%22key%22%3A%22hush%22%7D%5D%7D&token=hush`),
		Headers: map[string]string{"X-Pass": "hush", "X-Topic": "t"},
	}
	got := raw.Masked(rt.SecretParams()...)
	if got.URI != "/p?wp_securitykey=REDACTED&a=1&data=%7B%22token%22%3A%22REDACTED%22%7D" ||
		string(got.Body) != "a=b&data=%7B%22x%22%3A1%2C%22auth%22%3A%5B%7B%22key%22%3A%22REDACTED%22%7D%5D%7D&token=REDACTED" ||
		got.Headers["X-Pass"] != "REDACTED" || got.Headers["X-Topic"] != "t" || raw.Headers["X-Pass"] != "hush" {
		t.Errorf("got %+v %s", got, got.Body)
	}
	for name, rt := range map[string]Route{
		"a field":     {Fields: map[Field][]string{FieldTxID: {"wp_SecurityKey"}}},
		"a condition": {Kinds: []Kind{{Name: "x", When: map[string][]string{"HEADER:X-Pass": {"1"}}}}},
	} {
		rt.Verifiers = []signature.Verifier{&verifier{name: "a", secrets: []string{"WP_SECURITYKEY", "header:X-Pass"}}}
		if err := rt.Compile(); err == nil || !strings.Contains(err.Error(), "taken by the route's signature") {
			t.Errorf("a secret as %s: got %v", name, err)
		}
	}
}
