package caddymodule

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// The events that handlers of Caddy's events app can subscribe to, from the
// module "capture". They are emitted after the data is on disk, by whatever way
// it came: a postback, an import or a replay. What "caddy capture test" makes
// emits none. The data has these members; times are RFC 3339 in UTC, and what
// is not known is an empty string:
//
//	capture.conversion
//	    outcome          recorded (a new conversion) or updated (a known one changed)
//	    conversion_id
//	    click_id
//	    click_time
//	    campaign, source, destination
//	    event, txid, status
//	    payout, currency   an exact decimal, written with the currency's digits
//	    time             when the conversion happened
//	    lag_seconds      from click to conversion
//	    route            the postback's route, or "import"
//	    journal          the number of its journal entry
//	    replays          of the entry that was booked again, or 0
//
//	capture.quarantined
//	    reason           as in the answer to the postback
//	    detail           what that means here, in a sentence
//	    route, journal, replays
//	    time             when it arrived
//	    click_id, campaign, event, txid, status, payout, currency
//	                     what it said, as far as it could be read
//
// A conversion's members tell its state after the postback. Neither event has a
// secret or an address. An event is a hint: it is emitted once at most, and not
// at all if handlers are so slow that too many wait, or if the server stops
// first. What has to be complete reads the journal.
const (
	eventConversion  = "capture.conversion"
	eventQuarantined = "capture.quarantined"
)

const (
	// maxWaitingEvents bounds the events that wait for slow handlers.
	maxWaitingEvents = 1024
	// eventLimit is how long the handlers of one event may take.
	eventLimit = 30 * time.Second
	// eventPoll is how often is looked whether a configuration runs again.
	eventPoll = 20 * time.Millisecond
	// dropLogEvery bounds how often is logged that events are dropped.
	dropLogEvery = time.Minute
)

// eventFlush is how long a server that stops waits for handlers. It is a variable
// for tests.
var eventFlush = 2 * time.Second

// waitingEvent is what an event will say. It has nothing of the request.
type waitingEvent struct {
	name  string
	data  map[string]any
	click clickid.Ref
	key   uint16 // of the click's ID
	known bool   // there is a click
}

// eventQueue hands what was booked in one store to the events app of whatever
// configuration runs, so that a reload loses none and repeats none. The
// committer never waits for it.
type eventQueue struct {
	waiting chan waitingEvent
	codec   atomic.Pointer[clickid.Codec]
	log     *zap.Logger
	// find returns the app of the running configuration, or nil.
	find func() *App
	// last is an app that is being stopped while no other runs.
	last atomic.Pointer[App]

	pending atomic.Int64
	dropped atomic.Int64 // since it was logged
	logged  atomic.Int64 // when, Unix ns
	ctx     context.Context
	cancel  context.CancelFunc
	done    chan struct{}
}

