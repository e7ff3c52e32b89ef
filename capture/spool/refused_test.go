package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var errPoison = errors.New("a constraint is against it")

// poison is a shared store that refuses what has one of some transaction IDs, or
// one of some blocks.
type poison struct {
	mu     sync.Mutex
	txids  []string
	blocks []uint64
	kind   error
}

func (p *poison) cure() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.txids, p.blocks = nil, nil
}

func (p *poison) before(b *capture.Batch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, block := range b.Blocks {
		if slices.Contains(p.blocks, block.Number) {
			return fmt.Errorf("%w: %w", p.kind, errPoison)
		}
	}
	for _, post := range b.Postbacks {
		if slices.Contains(p.txids, post.Claim.TxID) {
			return fmt.Errorf("%w: %w", p.kind, errPoison)
		}
	}
	return nil
}

// wide is a batch of many clicks and many sales of clicks before.
func (r *rig) wide(clicks int, txids ...string) *capture.Batch {
	b := &capture.Batch{Number: r.batch, Now: noon, Lease: r.block + 100}
	for _, txid := range txids {
		b.Postbacks = append(b.Postbacks, sale(r.clicks[0], txid))
	}
	for range clicks {
		b.Blocks = append(b.Blocks, r.newBlock())
	}
	return b
}

func (r *rig) settled(clicks, postbacks int) {
	r.t.Helper()
	for range 1000 {
		if st := r.s.Status().Spool; st.State == capture.SpoolShared && st.RefusedClicks == clicks && st.RefusedPostbacks == postbacks {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("it never comes to %d clicks and %d postbacks set aside: %+v", clicks, postbacks, r.s.Status().Spool)
}

// What the shared store refuses for ever is set aside, and nothing else is; it
// holds nothing up, outlives the process, and is sent once it is taken.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{capture.ErrRefused, capture.ErrTooLarge} {
		for _, away := range []bool{false, true} {
			if !away && kind == capture.ErrTooLarge {
				continue // of that the ledger makes smaller ones
			}
			t.Run(fmt.Sprint(kind, away), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.open()
					r.commit(r.next())
					bad := &poison{txids: []string{"3", "9"}, blocks: []uint64{r.block + 4}, kind: kind}
					r.shared.SetHooks(memstore.Hooks{Before: bad.before})
					if away { // else the first to hear of it is the ledger's own batch
						r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
						r.commit(r.next())
					}
					for n := range 4 {
						r.commit(r.wide(3, fmt.Sprint("a", n), fmt.Sprint(3*n), "b"+fmt.Sprint(n)))
					}
					r.shared.SetHooks(memstore.Hooks{Before: bad.before})
					r.settled(1, 2)
					st := r.s.Status()
					if !strings.Contains(st.Alarm, "refused") || !strings.Contains(st.Alarm, errPoison.Error()) || !st.Writable || st.Spool.RefusedDir == "" {
						t.Errorf("the status is %+v", st)
					}
					// All else goes straight again.
					b := r.next()
					r.commit(b)
					if got := b.Postbacks[0].Result.Outcome; got != capture.Recorded {
						t.Errorf("afterwards a postback is %s", got)
					}
					if _, err := r.s.Erase(background, r.clicks[0].Ref); !errors.Is(err, capture.ErrUnavailable) {
						t.Errorf("erasing what was set aside gives %v", err)
					}
					r.crash()
					r.open()
					r.settled(1, 2)
					bad.cure()
					time.Sleep(asideEvery + time.Minute)
					r.settled(0, 0)
					r.exactly()
					if alarm := r.s.Status().Alarm; alarm != "" {
						t.Errorf("there is still an alarm: %s", alarm)
					}
					_ = r.s.Close(0)
				})
			})
		}
	}
}

// A batch that cannot be read holds up none, and is kept as it is.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(q *memQueue, key uint64){
		"data": func(q *memQueue, key uint64) { q.data[key] = []byte("something else") },
		"head": func(q *memQueue, key uint64) { q.heads[key] = []byte("{") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.open()
				r.commit(r.next())
				r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
				for range 3 {
					r.commit(r.next())
				}
				r.queue.mu.Lock()
				spoil(r.queue, r.s.first+1)
				r.queue.mu.Unlock()
				r.shared.SetHooks(memstore.Hooks{})
				r.drained()
				if st := r.s.Status(); st.Alarm == "" || len(r.queue.aside) != 1 || st.Spool.Clicks != 0 {
					t.Errorf("the status is %+v, set aside is %v", st, r.queue.aside)
				}
				_ = r.s.Close(0)
			})
		})
	}
}

