package capture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// failer is a test, a fuzz target or a check of rapid.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// checkReject checks what holds for every rejection.
func checkReject(tb failer, rej *Reject) {
	tb.Helper()
	if !slices.Contains([]int{200, 400, 401, 403, 405, 413, 425}, rej.Status) || (rej.Status == 200) != (rej.Reason == "") || rej.Detail == "" ||
		len(rej.Detail) > 400 || !utf8.ValidString(rej.Detail) || (rej.Status == 405) != (rej.Allow != "") {
		tb.Errorf("an impossible rejection: %+v", rej)
	}
}

// checkPostback checks what holds for every postback, whatever was sent.
func checkPostback(tb failer, rt *Route, p *Postback) {
	tb.Helper()
	c := &p.Claim
	switch {
	case p.Authentic == "", p.Authentic == authenticClickID && !p.HasRef:
		tb.Errorf("authentic by %q, click %v", p.Authentic, p.HasRef)
	case !p.HasRef && !p.ByTxID && p.Ignored == "" && !slices.Contains([]Reason{MissingClickID, UnresolvedMacro, InvalidClickID, UnmappedStatus}, p.Problem):
		tb.Errorf("no click, and the problem is %q", p.Problem)
	case p.HasRef && p.ByTxID, p.ByTxID && p.Authentic == authenticClickID, p.Ignored != "" && p.Problem != "":
		tb.Errorf("click %v, by txid %v, ignored %q, problem %q", p.HasRef, p.ByTxID, p.Ignored, p.Problem)
	case (p.Problem == "") != (p.ProblemDetail == ""), len(p.ProblemDetail) > 600, !utf8.ValidString(p.ProblemDetail):
		tb.Errorf("problem %q: %q", p.Problem, p.ProblemDetail)
	case p.Problem != "" && !slices.Contains(QuarantineReasons, p.Problem):
		tb.Errorf("problem %q is none for quarantine", p.Problem)
	case len(c.Event) > 128, len(c.TxID) > 256, !utf8.ValidString(c.Event), !utf8.ValidString(c.TxID), !utf8.ValidString(p.ClickID):
		tb.Errorf("event %q, txid %q, click ID %q", c.Event, c.TxID, p.ClickID)
	case p.Problem == "" && p.Ignored == "" && (c.Event == "" || c.Status < attribution.Pending || c.Status > attribution.Reversed):
		tb.Errorf("no problem, and event %q, status %v", c.Event, c.Status)
	case c.HasPayout != (c.Payout.Currency != ""):
		tb.Errorf("has payout: %v, and it is %v", c.HasPayout, c.Payout)
	case rt.Event == "" && IsMacro(c.Event), IsMacro(c.TxID):
		tb.Errorf("a macro is booked: %q %q", c.Event, c.TxID)
	}
	// Whatever came in can be stored, and comes back the same.
	e := &Entry{Claim: *c, Authentic: p.Authentic, Raw: p.Raw, Detail: p.ProblemDetail, Outcome: Quarantined, Reason: p.Problem}
	data, err := EncodeRecord(e)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	var back Entry
	if err := DecodeRecord(data, &back); err != nil {
		tb.Fatalf("%v", err)
	}
	if !reflect.DeepEqual(back.Raw, p.Raw) {
		tb.Errorf("stored %+v, got back %+v", p.Raw, back.Raw)
	}
	p.Raw.Masked("txid")
	// And what comes back is read the same.
	again := rt.Reread(&back, newArrival())
	if !reflect.DeepEqual(again.Claim, *c) || again.Ref != p.Ref || again.HasRef != p.HasRef || again.ClickID != p.ClickID ||
		again.Problem != p.Problem || again.ProblemDetail != p.ProblemDetail {
		tb.Errorf("read again, %+v is %+v", p, again)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range append(slices.Clone(macros),
		"a=b&c=d", "a=%zz&b=%4&c=%&d=%41", "a;b=c", "=&==&&", "a=\xff&b=%ff", "a=+b+", "click_id=x&CLICK_ID=y", "%61=b", "txid=%00",
	) {
		f.Add(s)
	}
	rt := &Route{Fields: map[Field][]string{FieldTxID: {"a", "b"}}}
	if err := rt.Compile(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := rt.match.found()
		got.collectForm(s, fromQuery)
		if text := spell(unescape(s)); !utf8.ValidString(text) || respell(text) != text {
			t.Errorf("%q unescaped is spelled %q", s, text)
		}
		if macro := IsMacro(s); macro && !IsMacro(" "+s) {
			t.Errorf("%q is a macro only without blanks", s)
		}
		// Where the standard library reads a query, we read it the same way.
		values, err := url.ParseQuery(s)
		if err != nil || strings.Contains(s, "%") {
			return
		}
		want := ""
		for _, v := range values["a"] {
			if v = strings.TrimSpace(v); v != "" && want == "" {
				want = v
			}
		}
		if v := got.first(rt.fields[slotTxID]); want != "" && v != want {
			t.Errorf("%q: got %q, want %q", s, v, want)
		}
	})
}

