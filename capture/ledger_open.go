package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// This file opens a ledger, with its store or for now without.

// reopenEvery is how often a store that had no room is tried again.
const reopenEvery = time.Second

// OpenLedger opens the engine's store and starts the committer. A site must not
// go down with its tracking, so there is a ledger without a store, too:
//
// Where the disk is too full to open the store, visitors are redirected, their
// clicks wait in memory, and the ledger tries again by itself. So it is where a
// shared store cannot be reached and nothing on this machine can stand in for it.
//
// A node that a shared store never gave a number has to wait for that one: until
// it can be reached, visitors are redirected with IDs that are valid and name
// nothing.
//
// Where the store is damaged, the ledger is stopped: visitors are redirected
// with IDs that are valid but name no place in a store, so that none can ever
// come to name another click, and the clicks are lost. Nothing but another
// process opens the store again: whether it was mended is for people to say.
//
// Any other failure is returned.
func OpenLedger(ctx context.Context, engine Engine, first *Attachment, o Options) (*Ledger, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Ledger{now: o.Now}
	l.engine.Store(&engine)
	l.identity.Store(new(Identity))
	l.queue.init()
	l.feed.wake = make(chan struct{}, 1)
	l.current.Store(first)
	l.ctx, l.cancel = context.WithCancel(context.Background())

	// The identity comes second: opening a store mends it where that is possible.
	store, err := engine.Open(ctx)
	if err == nil || closedStart(err) {
		err = l.identify(engine, err)
	}
	switch {
	case err == nil:
		l.opened(ctx, store)
	case l.Identity().Secret == nil:
		l.cancel()
		if store != nil {
			_ = store.Close(0)
		}
		return nil, fmt.Errorf("opening the store %s: %w", engine.Key(), err)
	case errors.Is(err, ErrUnavailable) && l.Identity().StandIn:
		l.setState(&ledgerState{why: err.Error()})
		first.Logger.Error("the store cannot be reached, and this machine has never been part of it: the site serves on and visitors are redirected, "+
			"but their clicks are lost and postbacks get 503, until it can be; it is tried again and again",
			zap.String("store", engine.Key()), zap.Error(err))
		l.work.Go(l.reopen)
	case passing(err) && !l.Identity().StandIn:
		l.setState(&ledgerState{why: err.Error()})
		if next := l.Identity().NextBlock; next > 0 {
			l.queue.start(Position{NextBlock: next})
		}
		first.Logger.Error("the store cannot be opened: redirects go on, clicks wait in memory, postbacks get 503",
			zap.String("store", engine.Key()), zap.Error(err))
		l.work.Go(l.reopen)
	default:
		l.neverOpen(err)
	}
	return l, nil
}

// closedStart tells whether a ledger starts without its store because of err.
func closedStart(err error) bool { return passing(err) || errors.Is(err, ErrDamaged) }

// passing tells of an error that may go away by itself.
func passing(err error) bool { return errors.Is(err, ErrNoSpace) || errors.Is(err, ErrUnavailable) }

// identify sets the ledger's identity, unless there is no reason to go on
// without knowing it. closed is why the store is not open, if it is not, and is
// returned with what there is to add.
func (l *Ledger) identify(engine Engine, closed error) error {
	identity, err := engine.Identity()
	switch {
	case err == nil:
		l.identity.Store(&identity)
		return closed
	case closed == nil, !closedStart(err) && !errors.Is(closed, ErrDamaged):
		return err
	}
	// IDs have to be minted all the same. Those of keys that the configuration
	// names stay good; for others there is nothing better than IDs that look
	// right. Epoch 0 is no store's, so none can ever name a stored click.
	secret, failed := clickid.NewSecret()
	if failed != nil {
		return failed
	}
	l.identity.Store(&Identity{Secret: secret, StandIn: true})
	return fmt.Errorf("%w; moreover its click ID key cannot be read (%w): click IDs that are minted until this is mended "+
		"will not be recognised, unless the configuration has a click_id_key", closed, err)
}

// neverOpen makes do without a store for as long as the process lives.
func (l *Ledger) neverOpen(err error) {
	l.giveUp(nil, load{}, err)
	l.log().Error("the store cannot be opened: the site serves on and visitors are redirected, but their clicks are lost "+
		"and postbacks get 503, until the cause is mended and Caddy restarted",
		zap.String("store", l.Key()), zap.Error(err))
}

// opened puts the store to use. It waits for the first lease, so that the
// first click already finds a place, or for the first failure to get it.
func (l *Ledger) opened(ctx context.Context, store Store) {
	l.queue.start(store.Position())
	l.setState(&ledgerState{store: store})
	c := newCommitter(l, store)
	if s, ok := store.(interface{ Later(func([]*Postback)) }); ok {
		s.Later(l.decidedLater)
	}
	if s, ok := store.(interface{ OthersWrite() bool }); ok && s.OthersWrite() {
		l.work.Go(func() { l.followOthers(store) })
	}
	l.work.Go(c.loop)
	l.work.Go(func() { l.sweepLoop(store) })
	select {
	case <-c.started:
	case <-ctx.Done():
	}
}

// decidedLater is told of postbacks that were accepted and are decided now. There
// is no batch of the committer's own that is decided at the same time.
func (l *Ledger) decidedLater(list []*Postback) {
	booked := l.current.Load().Booked
	var queued []*queuedPostback
	for _, p := range list {
		q := &queuedPostback{Postback: p}
		queued = append(queued, q)
		if booked != nil && q.newEntry() {
			booked(&p.Result)
		}
	}
	l.feed.publish(queued)
}

// reopen tries until the store opens, the ledger stops, or the cause is none
// that passes by itself.
func (l *Ledger) reopen() {
	tick := time.NewTicker(reopenEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		engine := *l.engine.Load()
		store, err := engine.Open(l.ctx)
		if err == nil {
			if err = l.identifyLater(engine); err != nil {
				_ = store.Close(0)
			}
		}
		switch {
		case err != nil && l.ctx.Err() != nil:
			return
		case err == nil:
			if l.openedLater(engine, store) {
				return
			}
		case passing(err):
			l.stillClosed(err)
		default:
			l.neverOpen(err)
			return
		}
	}
}

// openedLater puts a store to use, unless it is to be reached in another way by
// now.
func (l *Ledger) openedLater(engine Engine, store Store) bool {
	l.useMu.Lock()
	defer l.useMu.Unlock()
	if *l.engine.Load() != engine {
		_ = store.Close(0)
		return false
	}
	l.log().Info("the store is open again", zap.String("store", l.Key()))
	l.opened(l.ctx, store)
	return true
}

// stillClosed says why the store is not open, where that has changed.
func (l *Ledger) stillClosed(err error) {
	before := l.state.Load()
	if before.why == err.Error() {
		return
	}
	if errors.Is(err, ErrDenied) {
		l.log().Error("the store still cannot be opened", zap.String("store", l.Key()), zap.Error(err))
	}
	l.state.Store(&ledgerState{why: err.Error(), since: before.since})
}

// identifyLater puts the store's own identity in the place of a stand-in. IDs
// that were minted before name nothing in the store, and go on doing so.
func (l *Ledger) identifyLater(engine Engine) error {
	if !l.Identity().StandIn {
		return nil
	}
	identity, err := engine.Identity()
	if err != nil {
		return err
	}
	l.identity.Store(&identity)
	l.attachMu.Lock()
	defer l.attachMu.Unlock()
	for _, a := range l.attachments {
		if a.Identified != nil {
			a.Identified()
		}
	}
	return nil
}
