package signature

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// part9421 is one signature for a message: what its input says, the lines
// that were signed, and how.
type part9421 struct {
	label, components, params string
	lines                     []string
	sign                      func(base string) []byte
}

func byHMAC(secret string) func(string) []byte {
	return func(base string) []byte { return mac256(secret, base) }
}

// signed9421 makes a message with signatures whose bases are given as text.
func signed9421(method, uri, body string, headers map[string]string, parts ...part9421) *Message {
	m := newMessage(method, uri, body, now)
	for name, value := range headers {
		m.Request.Header.Set(name, value)
	}
	var inputs, values []string
	for _, p := range parts {
		params := "(" + p.components + ")" + p.params
		base := strings.Join(append(p.lines, `"@signature-params": `+params), "\n")
		inputs = append(inputs, p.label+"="+params)
		values = append(values, p.label+"=:"+base64.StdEncoding.EncodeToString(p.sign(base))+":")
	}
	m.Request.Header.Set("Signature-Input", strings.Join(inputs, ", "))
	m.Request.Header.Set("Signature", strings.Join(values, ", "))
	return m
}

func created(at time.Time) string { return fmt.Sprintf(";created=%d", at.Unix()) }

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// get is a signature that covers a GET request of https://example.com/p?x=1.
func get(params string, secret string) part9421 {
	return part9421{
		label: "s", components: `"@method" "@target-uri"`, params: params,
		lines: []string{`"@method": GET`, `"@target-uri": https://example.com/p?x=1`}, sign: byHMAC(secret),
	}
}

