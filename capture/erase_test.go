package capture_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

func telling() *capture.Click {
	c := click("a")
	c.UserAgent = "agent"
	return c
}

// erasure is what became of an Erase on its way.
type erasure struct {
	capture.Erased
	err error
}

func eraseSoon(l *capture.Ledger, ref clickid.Ref) <-chan erasure {
	done := make(chan erasure, 1)
	go func() {
		r, err := l.Erase(background, ref)
		done <- erasure{r, err}
	}()
	synctest.Wait()
	return done
}

// checkErased wants the click and its postbacks to tell of nobody.
func checkErased(t *testing.T, l *capture.Ledger, c *capture.Click) {
	t.Helper()
	got, err := l.Click(background, c.Ref)
	if err != nil || got.UserAgent != "" || got.Flags&capture.FlagErased == 0 {
		t.Errorf("the click is %+v, %v", got, err)
	}
	for _, e := range journal(t, l) {
		if e.Click == c.Ref && e.Raw.URI != "" {
			t.Errorf("the entry %+v still tells", e)
		}
	}
}

// TestEraseOfQueued: the click, or a postback for it, is on its way to the disk
// or waits for that, when it is to be erased.
func TestEraseOfQueued(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, l *capture.Ledger) (c *capture.Click, entries int){
		"on its way": func(_ *testing.T, l *capture.Ledger) (*capture.Click, int) {
			c := telling()
			l.Record(c)
			synctest.Wait()
			return c, 0
		},
		"in an open block": func(_ *testing.T, l *capture.Ledger) (*capture.Click, int) {
			l.Record(click("on its way"))
			synctest.Wait()
			c := telling()
			l.Record(c)
			return c, 0
		},
		"in a full block, with more behind": func(_ *testing.T, l *capture.Ledger) (*capture.Click, int) {
			l.Record(click("on its way"))
			synctest.Wait()
			c := telling()
			for i := range 5000 {
				if i == 100 {
					l.Record(c)
				}
				l.Record(click("many"))
			}
			return c, 0
		},
		"reserved": func(_ *testing.T, l *capture.Ledger) (*capture.Click, int) {
			l.Record(click("on its way"))
			synctest.Wait()
			c := telling()
			c.Ref = l.Reserve(c.Time)
			l.Record(c)
			return c, 0
		},
		"with a postback": func(t *testing.T, l *capture.Ledger) (*capture.Click, int) {
			c := telling()
			l.Record(c)
			for _, txid := range []string{"1", "2"} {
				p := postback(c.Ref, txid)
				p.Raw = capture.Raw{Method: "GET", URI: "/postback?mail=me"}
				go func() {
					if err := l.Book(background, p); err != nil {
						t.Error(err)
					}
				}()
				synctest.Wait()
			}
			return c, 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
				open := gate(e)
				defer open()
				c, entries := prepare(t, l)
				done := eraseSoon(l, c.Ref)
				if len(done) > 0 {
					t.Fatalf("it was not waited for: %+v", <-done)
				}
				open()
				if r := <-done; r.err != nil || !r.Click || r.Entries != entries {
					t.Errorf("the erasure is %+v", r)
				}
				checkErased(t, l, c)
			})
		})
	}
}

// TestEraseOfRequeued: the batch turns out to be too large, so it is taken
// apart and written in pieces, and the erasure waits for all of them.
func TestEraseOfRequeued(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		held := make(chan struct{})
		e.SetHooks(memstore.Hooks{Before: func(b *capture.Batch) error {
			<-held
			if n := len(b.Postbacks); n > 1 || n > 0 && len(b.Blocks) > 0 {
				return capture.ErrTooLarge
			}
			return nil
		}})
		l.Record(click("on its way"))
		synctest.Wait()
		c := telling()
		l.Record(c)
		const n = 20
		for i := range n {
			p := postback(c.Ref, string(rune('a'+i)))
			p.Raw = capture.Raw{Method: "GET", URI: "/postback?mail=me"}
			go func() {
				if err := l.Book(background, p); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		done := eraseSoon(l, c.Ref)
		close(held)
		if r := <-done; r.err != nil || !r.Click || r.Entries != n {
			t.Errorf("the erasure is %+v", r)
		}
		checkErased(t, l, c)
		e.SetHooks(memstore.Hooks{})
	})
}

// TestEraseWhileNothingIsWritten: what is not on disk cannot be erased, and
// nobody is told that it was.
func TestEraseWhileNothingIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		stored := telling()
		l.Wait(l.Record(stored), time.Second)
		off := failing(e, capture.ErrNoSpace)
		c := telling()
		l.Record(c)
		time.Sleep(time.Second)
		start := time.Now()
		_, err := l.Erase(background, c.Ref)
		if !errors.Is(err, capture.ErrUnavailable) || !strings.Contains(err.Error(), "try again") || time.Since(start) > 0 {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		// What is on disk can be erased all the same, as far as the store can.
		if r, err := l.Erase(background, stored.Ref); err != nil || !r.Click {
			t.Errorf("the erasure is %+v, %v", r, err)
		}
		off()
		time.Sleep(2 * capture.RetryEvery)
		if r, err := l.Erase(background, c.Ref); err != nil || !r.Click {
			t.Errorf("the erasure is %+v, %v", r, err)
		}
		checkErased(t, l, c)

		// A disk that hangs says nothing.
		open := gate(e)
		hangs := telling()
		l.Record(hangs)
		synctest.Wait()
		start = time.Now()
		if _, err := l.Erase(background, hangs.Ref); !errors.Is(err, capture.ErrUnavailable) || time.Since(start) != capture.BookTimeout {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithCancel(background)
		cancel()
		if _, err := l.Erase(ctx, hangs.Ref); !errors.Is(err, context.Canceled) {
			t.Errorf("after its end: %v", err)
		}
		open()
	})
}