func newEventQueue(log *zap.Logger) *eventQueue {
	q := &eventQueue{
		waiting: make(chan waitingEvent, maxWaitingEvents), log: log, done: make(chan struct{}),
		find: func() *App {
			if app, err := activeApp(); err == nil {
				return app
			}
			return nil
		},
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	go q.run() // close waits for it
	return q
}

// push queues the event of what was booked, if there is one. It does not wait.
func (q *eventQueue) push(r *capture.Result) {
	name := eventName(r)
	if name == "" {
		return
	}
	// Most servers have no handlers, and then nothing is made for them. While
	// none runs it is not known.
	if app := q.find(); app != nil && listeners(app, name) == nil {
		return
	}
	e := waitingEvent{name: name}
	e.fill(r)
	q.pending.Add(1)
	select {
	case q.waiting <- e:
	default:
		q.drop(e.name)
	}
}

// drop counts an event that is not emitted.
func (q *eventQueue) drop(name string) {
	q.pending.Add(-1)
	eventsDropped.WithLabelValues(name).Inc()
	q.dropped.Add(1)
	now, last := time.Now().UnixNano(), q.logged.Load()
	if now-last >= int64(dropLogEvery) && q.logged.CompareAndSwap(last, now) {
		q.logDropped()
	}
}

func (q *eventQueue) logDropped() {
	if n := q.dropped.Swap(0); n > 0 {
		q.log.Warn("events were dropped: their handlers are slower than conversions come, or the server was stopped; "+
			"nothing is lost in the journal", zap.Int64("events", n))
	}
}

func (q *eventQueue) run() {
	defer close(q.done)
	for e := range q.waiting {
		if app := q.wait(); app != nil {
			q.emit(app, &e)
			q.pending.Add(-1)
		} else {
			q.drop(e.name)
		}
	}
	q.logDropped()
}

// wait returns the app of the configuration that runs. While a server starts
// there is none yet; nil means that there will be none.
func (q *eventQueue) wait() *App {
	for q.ctx.Err() == nil {
		for _, app := range []*App{q.find(), q.last.Load()} {
			// What belongs to a configuration that was cancelled is cleaned up.
			if app != nil && app.ctx.Context != nil && app.ctx.Err() == nil {
				return app
			}
		}
		select {
		case <-q.ctx.Done():
		case <-time.After(eventPoll):
		}
	}
	return nil
}

// emit runs the handlers that have subscribed to the event.
func (q *eventQueue) emit(app *App, e *waitingEvent) {
	events := listeners(app, e.name)
	if events == nil {
		return
	}
	e.data["click_id"] = ""
	if codec := q.codec.Load(); e.known && codec != nil {
		e.data["click_id"] = codec.EncodeAs(e.key, e.click)
	}
	// A reload in the middle must not take an event away. Handlers may go on in
	// the background with the context that they got, as one that runs a command
	// does, so it ends early only if they hold up the events after this one.
	limited, cancel := context.WithCancel(context.WithoutCancel(app.ctx.Context))
	defer time.AfterFunc(eventLimit, cancel).Stop()
	defer context.AfterFunc(q.ctx, cancel)()
	defer func() {
		if p := recover(); p != nil {
			q.log.Error("a handler of an event panicked", zap.String("event", e.name), zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	ctx := app.ctx
	ctx.Context = limited
	events.Emit(ctx, e.name, e.data)
}

// flush is told that an app stops: if no other runs, the handlers of its
// configuration get what waits, for a moment.
func (q *eventQueue) flush(app *App) {
	if q.find() != nil {
		return
	}
	q.last.Store(app)
	for end := time.Now().Add(eventFlush); q.pending.Load() > 0 && time.Now().Before(end); {
		time.Sleep(eventPoll / 4)
	}
}

// close ends the queue; nothing may be pushed any more.
func (q *eventQueue) close() {
	q.cancel()
	close(q.waiting)
	select {
	case <-q.done:
	case <-time.After(eventFlush):
		q.log.Error("a handler of an event does not end although it was told to")
	}
}

// listeners returns the events app of a configuration if anybody listens there
// to an event of that name.
func listeners(app *App, name string) *caddyevents.App {
	if app.ctx.Context == nil {
		return nil
	}
	v, err := app.ctx.AppIfConfigured("events")
	events, ok := v.(*caddyevents.App)
	if err != nil || !ok || !events.ShouldEmit(name) {
		return nil
	}
	return events
}

// eventName returns the name of the event of what was booked, or "".
func eventName(r *capture.Result) string {
	switch e := r.Entry; {
	case e == nil || e.Test:
		return ""
	case e.Outcome == capture.Quarantined:
		return eventQuarantined
	case (e.Outcome == capture.Recorded || e.Outcome == capture.Updated) && r.Conversion != nil:
		return eventConversion
	}
	return ""
}

// fill takes from what was booked what its event says.
func (e *waitingEvent) fill(r *capture.Result) {
	entry := r.Entry
	e.data = map[string]any{"route": entry.Route, "journal": entry.Seq, "replays": entry.Replays}
	if e.name == eventQuarantined {
		e.click, e.key, e.known = entry.Click, entry.Key, entry.HasClick
		e.set("time", eventTime(entry.Time), "reason", string(entry.Reason), "detail", entry.Detail, "campaign", entry.Campaign)
		cl := &entry.Claim
		e.claim(showClaim(cl.Event, cl.TxID, cl.Status, cl.Payout, cl.HasPayout))
		return
	}
	c := r.Conversion
	e.click, e.key, e.known = c.Click, c.Key, true
	e.set("outcome", string(entry.Outcome), "conversion_id", c.ID.String(), "click_time", eventTime(c.ClickTime),
		"campaign", c.Campaign, "source", c.Source, "destination", c.Destination, "time", eventTime(c.State.Time))
	e.data["lag_seconds"] = int64(c.Lag() / time.Second)
	s := &c.State
	e.claim(showClaim(s.Event, s.TxID, s.Status, s.Payout, s.HasPayout))
}

func (e *waitingEvent) set(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		e.data[pairs[i]] = pairs[i+1]
	}
}

func (e *waitingEvent) claim(c claimAnswer) {
	e.set("event", c.Event, "txid", c.TxID, "status", c.Status, "payout", c.Payout, "currency", c.Currency)
}

func eventTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
