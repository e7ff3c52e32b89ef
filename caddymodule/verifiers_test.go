package caddymodule

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-capture/caddy-capture/capture"
)

func sha256MAC(key, text string) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// signed is one message of a sender, and how the route is configured for it.
type signed struct {
	name, verify string
	// make returns a request that names the click; secret is what signs it.
	make func(s *site, id, secret string) *http.Request
	// replayed is the answer to the same message sent again.
	replayed string
}

func form(s *site, values url.Values) *http.Request {
	req, _ := http.NewRequest(http.MethodPost, s.url("/pb"), strings.NewReader(values.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func jsonBody(s *site, body string) *http.Request {
	req, _ := http.NewRequest(http.MethodPost, s.url("/pb"), strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	return req
}

var signedMessages = []signed{
	{
		"hmac with a header", "hmac {\n secret {env.CAPTURE_SECRET}\n header X-Sig sha256=\n}",
		func(s *site, id, secret string) *http.Request {
			body := `{"click_id":"` + id + `","txid":"1"}`
			req := jsonBody(s, body)
			req.Header.Set("X-Sig", "sha256="+hex.EncodeToString(sha256MAC(secret, body)))
			return req
		}, `{"outcome":"duplicate"`,
	},
	{
		"hmac of the query", "hmac {\n secret {env.CAPTURE_SECRET}\n parameter sig\n}",
		func(s *site, id, secret string) *http.Request {
			query := "click_id=" + id + "&txid=1"
			req, _ := http.NewRequest(http.MethodGet, s.url("/pb?"+query+"&sig="+hex.EncodeToString(sha256MAC(secret, query))), nil)
			return req
		}, `{"outcome":"duplicate"`,
	},
	{
		"stripe's scheme", "hmac {\n preset stripe\n secret {env.CAPTURE_SECRET}\n}",
		func(s *site, id, secret string) *http.Request {
			body := `{"click_id":"` + id + `","txid":"1"}`
			req := jsonBody(s, body)
			now := strconv.FormatInt(time.Now().Unix(), 10)
			req.Header.Set("Stripe-Signature", "t="+now+",v1="+hex.EncodeToString(sha256MAC(secret, now+"."+body)))
			return req
		}, `{"outcome":"rejected","reason":"replayed"`,
	},
	{
		"standard webhooks", "standard_webhooks {env.CAPTURE_SECRET}",
		func(s *site, id, secret string) *http.Request {
			body := `{"click_id":"` + id + `","txid":"1"}`
			req := jsonBody(s, body)
			now := strconv.FormatInt(time.Now().Unix(), 10)
			key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
			req.Header.Set("Webhook-Id", "msg_1")
			req.Header.Set("Webhook-Timestamp", now)
			req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(sha256MAC(string(key), "msg_1."+now+"."+body)))
			return req
		}, `{"outcome":"rejected","reason":"replayed"`,
	},
	{
		"digistore24", "digistore24 {env.CAPTURE_SECRET}",
		func(s *site, id, secret string) *http.Request {
			// Sorted by name: click_id, order_id.
			sum := sha512.Sum512([]byte("click_id=" + id + secret + "order_id=1" + secret))
			return form(s, url.Values{"order_id": {"1"}, "click_id": {id}, "sha_sign": {strings.ToUpper(hex.EncodeToString(sum[:]))}})
		}, `{"outcome":"duplicate"`,
	},
	{
		"shared secret", "shared_secret WP_SECURITYKEY {env.CAPTURE_SECRET}",
		func(s *site, id, secret string) *http.Request {
			return form(s, url.Values{"WP_SECURITYKEY": {secret}, "click_id": {id}, "txid": {"1"}})
		}, `{"outcome":"duplicate"`,
	},
}

// Every scheme: the right secret books once, any other is refused, and neither
// costs more than its answer.
func TestVerifiers(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	const other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	t.Setenv("CAPTURE_SECRET", secret)
	for _, m := range signedMessages {
		t.Run(m.name, func(t *testing.T) {
			s := newSite(t)
			option, _ := memoryOption(t)
			s.load(option, "postback /pb {\n verify "+m.verify+"\n}")
			id := click(t, "acme", 0)
			res, body := s.do(m.make(s, id, other))
			if res.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(body, `{"outcome":"rejected","reason":"bad_signature"`) {
				t.Errorf("another secret: got %d %s", res.StatusCode, body)
			}
			if strings.Contains(body, secret) {
				t.Errorf("the answer holds the secret: %s", body)
			}
			req := m.make(s, id, secret)
			again := m.make(s, id, secret)
			again.Header = req.Header.Clone() // the same second
			again.URL = req.URL
			if res, body = s.do(req); res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"outcome":"recorded"`) {
				t.Errorf("got %d %s", res.StatusCode, body)
			}
			if res, body = s.do(again); !strings.HasPrefix(body, m.replayed) {
				t.Errorf("again: got %d %s", res.StatusCode, body)
			}
			if n := reported(t); n != 1 {
				t.Errorf("%d conversions in the report", n)
			}
		})
	}
}

// A signature of the path and query covers what was sent, whatever the site
// makes of it before the route.
func TestVerifyOfRewritten(t *testing.T) {
	t.Setenv("CAPTURE_SECRET", "a secret")
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "handle_path /partners/* {\n postback /pb {\n verify hmac {\n secret {env.CAPTURE_SECRET}\n parameter sig\n"+
		" payload {path}?{query}\n }\n }\n}")
	id := click(t, "acme", 0)
	query := "click_id=" + id + "&txid=1"
	sign := func(path string) string {
		return "/partners/pb?" + query + "&sig=" + hex.EncodeToString(sha256MAC("a secret", path+"?"+query))
	}
	if res, body := s.get(sign("/pb")); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	if res, body := s.get(sign("/partners/pb")); res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"outcome":"recorded"`) {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

// What was proved once is remembered over a reload, for as long as a
// configuration has the route.
func TestReplayOverReload(t *testing.T) {
	m := signedMessages[2]
	t.Setenv("CAPTURE_SECRET", "whsec_x")
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n verify "+m.verify+"\n}")
	req := m.make(s, click(t, "acme", 0), "whsec_x")
	again := req.Clone(t.Context())
	again.Body, _ = req.GetBody()
	if _, body := s.do(req); !strings.HasPrefix(body, `{"outcome":"recorded"`) {
		t.Fatalf("got %s", body)
	}
	s.load(option, "postback /pb {\n verify "+m.verify+"\n}\npostback /pb2")
	if _, body := s.do(again); !strings.Contains(body, `"reason":"replayed"`) {
		t.Errorf("got %s", body)
	}
	s.load(option, "postback /pb2")
	if n := memoriesHeld(); n != 0 {
		t.Errorf("%d memories are left", n)
	}
}

func memoriesHeld() (n int) {
	memories.Range(func(_, _ any) bool { n++; return true })
	return n
}

// A message that gets 503 can be sent again as it is.
func TestNoReplayBeforeBooking(t *testing.T) {
	m := signedMessages[2]
	t.Setenv("CAPTURE_SECRET", "whsec_x")
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb {\n verify "+m.verify+"\n}")
	req := m.make(s, click(t, "acme", 0), "whsec_x")
	failed := false
	place.hook(func(b *capture.Batch) error {
		if len(b.Postbacks) == 0 || failed {
			return nil
		}
		failed = true
		return capture.ErrUnavailable
	})
	if res, body := s.do(req); res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("got %d %s", res.StatusCode, body)
	}
	var body string
	eventually(t, "the store is back", func() bool {
		again := req.Clone(t.Context())
		again.Body, _ = req.GetBody()
		var res *http.Response
		res, body = s.do(again)
		return res.StatusCode != http.StatusServiceUnavailable
	})
	if !strings.HasPrefix(body, `{"outcome":"recorded"`) {
		t.Errorf("got %s", body)
	}
}

func TestVerifyErrors(t *testing.T) {
	for directive, want := range map[string]string{
		"verify":                          "verify <verifier> ...",
		"verify nothing":                  `verify is "nothing"; allowed are clickbank,`,
		"verify hmac abc":                 "verify hmac { secret <secret> ... }",
		"verify hmac {\n header X-Sig\n}": "it has no secret",
		"verify hmac {\n secret {env.NOT_SET_AT_ALL}\n header X\n}": "NOT_SET_AT_ALL",
		"verify hmac {\n preset nobody\n secret abc\n}":             `unknown preset "nobody"`,
		"verify hmac {\n colour red\n}":                             `unknown option "colour" of hmac`,
		"verify hmac {\n secret a\n header X\n header Y\n}":         "header is given twice",
		"verify hmac {\n secret a\n header X\n tolerance soon\n}":   `tolerance is "soon"`,
		"verify standard_webhooks":                                  "<secret> ...",
		"verify standard_webhooks whsec_***":                        "secret",
		"verify digistore24 a {\n b\n}":                             `unknown option "b"`,
		"verify shared_secret":                                      "<field> <secret> ...",
		"verify shared_secret f s {\n sha1 x\n}":                    `unknown option "sha1"`,
		"verify http_signature":                                     "it has no key",
		"verify http_signature {\n key a\n}":                        "key <id> <algorithm> <secret or public key>",
		"verify http_signature {\n key a rot13 secret\n}":           "rot13",
		"verify client_certificate":                                 "no subject, SAN or fingerprint",
		"verify client_certificate {\n issuer x\n}":                 `unknown option "issuer"`,
		"network nobody-knows":                                      `unknown network "nobody-knows"`,
		"network strip":                                             "did you mean stripe",
	} {
		t.Run(directive, func(t *testing.T) {
			s := newSite(t)
			option, _ := memoryOption(t)
			err := s.tryLoad(option, "postback /pb {\n "+directive+"\n}")
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if n := memoriesHeld(); n != 0 {
				t.Errorf("%d memories are left", n)
			}
		})
	}
}

func TestHMACDirective(t *testing.T) {
	t.Parallel()
	d := caddyfile.NewTestDispenser(`hmac {
		preset github
		secret {env.A} {env.B}
		secret {env.C}
		secret_encoding hex
		algorithm sha512
		header X-Sig v1=
		list ; ts v1 v2
		payload "{timestamp}.{body}"
		encoding base64
		timestamp_header X-Time
		id_header X-Id
		tolerance 1m
	}`)
	var v HMAC
	if err := v.UnmarshalCaddyfile(d); err != nil {
		t.Fatal(err)
	}
	want := HMAC{
		Preset: "github", Secrets: []string{"{env.A}", "{env.B}", "{env.C}"}, SecretEncoding: "hex", Algorithm: "sha512",
		Header: "X-Sig", Prefix: "v1=", List: &HMACList{Separator: ";", Timestamp: "ts", Signatures: []string{"v1", "v2"}},
		Payload: "{timestamp}.{body}", Encoding: "base64", TimestampHeader: "X-Time", IDHeader: "X-Id",
	}
	if got := fmt.Sprintf("%+v", *v.List); got != fmt.Sprintf("%+v", *want.List) {
		t.Errorf("got %s", got)
	}
	if time.Duration(v.Tolerance) != time.Minute {
		t.Errorf("got %v", v.Tolerance)
	}
	v.List, want.List, v.Tolerance = nil, nil, 0
	if got := fmt.Sprintf("%+v", v); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got %s\nwant %+v", got, want)
	}
}
