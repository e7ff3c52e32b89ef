package e2e

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

const httpSignatureSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/* https://offer.example/?cid={click_id}
	postback /pb {
		verify http_signature {
			key shared hmac-sha256 $SHARED
			key pair ed25519 $PUBLIC
		}
	}
	respond "the site"
}
`

// httpSigned signs a request as RFC 9421 has it, put together here by hand.
func httpSigned(s *server, r request, id string, created time.Time, sign func(base []byte) []byte) request {
	path, query, _ := strings.Cut(r.target, "?")
	parts := [][2]string{{"@method", r.method}, {"@authority", s.site()}, {"@path", path}, {"@query", "?" + query}}
	if r.body != "" {
		sum := sha256.Sum256([]byte(r.body))
		digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
		r.headers = append(r.headers, "Content-Digest: "+digest)
		parts = append(parts, [2]string{"content-digest", digest})
	}
	var base, names strings.Builder
	for i, p := range parts {
		fmt.Fprintf(&base, "%q: %s\n", p[0], p[1])
		if i > 0 {
			names.WriteString(" ")
		}
		fmt.Fprintf(&names, "%q", p[0])
	}
	input := fmt.Sprintf("(%s);created=%d;keyid=%q", names.String(), created.Unix(), id)
	base.WriteString(`"@signature-params": ` + input)
	r.headers = append(r.headers, "Signature-Input: sig1="+input,
		"Signature: sig1=:"+base64.StdEncoding.EncodeToString(sign([]byte(base.String())))+":")
	return r
}

// TestHTTPSignatures has senders sign the request itself.
func TestHTTPSignatures(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const shared = "a-shared-secret-of-some-length"
	s := startServer(t, httpSignatureSite, "$SHARED", shared, "$PUBLIC", base64.StdEncoding.EncodeToString(public))
	id := s.click("/go/acme", "cid")
	signers := map[string]func([]byte) []byte{
		"pair": func(base []byte) []byte { return ed25519.Sign(private, base) },
		"shared": func(base []byte) []byte {
			mac := hmac.New(sha256.New, []byte(shared))
			mac.Write(base)
			return mac.Sum(nil)
		},
	}
	for key, sign := range signers {
		for method, r := range map[string]request{
			"GET":  get("/pb?click_id=" + id + "&txid=get-" + key + "&payout=1&currency=USD"),
			"POST": post("/pb?source=x", `{"click_id":"`+id+`","txid":"post-`+key+`","payout":1,"currency":"USD"}`, jsonBody),
		} {
			name := key + " " + method
			signed := httpSigned(s, r, key, time.Now(), sign)
			changed := signed
			changed.target = strings.Replace(signed.target, "=", "=9", 1)
			cut := signed
			cut.headers = signed.headers[:len(signed.headers)-1]
			for what, tt := range map[string]struct {
				r      request
				reason string
			}{
				"the query changed":   {changed, "bad_signature"},
				"no signature":        {r, "bad_signature"},
				"half a signature":    {cut, "bad_signature"},
				"an unknown key":      {httpSigned(s, r, "nobody", time.Now(), sign), "bad_signature"},
				"another key":         {httpSigned(s, r, key, time.Now(), func([]byte) []byte { return sign([]byte("x")) }), "bad_signature"},
				"signed an hour ago":  {httpSigned(s, r, key, time.Now().Add(-time.Hour), sign), "stale_timestamp"},
				"signed in an hour":   {httpSigned(s, r, key, time.Now().Add(time.Hour), sign), "stale_timestamp"},
				"the body is changed": {withBody(signed, r.body), "bad_signature"},
			} {
				if a := s.send(tt.r); a.status != 401 || !containsAll(a.body, `"reason":"`+tt.reason+`"`) {
					t.Errorf("%s, %s: status %d %s, want %s", name, what, a.status, a.body, tt.reason)
				}
			}
			if a := s.send(signed); a.status != 200 || !containsAll(a.body, `"recorded"`) {
				t.Errorf("%s: status %d %s", name, a.status, a.body)
			}
			if a := s.send(signed); a.status != 401 || !containsAll(a.body, `"replayed"`) {
				t.Errorf("%s, again: status %d %s", name, a.status, a.body)
			}
			// An honest second try is signed anew.
			if a := s.send(httpSigned(s, r, key, time.Now().Add(-2*time.Second), sign)); a.status != 200 || !containsAll(a.body, `"duplicate"`) {
				t.Errorf("%s, signed anew: status %d %s", name, a.status, a.body)
			}
		}
	}
	if f := s.report("").Total; f.Conversions != 4 || amounts(f.Revenue) != "[USD 4]" {
		t.Errorf("report: %s", f)
	}
}

// withBody is the request with another body than the one that was signed.
func withBody(r request, signed string) request {
	if signed == "" {
		return post(r.target, "txid=other", append([]string{form}, r.headers...)...)
	}
	r.body = strings.Replace(signed, `"payout":1`, `"payout":7`, 1)
	return r
}
