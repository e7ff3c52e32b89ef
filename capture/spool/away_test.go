package spool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// network is a shared store behind a network that can swallow all that is sent.
type network struct {
	*memstore.Engine
	gone  atomic.Bool
	pings atomic.Int64
}

type networkStore struct {
	capture.Store
	n *network
}

func (n *network) Open(ctx context.Context) (capture.Store, error) {
	if err := n.pass(ctx); err != nil {
		return nil, err
	}
	s, err := n.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	return networkStore{s, n}, nil
}

// pass waits where nothing comes through.
func (n *network) pass(ctx context.Context) error {
	if !n.gone.Load() {
		return nil
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, ctx.Err())
	case <-time.After(10 * time.Minute):
		return fmt.Errorf("%w: connection timed out", capture.ErrUnavailable)
	}
}

func (s networkStore) Ping(ctx context.Context) error {
	s.n.pings.Add(1)
	return s.n.pass(ctx)
}

func (s networkStore) Commit(ctx context.Context, b *capture.Batch) error {
	if err := s.n.pass(ctx); err != nil {
		return err
	}
	return s.Store.Commit(ctx, b)
}

func (s networkStore) Report(ctx context.Context, q attribution.Query) (attribution.Report, error) {
	if err := s.n.pass(ctx); err != nil {
		return attribution.Report{}, err
	}
	return s.Store.Report(ctx, q)
}

func (s networkStore) Close(next uint64) error {
	_ = s.n.pass(context.Background())
	return s.Store.Close(next)
}

// A node to which nobody comes notices that the shared store is away. Then batches
// do not wait for it, and reads end, those under way and new ones.
func TestNoticedIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := &network{Engine: r.shared}
		r.e.Shared = n
		r.open()
		r.commit(r.next())
		n.gone.Store(true)
		start := time.Now()
		if _, err := r.s.Report(background, query); !errors.Is(err, capture.ErrUnavailable) || time.Since(start) > time.Minute {
			t.Errorf("after %s, a report under way gives %v", time.Since(start), err)
		}
		st := r.s.Status()
		if st.Spool.State != capture.SpoolSpooling || st.Spool.Why == "" || !st.Writable || st.Alarm != "" {
			t.Errorf("the status is %+v, %+v", st, st.Spool)
		}
		start = time.Now()
		r.commit(r.next())
		if took := time.Since(start); took > time.Second {
			t.Errorf("a batch waited %s for a store that was known to be away", took)
		}
		if since := r.s.Status().Spool.Since; !since.Equal(st.Spool.Since) {
			t.Errorf("it is said to be away since %s, and was since %s", since, st.Spool.Since)
		}
		start = time.Now()
		if _, err := r.s.Report(background, query); !errors.Is(err, capture.ErrUnavailable) || time.Since(start) > readPatience+time.Second {
			t.Errorf("after %s, a report gives %v", time.Since(start), err)
		}
		n.gone.Store(false)
		r.exactly()
		// It does not take for ever to close what does not answer.
		n.gone.Store(true)
		r.commit(r.next())
		start = time.Now()
		if err := r.s.Close(r.block); err != nil || time.Since(start) > closePatience+time.Second {
			t.Errorf("after %s, closing gives %v", time.Since(start), err)
		}
		n.gone.Store(false)
		time.Sleep(time.Hour) // it comes to its end by itself
		r.open()
		r.exactly()
		_ = r.s.Close(0)
	})
}

// A shared store that takes what it is sent is not asked whether it is there.
func TestAskedIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := &network{Engine: r.shared}
		r.e.Shared = n
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		time.Sleep(probeEvery / 2)
		before := n.pings.Load()
		for range 60 {
			r.commit(r.next())
			time.Sleep(time.Second)
		}
		if asked := n.pings.Load() - before; asked != 0 {
			t.Errorf("it was asked %d times in a minute while it took batches", asked)
		}
		time.Sleep(time.Minute)
		if asked := n.pings.Load() - before; asked < int64(time.Minute/probeEvery)-2 {
			t.Errorf("it was asked %d times in a minute while nobody came", asked)
		}
	})
}

// The disk of this machine is full while the shared store is there: all goes on. A
// process that then starts without the shared store gives out no number twice.
func TestLocalDiskFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.commit(r.next())
		r.queue.setFail(func(string) error { return capture.ErrNoSpace })
		for range 50 {
			b := r.next()
			r.commit(b)
			if got := b.Postbacks[0].Result.Outcome; got != capture.Recorded {
				t.Fatalf("a postback is %s", got)
			}
		}
		r.crash()
		r.queue.setFail(nil)
		r.shared.SetHooks(memstore.Hooks{Open: func() error { return capture.ErrUnavailable }})
		r.open() // which looks at the block numbers
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{})
		r.exactly()
		_ = r.s.Close(0)
	})
}

// With neither the shared store nor room on this machine, visitors get their IDs
// and senders are told to come again; nothing that was promised is lost.
func TestLedgerNeither(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		l, err := capture.OpenLedger(background, r.e, &capture.Attachment{Logger: zap.NewNop()}, capture.Options{})
		if err != nil {
			t.Fatal(err)
		}
		visit := func() (*capture.Click, capture.Saved) {
			c := &capture.Click{Time: time.Now(), Campaign: "acme"}
			return c, l.Wait(l.Record(c), time.Second)
		}
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		known, saved := visit()
		if saved != capture.SavedOnDisk {
			t.Errorf("a click is saved as %d", saved)
		}
		r.queue.setFail(func(string) error { return capture.ErrNoSpace })
		c, saved := visit()
		if saved != capture.SavedLater || c.Ref.Block == 0 {
			t.Errorf("a click is saved as %d: %+v", saved, c.Ref)
		}
		p := sale(known, "1")
		p.Time = time.Now()
		if err := l.Book(background, p); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("a postback gives %v", err)
		}
		if h := l.Health(); h.State != "degraded" || !strings.Contains(h.Why, "too full") {
			t.Errorf("the health is %+v", h)
		}
		r.queue.setFail(nil)
		r.shared.SetHooks(memstore.Hooks{})
		time.Sleep(time.Minute)
		p = sale(known, "1")
		p.Time = time.Now()
		if err := l.Book(background, p); err != nil || p.Result.Outcome != capture.Recorded {
			t.Errorf("a postback gives %+v, %v", p.Result, err)
		}
		for _, c := range []*capture.Click{known, c} {
			if _, err := l.Click(background, c.Ref); err != nil {
				t.Errorf("click %+v: %v", c.Ref, err)
			}
		}
		if h := l.Health(); h.State != "ok" || h.LostClicks != 0 {
			t.Errorf("the health is %+v", h)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
