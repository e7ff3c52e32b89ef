package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/capture"
)

func TestParseQuery(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]queryValues{
		"":                   nil,
		"&&":                 nil,
		"a=1&b=2":            {{"a", "1"}, {"b", "2"}},
		"a&b=":               {{"a", ""}, {"b", ""}},
		"=1":                 {{"", "1"}},
		"a=1=2":              {{"a", "1=2"}},
		"a=1;b=2":            {{"a", "1;b=2"}},
		"a=1?b=2":            {{"a", "1?b=2"}},
		"?a=1":               {{"?a", "1"}},
		"a=x+y%20z%2B":       {{"a", "x y z+"}},
		"a=%zz%4&b=100%":     {{"a", "%zz%4"}, {"b", "100%"}},
		"a%5Bb%5D=%C3%BC%ff": {{"a[b]", "ü\xff"}},
		"%26=%3D":            {{"&", "="}},
	} {
		if got := parseQuery(raw); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", raw, got, want)
		}
	}
	q := parseQuery("a=&b=1&a=2&a=3")
	if q.get("a") != "2" || q.get("b") != "1" || q.get("c") != "" || queryValues(nil).get("a") != "" {
		t.Error("get does not return the first value that is not empty")
	}
	if n := len(parseQuery(strings.Repeat("a&", 100_000))); n != maxQueryParams {
		t.Errorf("%d parameters were read", n)
	}
}

// Not parallel: it counts the allocations of the whole process, in which others
// may be at work still. So the least of some counts is ours.
func TestParseQueryAllocations(t *testing.T) {
	buf := make(queryValues, 0, 8)
	least := math.Inf(1)
	for range 10 {
		n := testing.AllocsPerRun(100, func() { buf = appendQuery(buf[:0], "source=a&sub1=b&utm_source=c") })
		if least = min(least, n); least == 0 {
			return
		}
	}
	t.Errorf("%v allocations for a query that needs no decoding", least)
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "a=%41+%zz&&=", "%", "a=%4", "%61=1&a=2", "a=\x00\xff;b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q := parseQuery(raw)
		// Where the standard library takes a query, the values are the same.
		std, err := url.ParseQuery(raw)
		if err != nil || len(q) == maxQueryParams {
			return
		}
		for name, values := range std {
			want := ""
			for _, v := range values {
				if want == "" {
					want = v
				}
			}
			if got := q.get(name); got != want {
				t.Errorf("%q: %q is %q, want %q", raw, name, got, want)
			}
		}
	})
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"

func TestIsBot(t *testing.T) {
	t.Parallel()
	for userAgent, want := range map[string]bool{
		"":              false,
		firefox:         false,
		"curl/8.14.1":   false,
		"Wget/1.25.0":   false,
		"HTTPie/3.2.4":  false,
		"Googlebot/2.1": true,
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": true,
		"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)":  true,
		"facebookexternalhit/1.1":                        true,
		"python-requests/2.32.3":                         true,
		"Go-http-client/1.1":                             true,
		"bot curl/8":                                     true,
		strings.Repeat("x", 1<<20):                       false,
		strings.Repeat("x", maxUserAgent) + " Googlebot": false, // beyond what is looked at
	} {
		for range 2 { // the second verdict is remembered
			if got := isBot(userAgent); got != want {
				t.Errorf("%.80q: %t", userAgent, got)
			}
		}
	}
	for i := range botVerdicts + 10 {
		bots().Add(fmt.Sprint("agent ", i), false)
	}
	if n := bots().Len(); n > botVerdicts {
		t.Errorf("%d verdicts are remembered", n)
	}
}

func TestVisitorFlags(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, value string
		want        capture.ClickFlags
	}{
		{"Accept", "*/*", 0},
		{"Sec-Purpose", "prefetch", capture.FlagPrefetch},
		{"Sec-Purpose", "Prefetch;prerender", capture.FlagPrefetch},
		{"Sec-Purpose", "other", 0},
		{"Purpose", "prefetch", capture.FlagPrefetch},
		{"X-Purpose", "preview", capture.FlagPrefetch},
		{"X-Moz", "prefetch", capture.FlagPrefetch},
		{"User-Agent", "Googlebot/2.1", capture.FlagBot},
		{testHeader, "made up", 0},
	} {
		r := request("/")
		r.Header.Set(tc.name, tc.value)
		if got := visitorFlags(r, r.UserAgent()); got != tc.want {
			t.Errorf("%s: %s: flags %v, want %v", tc.name, tc.value, got.Names(), tc.want.Names())
		}
	}
	r := request("/")
	r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	if f := visitorFlags(r, firefox); f != 0 {
		t.Errorf("flags %v after the handshake", f.Names())
	}
	r.TLS.HandshakeComplete = false
	if f := visitorFlags(r, firefox); f != capture.FlagEarly || clickKind(f) != "counted" {
		t.Errorf("flags %v before the handshake", f.Names())
	}
	for flags, want := range map[capture.ClickFlags]string{
		0: "counted", capture.FlagCut: "counted", capture.FlagBot | capture.FlagPrefetch: "bot",
		capture.FlagPrefetch: "prefetch", capture.FlagTest | capture.FlagBot: "test",
	} {
		if got := clickKind(flags); got != want {
			t.Errorf("%v is %s, want %s", flags.Names(), got, want)
		}
	}
}

func TestPathElement(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/go/acme":             "acme",
		"/go/acme/":            "acme",
		"/go/acme//":           "acme",
		"/":                    "",
		"/acme":                "acme",
		"/go/spring%20sale":    "spring sale",
		"/go/a%2Fb":            "a/b",
		"/go/1+1":              "1+1",
		"/go/a+b%2Fc":          "a+b/c",
		"/go/%C3%BC":           "ü",
		"/go/acme?x=/y/z":      "acme",
		"/go/acme%3Fx":         "acme?x",
		"/go/acme;jsession=1/": "acme;jsession=1",
	} {
		if got := pathElement(request(path)); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
	// handle_path has taken it all away.
	r := request("/go/spring%20sale/")
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, *r.Clone(r.Context())))
	r.URL.Path, r.URL.RawPath = "/", ""
	if got := pathElement(r); got != "spring sale" {
		t.Errorf("after handle_path: %q", got)
	}
}

func BenchmarkIsBot(b *testing.B) {
	b.Run("remembered", func(b *testing.B) {
		for b.Loop() {
			isBot(firefox)
		}
	})
	b.Run("new", func(b *testing.B) {
		i := 0
		for b.Loop() {
			i++
			isBot(firefox + fmt.Sprint(i))
		}
	})
}
