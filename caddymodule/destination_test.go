package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/capture"
)

// visitFor makes what templates take their values from.
func visitFor(r *http.Request) *visit {
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, nil, nil)
	return &visit{r: r, repl: repl, query: parseQuery(r.URL.RawQuery), click: &capture.Click{
		Campaign: "spring sale", Source: "a/b", Subs: []capture.Param{{Name: "placement", Value: "top&left"}},
	}}
}

func request(target string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RequestURI = target
	r.Host = "shop.example"
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	if path, err := url.PathUnescape(r.URL.Path); err == nil && path != r.URL.Path {
		r.URL.RawPath, r.URL.Path = r.URL.Path, path
	}
	return r
}

func TestDestination(t *testing.T) {
	t.Setenv("CAPTURE_TEST_HOST", "env.example")
	t.Setenv("CAPTURE_TEST_URL", "https://env.example/?s={click_id}")
	for _, tc := range []struct{ to, request, want string }{
		// Without placeholders, and with our own.
		{"https://acme.example/offer", "/go", "https://acme.example/offer"},
		{"HTTPS://acme.example:8443", "/go", "HTTPS://acme.example:8443"},
		{"http://[::1]:8080/x", "/go", "http://[::1]:8080/x"},
		{"https://acme.example/?s={click_id}", "/go", "https://acme.example/?s={click_id}"},
		{"https://acme.example/{click_id}/x#{click_id}", "/go", "https://acme.example/{click_id}/x#{click_id}"},
		{"https://acme.example/?s={http.capture.click_id}", "/go", "https://acme.example/?s={click_id}"},
		{"https://a.example/{campaign}?s={source}&p={sub.placement}", "/", "https://a.example/spring%20sale?s=a%2Fb&p=top%26left"},
		// The same value in a path, a query and a fragment.
		{"https://a.example/x/{query.v}", "/?v=a/b+%3F%23%25", "https://a.example/x/a%2Fb%20%3F%23%25"},
		{"https://a.example/?x={query.v}", "/?v=a/b+%26c%3Dd", "https://a.example/?x=a%2Fb%20%26c%3Dd"},
		{"https://a.example/#x={query.v}", "/?v=a/b%23c", "https://a.example/#x=a%2Fb%23c"},
		{"https://a.example?x={query.v}", "/?v=1", "https://a.example?x=1"},
		{"https://a.example/?x={query.v}", "/?v=%C3%BC%FF", "https://a.example/?x=%C3%BC%FF"},
		{"https://a.example/?x={query.v}", "/?v=~-._", "https://a.example/?x=~-._"},
		{"https://a.example/?x={query.v}", "/?v=%0d%0aSet-Cookie:x=1", "https://a.example/?x=%0D%0ASet-Cookie%3Ax%3D1"},
		{"https://a.example/?x={query.v}", "/?v=%7Bclick_id%7D", "https://a.example/?x=%7Bclick_id%7D"},
		{"https://a.example/?x={query.none}&y=1", "/?v=1", "https://a.example/?x=&y=1"},
		{"https://a.example/?x={http.request.uri.query.v}", "/?v=&v=2&v=3", "https://a.example/?x=2"},
		{"https://a.example/?x=%{query.v}", "/?v=41", "https://a.example/?x=%2541"},
		// Caddy's placeholders, in their long form and, for JSON, the short.
		{"https://a.example/?h={http.request.host}", "/", "https://a.example/?h=shop.example"},
		{"https://a.example/?h={host}&u={uri}", "/p?q=1", "https://a.example/?h=shop.example&u=%2Fp%3Fq%3D1"},
		{"https://a.example/?u={http.request.uri_escaped}", "/p?q=1", "https://a.example/?u=%2Fp%3Fq%3D1"},
		{"https://a.example/?h={http.vars.none}", "/", "https://a.example/?h="},
		// Paths keep their slashes; one that leads to another host cannot arise.
		{"https://a.example/{http.request.uri.path}", "/x/y%20z", "https://a.example/x/y%20z"},
		{"https://a.example/l{http.request.uri.path}?x=1", "/x%3Fy", "https://a.example/l/x%3Fy?x=1"},
		{"/landing/{path}", "//evil.example", "/landing/evil.example"},
		{"/landing/{path}", `/\evil.example`, "/landing/%5Cevil.example"},
		{"/landing?u={path}", "/a/b", "/landing?u=%2Fa%2Fb"},
		{"/", "/a/b", "/"},
		// Whole queries.
		{"https://a.example/?{query}", "/?a=1&b=%20x", "https://a.example/?a=1&b=%20x"},
		{"https://a.example/?s={click_id}&{query}", "/?a=%zz\"<>{}", "https://a.example/?s={click_id}&a=%25zz%22%3C%3E%7B%7D"},
		{"https://a.example/x{?query}", "/?a=1", "https://a.example/x?a=1"},
		{"https://a.example/x{?query}#f", "/", "https://a.example/x#f"},
		{"https://a.example/?back={query}", "/?a=1&b=2", "https://a.example/?back=a%3D1%26b%3D2"},
		{"https://a.example/{query}", "/?a=1&b=2", "https://a.example/a%3D1%26b%3D2"},
		// Apps.
		{"myapp://open/item?id={query.v}", "/?v=7", "myapp://open/item?id=7"},
		{"myapp:///item/{query.v}", "/?v=7", "myapp:///item/7"},
		// Literal text that is not legal in a URL.
		{"https://a.example/ü |[]?q=a b%#x#y", "/", "https://a.example/%C3%BC%20|[]?q=a%20b%25#x%23y"},
		{`https://a.example/?m=\{CLICK\}&s={click_id}`, "/", "https://a.example/?m=%7BCLICK%7D&s={click_id}"},
		{"https://a.example/a?b=1?c=2", "/", "https://a.example/a?b=1?c=2"},
		// Replaced at provisioning, also in the host.
		{"https://{env.CAPTURE_TEST_HOST}/?s={click_id}", "/", "https://env.example/?s={click_id}"},
		{"{env.CAPTURE_TEST_URL}", "/", "https://env.example/?s={click_id}"},
	} {
		d, err := parseDestination(tc.to)
		if err != nil {
			t.Errorf("%q: %v", tc.to, err)
			continue
		}
		got := string(d.expand(nil, visitFor(request(tc.request)), nil))
		if got != tc.want {
			t.Errorf("%q for %q:\n got %s\nwant %s", tc.to, tc.request, got, tc.want)
		}
		if d.hasID != strings.Contains(tc.want, idMark) {
			t.Errorf("%q: hasID is %t", tc.to, d.hasID)
		}
	}
}