func TestHTTPSignatureRules(t *testing.T) {
	t.Parallel()
	const uri = "https://example.com/p?x=1"
	label := func(l string, p part9421) part9421 { p.label = l; return p }
	hmacKeys := []HTTPKey{{"k", "hmac-sha256", []byte("one")}, {"k", "hmac-sha256", []byte("two")}, {"other", "hmac-sha256", []byte("three")}}
	at := created(now)
	for _, c := range []struct {
		name, want, detail string
		m                  *Message
	}{
		{"target-uri covers all", "ok", "", signed9421("GET", uri, "", nil, get(at+`;keyid="k"`, "one"))},
		{"second key of that id", "ok", "", signed9421("GET", uri, "", nil, get(at+`;keyid="k"`, "two"))},
		{"key of another id", "bad", "does not fit", signed9421("GET", uri, "", nil, get(at+`;keyid="k"`, "three"))},
		{"no keyid", "ok", "", signed9421("GET", uri, "", nil, get(at, "three"))},
		{"unknown keyid", "bad", "no key", signed9421("GET", uri, "", nil, get(at+`;keyid="z"`, "one"))},
		{"alg as configured", "ok", "", signed9421("GET", uri, "", nil, get(at+`;keyid="k";alg="hmac-sha256"`, "one"))},
		{"another alg", "bad", "no key", signed9421("GET", uri, "", nil, get(at+`;keyid="k";alg="ed25519"`, "one"))},
		{"nonce and tag", "ok", "", signed9421("GET", uri, "", nil, get(at+`;nonce="n";tag="t";x`, "one"))},
		{"not created", "bad", "created", signed9421("GET", uri, "", nil, get(`;keyid="k"`, "one"))},
		{"created is no number", "bad", "wrong type", signed9421("GET", uri, "", nil, get(`;created="now"`, "one"))},
		{"expires later", "ok", "", signed9421("GET", uri, "", nil, get(at+fmt.Sprintf(";expires=%d", now.Unix()), "one"))},
		{"expired", "stale", "expired", signed9421("GET", uri, "", nil, get(at+fmt.Sprintf(";expires=%d", now.Unix()-1), "one"))},
		{"old", "stale", "301 s old", signed9421("GET", uri, "", nil, get(created(now.Add(-301*time.Second)), "one"))},
		{"one of two fits", "ok", "", signed9421("GET", uri, "", nil, label("a", get(at+`;keyid="z"`, "x")), label("b", get(at, "one")))},
		{"one is wrong, one old", "stale", "old", signed9421("GET", uri, "", nil, label("a", get(at, "x")), label("b", get(created(now.AddDate(-1, 0, 0)), "one")))},
		{"one unknown, one wrong", "bad", "does not fit", signed9421("GET", uri, "", nil, label("a", get(at+`;keyid="z"`, "x")), label("b", get(at, "x")))},
		{"the query is open", "bad", "does not cover @query or", signed9421("GET", uri, "", nil, part9421{"s", `"@method" "@authority" "@path"`, at,
			[]string{`"@method": GET`, `"@authority": example.com`, `"@path": /p`}, byHMAC("one")})},
		{"no query to cover", "ok", "", signed9421("GET", "https://example.com/p", "", nil, part9421{"s", `"@method" "@authority" "@path"`, at,
			[]string{`"@method": GET`, `"@authority": example.com`, `"@path": /p`}, byHMAC("one")})},
		{"request-target", "ok", "", signed9421("GET", uri, "", nil, part9421{"s", `"@method" "@authority" "@request-target" "@scheme"`, at,
			[]string{`"@method": GET`, `"@authority": example.com`, `"@request-target": /p?x=1`, `"@scheme": https`}, byHMAC("one")})},
		{"the method is open", "bad", "does not cover @method", signed9421("GET", uri, "", nil, part9421{"s", `"@target-uri"`, at,
			[]string{`"@target-uri": https://example.com/p?x=1`}, byHMAC("one")})},
		{"the body is open", "bad", "content-digest", signed9421("POST", uri, "body", nil, part9421{"s", `"@method" "@target-uri"`, at,
			[]string{`"@method": POST`, `"@target-uri": https://example.com/p?x=1`}, byHMAC("one")})},
		{"covered twice", "bad", "twice", signed9421("GET", uri, "", nil, part9421{"s", `"@method" "@target-uri" "@method"`, at,
			[]string{`"@method": GET`, `"@target-uri": https://example.com/p?x=1`, `"@method": GET`}, byHMAC("one")})},
		{"header", "ok", "", signed9421("GET", uri, "", map[string]string{"X-A": " a , b "}, with(get(at, "one"), `"x-a"`, `"x-a": a , b`))},
		{"header missing", "bad", "missing", signed9421("GET", uri, "", nil, with(get(at, "one"), `"x-a"`, `"x-a": `))},
		{"header in upper case", "bad", "missing", signed9421("GET", uri, "", map[string]string{"X-A": "a"}, with(get(at, "one"), `"X-A"`, `"X-A": a`))},
		{"header as bytes", "ok", "", signed9421("GET", uri, "", map[string]string{"X-A": "a"}, with(get(at, "one"), `"x-a";bs`, `"x-a";bs: :YQ==:`))},
		{"key of a header", "ok", "", signed9421("GET", uri, "", map[string]string{"X-A": "b=1, a=(1 2);q"}, with(get(at, "one"), `"x-a";key="a"`, `"x-a";key="a": (1 2);q`))},
		{"no such key", "bad", "missing", signed9421("GET", uri, "", map[string]string{"X-A": "b=1"}, with(get(at, "one"), `"x-a";key="a"`, `"x-a";key="a": 1`))},
		{"key of something else", "bad", "not a dictionary", signed9421("GET", uri, "", map[string]string{"X-A": "!"}, with(get(at, "one"), `"x-a";key="a"`, `"x-a";key="a": 1`))},
		{"sf", "bad", "cannot be checked", signed9421("GET", uri, "", map[string]string{"X-A": "a"}, with(get(at, "one"), `"x-a";sf`, `"x-a";sf: a`))},
		{"unknown component", "bad", "cannot be checked", signed9421("GET", uri, "", nil, with(get(at, "one"), `"@status"`, `"@status": 200`))},
		{"component of a request", "bad", "cannot be checked", signed9421("GET", uri, "", nil, with(get(at, "one"), `"@path";req`, `"@path";req: /p`))},
		{"token as component", "bad", "not the name", signed9421("GET", uri, "", nil, with(get(at, "one"), `x-a`, `x-a: 1`))},
		{"query parameter", "ok", "", signed9421("GET", uri, "", nil, with(get(at, "one"), `"@query-param";name="x"`, `"@query-param";name="x": 1`))},
		{"no such query parameter", "bad", "0 times", signed9421("GET", uri, "", nil, with(get(at, "one"), `"@query-param";name="y"`, `"@query-param";name="y": 1`))},
		{"one is broken", "ok", "", signed9421("GET", uri, "", nil, label("a", get(`;keyid="proxy"`, "x")), get(at, "one"))},
		{"too many signatures", "bad", "at most 8", signed9421("GET", uri, "", nil, many(9, get(at, "one"))...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := must(NewHTTPSignature(hmacKeys, 0)).Verify(c.m)
			if got := verdict(t, err); got != c.want {
				t.Fatalf("got %s (%v), want %s", got, err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.detail) {
				t.Errorf("the detail is %q, want %q in it", err, c.detail)
			}
		})
	}
}

// with covers one thing more.
func with(p part9421, component, line string) part9421 {
	p.components += " " + component
	p.lines = append(p.lines, line)
	return p
}

func many(n int, p part9421) []part9421 {
	list := make([]part9421, n)
	for i := range list {
		list[i] = p
		list[i].label = fmt.Sprintf("s%d", i)
	}
	return list
}

func TestHTTPSignatureDigest(t *testing.T) {
	t.Parallel()
	sum512 := sha512.Sum512([]byte(sampleBody))
	d512 := "sha-512=:" + base64.StdEncoding.EncodeToString(sum512[:]) + ":"
	for _, c := range []struct{ digest, body, want string }{
		{digestOf(sampleBody), sampleBody, "ok"},
		{d512, sampleBody, "ok"},
		{digestOf(sampleBody) + ", " + d512, sampleBody, "ok"},
		{"md5=:AAAA:, " + d512, sampleBody, "ok"},
		{digestOf("") + ", " + d512, sampleBody, "bad"}, // one of two is wrong
		{digestOf(sampleBody), sampleBody + " ", "bad"},
		{digestOf(sampleBody), "", "bad"}, // the body was taken away
		{digestOf(""), "", "ok"},
		{"md5=:AAAA:", sampleBody, "bad"},
		{"sha-256=1", sampleBody, "bad"},
		{"sha-256", sampleBody, "bad"},
		{"!", sampleBody, "bad"},
	} {
		p := part9421{"s", `"@method" "@authority" "@path" "content-digest"`, created(now), []string{
			`"@method": POST`, `"@authority": example.com`, `"@path": /`, `"content-digest": ` + c.digest,
		}, byHMAC("k")}
		m := signed9421("POST", "https://example.com/", c.body, map[string]string{"Content-Digest": c.digest}, p)
		_, err := must(NewHTTPSignature([]HTTPKey{{"k", "hmac-sha256", []byte("k")}}, 0)).Verify(m)
		if got := verdict(t, err); got != c.want {
			t.Errorf("%s with %q: got %s (%v), want %s", c.digest, c.body, got, err, c.want)
		}
	}
}

// TestHTTPSignatureBehindProxy: without TLS here, the scheme may be either.
func TestHTTPSignatureBehindProxy(t *testing.T) {
	t.Parallel()
	v := must(NewHTTPSignature([]HTTPKey{{"k", "hmac-sha256", []byte("one")}}, 0))
	m := signed9421("GET", "http://example.com/p?x=1", "", nil, get(created(now), "one"))
	if _, err := v.Verify(m); err != nil {
		t.Errorf("signed as https, received as http: %v", err)
	}
	p := get(created(now), "one")
	p.lines[1] = `"@target-uri": http://example.com/p?x=1`
	if _, err := v.Verify(signed9421("GET", "http://example.com:80/p?x=1", "", nil, p)); err != nil {
		t.Errorf("signed and received as http: %v", err)
	}
	if _, err := v.Verify(signed9421("GET", "https://example.com/p?x=1", "", nil, p)); verdict(t, err) != "bad" {
		t.Error("signed as http, yet taken with https")
	}
}

func TestHTTPSignatureOnce(t *testing.T) {
	t.Parallel()
	v := must(NewHTTPSignature([]HTTPKey{{"a", "hmac-sha256", []byte("one")}, {"b", "hmac-sha256", []byte("two")}}, 0))
	name := func(parts ...part9421) string {
		proof, err := v.Verify(signed9421("GET", "https://example.com/p?x=1", "", nil, parts...))
		if err != nil {
			t.Fatal(err)
		}
		return proof.Once
	}
	first, second := get(created(now)+`;keyid="a"`, "one"), get(created(now)+`;keyid="b"`, "two")
	second.label = "t"
	if name(first, second) != name(second) {
		t.Error("the message has another name with its first signature left out")
	}
	if name(first) == name(get(created(now)+`;keyid="a";nonce="1"`, "one")) {
		t.Error("another nonce is the same name")
	}
	if name(first) == name(get(created(now.Add(time.Second))+`;keyid="a"`, "one")) {
		t.Error("another time is the same name")
	}
}

// httpSchemes are RFC 9421 with a secret and with a key pair.
func httpSchemes() []scheme {
	base := func(alg string, at time.Time) (input, text string) {
		input = fmt.Sprintf(`("@method" "@authority" "@path" "@query" "content-digest");created=%d;keyid="k"`, at.Unix())
		sum := sha256.Sum256([]byte(sampleBody))
		text = "\"@method\": POST\n\"@authority\": example.com\n\"@path\": /postback\n\"@query\": ?x=1\n" +
			"\"content-digest\": sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":\n" +
			"\"@signature-params\": " + input
		return input, text
	}
	sign := func(alg string, make func(secret, text string) []byte) func(string, time.Time) *Message {
		return func(secret string, at time.Time) *Message {
			input, text := base(alg, at)
			m := newMessage("POST", "https://EXAMPLE.com:443/postback?x=1", sampleBody, now)
			sum := sha256.Sum256([]byte(sampleBody))
			m.Request.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
			m.Request.Header.Set("Signature-Input", "sig1="+input)
			m.Request.Header.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(make(secret, text))+":")
			return m
		}
	}
	verifier := func(alg string, key func(secret string) []byte) func(...string) Verifier {
		return func(secrets ...string) Verifier {
			var keys []HTTPKey
			for _, s := range secrets {
				keys = append(keys, HTTPKey{ID: "k", Algorithm: alg, Key: key(s)})
			}
			return must(NewHTTPSignature(keys, 0))
		}
	}
	pair := func(secret string) ed25519.PrivateKey {
		seed := sha256.Sum256([]byte(secret))
		return ed25519.NewKeyFromSeed(seed[:])
	}
	rest := []string{"Signature-Input", "Content-Digest"}
	return []scheme{
		{name: "http signature hmac-sha256", header: "Signature", timed: true, rest: rest,
			verifier: verifier("hmac-sha256", func(s string) []byte { return []byte(s) }),
			sign:     sign("hmac-sha256", func(secret, text string) []byte { return mac256(secret, text) })},
		{name: "http signature ed25519", header: "Signature", timed: true, rest: rest,
			verifier: verifier("ed25519", func(s string) []byte {
				return []byte(base64.StdEncoding.EncodeToString(pair(s).Public().(ed25519.PublicKey)))
			}),
			sign: sign("ed25519", func(secret, text string) []byte { return ed25519.Sign(pair(secret), []byte(text)) })},
	}
}
