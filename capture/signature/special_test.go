package signature

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSecretErrors asks all constructors that take a list of secrets.
func TestSecretErrors(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func([][]byte) (Verifier, error){
		"standard webhooks": NewStandardWebhooks, "digistore24": NewDigistore24, "jvzoo": NewJVZoo, "clickbank": NewClickBank,
		"shared secret": func(s [][]byte) (Verifier, error) { return NewSharedSecret("f", s, "") },
		"md5":           func(s [][]byte) (Verifier, error) { return NewSharedSecret("f", s, "{secret}") },
	} {
		for _, secrets := range [][][]byte{nil, {}, {nil}, {{}}, {[]byte("d2hhdGV2ZXI="), nil}} {
			if v, err := make(secrets); err == nil || v != nil {
				t.Errorf("%s took the secrets %q", name, secrets)
			}
		}
	}
}

func TestSecretsAreCopied(t *testing.T) {
	t.Parallel()
	secret := []byte("k")
	v := must(NewHMAC(HMACConfig{Preset: "dub", Secrets: [][]byte{secret}}))
	secret[0] = 'x'
	m := newMessage("POST", "https://example.com/", sampleBody, now)
	m.Request.Header.Set("Dub-Signature", fmt.Sprintf("%x", mac256("k", sampleBody)))
	if _, err := v.Verify(m); err != nil {
		t.Error(err)
	}
}

