package spool

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// Small batches are joined while they wait, so that a shared store that takes its
// time for each catches up with a site that never rests, and is written to straight
// again. Nothing is lost or doubled over crashes.
func TestCatchesUp(t *testing.T) {
	t.Parallel()
	for _, crashes := range []int{0, 3} {
		t.Run(fmt.Sprint(crashes), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.e.apart = false
				r.open()
				r.commit(r.next())
				away := memstore.Hooks{
					Before: func(*capture.Batch) error { return wrap(capture.ErrUnknown, errCut) },
					Open:   func() error { return capture.ErrUnavailable },
				}
				r.shared.SetHooks(away)
				for n := range 150 {
					r.commit(r.next())
					if crashes > 0 && n%(150/crashes) == 20 {
						r.crash()
						r.open()
					}
				}
				if n := r.queue.length(); n > 10+2*crashes {
					t.Errorf("150 batches wait as %d", n)
				}
				if st := r.s.Status().Spool; st.Clicks != 150 || st.Postbacks != 150 {
					t.Errorf("the status is %+v", st)
				}
				r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { time.Sleep(50 * time.Millisecond); return nil }})
				straight := 0
				for n := 0; n < 3000 && straight < 20; n++ {
					b := r.next()
					r.commit(b)
					if b.Postbacks[0].Result.Outcome == capture.Recorded {
						straight++
					}
				}
				if straight < 20 {
					t.Errorf("only %d batches went straight: %+v", straight, r.s.Status().Spool)
				}
				r.exactly()
				_ = r.s.Close(0)
			})
		})
	}
}

// Batches that are full go on at once while the queue is sent: else a busy site would
// have them wait in memory until that is full.
func TestFullBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		for range 20 {
			r.commit(r.next())
		}
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { time.Sleep(400 * time.Millisecond); return nil }})
		time.Sleep(4 * time.Second) // after which it is known how long a batch takes
		heavy := func() *capture.Batch {
			b := r.wide(1, "heavy")
			b.Postbacks[0].Raw.Body = make([]byte, fullBytes)
			return b
		}
		for name, b := range map[string]func() *capture.Batch{
			"clicks": func() *capture.Batch { return r.wide(fullRequests) }, "bytes": heavy,
		} {
			start := time.Now()
			r.commit(b())
			if took := time.Since(start); took > minPace {
				t.Errorf("a batch full of %s waited for %s", name, took)
			}
		}
		start := time.Now()
		r.commit(r.next())
		if took := time.Since(start); took < 100*time.Millisecond || took > maxPace {
			t.Errorf("a small batch waited for %s while the queue is sent", took)
		}
		r.shared.SetHooks(memstore.Hooks{})
		r.drained()
	})
}

// What is joined and refused in part is split again.
func TestJoinedRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.e.apart = false
		r.open()
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		for n := range 60 {
			r.commit(r.wide(1, fmt.Sprint(n)))
		}
		bad := &poison{txids: []string{"7", "40", "59"}, kind: capture.ErrRefused}
		r.shared.SetHooks(memstore.Hooks{Before: bad.before})
		for n := range 20 {
			r.commit(r.wide(1, "x"+fmt.Sprint(n)))
		}
		r.settled(0, 3)
		bad.cure()
		time.Sleep(asideEvery + time.Minute)
		r.settled(0, 0)
		r.exactly()
		_ = r.s.Close(0)
	})
}
