package dashboard

import (
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-capture/caddy-capture/caddymodule/asked"
	"github.com/caddy-capture/caddy-capture/capture"
)

// maxParamLength bounds one parameter: no value that is kept is longer.
const maxParamLength = capture.MaxValue

// params are the parameters of a page's address.
type params struct{ *asked.Params }

// readParams reads the query, which may have the allowed names only, in bounds.
func readParams(values url.Values, now time.Time, allowed ...string) *params {
	p := &params{asked.Read(values, now, allowed...)}
	for name, list := range values {
		if len(name) > maxParamLength || len(list) > 0 && len(list[0]) > maxParamLength {
			p.Fail("parameter %q is longer than %d bytes", asked.Clip(name), maxParamLength)
		}
	}
	return p
}

// refusal is the page that says what cannot be read, if anything cannot.
func (p *params) refusal() error {
	if err := p.Err(); err != nil {
		return badRequest(err.Error())
	}
	return nil
}

// zone reads tz as links go on with it, "" for UTC; it has to come before any
// time is read.
func (p *params) zone() string {
	if loc := p.Zone("tz"); loc != time.UTC {
		return p.Get("tz")
	}
	return ""
}

// time reads a time that a page can show.
func (p *params) time(name string, end bool) time.Time {
	t := p.Time(name, end)
	if y := t.Year(); !t.IsZero() && (y < 1970 || y > 9999) {
		p.Fail("%s is %q: use a time from 1970 to 9999", name, asked.Clip(p.Get(name)))
	}
	return t
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
