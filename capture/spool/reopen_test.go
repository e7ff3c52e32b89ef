package spool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// jumped is a shared store whose batches another process has counted, too, in the
// place of this one.
type jumped struct {
	*memstore.Engine
	by uint64
}

type jumpedStore struct {
	capture.Store
	by uint64
}

func (e *jumped) Open(ctx context.Context) (capture.Store, error) {
	s, err := e.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	return jumpedStore{s, e.by}, nil
}

func (s jumpedStore) Position() capture.Position {
	pos := s.Store.Position()
	pos.NextBatch += s.by
	return pos
}

func (s jumpedStore) Commit(ctx context.Context, b *capture.Batch) error {
	again := *b
	again.Number -= s.by
	return s.Store.Commit(ctx, &again)
}

// While batches wait here another process becomes the node, by a copy of its
// directory, and sends more of its own than wait. None of those that wait is taken
// for sent.
func TestDisplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		shared := &jumped{Engine: r.shared}
		r.e.Shared = shared
		r.open()
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		for range 5 {
			r.commit(r.next())
		}
		r.crash()
		r.shared.SetHooks(memstore.Hooks{})
		other, err := r.shared.Open(background)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(20) {
			if err := other.Commit(background, &capture.Batch{Number: other.Position().NextBatch + n, Now: noon}); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Close(0); err != nil {
			t.Fatal(err)
		}
		shared.by = capture.BatchJump
		for range 2 {
			r.open()
			r.exactly()
			r.commit(r.next())
			r.exactly()
			r.crash()
		}
	})
}

// It is not known whether a batch was applied, and this machine cannot keep it; and
// before it is sent again the shared store is opened anew, and says that it was.
func TestUnknownMeetsReopening(t *testing.T) {
	t.Parallel()
	for _, spooled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.open()
			defer r.s.Close(0) //nolint:errcheck // in memory
			r.commit(r.next())
			r.shared.SetHooks(memstore.Hooks{After: func(*capture.Batch) error { return capture.ErrUnknown }})
			r.queue.setFail(func(what string) error {
				if what == "append" {
					return capture.ErrNoSpace
				}
				return nil
			})
			b := r.next()
			if err := r.s.Commit(background, b); !errors.Is(err, capture.ErrUnknown) {
				t.Fatalf("committing gives %v", err)
			}
			r.shared.SetHooks(memstore.Hooks{})
			open := func() capture.Store {
				r.s.mu.Lock()
				defer r.s.mu.Unlock()
				return r.s.shared
			}
			r.s.giveUpShared(open())
			for open() == nil {
				time.Sleep(time.Second)
			}
			if spooled {
				r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
				r.queue.setFail(nil)
			}
			r.commit(b)
			r.shared.SetHooks(memstore.Hooks{})
			r.queue.setFail(nil)
			r.exactly()
			r.commit(r.next())
			r.exactly()
		})
	}
}

// The process is killed while the space of a queue that was sent is given back, so
// that some of its batches are there again.
func TestCutEmptying(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		for range 6 {
			r.commit(r.next())
		}
		heads, data := maps(r.queue.heads), maps(r.queue.data)
		r.shared.SetHooks(memstore.Hooks{})
		r.drained()
		r.crash()
		for key := range heads {
			if key%2 == 0 {
				r.queue.heads[key], r.queue.data[key] = heads[key], data[key]
			}
		}
		if r.queue.length() == 0 {
			t.Fatal("nothing came back")
		}
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.exactly()
		r.commit(r.next())
		r.exactly()
	})
}

// A queue is sent as fast as the shared store takes it.
func TestDrainsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const batches, each = 400, 10 * time.Millisecond
		r := newRig(t)
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		for range batches {
			r.commit(r.next())
		}
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { time.Sleep(each); return nil }})
		start := time.Now()
		r.drained()
		if took, most := time.Since(start), maxPause+batches*each+time.Second; took > most {
			t.Errorf("%d batches were sent in %s, want at most %s", batches, took, most)
		}
		r.exactly()
	})
}

// A postback that comes while the shared store is opened anew is not turned away:
// its click is read when it is decided.
func TestReadAheadReopening(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.commit(r.next())
		r.shared.Crash()
		if _, err := r.s.ClickToBook(background, r.clicks[0].Ref); !errors.Is(err, capture.ErrNotFound) {
			t.Errorf("reading ahead gives %v", err)
		}
		r.commit(r.next())
		r.exactly()
		if err := r.s.Close(r.block); err != nil {
			t.Fatal(err)
		}
		if _, err := r.s.ClickToBook(background, r.clicks[0].Ref); !errors.Is(err, capture.ErrClosed) {
			t.Errorf("once it is closed, reading ahead gives %v", err)
		}
	})
}

// What waited since before the start is told of as well, although it could be sent
// before anybody listens.
func TestToldOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		for range 5 {
			r.commit(r.next())
		}
		r.crash()
		r.shared.SetHooks(memstore.Hooks{})
		s, err := r.e.Open(background)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.s = s.(*Store)
		told := 0
		r.s.Later(func(list []*capture.Postback) { told += len(list) })
		r.exactly()
		if told != 5 {
			t.Errorf("told of %d postbacks, want 5", told)
		}
		// Nobody has to listen.
		_ = r.s.Close(0)
		if s, err = r.e.Open(background); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if st := s.Status().Spool; st.State != capture.SpoolShared {
			t.Errorf("the status is %+v", st)
		}
		_ = s.Close(0)
	})
}