// Whatever step of setting aside the process is killed before, nothing is lost or
// doubled.
func TestCrashWhileRefused(t *testing.T) {
	t.Parallel()
	for nth := range 24 {
		for _, killing := range []bool{false, true} {
			t.Run(fmt.Sprint(nth, killing), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.open()
					r.commit(r.next())
					r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
					r.commit(r.wide(3, "a", "3", "b", "c"))
					r.commit(r.wide(2, "d", "e"))
					bad := &poison{txids: []string{"3"}, kind: capture.ErrRefused}
					n := 0
					reached := make(chan struct{})
					r.queue.setFail(func(what string) error { // every step that writes something
						if what == "remove" && !killing {
							return nil // what is there still is known to be sent
						}
						if n++; n == nth+1 {
							close(reached)
						}
						if n > nth && (killing || n == nth+1) {
							return wrap(capture.ErrUnavailable, errCut)
						}
						return nil
					})
					r.shared.SetHooks(memstore.Hooks{Before: bad.before})
					if killing {
						select {
						case <-reached:
						case <-time.After(time.Minute): // there are not so many steps
						}
						r.crash()
						r.queue.setFail(nil)
						r.open()
					}
					r.settled(0, 1)
					bad.cure()
					time.Sleep(asideEvery + time.Minute)
					r.settled(0, 0)
					if n := len(r.queue.aside); n != 0 {
						t.Errorf("%d are still set aside", n)
					}
					r.exactly()
					_ = r.s.Close(0)
				})
			})
		}
	}
}

// A file that cannot be read does not keep the store from being opened, and what
// people take away is not spoken of any more.
func TestAsideTakenAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.commit(r.next())
		bad := &poison{txids: []string{"3"}, kind: capture.ErrRefused}
		r.shared.SetHooks(memstore.Hooks{Before: bad.before})
		r.commit(r.wide(1, "3"))
		r.settled(0, 1)
		r.crash()
		r.queue.aside["torn"] = []byte("{")
		r.open()
		defer r.s.Close(0)      //nolint:errcheck // in memory
		time.Sleep(time.Minute) // it was tried again
		r.settled(0, 1)
		if n := len(r.queue.aside); n != 2 {
			t.Errorf("%d files are set aside, want 2", n)
		}
		r.queue.mu.Lock()
		clear(r.queue.aside)
		r.queue.mu.Unlock()
		time.Sleep(asideEvery + time.Minute)
		r.settled(0, 0)
		if alarm := r.s.Status().Alarm; alarm != "" {
			t.Errorf("there is still an alarm: %s", alarm)
		}
	})
}

// No more waits than is allowed, and what is too much is not acknowledged.
func TestLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.e.Limit = 1000
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		var b *capture.Batch
		var err error
		for range 100 {
			b = r.next()
			if err = r.s.Commit(background, b); err != nil {
				break
			}
			r.batch, r.booked = r.batch+1, r.booked+len(b.Postbacks)
		}
		st := r.s.Status()
		if !errors.Is(err, capture.ErrUnavailable) || st.Spool.Bytes > 1000 || st.Spool.Bytes < 500 || st.Writable || !strings.Contains(st.Why, "spool_size") {
			t.Errorf("committing gives %v, the status is %+v, %+v", err, st, st.Spool)
		}
		r.shared.SetHooks(memstore.Hooks{})
		r.commit(b)
		r.exactly()
	})
}

// What was set aside is not tried again under the number of a batch that is under
// way to the shared store.
func TestRefusedMeetsDirect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		bad := &poison{txids: []string{"3"}, kind: capture.ErrRefused}
		r.shared.SetHooks(memstore.Hooks{Before: bad.before})
		r.commit(r.wide(1, "3"))
		r.settled(0, 1)
		time.Sleep(asideEvery - 20*time.Second)
		bad.cure()
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { time.Sleep(1700 * time.Millisecond); return nil }})
		for range 30 {
			r.commit(r.next())
		}
		r.shared.SetHooks(memstore.Hooks{})
		time.Sleep(2 * asideEvery)
		r.settled(0, 0)
		r.exactly()
	})
}
