package spool

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var query = attribution.Query{From: noon.AddDate(-1, 0, 0), To: noon.AddDate(1, 0, 0)}

// The suite of all stores, with the shared store always there.
func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) storetest.Fixture {
		shared, q := memstore.New(), newMemQueue()
		e := &Engine{Shared: shared, OpenQueue: q.opens}
		return storetest.Fixture{Engine: e, Crash: func(_ *testing.T, s capture.Store) capture.Engine {
			die(s.(*Store), shared, q)
			return e
		}}
	})
}

// kinds are the ways in which a call can fail.
var kinds = map[string]func(fails func() error) memstore.Hooks{
	"refused": func(fails func() error) memstore.Hooks {
		return memstore.Hooks{Before: func(*capture.Batch) error { return wrap(capture.ErrUnavailable, fails()) }}
	},
	"lost": func(fails func() error) memstore.Hooks {
		return memstore.Hooks{Before: func(*capture.Batch) error { return wrap(capture.ErrUnknown, fails()) }}
	},
	"applied, and the answer lost": func(fails func() error) memstore.Hooks {
		return memstore.Hooks{After: func(*capture.Batch) error { return wrap(capture.ErrUnknown, fails()) }}
	},
}

func wrap(kind, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", kind, err)
}

var errCut = errors.New("the connection was cut")

// Whichever call to the shared store fails, and however, all is there once.
func TestFailNth(t *testing.T) {
	t.Parallel()
	const batches = 6
	for kind, hooks := range kinds {
		for nth := range batches + 4 {
			for _, times := range []int{1, 2, 5} {
				t.Run(fmt.Sprintf("%s/%d/%d", kind, nth, times), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						r := newRig(t)
						r.open()
						defer r.s.Close(0) //nolint:errcheck // in memory
						var calls atomic.Int64
						r.shared.SetHooks(hooks(func() error {
							if n := int(calls.Add(1)) - 1; n >= nth && n < nth+times {
								return errCut
							}
							return nil
						}))
						for range batches {
							r.commit(r.next())
						}
						r.exactly()
						// And straight again.
						b := r.next()
						r.commit(b)
						if got := b.Postbacks[0].Result.Outcome; got != capture.Recorded && nth < batches {
							t.Errorf("afterwards a postback is %s", got)
						}
						r.exactly()
					})
				})
			}
		}
	}
}

// The process is killed at each point of draining: before a batch is sent, after
// it was applied, and after it was removed.
func TestCrashWhileDraining(t *testing.T) {
	t.Parallel()
	const batches = 5
	for _, point := range []string{"before", "after", "remove", "undone"} {
		for nth := range batches {
			t.Run(fmt.Sprintf("%s/%d", point, nth), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.open()
					away := func(*capture.Batch) error { return wrap(capture.ErrUnknown, errCut) }
					r.shared.SetHooks(memstore.Hooks{Before: away})
					for range batches {
						b := r.next()
						r.commit(b)
						for _, p := range b.Postbacks {
							if p.Result.Outcome != capture.Accepted {
								t.Fatalf("a postback is %s", p.Result.Outcome)
							}
						}
					}
					if st := r.s.Status(); st.Spool.State != capture.SpoolSpooling || st.Spool.Clicks != batches || st.Spool.Postbacks != batches-1 || !st.Writable {
						t.Errorf("the status is %+v, %+v", st, st.Spool)
					}
					reached, hold := make(chan struct{}), make(chan struct{})
					n := 0
					stop := func() error {
						if n++; n == nth+1 {
							close(reached)
						}
						if n <= nth {
							return nil
						}
						if point != "remove" { // which must not be held up with the queue's lock
							<-hold
						}
						return errCut
					}
					switch point {
					case "before":
						r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return stop() }})
					case "after":
						r.shared.SetHooks(memstore.Hooks{After: func(*capture.Batch) error { return stop() }})
					case "remove":
						r.queue.setFail(func(what string) error {
							if what == "remove" {
								return stop()
							}
							return nil
						})
						r.shared.SetHooks(memstore.Hooks{})
					case "undone": // what was removed comes back after a power cut
						heads, data := maps(r.queue.heads), maps(r.queue.data)
						r.shared.SetHooks(memstore.Hooks{})
						for r.queue.length() > batches-nth-1 {
							time.Sleep(time.Millisecond)
						}
						r.queue.mu.Lock()
						r.queue.heads, r.queue.data = heads, data
						r.queue.mu.Unlock()
						close(reached)
					}
					<-reached
					time.AfterFunc(time.Millisecond, func() { close(hold) })
					r.crash()
					<-hold // what was under way comes to its end after the process
					r.shared.SetHooks(memstore.Hooks{})
					r.queue.setFail(nil)
					r.open()
					defer r.s.Close(0) //nolint:errcheck // in memory
					r.commit(r.next())
					r.exactly()
				})
			})
		}
	}
}

