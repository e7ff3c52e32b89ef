package signature

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHMACConfigErrors(t *testing.T) {
	t.Parallel()
	s := [][]byte{[]byte("secret-value")}
	list := &HMACList{Signatures: []string{"v1"}, Timestamp: "t"}
	for _, c := range []struct {
		name, want string
		config     HMACConfig
	}{
		{"nothing", "no secret", HMACConfig{}},
		{"no secret", "no secret", HMACConfig{Preset: "stripe"}},
		{"empty secret", "secret 2 is empty", HMACConfig{Preset: "stripe", Secrets: [][]byte{s[0], nil}}},
		{"unknown preset", "copecart, dub, github, paddle, rewardful, shopify, stripe, woocommerce", HMACConfig{Preset: "Stripe", Secrets: s}},
		{"no place", "neither a preset, a header nor a parameter", HMACConfig{Secrets: s}},
		{"two places", "both the header", HMACConfig{Secrets: s, Header: "X-Sig", Parameter: "sig"}},
		{"two places, with preset", "both the header", HMACConfig{Preset: "dub", Secrets: s, Header: "X-Sig", Parameter: "sig"}},
		{"header name", "cannot be the name of a header", HMACConfig{Secrets: s, Header: "X Sig"}},
		{"algorithm", "allowed are sha256, sha512 and sha1", HMACConfig{Secrets: s, Header: "X-Sig", Algorithm: "md5"}},
		{"encoding", "allowed are hex and base64", HMACConfig{Secrets: s, Header: "X-Sig", Encoding: "base32"}},
		{"secret encoding", "allowed are hex and base64", HMACConfig{Secrets: s, Header: "X-Sig", SecretEncoding: "pem"}},
		{"secret not hex", "secret 1 is not written in hex", HMACConfig{Secrets: s, Header: "X-Sig", SecretEncoding: "hex"}},
		{"placeholder", `unknown placeholder "{bdy}"; allowed are {body}`, HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{bdy}"}},
		{"empty header placeholder", `unknown placeholder "{header.}"`, HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{body}{header.}"}},
		{"bad header placeholder", "cannot be the name of a header", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{body}{header.a b}"}},
		{"secret in payload", `unknown placeholder "{secret}"`, HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{body}{secret}"}},
		{"open brace", "without its }", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{body"}},
		{"backslash", "backslash", HMACConfig{Secrets: s, Header: "X-Sig", Payload: `{body}\x`}},
		{"last backslash", "backslash", HMACConfig{Secrets: s, Header: "X-Sig", Payload: `{body}\`}},
		{"covers nothing", "covers nothing of what is reported", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{method} {path}"}},
		{"tolerance alone", "nothing says where the timestamp stands", HMACConfig{Secrets: s, Header: "X-Sig", Tolerance: time.Minute}},
		{"tolerance alone, with preset", "nothing says where the timestamp stands", HMACConfig{Preset: "github", Secrets: s, Tolerance: time.Minute}},
		{"tolerance negative", "cannot be negative", HMACConfig{Preset: "stripe", Secrets: s, Tolerance: -time.Minute}},
		{"timestamp from nowhere", "nothing says where the timestamp stands", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{timestamp}.{body}"}},
		{"timestamp not signed", "is not signed", HMACConfig{Secrets: s, Header: "X-Sig", TimestampHeader: "X-Time"}},
		{"timestamp in an open place", "is not signed", HMACConfig{Secrets: s, Header: "X-Sig", TimestampParameter: "header:X-Time"}},
		{"two timestamps", "stands in both", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{timestamp}.{body}", TimestampHeader: "a", TimestampParameter: "b"}},
		{"timestamp header name", "cannot be the name of a header", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{timestamp}.{body}", TimestampHeader: "a b"}},
		{"id from nowhere", "nothing says where the message's ID stands", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{id}.{body}"}},
		{"id not signed", "has no {id}", HMACConfig{Secrets: s, Header: "X-Sig", IDHeader: "X-Id"}},
		{"two ids", "both the header", HMACConfig{Secrets: s, Header: "X-Sig", Payload: "{id}.{body}", IDHeader: "X-Id", IDParameter: "id"}},
		{"prefix and list", "exclude one another", HMACConfig{Secrets: s, Header: "X-Sig", Prefix: "v1=", List: list, Payload: "{timestamp}{body}"}},
		{"list without keys", "no key for its signatures", HMACConfig{Secrets: s, Header: "X-Sig", List: &HMACList{}}},
		{"list separator", "separator", HMACConfig{Secrets: s, Header: "X-Sig", List: &HMACList{Separator: "=", Signatures: []string{"v1"}}}},
		{"list with one key for both", "both for a signature and for the timestamp", HMACConfig{Secrets: s, Header: "X-Sig", List: &HMACList{Signatures: []string{"t"}, Timestamp: "t"}}},
		{"preset with another list", "{timestamp}", HMACConfig{Preset: "stripe", Secrets: s, List: &HMACList{Signatures: []string{"v1"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := NewHMAC(c.config)
			if err == nil || v != nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "secret-value") {
				t.Errorf("the error tells the secret: %v", err)
			}
		})
	}
}

func TestHMACPresets(t *testing.T) {
	t.Parallel()
	names := HMACPresets()
	if !slices.IsSorted(names) || len(names) != 8 {
		t.Errorf("presets are %q", names)
	}
	for _, name := range names {
		if v := config(HMACConfig{Preset: name})("s"); v.Name() != "hmac "+name {
			t.Errorf("%s is called %q", name, v.Name())
		}
	}
}

// TestHMACRefined shows that what is configured goes over the preset.
func TestHMACRefined(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	stripe := func(at int64) string {
		return fmt.Sprintf("t=%d,v1=%x", at, mac256(secret, fmt.Sprintf("%d.%s", at, sampleBody)))
	}
	for _, c := range []struct {
		name   string
		config HMACConfig
		header string
		value  string
		want   string
	}{
		{"another header", HMACConfig{Preset: "stripe", Header: "X-Relayed"}, "X-Relayed", stripe(now.Unix()), "ok"},
		{"longer tolerance", HMACConfig{Preset: "stripe", Tolerance: time.Hour}, "Stripe-Signature", stripe(now.Unix() - 3600), "ok"},
		{"shorter tolerance", HMACConfig{Preset: "stripe", Tolerance: 10 * time.Second}, "Stripe-Signature", stripe(now.Unix() - 11), "stale"},
		{"another encoding", HMACConfig{Preset: "github", Encoding: "base64"}, "X-Hub-Signature-256",
			"sha256=" + base64.StdEncoding.EncodeToString(mac256(secret, sampleBody)), "ok"},
		{"another prefix", HMACConfig{Preset: "github", Prefix: "v1:"}, "X-Hub-Signature-256",
			"V1:" + hex.EncodeToString(mac256(secret, sampleBody)), "ok"},
		{"the preset's prefix no more", HMACConfig{Preset: "github", Prefix: "v1:"}, "X-Hub-Signature-256",
			"sha256=" + hex.EncodeToString(mac256(secret, sampleBody)), "bad"},
		{"another payload", HMACConfig{Preset: "dub", Payload: `{http.request.method} {http.request.uri.path}?{http.request.uri.query}\n{body}`}, "Dub-Signature",
			hex.EncodeToString(mac256(secret, "POST /postback?x=1\n"+sampleBody)), "ok"},
		{"a list of one's own", HMACConfig{Preset: "github", List: &HMACList{Separator: "&", Signatures: []string{"new", "old"}}}, "X-Hub-Signature-256",
			"old=" + hex.EncodeToString(mac256(secret, sampleBody)) + "&new=00", "ok"},
		{"base64 without padding", HMACConfig{Preset: "shopify"}, "X-Shopify-Hmac-Sha256", base64.RawStdEncoding.EncodeToString(mac256(secret, sampleBody)), "ok"},
		{"base64 for URLs", HMACConfig{Preset: "shopify"}, "X-Shopify-Hmac-Sha256", base64.URLEncoding.EncodeToString(mac256(secret, sampleBody)), "ok"},
		{"hex instead of base64", HMACConfig{Preset: "shopify"}, "X-Shopify-Hmac-Sha256", hex.EncodeToString(mac256(secret, sampleBody)), "bad"},
		{"base64 instead of hex", HMACConfig{Preset: "dub"}, "Dub-Signature", base64.StdEncoding.EncodeToString(mac256(secret, sampleBody)), "bad"},
		{"milliseconds instead of seconds", HMACConfig{Preset: "stripe"}, "Stripe-Signature", stripe(now.UnixMilli()), "ok"},
		{"another time in the header", HMACConfig{Preset: "stripe"}, "Stripe-Signature", fmt.Sprintf("t=%d,", now.Unix()+1) + strings.Split(stripe(now.Unix()), ",")[1], "bad"},
		{"two times in the header", HMACConfig{Preset: "stripe"}, "Stripe-Signature", stripe(now.Unix()) + ",t=1", "bad"},
		{"no time in the header", HMACConfig{Preset: "stripe"}, "Stripe-Signature", strings.Split(stripe(now.Unix()), ",")[1], "bad"},
		{"only the test scheme", HMACConfig{Preset: "stripe"}, "Stripe-Signature", strings.Replace(stripe(now.Unix()), "v1", "v0", 1), "bad"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newMessage("POST", "https://example.com/postback?x=1", sampleBody, now)
			m.Request.Header.Set(c.header, c.value)
			_, err := config(c.config)(secret).Verify(m)
			if got := verdict(t, err); got != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
		})
	}
}

// TestHMACSeveral sends several signatures at once, as senders do while they
// change their secret.
func TestHMACSeveral(t *testing.T) {
	t.Parallel()
	sum := func(secret, text string) string { return hex.EncodeToString(mac256(secret, text)) }
	at := fmt.Sprint(now.Unix())
	wrong := strings.Repeat("00", 32)
	for _, c := range []struct{ preset, header, value, want string }{
		{"stripe", "Stripe-Signature", "t=" + at + ",v1=" + wrong + ",v1=" + sum("k", at+"."+sampleBody) + ",v0=x", "ok"},
		{"stripe", "Stripe-Signature", "t=" + at + ",v1=" + wrong + ",v1=" + wrong, "bad"},
		{"stripe", "Stripe-Signature", "t=" + at + strings.Repeat(",v1="+wrong, maxCandidates-1) + ",v1=" + sum("k", at+"."+sampleBody), "ok"},
		{"stripe", "Stripe-Signature", "t=" + at + strings.Repeat(",v1="+wrong, maxCandidates) + ",v1=" + sum("k", at+"."+sampleBody), "bad"},
		{"github", "X-Hub-Signature-256", "sha1=00, sha256=" + wrong + ", sha256=" + sum("k", sampleBody), "ok"},
		{"github", "X-Hub-Signature-256", "sha256=" + wrong + " sha256=" + sum("k", sampleBody), "ok"},
		{"github", "X-Hub-Signature-256", "sha1=" + sum("k", sampleBody), "bad"},
		{"dub", "Dub-Signature", wrong + " " + sum("k", sampleBody), "ok"},
	} {
		m := newMessage("POST", "https://example.com/", sampleBody, now)
		m.Request.Header.Set(c.header, c.value)
		_, err := config(HMACConfig{Preset: c.preset})("k").Verify(m)
		if got := verdict(t, err); got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.value, got, err, c.want)
		}
	}
}

// TestHMACOnceNeedsNoSignature: leaving out one of two signatures must not
// make another message of it.
func TestHMACOnceNeedsNoSignature(t *testing.T) {
	t.Parallel()
	at := fmt.Sprint(now.Unix())
	v := config(HMACConfig{Preset: "stripe"})("old", "new")
	names := make(map[string]bool)
	for _, secrets := range [][]string{{"old"}, {"new"}, {"old", "new"}, {"new", "old"}} {
		value := "t=" + at
		for _, s := range secrets {
			value += fmt.Sprintf(",v1=%x", mac256(s, at+"."+sampleBody))
		}
		m := newMessage("POST", "https://example.com/", sampleBody, now)
		m.Request.Header.Set("Stripe-Signature", value)
		proof, err := v.Verify(m)
		if err != nil {
			t.Fatal(err)
		}
		names[proof.Once] = true
	}
	if len(names) != 1 {
		t.Errorf("one message has the names %v", names)
	}
}

// TestHMACTimeInBody: a timestamp that is signed with the body must not be
// taken from the query.
func TestHMACTimeInBody(t *testing.T) {
	t.Parallel()
	v := config(HMACConfig{Header: "X-Sig", TimestampParameter: "sent_at"})("k")
	body := `{"sent_at":"` + now.UTC().Format(time.RFC3339) + `"}`
	for uri, want := range map[string]string{
		"https://example.com/":                               "ok",
		"https://example.com/?sent_at=2099-01-01T00:00:00Z":  "bad",
		"https://example.com/?SENT_AT=2099-01-01T00:00:00Z":  "bad",
		"https://example.com/?sent%5Fat=2099-01-01T00:00:0Z": "bad",
	} {
		m := newMessage("POST", uri, body, now)
		m.Request.Header.Set("X-Sig", hex.EncodeToString(mac256("k", body)))
		proof, err := v.Verify(m)
		if got := verdict(t, err); got != want {
			t.Errorf("%s: got %s (%v), want %s", uri, got, err, want)
		}
		if err == nil && proof.Unsigned != PartQuery {
			t.Errorf("unsigned is %d", proof.Unsigned)
		}
	}
}

func TestHMACUnsignedPart(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]Part{
		"{body}": PartQuery, "{query}": PartBody, "{query_sorted}": PartBody,
		"{query}{body}": 0, "{field.a}": 0, "{field.a}{body}": 0,
	} {
		v := config(HMACConfig{Header: "X-Sig", Payload: payload})("k").(*hmacVerifier)
		if v.unsigned != want {
			t.Errorf("%s leaves %d open, want %d", payload, v.unsigned, want)
		}
	}
}

// TestHMACMovedBytes: the border between timestamp and body must not move.
func TestHMACMovedBytes(t *testing.T) {
	t.Parallel()
	c := HMACConfig{Header: "X-Sig", IDHeader: "X-Id", TimestampHeader: "X-Time", Payload: "{timestamp}.{id}.{body}"}
	at := fmt.Sprint(now.Unix())
	sum := hex.EncodeToString(mac256("k", at+".a.b.c"))
	for _, m := range []struct{ id, body, want string }{{"a", "b.c", "ok"}, {"a.b", "c", "bad"}} {
		msg := newMessage("POST", "https://example.com/", m.body, now)
		msg.Request.Header.Set("X-Sig", sum)
		msg.Request.Header.Set("X-Id", m.id)
		msg.Request.Header.Set("X-Time", at)
		_, err := config(c)("k").Verify(msg)
		if got := verdict(t, err); got != m.want {
			t.Errorf("id %q, body %q: got %s (%v), want %s", m.id, m.body, got, err, m.want)
		}
	}
}

func TestHMACSecretEncoding(t *testing.T) {
	t.Parallel()
	key := "\x00\x01binary\xff"
	m := newMessage("POST", "https://example.com/", sampleBody, now)
	m.Request.Header.Set("Dub-Signature", hex.EncodeToString(mac256(key, sampleBody)))
	for encoding, secret := range map[string]string{
		"": key, "hex": hex.EncodeToString([]byte(key)), "base64": base64.StdEncoding.EncodeToString([]byte(key)),
	} {
		if _, err := config(HMACConfig{Preset: "dub", SecretEncoding: encoding})(secret).Verify(m); err != nil {
			t.Errorf("secret in %q: %v", encoding, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1700000000": 1700000000, "1700000000123": 1700000000, "2023-11-14T22:13:20Z": 1700000000,
		"2023-11-14T23:13:20.5+01:00": 1700000000, "Tue, 14 Nov 2023 22:13:20 GMT": 1700000000, "99999999999": 99999999999,
	} {
		got, err := parseTime(text)
		if err != nil || got.Unix() != want {
			t.Errorf("%q is %d, %v; want %d", text, got.Unix(), err, want)
		}
	}
	for _, text := range []string{"", "-1", "+1", "1e9", "1700000000.5", "170000000012345", "yesterday", "１７"} {
		if got, err := parseTime(text); err == nil {
			t.Errorf("%q is taken as %s", text, got)
		}
	}
}
