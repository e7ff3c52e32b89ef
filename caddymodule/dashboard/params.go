package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// maxParamLength bounds one parameter: no value that is kept is longer.
const maxParamLength = capture.MaxValue

// params are the parameters of a page's address. The first that cannot be read
// is kept as the error, so that callers ask for it once.
type params struct {
	values url.Values
	loc    *time.Location
	now    time.Time
	err    error
}

// readParams reads the query and refuses what is not allowed: a mistyped
// filter must not silently widen what is shown. A name that ends with a point
// stands for all that begin with it.
func readParams(values url.Values, now time.Time, allowed ...string) *params {
	p := &params{values: values, loc: time.UTC, now: now}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	known := func(name string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool {
			return a == name || strings.HasSuffix(a, ".") && strings.HasPrefix(name, a) && len(name) > len(a)
		})
	}
	for _, name := range names {
		switch {
		case !known(name):
			p.fail("unknown parameter %q", clip(name))
		case len(values[name]) > 1:
			p.fail("parameter %q is given %d times: give it once", clip(name), len(values[name]))
		case len(name) > maxParamLength || len(values[name][0]) > maxParamLength:
			p.fail("parameter %q is longer than %d bytes", clip(name), maxParamLength)
		}
	}
	return p
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = badRequest(fmt.Sprintf(format, args...))
	}
}

func (p *params) get(name string) string { return p.values.Get(name) }

// zone reads tz; it has to come before any time is read.
func (p *params) zone() string {
	s := p.get("tz")
	if s == "" || s == "UTC" {
		return ""
	}
	loc, err := time.LoadLocation(s)
	if err != nil || s == "Local" {
		p.fail("tz is %q, which is no time zone: use an IANA name like Europe/Berlin or UTC", clip(s))
		return ""
	}
	p.loc = loc
	return s
}

func (p *params) time(name string, end bool) time.Time {
	s := p.get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := attribution.ParseWhen(s, end, p.now, p.loc)
	if err != nil {
		p.fail("%s is %v", name, err)
		return time.Time{}
	}
	if y := t.Year(); y < 1970 || y > 9999 {
		p.fail("%s is %q: use a time from 1970 to 9999", name, clip(s))
	}
	return t
}

// number reads a whole number within bounds; def where there is none.
func (p *params) number(name string, def, least, most uint64) uint64 {
	s := p.get(name)
	if s == "" {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < least || n > most {
		p.fail("%s is %q: use a number from %d to %d", name, clip(s), least, most)
		return def
	}
	return n
}

func (p *params) outcome() capture.Outcome {
	s := p.get("outcome")
	if s == "" {
		return ""
	}
	o, ok := capture.ParseOutcome(s)
	if !ok {
		p.fail("outcome is %q: use one of %s", clip(s), joinWords(capture.Outcomes))
	}
	return o
}

func (p *params) reason() capture.Reason {
	s := p.get("reason")
	if s == "" {
		return ""
	}
	r, ok := capture.ParseQuarantineReason(s)
	if !ok {
		p.fail("reason is %q: use one of %s", clip(s), joinWords(capture.QuarantineReasons))
	}
	return r
}

func joinWords[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// clip bounds what of a parameter gets into a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:most], "\uFFFD") + "…"
}

// problem is an error that is a page of its own.
type problem struct {
	status int
	title  string
	text   string
}

func (p *problem) Error() string { return p.text }

func badRequest(text string) error {
	return &problem{http.StatusBadRequest, "This address cannot be read", text}
}

func notFound(title, text string) error { return &problem{http.StatusNotFound, title, text} }

// query makes the query of an address from pairs, leaving out what is empty.
func query(pairs ...string) url.Values {
	v := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

// link makes a relative address.
func link(path string, v url.Values) string {
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}
