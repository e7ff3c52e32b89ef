package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on every machine, also on bare containers

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Page sizes of listings. The maximum bounds the memory of one answer.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// defaultReportDays is how many days a report covers, today included, unless
// it is told otherwise.
const defaultReportDays = 30

// params are a request's query parameters. The first value that cannot be
// read is kept as the error, so that callers ask for it once.
type params struct {
	values url.Values
	loc    *time.Location
	now    time.Time
	err    error
}

// readParams reads the query and refuses what is not among the allowed names:
// a mistyped filter must not silently widen an answer.
func readParams(r *http.Request, now time.Time, allowed ...string) *params {
	p := &params{loc: time.UTC, now: now}
	var err error
	if p.values, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		p.fail("reading the query: %w", err)
		return p
	}
	names := make([]string, 0, len(p.values))
	for name := range p.values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case len(allowed) == 0:
			p.fail("unknown parameter %q: none is allowed here", name)
		case !slices.Contains(allowed, name):
			p.fail("unknown parameter %q: allowed are %s", name, strings.Join(allowed, ", "))
		case len(p.values[name]) > 1:
			p.fail("parameter %q is given %d times: give it once", name, len(p.values[name]))
		}
	}
	return p
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *params) get(name string) string { return p.values.Get(name) }

// zone reads the time zone in which dates are meant; it has to come before
// any time is read.
func (p *params) zone(name string) *time.Location {
	s := p.get(name)
	if s == "" {
		return p.loc
	}
	loc, err := time.LoadLocation(s)
	if err != nil || s == "Local" {
		p.fail("%s is %q, which is no time zone: use an IANA name like Europe/Berlin or UTC", name, s)
		return p.loc
	}
	p.loc = loc
	return loc
}

// timeRange reads from and to; either may be missing and is then zero.
func (p *params) timeRange() (from, to time.Time) {
	return p.time("from", false), p.time("to", true)
}

// time reads what [attribution.ParseWhen] reads.
func (p *params) time(name string, end bool) time.Time {
	s := p.get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := attribution.ParseWhen(s, end, p.now, p.loc)
	if err != nil {
		p.fail("%s: %w", name, err)
	}
	return t
}

// reportRange is timeRange with the defaults of reports filled in.
func (p *params) reportRange() (from, to time.Time) {
	from, to = p.timeRange()
	if to.IsZero() {
		to = attribution.AddDays(attribution.StartOfDayOf(p.now, p.loc), 1, p.loc)
	}
	if from.IsZero() {
		from = attribution.AddDays(to, -defaultReportDays, p.loc)
	}
	return from, to
}

// limit reads the page size.
func (p *params) limit() int {
	s := p.get("limit")
	if s == "" {
		return defaultLimit
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxLimit {
		p.fail("limit is %q: use a number from 1 to %d", s, maxLimit)
		return defaultLimit
	}
	return n
}

// flag reads a switch, 1 or 0.
func (p *params) flag(name string) bool {
	switch s := p.get(name); s {
	case "", "0":
		return false
	case "1":
		return true
	default:
		p.fail("%s is %q: use 1 or 0", name, s)
		return false
	}
}

func (p *params) status(name string) attribution.Status {
	s := p.get(name)
	if s == "" {
		return 0
	}
	st, err := attribution.ParseStatus(s)
	if err != nil {
		p.fail("%w", err)
	}
	return st
}

func (p *params) outcome(name string) capture.Outcome {
	s := p.get(name)
	if s == "" {
		return ""
	}
	o, ok := capture.ParseOutcome(s)
	if !ok {
		p.fail("%s is %q: use one of %s", name, s, joinWords(capture.Outcomes))
	}
	return o
}

func (p *params) reason(name string) capture.Reason {
	s := p.get(name)
	if s == "" {
		return ""
	}
	r, ok := capture.ParseQuarantineReason(s)
	if !ok {
		p.fail("%s is %q: use one of %s", name, s, joinWords(capture.QuarantineReasons))
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

// cursor reads the place where the page before ended.
func (p *params) cursor(name string) capture.Cursor {
	s := p.get(name)
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
	p.fail("%s is %q: give the value of \"next\" of the page before", name, s)
	return capture.Cursor{}
}

func formatCursor(c capture.Cursor) string {
	return strconv.FormatInt(c.Time.UnixMilli(), 10) + "." + c.ID.String()
}

// seq reads the number of a journal entry.
func (p *params) seq(name string) uint64 {
	s := p.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		p.fail("%s is %q: give the value of \"next\" of the page before", name, s)
		return 0
	}
	return n
}