func TestStandardWebhooksConfig(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString([]byte("secret-of-twenty-four-by"))
	for secret, want := range map[string]string{
		"whsec_" + key: "", key: "", strings.TrimRight(key, "="): "", "whpk_" + base64.StdEncoding.EncodeToString(make([]byte, 32)): "",
		"whsec_": "not base64", "whsec_***": "not base64", "whsk_" + key: "private key", "whpk_" + key: "an Ed25519 key has 32",
	} {
		_, err := NewStandardWebhooks([][]byte{[]byte(secret)})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", secret, err, want)
		}
		if err != nil && strings.Contains(err.Error(), key) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestStandardWebhooksHeaders(t *testing.T) {
	t.Parallel()
	v := must(NewStandardWebhooks([][]byte{[]byte("whsec_" + base64.StdEncoding.EncodeToString([]byte("k")))}))
	sum := func(text string) string { return base64.StdEncoding.EncodeToString(mac256("k", text)) }
	at := fmt.Sprint(now.Unix())
	good := sum("id." + at + ".body")
	wrong := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, c := range []struct{ name, id, at, signature, body, want string }{
		{"one", "id", at, "v1," + good, "body", "ok"},
		{"last of several", "id", at, "v1," + wrong + " v1a,AA v2," + good + "  v1," + good, "body", "ok"},
		{"none of several", "id", at, "v1," + wrong + " v1," + wrong, "body", "bad"},
		{"too many", "id", at, strings.Repeat("v1,"+wrong+" ", maxCandidates) + "v1," + good, "body", "bad"},
		{"another version", "id", at, "v2," + good, "body", "bad"},
		{"public key version", "id", at, "v1a," + good, "body", "bad"},
		{"no version", "id", at, good, "body", "bad"},
		{"bytes moved to the id", "id." + at, at, "v1," + sum("id."+at+"."+at+".body"), "body", "bad"},
		{"milliseconds", "id", at + "000", "v1," + sum("id."+at+"000.body"), "body", "bad"},
		{"no number", "id", "soon", "v1," + sum("id.soon.body"), "body", "bad"},
		{"negative", "id", "-1", "v1," + sum("id.-1.body"), "body", "bad"},
		{"enormous", "id", strings.Repeat("9", 30), "v1," + good, "body", "bad"},
	} {
		m := newMessage("POST", "https://example.com/", c.body, now)
		m.Request.Header.Set("webhook-id", c.id)
		m.Request.Header.Set("webhook-timestamp", c.at)
		m.Request.Header.Set("webhook-signature", c.signature)
		_, err := v.Verify(m)
		if got := verdict(t, err); got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}

func TestClickBankRefused(t *testing.T) {
	t.Parallel()
	v := must(NewClickBank([][]byte{[]byte("old"), []byte("key")}))
	seal := func(text string) string { return sealClickBank("key", text) }
	const same = "cannot be decrypted"
	for _, c := range []struct{ name, body, want string }{
		{"sale", seal(`{"transactionType":"SALE","receipt":"R"}`), ""},
		{"another type", seal(`{"transactionType":"CANCEL-REBILL","vendor":"v"}`), ""},
		{"control characters behind", seal("{\"transactionType\":\"BILL\",\"version\":8}\n\x00\x00"), ""},
		{"no type", seal(`{"receipt":"R"}`), same},
		{"odd type", seal(`{"transactionType":"sale<","receipt":"R"}`), same},
		{"type alone", seal(`{"transactionType":"SALE"}`), same},
		{"array", seal(`[1]`), same},
		{"cut", seal(`{"transactionType":"SALE","receipt":"R"`), same},
		{"two objects", seal(`{"transactionType":"SALE","receipt":"R"}{}`), same},
		{"another key", sealClickBank("KEY", `{"transactionType":"SALE","receipt":"R"}`), same},
		{"short iv", `{"notification":"AAAAAAAAAAAAAAAAAAAAAA==","iv":"AAAA"}`, "whole blocks"},
		{"half a block", `{"notification":"AAAA","iv":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "whole blocks"},
		{"no notification", `{"notification":"","iv":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "the body is not"},
		{"no base64", `{"notification":"?","iv":"?"}`, "the body is not"},
		{"no JSON", "notification=1", "the body is not"},
		{"nothing", "", "the body is not"},
	} {
		plain, _, err := v.(Decoder).Decode([]byte(c.body))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, %v; want %q", c.name, plain, err, c.want)
		}
		if err != nil && plain != nil {
			t.Errorf("%s: refused, yet decoded", c.name)
		}
	}
}

func TestUnpad(t *testing.T) {
	t.Parallel()
	block := func(text string, pad ...byte) []byte { return append([]byte(text), pad...) }
	for _, c := range []struct {
		text []byte
		want string
		ok   bool
	}{
		{block("0123456789abcde", 1), "0123456789abcde", true},
		{block("0123456789abcd", 2, 2), "0123456789abcd", true},
		{block("", slices.Repeat([]byte{16}, 16)...), "", true},
		{block("0123456789abcd", 1, 2), "", false},
		{block("0123456789abcde", 0), "", false},
		{block("", slices.Repeat([]byte{17}, 16)...), "", false},
		{block("0123456789abcde", 255), "", false},
	} {
		got, ok := unpad(c.text)
		if ok != c.ok || ok && string(got) != c.want {
			t.Errorf("%q: got %q, %t", c.text, got, ok)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	for _, s := range formSchemes()[:2] {
		v, good := s.verifier("k"), s.sign("k", now)
		for name, change := range map[string]func(m *Message){
			"another field twice":    func(m *Message) { m.Body = append(m.Body, "&amount=47.00"...) },
			"field twice in disguis": func(m *Message) { m.Body = append(m.Body, "&%61mount=1"...) },
			"further field":          func(m *Message) { m.Body = append(m.Body, "&zz=1"...) },
			"broken value":           func(m *Message) { m.Body = append(m.Body, "&zz=%2"...) },
			"broken name":            func(m *Message) { m.Body = append(m.Body, "&%zz="...) },
			"as JSON":                func(m *Message) { m.Request.Header.Set("Content-Type", "application/json") },
			"in the query": func(m *Message) {
				m.Request.RequestURI = "/?" + string(m.Body)
				m.Body = nil
			},
		} {
			m := clone(good)
			change(m)
			_, err := v.Verify(m)
			if verdict(t, err) != "bad" {
				t.Errorf("%s: %s passed", s.name, name)
			}
		}
		m := clone(good)
		m.Request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
		if proof, err := v.Verify(m); err != nil || proof.Unsigned != PartQuery {
			t.Errorf("%s with a charset: %+v, %v", s.name, proof, err)
		}
	}
}

func TestSharedSecret(t *testing.T) {
	t.Parallel()
	v := must(NewSharedSecret("security_token", [][]byte{[]byte("tok"), []byte("new tok&")}, ""))
	if got := v.(Masker).Secrets(); !slices.Equal(got, []string{"security_token"}) {
		t.Errorf("masks %q", got)
	}
	for query, want := range map[string]string{
		"security_token=tok": "ok", "security_token=" + url.QueryEscape("new tok&"): "ok", "security_token=to": "bad",
		"security_token=tokk": "bad", "security_token=": "bad", "x=1": "bad", "security_token=tok&security_token=x": "bad",
		"security_token=x&Security_Token=tok": "bad",
	} {
		proof, err := v.Verify(newMessage("GET", "https://example.com/?"+query, "", now))
		if got := verdict(t, err); got != want || proof != (Proof{}) {
			t.Errorf("%s: got %s (%v), want %s", query, got, err, want)
		}
	}
	// One sentence, however near.
	_, near := v.Verify(newMessage("GET", "https://example.com/?security_token=to", "", now))
	_, far := v.Verify(newMessage("GET", "https://example.com/?security_token=zzzzzzzzzzzzz", "", now))
	if near.Error() != far.Error() {
		t.Errorf("%q and %q tell how near a secret came", near, far)
	}
}

func TestSharedSecretConfig(t *testing.T) {
	t.Parallel()
	s := [][]byte{[]byte("s")}
	for _, c := range []struct{ field, md5, want string }{
		{"", "", "no field"}, {"hash", "{field.trans_id}", "no {secret}"}, {"hash", "{secret}{field.hash}", "the hash itself"},
		{"hash", "{secret}{body}", "unknown placeholder"}, {"hash", "{secret", "without its }"},
	} {
		if _, err := NewSharedSecret(c.field, s, c.md5); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q: got %v, want %q", c.field, c.md5, err, c.want)
		}
	}
	v := must(NewSharedSecret("hash", s, "{field.a}-{field.b}-{secret}"))
	_, err := v.Verify(newMessage("GET", "https://example.com/?a=1&hash="+strings.Repeat("0", 32), "", now))
	if err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("a field that the hash covers is missing: %v", err)
	}
}

// JVZoo's signature is so short that wrong ones are counted: beyond the limit
// nothing is checked, and what is right costs nothing of it.
func TestJVZooLimit(t *testing.T) {
	t.Parallel()
	v, err := NewJVZoo([][]byte{[]byte("SECRETKEY")})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_780_000_000, 0)
	send := func(cverify string) error {
		body := "ccustname=Jane+Doe&cproditem=12345&ctransaction=SALE&ctransamount=4700&ctransreceipt=AB123&cverify=" + cverify
		r, err := http.NewRequest(http.MethodPost, "https://shop.example/jvzoo", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, err = v.Verify(&Message{Request: r, Body: []byte(body), Now: now, Field: func(string) string { return "" }})
		return err
	}
	for range 2 * jvzooBurst {
		if err := send("31224F10"); err != nil {
			t.Fatal(err)
		}
	}
	var failure *Failure
	for i := range jvzooBurst {
		if err := send("00000000"); !errors.As(err, &failure) || failure.Kind != BadSignature {
			t.Fatalf("wrong one %d: %v", i, err)
		}
	}
	for _, cverify := range []string{"00000000", "31224F10"} {
		if err := send(cverify); !errors.As(err, &failure) || failure.Kind != Busy {
			t.Errorf("%s: %v", cverify, err)
		}
	}
	now = now.Add(time.Second)
	if err := send("31224F10"); err != nil {
		t.Errorf("a second later: %v", err)
	}
}
