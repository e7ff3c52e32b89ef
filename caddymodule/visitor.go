package caddymodule

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/x-way/crawlerdetect"

	"github.com/caddy-capture/caddy-capture/capture"
)

// visitorFlags tells what is special about a request.
func visitorFlags(r *http.Request, userAgent string) capture.ClickFlags {
	var f capture.ClickFlags
	if isTestRequest(r) {
		f |= capture.FlagTest
	}
	if isPrefetch(r.Header) {
		f |= capture.FlagPrefetch
	}
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		f |= capture.FlagEarly
	}
	if isBot(userAgent) {
		f |= capture.FlagBot
	}
	return f
}

// clickKind is the metrics' word for a click: one for each, the strongest.
func clickKind(f capture.ClickFlags) string {
	switch {
	case f&capture.FlagTest != 0:
		return "test"
	case f&capture.FlagBot != 0:
		return "bot"
	case f&capture.FlagPrefetch != 0:
		return "prefetch"
	}
	return "counted"
}

// header is r.Header.Get for a name in canonical form.
func header(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// isPrefetch tells whether a browser fetches ahead of its user. Sec-Purpose is
// the standard; the others are what older browsers and apps send.
func isPrefetch(h http.Header) bool {
	if v := header(h, "Sec-Purpose"); v != "" && strings.Contains(strings.ToLower(v), "prefetch") {
		return true
	}
	for _, name := range [...]string{"Purpose", "X-Purpose", "X-Moz"} {
		if v := header(h, name); strings.EqualFold(v, "prefetch") || strings.EqualFold(v, "preview") {
			return true
		}
	}
	return false
}

const (
	// maxUserAgent is how much of a user agent is looked at; real ones are
	// shorter, and the time to judge one grows with its length.
	maxUserAgent = 512
	// botVerdicts is how many verdicts are remembered, some 4 MB at worst. The
	// users of a site have a few thousand different user agents.
	botVerdicts = 8192
)

// bots remembers verdicts: finding one takes more time than the redirect does.
var bots = sync.OnceValue(func() *lru.Cache[string, bool] {
	c, err := lru.New[string, bool](botVerdicts)
	if err != nil {
		panic(err) // only for a size below one
	}
	return c
})

// handTools are not counted as bots although the list of crawlers has them:
// owners try their links out with them, and a click that does not count would
// look like a fault. Bots of any weight go by other names.
var handTools = [...]string{"curl/", "Wget/", "HTTPie/"}

// isBot tells whether a user agent is that of a known bot.
func isBot(userAgent string) bool {
	if userAgent == "" {
		return false
	}
	for _, tool := range handTools {
		if strings.HasPrefix(userAgent, tool) {
			return false
		}
	}
	if len(userAgent) > maxUserAgent {
		// A copy, or the cache would keep the whole.
		userAgent = strings.Clone(userAgent[:maxUserAgent])
	}
	if bot, ok := bots().Get(userAgent); ok {
		return bot
	}
	bot := crawlerdetect.IsCrawler(userAgent)
	bots().Add(userAgent, bot)
	return bot
}

// visitorAddress returns the visitor's address as Caddy's rules for trusted
// proxies tell it.
func visitorAddress(r *http.Request) netip.Addr {
	s, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(s) // invalid where there is none: a Unix socket
	return addr
}

// maxQueryParams is how many parameters of a query are read: each costs time
// at every look-up, and nobody has as many.
const maxQueryParams = 256

// queryValues are the decoded parameters of a query in their order.
type queryValues []queryValue

type queryValue struct{ name, value string }

// parseQuery reads a query as forgivingly as the links that people paste
// together need: nothing in it is an error. A bad escape stands for itself, a
// semicolon and a second question mark are ordinary characters.
func parseQuery(raw string) queryValues { return appendQuery(nil, raw) }

// appendQuery is parseQuery into the memory of q.
func appendQuery(q queryValues, raw string) queryValues {
	for raw != "" && len(q) < maxQueryParams {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		q = append(q, queryValue{unescape(name), unescapeValue(value)})
	}
	return q
}

// unescapeValue is unescape, except that a macro between percent signs stays
// one: the "%ca" of %campaign% is not a byte.
func unescapeValue(s string) string {
	if n := len(s); n > 2 && s[0] == '%' && s[n-1] == '%' && capture.IsMacro(s) {
		return s
	}
	return unescape(s)
}

// get returns the first value of that name that is not empty.
func (q queryValues) get(name string) string {
	for i := range q {
		if q[i].name == name && q[i].value != "" {
			return q[i].value
		}
	}
	return ""
}

// unescape decodes one name or value of a query. What needs no decoding is
// returned as it is.
func unescape(s string) string {
	i := strings.IndexAny(s, "%+")
	if i < 0 {
		return s
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && isEscape(s[i:]):
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// unescapePath decodes an element of a path, in which '+' is itself.
func unescapePath(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	return unescape(strings.ReplaceAll(s, "+", "%2B"))
}

// lastElement returns the last element of a path that is not empty.
func lastElement(path string) string {
	path = strings.TrimRight(path, "/")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// pathElement returns the decoded last element of the request's path. Where a
// handler before this one has taken the whole path away (`handle_path`), the
// path that the visitor asked for has it.
func pathElement(r *http.Request) string {
	escaped := r.URL.RawPath != "" // a slash may be part of an element
	path := r.URL.Path
	if escaped {
		path = r.URL.EscapedPath()
	}
	name := lastElement(path)
	if name == "" {
		if orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && orig.URL != nil {
			path, escaped = orig.URL.EscapedPath(), true
			name = lastElement(path)
		}
	}
	if escaped {
		name = unescapePath(name)
	}
	return name
}
