package caddymodule

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// ledgers holds the open ledgers of the process by their store's key, so that
// a reload hands an open store over and two configurations share one.
var ledgers = caddy.NewUsagePool()

// pooledLedger is a ledger as the pool owns it, and what its engine logs to.
type pooledLedger struct {
	*capture.Ledger
	log    *currentLogger
	events *eventQueue
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
	codec  *clickid.Codec
	detach func()
	key    string
	events *eventQueue
	// secrets lists the parameters whose values are not to be shown.
	secrets func() []string
}

// takeLease opens the engine's ledger or joins the one that is open.
func takeLease(engine capture.Engine, log *currentLogger, att *capture.Attachment, keys [][]byte) (*lease, error) {
	key := engine.Key()
	v, _, err := ledgers.LoadOrNew(key, func() (caddy.Destructor, error) {
		events := newEventQueue(log.logger("capture"))
		att.Booked = events.push
		l, err := capture.OpenLedger(context.Background(), engine, att, capture.Options{})
		if err != nil {
			events.close()
			return nil, err
		}
		return pooledLedger{l, log, events}, nil
	})
	if err != nil {
		return nil, err
	}
	pooled := v.(pooledLedger)
	ledger := pooled.Ledger
	// The store's own key verifies last, so that the IDs that it signed stay
	// good when the owner sets keys of their own.
	codec, err := clickid.New(append(append([][]byte(nil), keys...), ledger.Identity().Secret)...)
	if err != nil {
		_, _ = ledgers.Delete(key)
		return nil, fmt.Errorf("click ID keys: %w", err)
	}
	if att.Booked == nil {
		att.Booked = pooled.events.push
	}
	pooled.events.codec.Store(codec)
	detach, detachLog := ledger.Attach(att), pooled.log.attach(att.Logger)
	return &lease{
		ledger: ledger, codec: codec, key: key, events: pooled.events, detach: func() { detach(); detachLog() },
	}, nil
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
