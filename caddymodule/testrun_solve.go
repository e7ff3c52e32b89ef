package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// testWord stands where a path may hold anything.
const testWord = "capture-test"

// maxCandidates bounds the paths and the hosts that are tried for one route.
const maxCandidates = 64

// testTarget is a request that reaches a route.
type testTarget struct {
	method string
	url    *url.URL
	header http.Header
	// also names the matchers of which it is not known whether they match.
	also []string
}

// wish is what the caller of a test wants of a request; "" leaves it open.
type wish struct {
	host, path, query string
	word              string // for wildcards
}

// readWish reads a path or an address given by the user.
func readWish(s string) (wish, *url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return wish{}, nil, fmt.Errorf("reading %q: %w", s, err)
	}
	if u.Host == "" && !strings.HasPrefix(s, "/") {
		return wish{}, nil, fmt.Errorf("%q is neither a path like /go/acme nor an address like https://example.com/go/acme", s)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return wish{host: u.Hostname(), path: path, query: u.RawQuery}, u, nil
}

// target finds a request that passes all conditions, as far as these are
// about host, path, query and method.
func (r *foundRoute) target(want wish) (*testTarget, error) {
	if r.server.problem != "" {
		return nil, errors.New(r.server.problem)
	}
	methods := []string{http.MethodGet}
	if r.postback != nil {
		methods = append(methods, http.MethodPost)
	}
	query := r.requiredQuery(want.query)
	for _, host := range r.hosts(want) {
		for _, path := range r.paths(want) {
			for _, method := range methods {
				t := r.attempt(method, host, path, query)
				if t == nil {
					continue
				}
				also, ok := r.passes(t)
				if ok {
					t.also = also
					return t, nil
				}
			}
		}
	}
	if want.path != "" {
		return nil, errors.New("the address is not one that this route matches")
	}
	if r.rewritten {
		return nil, errors.New("a handler before it rewrites the path, so an address cannot be made up: name one")
	}
	return nil, errors.New("an address that its matchers take cannot be made up: name one")
}

func (r *foundRoute) attempt(method, host, path, query string) *testTarget {
	u, err := url.Parse(r.server.origin(host) + path)
	if err != nil || u.Host == "" {
		return nil
	}
	u.RawQuery = query
	return &testTarget{method: method, url: u, header: make(http.Header)}
}

// hosts lists hosts to try, innermost condition first.
func (r *foundRoute) hosts(want wish) []string {
	if want.host != "" {
		return []string{want.host}
	}
	var hosts []string
	r.eachMatcher(func(m any, _ condition) {
		if m, ok := deref(m).(caddyhttp.MatchHost); ok {
			for _, pattern := range m {
				hosts = append(hosts, fillHost(globalReplace(pattern)))
			}
		}
	})
	hosts = append(hosts, "localhost")
	return limitCandidates(hosts)
}

func limitCandidates(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" && !slices.Contains(out, s) && len(out) < maxCandidates {
			out = append(out, s)
		}
	}
	return out
}

// fillHost makes a host of a pattern like *.example.com.
func fillHost(pattern string) string {
	if strings.ContainsAny(pattern, "{}") {
		return "" // it depends on the request
	}
	return strings.ReplaceAll(pattern, "*", testWord)
}

// paths lists paths to try, innermost condition first.
func (r *foundRoute) paths(want wish) []string {
	if want.path != "" {
		return []string{want.path}
	}
	word := want.word
	if word == "" {
		word = testWord
	}
	var paths []string
	r.eachMatcher(func(m any, c condition) {
		if m, ok := deref(m).(caddyhttp.MatchPath); ok {
			for _, pattern := range m {
				if path := fillPath(globalReplace(pattern), word); path != "" {
					paths = append(paths, c.strip+path)
				}
			}
		}
	})
	innermost := r.conditions[len(r.conditions)-1]
	paths = append(paths, innermost.strip+"/"+url.PathEscape(word))
	return limitCandidates(paths)
}

// fillPath makes a path of a pattern, or "" where it depends on the request.
func fillPath(pattern, word string) string {
	if strings.ContainsAny(pattern, "{}") {
		return ""
	}
	word = url.PathEscape(word)
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		pattern = strings.TrimSuffix(prefix, "/") + "/" + word
	}
	pattern = strings.ReplaceAll(pattern, "*", word)
	if !strings.HasPrefix(pattern, "/") {
		pattern = "/" + pattern
	}
	return pattern
}

// globalReplace replaces placeholders that do not depend on a request.
func globalReplace(s string) string {
	if !strings.Contains(s, "{") {
		return s
	}
	return caddy.NewReplacer().ReplaceKnown(s, "")
}

// requiredQuery adds to a query what the conditions ask for.
func (r *foundRoute) requiredQuery(given string) string {
	extra := make(url.Values)
	values, _ := url.ParseQuery(given)
	r.eachMatcher(func(m any, _ condition) {
		query, ok := deref(m).(caddyhttp.MatchQuery)
		if !ok {
			return
		}
		for name, allowed := range query {
			if len(allowed) == 0 || values.Has(name) || extra.Has(name) {
				continue
			}
			if allowed[0] == "*" {
				extra.Set(name, testWord)
			} else {
				extra.Set(name, globalReplace(allowed[0]))
			}
		}
	})
	return joinQuery(given, extra.Encode())
}

func joinQuery(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}
