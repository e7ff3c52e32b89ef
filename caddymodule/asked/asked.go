// Package asked reads what a request asks for: the parameters of admin API and
// dashboard, which mean the same in both.
package asked

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are known on every machine, also on bare containers

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// reportDays is how many days a report covers, today included, unless it is told
// otherwise.
const reportDays = 30

// Params are a request's query parameters. The first value that cannot be read
// is kept as the error, so that callers ask for it once.
type Params struct {
	Values url.Values
	// Loc is the zone in which dates are meant: UTC until [Params.Zone] was called.
	Loc *time.Location
	Now time.Time
	err error
}

// Read refuses what is not among the allowed names: a mistyped filter must not
// silently widen an answer. A name that ends with a point stands for all that
// begin with it.
func Read(values url.Values, now time.Time, allowed ...string) *Params {
	p := &Params{Values: values, Loc: time.UTC, Now: now}
	known := func(name string) bool {
		return slices.ContainsFunc(allowed, func(a string) bool {
			return a == name || strings.HasSuffix(a, ".") && strings.HasPrefix(name, a)
		})
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case known(name):
			if n := len(values[name]); n > 1 {
				p.Fail("parameter %q is given %d times: give it once", Clip(name), n)
			}
		case len(allowed) == 0:
			p.Fail("unknown parameter %q: none is allowed here", Clip(name))
		default:
			p.Fail("unknown parameter %q: allowed are %s", Clip(name), listed(allowed))
		}
	}
	return p
}

func listed(allowed []string) string {
	names := slices.Clone(allowed)
	for i, name := range names {
		if strings.HasSuffix(name, ".") {
			names[i] += "<name>"
		}
	}
	return strings.Join(names, ", ")
}

// Err is what was wrong first, if anything was.
func (p *Params) Err() error { return p.err }

// Fail says what is wrong, unless something else was before.
func (p *Params) Fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// Get returns a value, "" if there is none.
func (p *Params) Get(name string) string { return p.Values.Get(name) }

// Zone reads the time zone in which dates are meant; it has to come before any
// time is read.
func (p *Params) Zone(name string) *time.Location {
	s := p.Get(name)
	if s == "" {
		return p.Loc
	}
	loc, err := time.LoadLocation(s)
	if err != nil || s == "Local" {
		p.Fail("%s is %q, which is no time zone: use an IANA name like Europe/Berlin or UTC", name, Clip(s))
		return p.Loc
	}
	p.Loc = loc
	return loc
}

// Time reads what [attribution.ParseWhen] reads; without a value it is zero.
func (p *Params) Time(name string, end bool) time.Time {
	s := p.Get(name)
	if s == "" {
		return time.Time{}
	}
	t, err := attribution.ParseWhen(s, end, p.Now, p.Loc)
	if err != nil {
		p.Fail("%s: %w", name, err)
	}
	return t
}

// Times reads from and to; either may be missing and is then zero.
func (p *Params) Times() (from, to time.Time) { return p.Time("from", false), p.Time("to", true) }

// ReportRange fills in what a report covers where it is not told.
func (p *Params) ReportRange(from, to time.Time) (begin, end time.Time) {
	if to.IsZero() {
		to = attribution.AddDays(attribution.StartOfDayOf(p.Now, p.Loc), 1, p.Loc)
	}
	if from.IsZero() {
		from = attribution.AddDays(to, -reportDays, p.Loc)
	}
	return from, to
}

// Number reads a whole number within bounds; def where there is none.
func (p *Params) Number(name string, def, least, most uint64) uint64 {
	s := p.Get(name)
	if s == "" {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < least || n > most {
		p.Fail("%s is %q: use a number from %d to %d", name, Clip(s), least, most)
		return def
	}
	return n
}

// Flag reads a switch, 1 or 0.
func (p *Params) Flag(name string) bool {
	switch s := p.Get(name); s {
	case "", "0":
		return false
	case "1":
		return true
	default:
		p.Fail("%s is %q: use 1 or 0", name, Clip(s))
		return false
	}
}

// Status reads the status of a conversion; zero where there is none.
func (p *Params) Status(name string) attribution.Status {
	s := p.Get(name)
	if s == "" {
		return 0
	}
	st, err := attribution.ParseStatus(s)
	if err != nil {
		p.Fail("unknown status %q: use pending, approved, rejected or reversed", Clip(s))
	}
	return st
}

// Outcome reads what became of a postback.
func (p *Params) Outcome(name string) capture.Outcome {
	return oneOf(p, name, capture.ParseOutcome, capture.Outcomes)
}

// Reason reads why a postback is in quarantine.
func (p *Params) Reason(name string) capture.Reason {
	return oneOf(p, name, capture.ParseQuarantineReason, capture.QuarantineReasons)
}

func oneOf[T ~string](p *Params, name string, parse func(string) (T, bool), all []T) T {
	s := p.Get(name)
	if s == "" {
		return ""
	}
	v, ok := parse(s)
	if !ok {
		words := make([]string, len(all))
		for i, w := range all {
			words[i] = string(w)
		}
		p.Fail("%s is %q: use one of %s", name, Clip(s), strings.Join(words, ", "))
	}
	return v
}

// Clip bounds what of a value gets into a message.
func Clip(s string) string {
	const most = 80
	if len(s) <= most {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:most], "\uFFFD") + "…"
}