func FuzzJSONFields(f *testing.F) {
	for _, s := range []string{
		`{"a":1.50,"b":{"c":[true,null,"x"]}}`, `{"a":1,"a":2}`, `[[[[]]]]`, `{"a":"\ud800"}`, `{"a":1e400}`, "{}", "[]", "[1,]",
		`{"a":1}x`, strings.Repeat(`{"a":`, 40), "\xef\xbb\xbf{}", `{"":{"":""}}`, `{"a":{"token":{"token":1}}}`, "[1 2]", `{"a" 1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var leaves int
		w := jsonWalk{leaf: func(_, value []byte) {
			leaves++
			var text string
			switch err := json.Unmarshal(value, &text); {
			case value[0] != '"':
				text = string(value)
				if value[0] == 'n' {
					text = ""
				}
			case err != nil:
				t.Errorf("%q: %v", value, err)
			}
			// Other readers make one letter of all that is no text.
			if got := jsonText(value); utf8.ValidString(got) && got != text || !utf8.ValidString(got) && !strings.Contains(text, "\uFFFD") {
				t.Errorf("%q is %q, want %q", value, got, text)
			}
		}}
		err := w.walk(doc)
		plain := bytes.TrimPrefix(doc, byteOrderMark)
		if err == nil && !json.Valid(plain) {
			t.Errorf("%q is taken for JSON", doc)
		}
		if err != nil {
			return
		}
		// Numbers keep their text, which json.Unmarshal to any would not.
		d := json.NewDecoder(bytes.NewReader(plain))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		if n := countLeaves(v); n != leaves && len(doc) < maxParamName {
			t.Errorf("%q: got %d leaves, want %d", doc, leaves, n)
		}
		masked := (Raw{Body: doc, ContentType: "application/json"}).Masked("a")
		if !json.Valid(bytes.TrimPrefix(masked.Body, byteOrderMark)) {
			t.Errorf("%q masked is %q", doc, masked.Body)
		}
	})
}

func countLeaves(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			n += countLeaves(e)
		}
		return n
	case []any:
		for _, e := range v {
			n += countLeaves(e)
		}
		return n
	}
	return 1
}

func FuzzReceive(f *testing.F) {
	for _, s := range []string{
		"GET /p?click_id=CLICK&payout=5&currency=USD&token=s HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /p?click_id={x}&status=hold&time=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s\r\n\r\n",
		"GET /p?click_id=CLICK&time=0000-01-01T00:00:00%2B23:59 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /p?click_id=CLICK&time=9999-12-31T23:59:59-23:59 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n{\"cid\":\"CLICK\",\"a\":1}",
		"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncid=CLICK\r\n0\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
		"POST http://u:p@h/p?a=%ff\xff#f HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nshort",
		"POST /p?cid=CLICK HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 64\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"txid\"\r\n\r\n1\r\n--b--\r\n ",
		posted("", stripeSession), posted("", stripeRefund), posted("X-Shopify-Topic: orders/paid\r\n", shopifyOrder),
		posted("X-Shopify-Topic: refunds/create\r\n", shopifyRefund), posted("X-Wc-Webhook-Topic: order.created\r\n", wooOrder),
		posted("", "webhook_id=1"), posted("Content-Type: "+formType+"\r\n", "AwinTransactionPush="+url.QueryEscape(awinPush)),
		"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT h:1 HTTP/1.1\r\nHost: x\r\n\r\n", "POST * HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(fill(s)))
	}
	stripe, shopify, woo := stripeKinds, shopifyKinds, wooKinds
	shopify.Tokens, shopify.AllowHTTP = [][]byte{[]byte("s")}, true
	woo.Verifiers = []signature.Verifier{&verifier{name: "v", verify: func(m *signature.Message) (signature.Proof, error) {
		if m.Field("webhook_id") != "" {
			return signature.Proof{}, &signature.Failure{Kind: signature.BadSignature, Detail: "a ping"}
		}
		return signature.Proof{Once: m.Field("id"), Expires: m.Now.Add(1), Unsigned: signature.PartQuery}, nil
	}}}
	routes := []*Route{
		{}, {Tokens: [][]byte{[]byte("s")}, Currency: "USD"}, {Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, MaxBody: 100, Event: "lead"},
		&stripe, &shopify, &woo, {Unwrap: "AwinTransactionPush", Fields: map[Field][]string{FieldClickID: {"clickRefs.clickRef"}}},
	}
	for _, rt := range routes {
		if err := rt.Compile(); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		for _, rt := range routes {
			r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
			if err != nil {
				return
			}
			p, rej := received(t, rt, r, newArrival())
			if rej != nil {
				continue
			}
			// From quarantine it reads as it did on arrival.
			again := rt.Reread(&Entry{Authentic: p.Authentic, Raw: p.Raw, Time: p.Time}, newArrival())
			if !reflect.DeepEqual(again.Claim, p.Claim) || again.Problem != p.Problem || again.Ignored != p.Ignored || again.HasRef != p.HasRef {
				t.Errorf("read again, %+v %s becomes %+v %s", p.Claim, p.Problem, again.Claim, again.Problem)
			}
		}
	})
}

// posted is a POST as it is on the wire.
func posted(header, body string) string {
	body = fill(body)
	return fmt.Sprintf("POST /p HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body)
}
