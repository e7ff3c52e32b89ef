package signature

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// vector is an entry of testdata/vectors.json.
type vector struct {
	Name, Source, Scheme string
	Secrets              []string
	Method, URL          string
	Headers              map[string]string
	Body                 string
	Time                 int64
	Expect               string // ok, bad or stale
	Decoded              string // what Decode has to return, if anything
}

func TestVectors(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(raw, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 20 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			verifier := vectorVerifier(t, v)
			m := newMessage(v.Method, v.URL, v.Body, time.Unix(v.Time, 0))
			for name, value := range v.Headers {
				m.Request.Header.Set(name, value)
			}
			_, err := verifier.Verify(m)
			if got := verdict(t, err); got != v.Expect {
				t.Fatalf("got %s (%v), want %s", got, err, v.Expect)
			}
			if v.Decoded == "" {
				return
			}
			plain, media, err := verifier.(Decoder).Decode(m.Body)
			if err != nil || string(plain) != v.Decoded || media != "application/json" {
				t.Errorf("decoded %q as %q, %v; want %q", plain, media, err, v.Decoded)
			}
		})
	}
}

func vectorVerifier(t *testing.T, v vector) Verifier {
	t.Helper()
	secrets := make([][]byte, len(v.Secrets))
	for i, s := range v.Secrets {
		secrets[i] = []byte(s)
	}
	words := strings.Fields(v.Scheme)
	switch words[0] {
	case "hmac":
		return must(NewHMAC(HMACConfig{Preset: words[1], Secrets: secrets}))
	case "standard_webhooks":
		return must(NewStandardWebhooks(secrets))
	case "http_signature", "http_signature_lax":
		h := must(NewHTTPSignature([]HTTPKey{{ID: words[1], Algorithm: words[2], Key: secrets[0]}}, 0))
		h.(*httpSignature).lax = words[0] == "http_signature_lax"
		return h
	case "digistore24":
		return must(NewDigistore24(secrets))
	case "jvzoo":
		return must(NewJVZoo(secrets))
	case "clickbank":
		return must(NewClickBank(secrets))
	case "shared_secret":
		return must(NewSharedSecret(words[1], secrets, strings.Join(words[2:], " ")))
	}
	t.Fatalf("unknown scheme %q", v.Scheme)
	return nil
}

func must(v Verifier, err error) Verifier {
	if err != nil {
		panic(err)
	}
	return v
}

// verdict sums an answer up, and refuses an error that is no Failure with a
// sentence.
func verdict(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	var f *Failure
	if !errors.As(err, &f) || f.Detail == "" || len(f.Detail) > 300 || strings.ContainsAny(f.Detail, "\n\r") {
		t.Fatalf("%#v is no failure with a sentence", err)
	}
	switch f.Kind {
	case BadSignature:
		return "bad"
	case StaleTimestamp:
		return "stale"
	}
	t.Fatalf("failure of kind %d", f.Kind)
	return ""
}

// newMessage makes a message that came by TLS. Its Field knows the query,
// forms and the top level of JSON.
func newMessage(method, uri, body string, now time.Time) *Message {
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	_, rest, _ := strings.Cut(uri, "://")
	r.RequestURI = rest[strings.IndexByte(rest, '/'):] // httptest leaves the whole URL there, which browsers do only for proxies
	m := &Message{Request: r, Body: []byte(body), Now: now}
	m.Field = func(name string) string {
		if v := r.URL.Query().Get(name); v != "" {
			return v
		}
		if form, err := url.ParseQuery(string(m.Body)); err == nil && form.Get(name) != "" {
			return form.Get(name)
		}
		var object map[string]any
		_ = json.Unmarshal(m.Body, &object) // what is no object has no fields
		s, _ := object[name].(string)
		return s
	}
	return m
}

// clone copies a message, so that it can be spoiled.
func clone(m *Message) *Message {
	c := newMessage(m.Request.Method, "https://"+m.Request.Host+m.Request.RequestURI, string(m.Body), m.Now)
	c.Request.Header = http.Header.Clone(m.Request.Header)
	return c
}
