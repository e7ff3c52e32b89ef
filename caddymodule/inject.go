package caddymodule

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/capture"
)

// inject lets the handlers after this one answer, and makes a click of a
// redirect.
func (t *TrackClick) inject(w http.ResponseWriter, r *http.Request, repl *caddy.Replacer, next caddyhttp.Handler) error {
	s := scratches.Get().(*scratch) //nolint:forcetypeassert // the pool holds nothing else
	// Now, since handlers after this one may rewrite the request.
	in := &injector{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		t:                     t, r: r, record: r.Method == http.MethodGet, click: t.newClick(s, r, repl),
	}
	s.release()
	in.campaign, in.source = in.click.Campaign, in.click.Source
	repl.Map(in.placeholder)
	return next.ServeHTTP(in, r)
}

// injector is a ResponseWriter that sets the click ID in a redirect.
type injector struct {
	*caddyhttp.ResponseWriterWrapper
	t      *TrackClick
	r      *http.Request
	record bool
	click  *capture.Click
	// wrote: the status is decided; what comes later is not sent.
	wrote bool

	campaign, source string

	mu   sync.Mutex // guards what follows: placeholders are asked for at any time
	mint mint
	id   string
}

// placeholder answers the placeholders of the click. Asking for the ID reserves
// a place for the click, which stays empty if there is no redirect; where
// nobody asks, the click is given its place among others.
func (in *injector) placeholder(key string) (any, bool) {
	switch key {
	case placeholderClickID:
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.id == "" {
			in.openMint()
			if in.record && in.mint.ledger != nil {
				in.click.Ref = in.mint.ledger.Reserve(in.click.Time)
			} else {
				in.click.Ref = in.mint.unrecorded(in.click.Time)
			}
			in.id = in.mint.codec.Encode(in.click.Ref)
		}
		return in.id, true
	case placeholderCampaign:
		return in.campaign, true
	case placeholderSource:
		return in.source, true
	}
	return nil, false
}

// openMint is called with the lock held.
func (in *injector) openMint() {
	if in.mint.codec == nil {
		in.mint = in.t.mint()
	}
}

// WriteHeader sets the click ID if the answer is a redirect.
func (in *injector) WriteHeader(status int) {
	// Informational answers come before the real one, and from a goroutine of
	// their own.
	if status >= 200 && !in.wrote || status == http.StatusSwitchingProtocols {
		in.wrote = true
		if location := in.Header()["Location"]; len(location) > 0 && location[0] != "" && isRedirect(status) {
			in.redirect(location[0])
		}
	}
	in.ResponseWriterWrapper.WriteHeader(status)
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// Write sends the header first, as the wrapped writer would.
func (in *injector) Write(p []byte) (int, error) {
	in.wrote = true
	return in.ResponseWriterWrapper.Write(p)
}

// ReadFrom is Write for whole files.
func (in *injector) ReadFrom(r io.Reader) (int64, error) {
	in.wrote = true
	return in.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError sends the header first, too.
func (in *injector) FlushError() error {
	in.wrote = true
	return http.NewResponseController(in.ResponseWriter).Flush() //nolint:bodyclose // no response
}

// redirect records the click and sets its ID in the Location. Cache-Control
// makes browsers ask again also where the site says that the redirect is
// permanent; its status is the site's to choose.
func (in *injector) redirect(location string) {
	c := in.click
	c.Destination = withoutQuery(location)
	c.URL = setParameter(location, in.t.parameter, idMark)

	id, ticket := in.enter()
	h := in.Header()
	h["Location"] = []string{setParameter(location, in.t.parameter, id)}
	h["Cache-Control"] = []string{"no-store"}
	if in.record {
		in.t.settle(in.mint, c, ticket)
	}
}

// enter puts the click into the ledger and returns its ID.
func (in *injector) enter() (id string, ticket capture.Ticket) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.openMint()
	switch {
	case in.record && in.mint.ledger != nil:
		ticket = in.mint.record(in.click, in.r)
	case in.id == "":
		in.click.Ref = in.mint.unrecorded(in.click.Time)
	}
	if in.id == "" {
		in.id = in.mint.codec.Encode(in.click.Ref)
	}
	return in.id, ticket
}

// withoutQuery returns scheme, host and path of a Location.
func withoutQuery(location string) string {
	if i := strings.IndexAny(location, "?#"); i >= 0 {
		location = location[:i]
	}
	// Credentials are nothing for a report.
	if i := strings.Index(location, "//"); i >= 0 {
		host, path := location[i+2:], ""
		if j := strings.IndexByte(host, '/'); j >= 0 {
			host, path = host[:j], host[j:]
		}
		if j := strings.LastIndexByte(host, '@'); j >= 0 {
			location = location[:i+2] + host[j+1:] + path
		}
	}
	return location
}

// setParameter sets a query parameter of a URL: the first of that name gets
// the value, further ones go, and without one it is added at the end of the
// query. All else stays byte for byte. The parameter's name is encoded.
func setParameter(location, parameter, value string) string {
	var b strings.Builder
	b.Grow(len(location) + len(parameter) + len(value) + 2)
	rest, fragment := location, ""
	if i := strings.IndexByte(location, '#'); i >= 0 {
		rest, fragment = location[:i], location[i:]
	}
	path, query, _ := strings.Cut(rest, "?")
	b.WriteString(path)
	b.WriteByte('?')

	name := unescape(parameter)
	set, first := false, true
	if query != "" {
		for pair := range strings.SplitSeq(query, "&") {
			key, _, _ := strings.Cut(pair, "=")
			ours := key != "" && unescape(key) == name
			if ours && set {
				continue
			}
			if !first {
				b.WriteByte('&')
			}
			first = false
			if ours {
				set = true
				b.WriteString(key + "=" + value)
			} else {
				b.WriteString(pair)
			}
		}
	}
	if !set {
		if query != "" && !strings.HasSuffix(query, "&") {
			b.WriteByte('&')
		}
		b.WriteString(parameter + "=" + value)
	}
	b.WriteString(fragment)
	return b.String()
}

// Interface guards.
var (
	_ http.ResponseWriter = (*injector)(nil)
	_ io.ReaderFrom       = (*injector)(nil)
)
