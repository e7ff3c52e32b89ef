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
// clicks wait in memory, and the ledger tries again by itself.
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
	l := &Ledger{engine: engine, now: o.Now}
	l.queue.init()
	l.current.Store(first)
	l.ctx, l.cancel = context.WithCancel(context.Background())

	// The identity comes second: opening a store mends it where that is possible.
	store, err := engine.Open(ctx)
	if err == nil || closedStart(err) {
		err = l.identify(err)
	}
	switch {
	case err == nil:
		l.opened(ctx, store)
	case l.identity.Secret == nil:
		l.cancel()
		if store != nil {
			_ = store.Close(0)
		}
		return nil, fmt.Errorf("opening the store %s: %w", engine.Key(), err)
	case errors.Is(err, ErrNoSpace) && !l.identity.StandIn:
		l.setState(&ledgerState{why: err.Error()})
		if l.identity.NextBlock > 0 {
			l.queue.start(Position{NextBlock: l.identity.NextBlock})
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
func closedStart(err error) bool { return errors.Is(err, ErrNoSpace) || errors.Is(err, ErrDamaged) }

// identify sets the ledger's identity, unless there is no reason to go on
// without knowing it. closed is why the store is not open, if it is not, and is
// returned with what there is to add.
func (l *Ledger) identify(closed error) error {
	identity, err := l.engine.Identity()
	switch {
	case err == nil:
		l.identity = identity
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
	l.identity = Identity{Secret: secret, StandIn: true}
	return fmt.Errorf("%w; moreover its click ID key cannot be read (%w): click IDs that are minted until this is mended "+
		"will not be recognised, unless the configuration has a click_id_key", closed, err)
}

// neverOpen makes do without a store for as long as the process lives.
func (l *Ledger) neverOpen(err error) {
	l.giveUp(nil, load{}, err)
	l.log().Error("the store cannot be opened: the site serves on and visitors are redirected, but their clicks are lost "+
		"and postbacks get 503, until the cause is mended and Caddy restarted",
		zap.String("store", l.engine.Key()), zap.Error(err))
}

// opened puts the store to use. It waits for the first lease, so that the
// first click already finds a place, or for the first failure to get it.
func (l *Ledger) opened(ctx context.Context, store Store) {
	l.queue.start(store.Position())
	l.setState(&ledgerState{store: store})
	c := newCommitter(l, store)
	l.work.Go(c.loop)
	l.work.Go(func() { l.sweepLoop(store) })
	select {
	case <-c.started:
	case <-ctx.Done():
	}
}

// reopen tries until the store opens, the ledger stops, or the cause is no
// longer want of space.
func (l *Ledger) reopen() {
	tick := time.NewTicker(reopenEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		store, err := l.engine.Open(l.ctx)
		switch {
		case err != nil && l.ctx.Err() != nil:
			return
		case err == nil:
			l.log().Info("the store is open again", zap.String("store", l.engine.Key()))
			l.opened(l.ctx, store)
			return
		case errors.Is(err, ErrNoSpace):
		default:
			l.neverOpen(err)
			return
		}
	}
}