func maps(m map[uint64][]byte) map[uint64][]byte {
	c := make(map[uint64][]byte)
	for k, v := range m {
		c[k] = v
	}
	return c
}

// A shared store that hangs costs the deadline once, and its late answer harms
// nobody.
func TestHangs(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.open()
			defer r.s.Close(0) //nolint:errcheck // in memory
			r.commit(r.next())
			release := make(chan struct{})
			hang := func(*capture.Batch) error { <-release; return nil }
			if applied {
				r.shared.SetHooks(memstore.Hooks{After: hang})
			} else {
				r.shared.SetHooks(memstore.Hooks{Before: hang})
			}
			start := time.Now()
			for range 10 {
				r.commit(r.next())
			}
			if took := time.Since(start); took > DefaultDeadline+time.Second {
				t.Errorf("ten batches took %s", took)
			}
			time.Sleep(time.Minute)
			if st := r.s.Status().Spool; st.State != capture.SpoolSpooling || st.Clicks != 10 || st.Why == "" || st.Oldest.IsZero() {
				t.Errorf("the status is %+v", st)
			}
			r.shared.SetHooks(memstore.Hooks{})
			close(release)
			r.exactly()
			if len(r.later) != 10 {
				t.Errorf("told of %v", r.later)
			}
		})
	}
}

// The process starts while the shared store is away, more than once.
func TestStartAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.commit(r.next())
		if err := r.s.Close(r.block); err != nil {
			t.Fatal(err)
		}
		away := memstore.Hooks{Open: func() error { return capture.ErrUnavailable }}
		r.shared.SetHooks(away)
		for range 3 {
			r.open()
			for range 4 {
				r.commit(r.next())
			}
			if _, err := r.s.Report(background, query); !errors.Is(err, capture.ErrUnavailable) {
				t.Errorf("reading gives %v", err)
			}
			if _, err := r.s.ClickToBook(background, r.clicks[0].Ref); !errors.Is(err, capture.ErrNotFound) {
				t.Errorf("reading ahead gives %v", err)
			}
			if st := r.s.Status(); st.Spool.State != capture.SpoolSpooling || !st.Writable {
				t.Errorf("the status is %+v", st.Spool)
			}
			r.crash()
		}
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		r.shared.SetHooks(memstore.Hooks{})
		r.exactly()
		b := r.next()
		r.commit(b)
		r.exactly()
		if b.Postbacks[0].Result.Outcome != capture.Recorded {
			t.Errorf("afterwards a postback is %+v", b.Postbacks[0].Result)
		}
	})
}

// A first start ever needs the shared store: there are no numbers to use.
func TestFirstStartAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		hang := make(chan struct{})
		for _, open := range []func() error{
			func() error { return capture.ErrUnavailable },
			func() error { <-hang; return capture.ErrUnavailable },
		} {
			r.shared.SetHooks(memstore.Hooks{Open: open})
			if _, err := r.e.Open(background); !errors.Is(err, capture.ErrUnavailable) {
				t.Errorf("opening gives %v", err)
			}
		}
		close(hang)
		synctest.Wait()
		r.shared.SetHooks(memstore.Hooks{Open: func() error { return capture.ErrNewerFormat }})
		if _, err := r.e.Open(background); !errors.Is(err, capture.ErrNewerFormat) {
			t.Errorf("opening gives %v", err)
		}
		// One that is only slow is waited for.
		r.shared.SetHooks(memstore.Hooks{Open: func() error { time.Sleep(3 * DefaultDeadline); return nil }})
		r.open()
		r.shared.SetHooks(memstore.Hooks{})
		r.commit(r.next())
		r.exactly()
		_ = r.s.Close(0)
	})
}

