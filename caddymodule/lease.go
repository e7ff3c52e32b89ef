package caddymodule

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// ledgers holds the open ledgers of the process by their store's key, so that
// a reload hands an open store over and two configurations share one.
var ledgers = caddy.NewUsagePool()

// pooledLedger is a ledger as the pool owns it, and what its engine logs to.
type pooledLedger struct {
	*capture.Ledger
	log     *currentLogger
	events  *eventQueue
	engines *engineStack
}

// Destruct closes the ledger when its last user is gone.
func (p pooledLedger) Destruct() error {
	err := p.Close()
	p.events.close()
	if err != nil {
		return fmt.Errorf("closing the store %s: %w", p.Key(), err)
	}
	return nil
}

// lease is one configuration's hold on a ledger.
type lease struct {
	ledger *capture.Ledger
	idMu   sync.Mutex // of who makes a codec
	ids    atomic.Pointer[clickid.Codec]
	detach func()
	key    string
	events *eventQueue
	// secrets lists the parameters whose values are not to be shown.
	secrets func() []string
}

// codec makes and reads click IDs.
func (l *lease) codec() *clickid.Codec { return l.ids.Load() }

// identify makes the codec of the ledger's identity. The store's own key verifies
// last, so that the IDs that it signed stay good when the owner sets keys of their
// own.
func (l *lease) identify(keys [][]byte) error {
	l.idMu.Lock()
	defer l.idMu.Unlock()
	codec, err := clickid.New(append(append([][]byte(nil), keys...), l.ledger.Identity().Secret)...)
	if err != nil {
		return fmt.Errorf("click ID keys: %w", err)
	}
	l.ids.Store(codec)
	l.events.codec.Store(codec)
	return nil
}

// placeOf names what only one ledger can have open. That is the store, unless an
// engine knows better: the same database may be reached in several ways.
func placeOf(engine capture.Engine) string {
	if e, ok := engine.(interface{ Place() string }); ok {
		return e.Place()
	}
	return engine.Key()
}

// sameSettings tells whether it makes no difference by which of two engines of one
// place a store is reached.
func sameSettings(a, b capture.Engine) bool {
	e, ok := a.(interface {
		Same(other capture.Engine) bool
	})
	return !ok || e.Same(b)
}

// engineStack is the engines of the configurations that share a ledger, the newest
// last. That one says how the store is reached.
type engineStack struct {
	mu    sync.Mutex
	list  []capture.Engine
	inUse capture.Engine
}

// push makes the ledger use an engine; an error says why it goes on as before.
func (s *engineStack) push(l *capture.Ledger, engine capture.Engine) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !sameSettings(s.inUse, engine) {
		if err := l.Use(engine); err != nil {
			return err
		}
		s.inUse = engine
	}
	s.list = append(s.list, engine)
	return nil
}

// remove takes an engine away; the newest that is left is used again, which
// matters where a configuration was refused after its store was taken.
func (s *engineStack) remove(l *capture.Ledger, engine capture.Engine, log *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.list, engine); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
	if len(s.list) == 0 {
		return
	}
	if last := s.list[len(s.list)-1]; !sameSettings(s.inUse, last) {
		if err := l.Use(last); err != nil {
			log.Error("going back to the settings of the store before", zap.Error(err))
			return
		}
		s.inUse = last
	}
}

