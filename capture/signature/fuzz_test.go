package signature

import (
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzHMACHeader: whatever a header holds, only the right signature passes;
// and whatever the body, that one does.
func FuzzHMACHeader(f *testing.F) {
	for _, s := range schemes()[:8] {
		m := s.sign("k", now)
		f.Add(s.name, m.Request.Header.Get(s.header), sampleBody)
	}
	f.Add("stripe", "t=1,t=2,v1=", "")
	f.Add("github", "sha256=,sha256= sha256", "")
	verifiers := make(map[string]Verifier)
	for _, name := range HMACPresets() {
		verifiers[name] = config(HMACConfig{Preset: name})("k")
	}
	f.Fuzz(func(t *testing.T, preset, value, body string) {
		v, ok := verifiers[preset].(*hmacVerifier)
		if !ok {
			return
		}
		m := newMessage("POST", "https://example.com/", body, now)
		m.Request.Header[http.CanonicalHeaderKey(v.Header)] = []string{value}
		proof, err := v.Verify(m)
		if verdict(t, err) == "ok" {
			// The right bytes in some case and some base64: they have to be in it.
			payload := body
			if v.timed {
				at := value[strings.Index(value, v.List.Timestamp+"=")+len(v.List.Timestamp)+1:]
				at = strings.TrimSpace(strings.SplitN(at, v.List.Separator, 2)[0])
				payload = at + v.payload.follows(holeTimestamp) + body
			}
			sum := mac256("k", payload)
			text := strings.NewReplacer("-", "+", "_", "/").Replace(value)
			if !strings.Contains(strings.ToLower(value), hex.EncodeToString(sum)) && !strings.Contains(text, base64.RawStdEncoding.EncodeToString(sum)) {
				t.Fatalf("%s: %q passes for %q", preset, value, body)
			}
			if (proof.Once != "") != v.timed {
				t.Fatalf("%s: proof %+v", preset, proof)
			}
		}
		right := value
		switch sum := mac256("k", body); {
		case v.timed:
			end := v.payload.follows(holeTimestamp)
			right = fmt.Sprintf("%s=%d%s%s=%x", v.List.Timestamp, now.Unix(), v.List.Separator, v.List.Signatures[0],
				mac256("k", fmt.Sprint(now.Unix())+end+body))
		case v.Encoding == "base64":
			right = base64.StdEncoding.EncodeToString(sum)
		default:
			right = v.Prefix + hex.EncodeToString(sum)
		}
		m.Request.Header[http.CanonicalHeaderKey(v.Header)] = []string{right}
		if _, err := v.Verify(m); err != nil {
			t.Fatalf("%s: %q: %v", preset, right, err)
		}
	})
}

func FuzzStandardWebhooks(f *testing.F) {
	for _, s := range webhookSchemes()[:1] {
		h := s.sign(s.secrets[0], now).Request.Header
		f.Add(h.Get("Webhook-Id"), h.Get("Webhook-Timestamp"), h.Get("Webhook-Signature"), sampleBody)
	}
	f.Add("", "9", "v1, v1,, v1a,AA", "")
	f.Add("a.b", "-1", "v1,AAAA", "x")
	f.Add("a", strings.Repeat("\x92", 99), "v1,AAAA", "x")
	v := must(NewStandardWebhooks([][]byte{[]byte("whsec_" + base64.StdEncoding.EncodeToString([]byte("k")))}))
	f.Fuzz(func(t *testing.T, id, timestamp, signature, body string) {
		m := newMessage("POST", "https://example.com/", body, now)
		h := m.Request.Header
		h["Webhook-Id"], h["Webhook-Timestamp"], h["Webhook-Signature"] = []string{id}, []string{timestamp}, []string{signature}
		sum := mac256("k", strings.TrimSpace(id)+"."+strings.TrimSpace(timestamp)+"."+body)
		if _, err := v.Verify(m); verdict(t, err) == "ok" {
			text := strings.NewReplacer("-", "+", "_", "/").Replace(signature)
			if !strings.Contains(text, base64.RawStdEncoding.EncodeToString(sum)) {
				t.Fatalf("%q passes for %q", signature, body)
			}
		}
		h.Set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
		sum = mac256("k", fmt.Sprintf("%s.%d.%s", strings.TrimSpace(id), now.Unix(), body))
		h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(sum))
		_, err := v.Verify(m)
		if usable := strings.TrimSpace(id) != "" && !strings.Contains(id, ".") && len(id) <= maxSignatureHeader; usable != (err == nil) {
			t.Fatalf("id %q, rightly signed: %v", id, err)
		}
	})
}

