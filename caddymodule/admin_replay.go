package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/capture"
)

// replayLine says what became of one entry that waited in quarantine.
type replayLine struct {
	Seq uint64 `json:"seq"`
	// Was is the reason for which it waited.
	Was capture.Reason `json:"was,omitempty"`
	resultAnswer
	Done  int `json:"done"`
	Total int `json:"total"`
}

// replaySummary is the last line of the answer to a replay.
type replaySummary struct {
	Summary *tally `json:"summary"`
	DryRun  bool   `json:"dry_run"`
}

// adminReplay answers POST /capture/journal/replay: it books again what waits
// in quarantine, under the running configuration.
func adminReplay(c *adminCall) error {
	p := readParams(c.r, c.now, "reason", "route", "campaign", "from", "to", "tz", "dry_run")
	p.Zone("tz")
	q := capture.JournalQuery{Reason: p.Reason("reason"), Route: p.Get("route"), Campaign: p.Get("campaign")}
	q.From, q.To = p.Times()
	dry := p.Flag("dry_run")
	if p.Err() != nil {
		return badRequest(p.Err())
	}
	unlimitRead(c.w)
	answer := c.long(typeJSONLines)
	var sum tally
	var gone error
	replay := rereader{app: c.app, arrival: capture.Arrival{Rules: c.app.rules, Codec: c.lease.codec()}}
	err := c.lease.ledger.Replay(c.r.Context(), q, dry, replay.prepare, func(r capture.Replayed) bool {
		line := replayLine{
			Seq: r.Entry.Seq, Was: r.Entry.Reason, resultAnswer: showResult(&r.Result, r.Err), Done: r.Done, Total: r.Total,
		}
		sum.add(&line.resultAnswer)
		gone = answer.line(line)
		return gone == nil
	})
	if err = errors.Join(err, gone); err == nil {
		err = answer.line(replaySummary{&sum, dry})
	}
	return answer.end(err)
}

// rereader reads entries again as the running configuration reads them.
type rereader struct {
	app     *App
	arrival capture.Arrival
	walked  bool
	found   []*foundRoute
}

func (r *rereader) prepare(e *capture.Entry) (*capture.Postback, error) {
	a := r.arrival
	a.Time = time.Now()
	if e.FromImport() {
		return capture.RereadImport(e, a)
	}
	p, err := r.route(e)
	if err != nil {
		return nil, err
	}
	return p.route.Reread(e, a), nil
}

// route finds the route by which an entry came. Sites can have routes of the
// same name that read differently; then the one is taken that the request
// would reach today. With which of several to read money is never a guess.
func (r *rereader) route(e *capture.Entry) (*Postback, error) {
	r.app.mu.Lock()
	named := r.app.postbacks[e.Route]
	r.app.mu.Unlock()
	if len(named) == 0 {
		return nil, fmt.Errorf("no postback route named %q in the running configuration", e.Route)
	}
	if alike(named) {
		return named[0], nil
	}
	target, err := targetOf(e)
	if err != nil {
		return nil, err
	}
	var reached []*Postback
	for _, route := range r.routes() {
		if !slices.Contains(named, route.postback) {
			continue
		}
		if _, ok := route.passes(target); ok {
			reached = append(reached, route.postback)
		}
	}
	if len(reached) == 0 || !alike(reached) {
		return nil, fmt.Errorf("%d postback routes of the running configuration are named %q, and which of them is meant is not clear",
			len(named), e.Route)
	}
	return reached[0], nil
}

// alike tells whether all routes read a postback the same way.
func alike(routes []*Postback) bool {
	for _, p := range routes[1:] {
		a, b := p, routes[0]
		if a.Network != b.Network || a.Campaign != b.Campaign || a.Event != b.Event || a.Payout != b.Payout || a.PayoutCurrency != b.PayoutCurrency ||
			a.Currency != b.Currency || !reflect.DeepEqual(a.Fields, b.Fields) || !reflect.DeepEqual(a.Statuses, b.Statuses) {
			return false
		}
	}
	return true
}

// targetOf is the request of an entry as matchers see it.
func targetOf(e *capture.Entry) (*testTarget, error) {
	u, err := url.ParseRequestURI(e.Raw.URI)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the request: %w", err)
	}
	u.Scheme, u.Host = "https", e.Raw.Host
	return &testTarget{method: e.Raw.Method, url: u, header: make(http.Header)}, nil
}

// routes walks through the running configuration, at the first time that it
// is asked for.
func (r *rereader) routes() []*foundRoute {
	if r.walked {
		return r.found
	}
	r.walked = true
	if v, err := caddy.ActiveContext().AppIfConfigured("http"); err == nil {
		if app, ok := v.(*caddyhttp.App); ok {
			_, r.found = findRoutes(app)
		}
	}
	return r.found
}
