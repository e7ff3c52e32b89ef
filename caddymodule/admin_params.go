package caddymodule

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/asked"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Page sizes of listings. The maximum bounds the memory of one answer.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// params are a request's query parameters, with those that only the admin API
// has.
type params struct{ *asked.Params }

// readParams reads the query, which may have the allowed names only.
func readParams(r *http.Request, now time.Time, allowed ...string) *params {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		p := &params{asked.Read(nil, now)}
		p.Fail("reading the query: %w", err)
		return p
	}
	return &params{asked.Read(values, now, allowed...)}
}

// limit reads the page size.
func (p *params) limit() int {
	return int(p.Number("limit", defaultLimit, 1, maxLimit)) //nolint:gosec // not more than maxLimit
}

// cursor reads the place where the page before ended.
func (p *params) cursor(name string) capture.Cursor {
	s := p.Get(name)
	if s == "" {
		return capture.Cursor{}
	}
	at, conversion, _ := strings.Cut(s, ".")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err == nil {
		var id attribution.ConversionID
		if id, err = attribution.ParseConversionID(conversion); err == nil {
			return capture.Cursor{Time: time.UnixMilli(ms).UTC(), ID: id}
		}
	}
	p.Fail("%s is %q: give the value of \"next\" of the page before", name, asked.Clip(s))
	return capture.Cursor{}
}

func formatCursor(c capture.Cursor) string {
	return strconv.FormatInt(c.Time.UnixMilli(), 10) + "." + c.ID.String()
}

// seq reads the number of a journal entry.
func (p *params) seq(name string) uint64 {
	s := p.Get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		p.Fail("%s is %q: give the value of \"next\" of the page before", name, asked.Clip(s))
		return 0
	}
	return n
}