func FuzzClickBank(f *testing.F) {
	const sale = `{"transactionType":"SALE","receipt":"R"}`
	f.Add(sealClickBank("k", sale), sale)
	f.Add(`{"notification":"AAAAAAAAAAAAAAAAAAAAAA==","iv":"AAAAAAAAAAAAAAAAAAAAAA=="}`, "")
	f.Add(`{"notification":1}`, `{"transactionType":"`)
	f.Add("", `[[[[`)
	v := must(NewClickBank([][]byte{[]byte("k"), []byte("l")}))
	f.Fuzz(func(t *testing.T, body, text string) {
		m := newMessage("POST", "https://example.com/", body, now)
		_, err := v.Verify(m)
		plain, _, decodeErr := v.(Decoder).Decode(m.Body)
		if verdict(t, err) != verdict(t, decodeErr) || err == nil && !isNotification(plain) {
			t.Fatalf("verified: %v; decoded: %q, %v", err, plain, decodeErr)
		}
		plain, _, err = v.(Decoder).Decode([]byte(sealClickBank("l", text)))
		trimmed := strings.TrimRight(text, "\x00\t\n\r ")
		if known := isNotification([]byte(trimmed)); known != (err == nil) || known && string(plain) != trimmed {
			t.Fatalf("%q is decoded as %q, %v", text, plain, err)
		}
	})
}

func FuzzHTTPSignature(f *testing.F) {
	for _, s := range httpSchemes()[:1] {
		h := s.sign("k", now).Request.Header
		f.Add(h.Get("Signature-Input"), h.Get("Signature"), h.Get("Content-Digest"), sampleBody)
	}
	f.Add(`a=("@query-param";name="x" "x-a";bs "x-a";key="k" "@target-uri");created=1;expires=2`, "a=:AA==:", "sha-256=?1", "")
	f.Add(`a=(1 t :AA==: "@method";req "@signature-params");created=1, a`, "a=()", "", "x")
	f.Add(`a=1, b`, "a, b=1.5", "!", "x")
	v := must(NewHTTPSignature([]HTTPKey{{"k", "hmac-sha256", []byte("k")}}, 0))
	lax := must(NewHTTPSignature([]HTTPKey{{"k", "hmac-sha256", []byte("k")}}, 0)).(*httpSignature)
	lax.lax = true
	f.Fuzz(func(t *testing.T, input, signature, digest, body string) {
		m := newMessage("POST", "https://example.com/postback?x=1", body, now)
		h := m.Request.Header
		h["Signature-Input"], h["Signature"], h["Content-Digest"], h["X-A"] = []string{input}, []string{signature}, []string{digest}, []string{"k=1"}
		_, err := v.Verify(m)
		if verdict(t, err) == "ok" && body != sampleBody {
			t.Fatalf("nobody signed %q", body)
		}
		// What covers less gets further in; it must not pass without the key either.
		if _, err := lax.Verify(m); verdict(t, err) == "ok" && body != sampleBody {
			t.Fatalf("nobody signed %q", body)
		}
	})
}

// FuzzDigistore compares with the scheme written down a second time.
func FuzzDigistore(f *testing.F) {
	f.Add("event=on_payment&order_id=ABCD1234&amount=47.00&empty=", "PASS")
	f.Add("a=%zz&b=1;c", "k")
	f.Add("a=1&a=2&%61=3", "k")
	f.Add(strings.Repeat("%\xb7", 99), "k")
	f.Add("=&==&&sha_sign=00&SHASIGN=", "k")
	f.Fuzz(func(t *testing.T, body, passphrase string) {
		if passphrase == "" {
			return
		}
		v := must(NewDigistore24([][]byte{[]byte(passphrase)}))
		m := newMessage("POST", "https://example.com/", body, now)
		m.Request.Header.Set("Content-Type", formType)
		_, err := v.Verify(m)
		verdict(t, err)
		fields, err := url.ParseQuery(body)
		if err != nil || fields.Has("sha_sign") || fields.Has("SHASIGN") {
			return
		}
		var names []string
		once := true
		for name, values := range fields {
			names = append(names, name)
			once = once && len(values) == 1
		}
		slices.Sort(names)
		text := ""
		for _, name := range names {
			if value := fields.Get(name); value != "" {
				text += name + "=" + value + passphrase
			}
		}
		m.Body = fmt.Appendf(nil, "%s&sha_sign=%X", body, sha512.Sum512([]byte(text)))
		if _, err := v.Verify(m); (err == nil) != once {
			t.Fatalf("%q, each field once: %t, rightly signed: %v", m.Body, once, err)
		}
	})
}