func TestDestinationRefuses(t *testing.T) {
	t.Setenv("CAPTURE_TEST_EMPTY", "")
	for to, want := range map[string]string{
		"":                                  "wanted is a URL",
		"acme.example/offer":                "wanted is a URL",
		"acme.example:8080/offer":           "wanted is a URL",
		"localhost:8080/offer":              "wanted is a URL",
		"offer":                             "wanted is a URL",
		"https:/acme.example/":              "wanted is a URL",
		"https:acme.example":                "wanted is a URL",
		"https:///offer":                    "no host",
		"https://":                          "no host",
		"https://?x":                        "no host",
		"https://:80/":                      "no host",
		" https://a.example/":               "wanted is a URL",
		"mailto:a@b.example":                "wanted is a URL",
		"javascript:alert(1)":               "wanted is a URL",
		"javascript://%0aalert(1)":          "not allowed",
		"JavaScript://x/{click_id}":         "not allowed",
		"data://text/html,x":                "not allowed",
		"vbscript://x":                      "not allowed",
		"file:///etc/passwd":                "not allowed",
		"https://{query.h}/":                "open redirect",
		"https://a{query.x}.b/":             "open redirect",
		"https://a.example{query.x}":        "open redirect",
		"https://a.example{path}":           "open redirect",
		"https://a.example:{query.port}/":   "open redirect",
		"https://a.example:80{query.port}":  "open redirect",
		"https://a.example@{query.h}/":      "open redirect",
		"https://{query.u}@a.example/":      "open redirect",
		"https://u:{query.p}@a.example/":    "open redirect",
		"https://{click_id}.a.example/":     "open redirect",
		"https://{campaign}.a.example/":     "open redirect",
		`https://a.example\{query.h}/`:      "character that no host has",
		`https://a.example\@evil.example/`:  "user name",
		`https://a.example\.evil.example/`:  "character that no host has",
		"https://user:pass@a.example/":      "user name",
		"https://a.example@evil.example/":   "user name",
		"https://a%2eexample/":              "character that no host has",
		"https://bücher.example/":           "xn--",
		"https://a.example:port/":           "port",
		"{query.u}":                         "open redirect",
		"{query.scheme}://a.example/":       "open redirect",
		"http{query.s}://a.example/":        "open redirect",
		"https:{query.rest}":                "wanted is a URL",
		"https:/{query.rest}":               "wanted is a URL",
		"myapp://{query.rest}":              "open redirect",
		"//evil.example/":                   "two slashes",
		`/\evil.example/`:                   "two slashes",
		"/{query.x}":                        "open redirect",
		"/{query.x}/evil.example":           "open redirect",
		"/{path}":                           "open redirect",
		"https://a.example/\t{click_id}":    "control character",
		"https://a\t.example/":              "control character",
		"/\t/evil.example":                  "control character",
		"https://a.example/\r\nX: y":        "control character",
		"https://a.example/\x7f":            "control character",
		"https://a.example/{uri}":           "holds a path and a query",
		"https://a.example/{clickid}":       "unknown placeholder {clickid}",
		"https://a.example/?s={}":           `write \{`,
		"https://a.example/?s={click_id":    `write \{`,
		"https://{env.CAPTURE_TEST_EMPTY}/": "is empty",
	} {
		if _, err := parseDestination(to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v; want one with %q", to, err, want)
		}
	}
}

