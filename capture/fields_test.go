package capture

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The order of names goes first, then query before body, then the exact name
// before the same in other case.
func TestReceivePrecedence(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Fields: map[Field][]string{FieldTxID: {"one", "two"}}})
	for _, c := range []struct{ query, body, want string }{
		{"two=2&one=1", "", "1"},
		{"two=2&one=", "", "2"},
		{"two=2", "one=1", "1"},
		{"two=2&ONE=1", "", "1"},
		{"ONE=fold&one=exact", "", "exact"},
		{"one=exact&ONE=fold", "", "exact"},
		{"ONE=fold", "one=body", "fold"},
		{"one=%20", "ONE=fold&one=exact", "exact"},
		{"one=first&one=second", "", "first"},
		{"one=&one=second", "", "second"},
		{"one=", `{"ONE":"fold","one":7}`, "7"},
		{"", `{"one":null,"two":5}`, "5"},
		{"", `{"one":{"x":1},"two":"2"}`, "2"},
		{"two=2", `{"one":true}`, "2"},
		{"one", "", ""},
	} {
		r := postRequest("", c.body)
		r.URL.RawQuery = fill("click_id=CLICK&") + c.query
		r.RequestURI = r.URL.RequestURI()
		if got := accepted(t, rt, r).Claim.TxID; got != c.want {
			t.Errorf("%q %q: got %q, want %q", c.query, c.body, got, c.want)
		}
	}
}

// A transaction ID that is none would make one sale of several.
func TestReceiveOddTxID(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"txid":{}}`, `{"txid":{"id":1}}`, `{"txid":[]}`, `{"txid":["x"]}`, `{"txid":true}`, `{"txid":false,"tid":null}`, `{"tid":{"x":[]}}`,
	} {
		_, rej := compiled(t, Route{}).Receive(postRequest("", `{"click_id":"CLICK",`+body[1:]), newArrival())
		if rej == nil || rej.Status != 400 || rej.Reason != MalformedRequest || !strings.Contains(rej.Detail, "neither text nor a number") {
			t.Errorf("%s: got %+v", body, rej)
		}
	}
	inner := compiled(t, Route{Fields: map[Field][]string{FieldTxID: {"txid", "txid.id"}}})
	if p := accepted(t, inner, postRequest("", `{"click_id":"CLICK","txid":{"id":7}}`)); p.Claim.TxID != "7" {
		t.Errorf("got %q", p.Claim.TxID)
	}
	// Other names are common words in the bodies of webhooks.
	p := accepted(t, compiled(t, Route{}), postRequest("", `{"click_id":"CLICK","event":{"id":1},"time":[],"txid":1.50}`))
	if p.Claim.TxID != "1.50" || p.Claim.Event != DefaultEvent {
		t.Errorf("got %+v", p.Claim)
	}
}

// carriers put a transaction ID into a request in all the ways there are, to
// the byte.
var carriers = map[string]func(txid string) *http.Request{
	"query": func(txid string) *http.Request { return getRequest("click_id=CLICK&txid=" + url.QueryEscape(txid)) },
	"raw query": func(txid string) *http.Request {
		r := getRequest("click_id=CLICK")
		r.URL.RawQuery += "&txid=" + strings.NewReplacer("%", "%25", "&", "%26", "+", "%2B").Replace(txid)
		r.RequestURI = r.URL.RequestURI()
		return r
	},
	"form": func(txid string) *http.Request { return postRequest("", "click_id=CLICK&txid="+url.QueryEscape(txid)) },
	"JSON": func(txid string) *http.Request {
		var b strings.Builder
		for i := range len(txid) {
			if c := txid[i]; c < ' ' || c == '"' || c == '\\' {
				fmt.Fprintf(&b, `\u%04x`, c)
			} else {
				b.WriteByte(c)
			}
		}
		return postRequest("application/json", `{"click_id":"CLICK","txid":"`+b.String()+`"}`)
	},
	"multipart": func(txid string) *http.Request {
		part := "--b--b\r\nContent-Disposition: form-data; name="
		return postRequest("multipart/form-data; boundary=b--b", part+"click_id\r\n\r\nCLICK\r\n"+part+"txid\r\n\r\n"+txid+"\r\n--b--b--\r\n")
	},
}

// TestTxIDsStayApart: no two transaction IDs become one, whatever bytes they
// are of, and each becomes the same one however it is sent.
func TestTxIDsStayApart(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{})
	read := func(tb failer, txid string) string {
		var first, by string
		for how, carry := range carriers {
			p := accepted(tb, rt, carry(txid))
			if by == "" {
				first, by = p.Claim.TxID, how
			}
			if got := p.Claim.TxID; got != first || !utf8.ValidString(got) {
				tb.Errorf("%q is %q by %s and %q by %s", txid, got, how, first, by)
			}
		}
		return first
	}
	for sent, want := range map[string]string{
		"o\xe9": `o\xE9`, "o\xe8": `o\xE8`, "o\xff": `o\xFF`, "oé": "oé", `o\xE9`: `o\x5CxE9`, `o\x5CxE9`: `o\x5Cx5CxE9`,
		`C:\x`: `C:\x`, `\x41`: `\x41`, `\xe9`: `\xe9`, "\uFFFD": "\uFFFD", "o%E9": "o%E9", "\xed\xa0\x80": `\xED\xA0\x80`,
	} {
		if got := read(t, sent); got != want {
			t.Errorf("%q is %q, want %q", sent, got, want)
		}
	}
	bytes := rapid.SliceOfN(rapid.SampledFrom([]byte("\\\\\\x5CE9e\xc3\xa9\xff\xed\xa0\x80%25%4u")), 1, 9)
	rapid.Check(t, func(t *rapid.T) {
		a := string(bytes.Draw(t, "one"))
		b := string(bytes.Draw(t, "other"))
		if rapid.Bool().Draw(t, "as it is shown") {
			b = spell(a)
		}
		if IsMacro(a) || IsMacro(b) {
			t.Skip("a macro")
		}
		if (read(t, a) == read(t, b)) != (a == b) {
			t.Fatalf("%q and %q are %q and %q", a, b, read(t, a), read(t, b))
		}
	})
}

// The halves of surrogate pairs, which JSON can have, stay apart too, and pairs
// are what they are elsewhere.
func TestJSONText(t *testing.T) {
	t.Parallel()
	for scalar, want := range map[string]string{
		`"\ud83d\ude00"`: "\U0001F600", `"\ud83d"`: "\xed\xa0\xbd", `"\ude00\ud83d"`: "\xed\xb8\x80\xed\xa0\xbd", `"\ud83dx\ude00"`: "\xed\xa0\xbdx\xed\xb8\x80",
		`"\ud83d\ud83d\ude00"`: "\xed\xa0\xbd\U0001F600", `"\ud83d\n"`: "\xed\xa0\xbd\n", `"\ud83d\u0041"`: "\xed\xa0\xbdA",
		`"\u0000\u00e9\u20ac\/\\\"\b\f\n\r\t"`: "\x00é€/\\\"\b\f\n\r\t", `"\\u00e9"`: `\u00e9`, "\"\xe9\\n\"": "\xe9\n", `null`: "", `1.50`: "1.50", `true`: "true",
	} {
		if got := jsonText([]byte(scalar)); got != want {
			t.Errorf("%s is %q, want %q", scalar, got, want)
		}
	}
}