// Neither takes it: nothing is acknowledged, and nothing is lost once one does.
func TestNeither(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{capture.ErrUnavailable, capture.ErrUnknown} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.open()
			defer r.s.Close(0) //nolint:errcheck // in memory
			r.commit(r.next())
			r.shared.SetHooks(memstore.Hooks{After: func(*capture.Batch) error { return nil }, Before: func(*capture.Batch) error { return kind }})
			r.queue.setFail(func(what string) error {
				if what == "append" {
					return capture.ErrNoSpace
				}
				return nil
			})
			b := r.next()
			if err := r.s.Commit(background, b); err == nil || kind == capture.ErrUnknown && !errors.Is(err, kind) {
				t.Fatalf("committing gives %v", err)
			}
			r.shared.SetHooks(memstore.Hooks{})
			r.commit(b)
			r.exactly()
		})
	}
}

// What waits is sent although the load goes on, however slow the shared store is,
// and also where batches are too large to be joined.
func TestDrainsUnderLoad(t *testing.T) {
	t.Parallel()
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprint(apart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.e.apart = apart
				r.open()
				defer r.s.Close(0) //nolint:errcheck // in memory
				r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
				for range 50 {
					r.commit(r.next())
				}
				r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { time.Sleep(40 * time.Millisecond); return nil }})
				for n := 0; r.s.Status().Spool.State != capture.SpoolShared; n++ {
					if n == 1000 {
						t.Fatalf("after %d more batches the queue is %+v", n, r.s.Status().Spool)
					}
					r.commit(r.next())
				}
				r.exactly()
			})
		})
	}
}

// The shared store fails for good: it is opened anew, and meanwhile all goes on.
func TestSharedFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		defer r.s.Close(0) //nolint:errcheck // in memory
		r.commit(r.next())
		n := 0
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error {
			if n++; n < 4 {
				return capture.ErrFatal
			}
			return nil
		}})
		for range 4 {
			r.commit(r.next())
		}
		r.exactly()
	})
}

// The spool of another node is not sent.
func TestOthersSpool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.open()
		r.shared.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrUnavailable }})
		r.commit(r.next())
		if err := r.s.Close(r.block); err != nil {
			t.Fatal(err)
		}
		other := &Engine{Shared: memstore.New(), OpenQueue: r.queue.opens}
		if _, err := other.Open(context.Background()); err == nil {
			t.Error("the spool of another store was opened")
		}
	})
}

// A ledger whose node never got a number serves on with IDs of its own; one that
// has a number and no lease waits for the shared store.
func TestLedgerAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		open := func() *capture.Ledger {
			l, err := capture.OpenLedger(background, r.e, &capture.Attachment{Logger: zap.NewNop()}, capture.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		away := func() error { return capture.ErrUnavailable }
		r.shared.SetHooks(memstore.Hooks{Open: away, Identity: func(*capture.Identity) error { return away() }})
		l := open()
		if !l.Identity().StandIn || l.Health().State != "degraded" {
			t.Errorf("the identity is %+v, the health %+v", l.Identity(), l.Health())
		}
		_ = l.Close()
		r.shared.SetHooks(memstore.Hooks{Open: away})
		l = open()
		if l.Identity().StandIn || l.Health().State != "degraded" {
			t.Errorf("the identity is %+v, the health %+v", l.Identity(), l.Health())
		}
		r.shared.SetHooks(memstore.Hooks{})
		time.Sleep(time.Minute)
		if h := l.Health(); h.State != "ok" || h.Store.Spool.State != capture.SpoolShared {
			t.Errorf("the health is %+v", h)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
