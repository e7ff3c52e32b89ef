package capture

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func TestMasked(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		uri, contentType, body string
		wantURI, wantBody      string
	}{
		{"/p?a=1&token=s3cret&b=%zz", "", "", "/p?a=1&token=REDACTED&b=%zz", ""},
		{"/p?TOKEN=s3cret&%74oken=s3cret&token=&token", "", "", "/p?TOKEN=REDACTED&%74oken=REDACTED&token=&token", ""},
		{"/p?pass%77ord=s3cret&tokens=5", "", "", "/p?pass%77ord=REDACTED&tokens=5", ""},
		{"/p", form, "a=%20b&token=s3cret=s3cret&&c", "/p", "a=%20b&token=REDACTED&&c"},
		{"/p", "", "a=b&token=s3cret", "/p", "a=b&token=REDACTED"},
		{"/p", "application/json", "{ \"a\" : 1.0,\n\"Token\" : \"s3cret\" , \"b\":[ ]}", "/p", "{ \"a\" : 1.0,\n\"Token\" : \"REDACTED\" , \"b\":[ ]}"},
		{"/p", "", `{"a":[{"\u0074oken":"s3cret"},{"token":5}]}`, "/p", `{"a":[{"\u0074oken":"REDACTED"},{"token":"REDACTED"}]}`},
		{"/p", "", `{"token":{"token":"s3cret","a":["s3cret"]},"password":["s3cret"]}`, "/p", `{"token":"REDACTED","password":"REDACTED"}`},
		{"/p", "", `{"auth":{"key":"s3cret","k":1},"key":2}`, "/p", `{"auth":{"key":"REDACTED","k":1},"key":2}`},
		{"/p", "", "\xef\xbb\xbf{\"token\":\"s3cret\"}", "/p", "\xef\xbb\xbf{\"token\":\"REDACTED\"}"},
		{"/p", "application/json", `{"token":"s3cret`, "/p", "REDACTED"},
		{"/p", "application/json", `{"to\u006ben":"s3cret`, "/p", "REDACTED"},
		{"/p", "application/json", `{"a":1`, "/p", `{"a":1`},
		{"/p", form, `{"token":"s3cret`, "/p", "REDACTED"},
		{"/p", "text/xml", `<x><token>s3cret</token></x>`, "/p", "REDACTED"},
		{"/p", "text/xml", `<x/>`, "/p", `<x/>`},
		{"/p", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name*=utf-8''%74oken\r\n\r\ns3cret\r\n--b--", "/p", "REDACTED"},
		{"/p", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--b--", "/p", "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--b--"},
		{"/p", "multipart/form-data", "s3cret", "/p", "REDACTED"},
	} {
		raw := Raw{Method: "POST", URI: c.uri, ContentType: c.contentType, Body: []byte(c.body)}
		got := raw.Masked("PassWord", "auth.key", "")
		if got.URI != c.wantURI || string(got.Body) != c.wantBody {
			t.Errorf("%s %s:\ngot  %s %s\nwant %s %s", c.uri, c.body, got.URI, got.Body, c.wantURI, c.wantBody)
		}
		if raw.URI != c.uri || string(raw.Body) != c.body {
			t.Errorf("%s %s: the original changed to %s %s", c.uri, c.body, raw.URI, raw.Body)
		}
	}
}

// Wherever Receive finds the token, Masked hides it.
func TestMaskedHidesTheToken(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{
		Tokens: [][]byte{[]byte("s3cret")}, Unwrap: "a", Fields: map[Field][]string{FieldTxID: {"b.*.c"}},
	})
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOf(rapid.SampledFrom([]string{
			"token", "%74oken", "ToKeN", `"token"`, `"\u0074oken"`, "=", ":", "&", ",", "{", "}", "[", "]", `"s3cret"`, "s3cret",
			"s%33cret", " ", "\n", `"a"`, "a", "+", "token=s3cret", "token%3Ds3cret", "?", ";", "&amp;", "%26", "%3D", "%2526",
			`a={"token":"s3cret"}`, "a=%7B%22token%22%3A%22s3cret%22%7D",
		}))
		contentType := rapid.SampledFrom([]string{"", "text/plain", "application/json", "application/x-www-form-urlencoded"}).Draw(t, "type")
		r := postRequest(contentType, strings.Join(pieces.Draw(t, "body"), ""))
		r.URL.RawQuery = strings.ReplaceAll(strings.Join(pieces.Draw(t, "query"), ""), "\n", "")
		if rapid.Bool().Draw(t, "with the token") { // which is rare otherwise
			r.URL.RawQuery = "token=s3cret&" + r.URL.RawQuery
		}
		r.RequestURI = r.URL.RequestURI()
		p, rej := received(t, rt, r, newArrival())
		if rej != nil {
			return
		}
		passed++
		masked := p.Raw.Masked(rt.SecretParams()...)
		again := r.Clone(t.Context())
		again.URL.RawQuery = ""
		if _, q, ok := strings.Cut(masked.URI, "?"); ok {
			again.URL.RawQuery = q
		}
		again.RequestURI = again.URL.RequestURI()
		again.Body, again.ContentLength = postRequest("", string(masked.Body)).Body, int64(len(masked.Body))
		if _, rej := rt.Receive(again, newArrival()); rej == nil {
			t.Fatalf("%q %q still passes", masked.URI, masked.Body)
		}
	})
	if passed == 0 {
		t.Error("no request had the token")
	}
}

// Masking JSON gives JSON.
func TestMaskedJSONStaysJSON(t *testing.T) {
	t.Parallel()
	leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Int(), func(i int) any { return i }), rapid.Map(rapid.String(), func(s string) any { return s }))
	object := rapid.MapOf(rapid.SampledFrom([]string{"token", "a", "b", "Token"}), rapid.OneOf(leaf,
		rapid.Map(rapid.MapOf(rapid.SampledFrom([]string{"token", "c"}), leaf), func(m map[string]any) any { return m })))
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.MarshalIndent(object.Draw(t, "object"), " ", " ")
		if err != nil {
			t.Fatal(err)
		}
		if got := (Raw{Body: body}).Masked().Body; !json.Valid(got) {
			t.Fatalf("%s becomes %s", body, got)
		}
	})
}

// A secret stays masked when the route that knew of it is gone.
func TestMaskedWithoutRoute(t *testing.T) {
	t.Parallel()
	v, err := signature.NewSharedSecret("goldenkey", [][]byte{[]byte("topsecretvalue")}, "")
	if err != nil {
		t.Fatal(err)
	}
	rt := compiled(t, Route{Verifiers: []signature.Verifier{v}})
	e := &Entry{Raw: accepted(t, rt, getRequest("goldenkey=topsecretvalue&click_id="+genuineID+"&txid=1")).Raw}
	data, err := EncodeRecord(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Entry
	if err := DecodeRecord(data, &back); err != nil {
		t.Fatal(err)
	}
	if shown := back.Raw.Masked(); strings.Contains(shown.URI, "topsecret") || !strings.Contains(shown.URI, "txid=1") {
		t.Errorf("shown is %s", shown.URI)
	}
}
