package caddymodule

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// This file makes a click of a request.

// scratch is memory for one request that the next one can use again.
type scratch struct {
	visit  visit
	params []capture.Param
	url    []byte
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func (s *scratch) release() {
	clear(s.visit.query)
	clear(s.params)
	s.visit = visit{query: s.visit.query[:0]}
	s.params = s.params[:0]
	if cap(s.url) <= 16<<10 {
		scratches.Put(s)
	}
}

// newClick makes the click of a request, but for where it leads.
func (t *TrackClick) newClick(s *scratch, r *http.Request, repl *caddy.Replacer) *capture.Click {
	c := &capture.Click{
		Time: time.Now(), Host: r.Host, Path: r.URL.Path,
		UserAgent: header(r.Header, "User-Agent"), Referer: header(r.Header, "Referer"),
		Address: t.app.address.Keep(visitorAddress(r)),
	}
	c.Flags = visitorFlags(r, c.UserAgent)
	v := &s.visit
	v.r, v.repl, v.click = r, repl, c
	v.query = appendQuery(v.query[:0], r.URL.RawQuery)

	if t.Campaign == "" {
		c.Campaign = pathElement(r)
	} else {
		c.Campaign = t.campaign.expand(v)
	}
	if t.Source == "" {
		if c.Source = v.query.get("source"); c.Source == "" {
			c.Source = v.query.get("utm_source")
		}
	} else {
		c.Source = t.source.expand(v)
	}
	t.readParams(s, c)
	c.MarkMacros()
	if t.cost.known {
		c.Cost = t.costOf(v)
	}
	return c
}

// readParams sets the sub-IDs and the parameters to keep.
func (t *TrackClick) readParams(s *scratch, c *capture.Click) {
	v := &s.visit
	var subs [10]string
	for i := range v.query {
		q := &v.query[i]
		if n := defaultSub(q.name); n > 0 && !t.ownSub[n] && subs[n] == "" {
			subs[n] = q.value
		}
	}
	all := s.params[:0]
	for n, value := range subs {
		if value != "" {
			all = append(all, capture.Param{Name: defaultSubs[n], Value: value})
		}
	}
	for i := range t.subs {
		if value := t.subs[i].value.expand(v); value != "" {
			all = append(all, capture.Param{Name: t.subs[i].name, Value: value})
		}
	}
	n := len(all)
	for i := range v.query {
		q := &v.query[i]
		// What is more would be cut off anyway.
		if q.value == "" || !t.keeps(q.name) || len(all)-n > capture.MaxParams || hasParam(all[n:], q.name) {
			continue
		}
		all = append(all, capture.Param{Name: q.name, Value: q.value})
	}
	s.params = all
	if len(all) == 0 {
		return
	}
	own := append(make([]capture.Param, 0, len(all)), all...)
	c.Subs, c.Kept = own[:n:n], own[n:]
}

var defaultSubs = [10]string{"", "sub1", "sub2", "sub3", "sub4", "sub5", "sub6", "sub7", "sub8", "sub9"}

func hasParam(params []capture.Param, name string) bool {
	for i := range params {
		if params[i].Name == name {
			return true
		}
	}
	return false
}

func (t *TrackClick) keeps(name string) bool {
	if strings.HasPrefix(name, "utm_") {
		return true
	}
	_, ok := t.keep[name]
	return ok
}

// costOf works out the cost of one visit. One that cannot be read is unknown.
func (t *TrackClick) costOf(v *visit) attribution.Money {
	if t.cost.amount == nil {
		return t.cost.fixed
	}
	amount := t.cost.amount.expand(v)
	if amount == "" {
		return attribution.Money{}
	}
	m, err := parseCost(amount, t.cost.currency.expand(v))
	if err != nil {
		if ce := t.logger.Check(zapcore.DebugLevel, "the cost of a click cannot be read and is left out"); ce != nil {
			ce.Write(zap.Error(err))
		}
		return attribution.Money{}
	}
	return m
}

// macroLog remembers which macros were logged, so that a traffic source with a
// wrong link makes a line and not one for each visitor.
type macroLog struct {
	limit *boundedLog
	mu    sync.Mutex
	seen  map[[2]string]struct{}
}

// maxMacrosSeen bounds what visitors can make us remember by inventing macros.
const maxMacrosSeen = 128

func newMacroLog() *macroLog {
	return &macroLog{limit: newBoundedLog(), seen: make(map[[2]string]struct{})}
}

// fresh tells whether a macro was not seen before in that parameter.
func (l *macroLog) fresh(name, value string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := [2]string{name, value}
	if _, ok := l.seen[key]; ok {
		return false
	}
	if len(l.seen) >= maxMacrosSeen {
		clear(l.seen)
	}
	l.seen[[2]string{strings.Clone(name), strings.Clone(value)}] = struct{}{}
	return true
}

// warnMacro counts and logs a click of which a value is an unresolved macro.
// Bots call links as they are written, macros and all, and say nothing about
// how the traffic source was set up.
func (t *TrackClick) warnMacro(c *capture.Click) {
	if !c.Flags.Counted() {
		return
	}
	countClick(c.Campaign, "unresolved_macro")
	name, value := c.Macro()
	if name == "" {
		return // it was too long to be kept whole
	}
	if len(value) > maxLoggedMacro {
		value = value[:maxLoggedMacro]
	}
	if t.macros.fresh(name, value) {
		t.warn(t.macros.limit, zapcore.WarnLevel, "the traffic source did not replace its macro: "+
			"in the link that it was given, write the macro as its own list has it",
			zap.String("campaign", c.Campaign), zap.String("parameter", name), zap.String("macro", value))
	}
}

// maxLoggedMacro is more than any macro has.
const maxLoggedMacro = 128

// ownStrings copies the click's strings. They are cuts from the request, and a
// queued click would keep all of a huge request in memory: the queue's bounds
// would mean nothing.
func ownStrings(c *capture.Click) {
	for _, s := range []*string{&c.Campaign, &c.Source, &c.URL, &c.Host, &c.Path, &c.UserAgent, &c.Referer} {
		*s = strings.Clone(*s)
	}
	for _, params := range [][]capture.Param{c.Subs, c.Kept} {
		for i := range params {
			params[i].Name, params[i].Value = strings.Clone(params[i].Name), strings.Clone(params[i].Value)
		}
	}
}