// takeLease opens the engine's ledger or joins the one that is open.
func takeLease(engine capture.Engine, log *currentLogger, att *capture.Attachment, keys [][]byte) (*lease, error) {
	key := placeOf(engine)
	v, _, err := ledgers.LoadOrNew(key, func() (caddy.Destructor, error) {
		events := newEventQueue(log.logger("capture"))
		att.Booked = events.push
		l, err := capture.OpenLedger(context.Background(), engine, att, capture.Options{})
		if err != nil {
			events.close()
			return nil, err
		}
		return pooledLedger{l, log, events, &engineStack{inUse: engine}}, nil
	})
	if err != nil {
		return nil, err
	}
	pooled := v.(pooledLedger)
	l := &lease{ledger: pooled.Ledger, key: key, events: pooled.events}
	if err := pooled.engines.push(l.ledger, engine); err != nil {
		_, _ = ledgers.Delete(key)
		return nil, err
	}
	log.follow(pooled.log) // the engine may be the one in use for longer than this configuration
	if att.Booked == nil {
		att.Booked = pooled.events.push
	}
	att.Identified = func() { _ = l.identify(keys) } // which were good once
	detach, detachLog := l.ledger.Attach(att), pooled.log.attach(att.Logger)
	l.detach = func() {
		detach()
		detachLog()
		pooled.engines.remove(l.ledger, engine, att.Logger)
	}
	if err := l.identify(keys); err != nil {
		l.detach()
		_, _ = ledgers.Delete(key)
		return nil, err
	}
	return l, nil
}

// noWorse refuses to go over from a store that works to one that this machine has
// never been part of and that does not answer: until it did, clicks would be lost.
// A server that starts has nothing better to go on with.
func (l *lease) noWorse() error {
	h := l.ledger.Health()
	if !l.ledger.Identity().StandIn || h.State == "stopped" {
		return nil
	}
	running, err := activeApp()
	if err != nil {
		return nil // nothing was recorded before
	}
	before := running.held.Load()
	if before == nil || before.ledger == l.ledger || before.ledger.Identity().StandIn || before.ledger.Health().State == "stopped" {
		return nil
	}
	return fmt.Errorf("this machine has never used the store %s, which has to answer once before clicks can be kept there: %s; "+
		"load the configuration again when it can be reached", l.ledger.Key(), h.Why)
}

// release gives the hold back; the last one closes the store.
func (l *lease) release() error {
	l.detach()
	_, err := ledgers.Delete(l.key)
	return err
}

// opening is one attempt at taking the lease, which many may wait for.
type opening struct {
	done chan struct{}
	err  error // set before done is closed
}

// acquire returns the lease on the ledger, taking it at the first call: an
// HTTP server may serve before this app was started. Its error means that
// there is no ledger.
func (a *App) acquire() (*lease, error) {
	if l := a.held.Load(); l != nil {
		return l, nil
	}
	under, err := a.open()
	if err != nil {
		return nil, err
	}
	<-under.done
	return a.held.Load(), under.err
}

// acquireWithin is acquire for those who cannot wait for a store that takes
// its time to open.
func (a *App) acquireWithin(limit time.Duration) (*lease, error) {
	if l := a.held.Load(); l != nil {
		return l, nil
	}
	under, err := a.open()
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-under.done:
		return a.held.Load(), under.err
	case <-timer.C:
		return nil, fmt.Errorf("%w: it is still being opened", capture.ErrUnavailable)
	}
}

// open begins to take the lease, or joins who has begun.
func (a *App) open() (*opening, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.opening != nil:
		return a.opening, nil
	case a.held.Load() != nil:
		done := make(chan struct{})
		close(done)
		return &opening{done: done}, nil
	case a.closed:
		return nil, fmt.Errorf("%w: %w", capture.ErrUnavailable, capture.ErrClosed)
	}
	o := &opening{done: make(chan struct{})}
	a.opening = o
	go func() { // Cleanup waits for it
		l, err := takeLease(a.engine, a.storeLog, &capture.Attachment{
			Logger: a.logger, Retain: a.rules.Retain, Committed: observeCommit,
		}, a.keys)
		a.mu.Lock()
		defer a.mu.Unlock()
		if o.err = err; err == nil {
			l.secrets = a.secretParams
			a.held.Store(l)
		}
		a.opening = nil
		close(o.done)
	}()
	return o, nil
}

// openLedgers lists the ledgers that are open.
func openLedgers() []*capture.Ledger {
	var open []*capture.Ledger
	// Range holds the pool's lock: what is done with a ledger is done after.
	ledgers.Range(func(_, v any) bool {
		open = append(open, v.(pooledLedger).Ledger)
		return true
	})
	return open
}
