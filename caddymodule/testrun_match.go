package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// eachMatcher visits the matchers of all conditions from the inside out.
func (r *foundRoute) eachMatcher(visit func(m any, c condition)) {
	for _, c := range slices.Backward(r.conditions) {
		for _, set := range c.sets {
			for _, m := range set {
				visit(m, c)
			}
		}
	}
}

// deref returns a matcher as a value: Caddy provisions pointers.
func deref(m any) any {
	switch m := m.(type) {
	case *caddyhttp.MatchHost:
		return *m
	case *caddyhttp.MatchPath:
		return *m
	case *caddyhttp.MatchQuery:
		return *m
	case *caddyhttp.MatchMethod:
		return *m
	case *caddyhttp.MatchProtocol:
		return *m
	}
	return m
}

// passes asks the matchers themselves whether the request gets to the
// handler. Those that need more than the request line are named in also.
func (r *foundRoute) passes(t *testTarget) (also []string, ok bool) {
	for _, c := range r.conditions {
		names, ok := c.passes(t)
		if !ok {
			return nil, false
		}
		also = append(also, names...)
	}
	return also, true
}

func (c *condition) passes(t *testTarget) (also []string, ok bool) {
	if len(c.sets) == 0 {
		return nil, true
	}
	req := t.probe(c.strip)
	for _, set := range c.sets {
		names, pass := passesSet(set, req)
		if pass && (!ok || len(names) < len(also)) {
			also, ok = names, true
		}
	}
	return also, ok
}

func passesSet(set caddyhttp.MatcherSet, req *http.Request) (also []string, ok bool) {
	for _, m := range set {
		switch deref(m).(type) {
		case caddyhttp.MatchHost, caddyhttp.MatchPath, caddyhttp.MatchQuery, caddyhttp.MatchMethod, caddyhttp.MatchProtocol:
			if match, err := m.(caddyhttp.RequestMatcherWithError).MatchWithError(req); err != nil || !match {
				return nil, false
			}
		default:
			also = append(also, matcherName(m))
		}
	}
	return also, true
}

func matcherName(m any) string {
	if mod, ok := m.(caddy.Module); ok {
		return strings.TrimPrefix(string(mod.CaddyModule().ID), "http.matchers.")
	}
	return fmt.Sprintf("%T", m)
}

// probe is the request as matchers see it after strip was cut off its path.
func (t *testTarget) probe(strip string) *http.Request {
	u := *t.url
	u.RawPath = ""
	if len(strip) > 0 && len(u.Path) >= len(strip) && strings.EqualFold(u.Path[:len(strip)], strip) {
		u.Path = u.Path[len(strip):]
		if !strings.HasPrefix(u.Path, "/") {
			u.Path = "/" + u.Path
		}
	}
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	req := (&http.Request{
		Method: t.method, URL: &u, Host: u.Host, Header: t.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if u.Scheme == "https" {
		req.TLS = new(tls.ConnectionState)
	}
	return req
}