func TestPass(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		to    string
		names []string
		query string
		want  string
	}{
		{"https://a.example/", nil, "", "https://a.example/"},
		{"https://a.example/", nil, "a=1&b=2", "https://a.example/?a=1&b=2"},
		{"https://a.example/", []string{"b"}, "a=1&b=2&b=3", "https://a.example/?b=2&b=3"},
		{"https://a.example/?s={click_id}", nil, "a=1", "https://a.example/?s={click_id}&a=1"},
		{"https://a.example/?", nil, "a=1", "https://a.example/?a=1"},
		{"https://a.example/?x&", nil, "a=1", "https://a.example/?x&a=1"},
		{"https://a.example/#f?g", nil, "a=1", "https://a.example/?a=1#f?g"},
		{"https://a.example/?s={click_id}&x=1", nil, "s=evil&%73=evil&x&X=2", "https://a.example/?s={click_id}&x=1&X=2"},
		{"https://a.example/?aff%5Fsub={click_id}", nil, "aff_sub=evil", "https://a.example/?aff%5Fsub={click_id}"},
		{"https://a.example/", nil, "a=%20+x&b=%zz\"\x01&&c", "https://a.example/?a=%20+x&b=%25zz%22%01&c"},
		{"https://a.example/", []string{"a b"}, "a+b=1&a%20b=2", "https://a.example/?a+b=1&a%20b=2"},
		{"/local", nil, "a={click_id}", "/local?a=%7Bclick_id%7D"},
	} {
		d, err := parseDestination(tc.to)
		if err != nil {
			t.Fatal(err)
		}
		p := &passing{all: tc.names == nil, names: map[string]struct{}{}}
		for _, name := range tc.names {
			p.names[name] = struct{}{}
		}
		if got := string(d.expand(nil, visitFor(request("/?"+tc.query)), p)); got != tc.want {
			t.Errorf("%q, %v, %q:\n got %s\nwant %s", tc.to, tc.names, tc.query, got, tc.want)
		}
	}
}

// FuzzExpand: whatever the template and the request, a redirect leads to the
// host of the template, and nothing can end its header.
func FuzzExpand(f *testing.F) {
	for _, to := range []string{
		"https://a.example/{query.v}/x?y={query.v}&{query}#{query.v}", "https://a.example/{path}", "/l/{path}{?query}",
		"myapp://x/{query.v}", "https://a.example?{query}", "https://a.example/{query.v}{query.v}", "https://{query.v}",
	} {
		f.Add(to, "/x//y", "v=//evil.example&w=\r\n")
		f.Add(to, "//evil.example/..", "v=..&v=%0d%0a%5c@")
		f.Add(to, `\\evil`, "?@evil.example#")
	}
	f.Fuzz(func(t *testing.T, to, path, query string) {
		d, err := parseDestination(to)
		if err != nil {
			return
		}
		r := request("/")
		r.URL.Path, r.URL.RawQuery = path, query
		text := string(d.expand(nil, visitFor(r), &passing{all: true}))
		if strings.ContainsFunc(text, isControl) || strings.ContainsAny(text, " \\\"<>") {
			t.Fatalf("%q expands to %q", to, text)
		}
		got, err := url.Parse(strings.ReplaceAll(text, idMark, "0id"))
		if err != nil {
			t.Fatalf("%q expands to %q: %v", to, text, err)
		}
		fixed := *d
		want, err := url.Parse(strings.ReplaceAll(string(fixed.expand(nil, visitFor(request("/")), nil)), idMark, "0id"))
		if err != nil {
			t.Fatal(err)
		}
		if got.Scheme != want.Scheme || got.Host != want.Host || got.User.String() != want.User.String() {
			t.Fatalf("%q leads to %q, not to %q", to, text, want)
		}
		if strings.HasPrefix(to, "/") && (got.Host != "" || strings.HasPrefix(text, "//")) {
			t.Fatalf("%q leads away to %q", to, text)
		}
	})
}
