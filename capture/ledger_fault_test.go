package capture_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

func TestStoreTakesNothing(t *testing.T) {
	for _, cause := range []error{capture.ErrNoSpace, capture.ErrUnavailable} {
		t.Run(cause.Error(), func(t *testing.T) {
			bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
				first := record(t, l, "first")
				off := failing(e, fmt.Errorf("%w: test", cause))
				if err := l.Book(background, postback(first.Ref, "1")); !errors.Is(err, capture.ErrUnavailable) {
					t.Fatalf("the postback gets %v", err)
				}
				start := time.Now()
				var clicks []*capture.Click
				for i := range 300 {
					c := click(fmt.Sprint(i))
					if got := l.Wait(l.Record(c), time.Second); got != capture.SavedLater {
						t.Fatalf("a click is saved as %d", got)
					}
					clicks = append(clicks, c)
				}
				if err := l.Book(background, postback(first.Ref, "1")); !errors.Is(err, capture.ErrUnavailable) || time.Since(start) != 0 {
					t.Errorf("a postback gets %v after %s", err, time.Since(start))
				}
				if h := l.Health(); h.State != "degraded" || h.Why == "" || h.QueuedClicks != 300 {
					t.Errorf("health is %+v", h)
				}
				time.Sleep(10 * time.Second)
				off()
				time.Sleep(2 * capture.RetryEvery)
				if h := l.Health(); h.State != "ok" || h.QueuedClicks != 0 || h.LostClicks != 0 {
					t.Errorf("health is %+v", h)
				}
				for i, c := range clicks {
					if got, err := l.Click(background, c.Ref); err != nil || got.Source != fmt.Sprint(i) {
						t.Fatalf("click %d: %v", i, err)
					}
					if i > 0 && c.Ref.Block < clicks[i-1].Ref.Block {
						t.Fatal("the clicks are not in order")
					}
				}
				if err := l.Book(background, postback(first.Ref, "1")); err != nil {
					t.Error(err)
				}
				if got := total(t, l); got.Clicks != 301 || got.Conversions != 1 {
					t.Errorf("the report counts %+v", got)
				}
			})
		})
	}
}

// TestRecoversUnasked: no click comes, and postbacks are turned away, so
// nothing but the ledger itself finds out that there is room again.
func TestRecoversUnasked(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c := record(t, l, "a")
		off := failing(e, capture.ErrNoSpace)
		if err := l.Book(background, postback(c.Ref, "1")); err == nil {
			t.Fatal("the postback was booked")
		}
		time.Sleep(time.Minute)
		if h := l.Health(); h.State != "degraded" {
			t.Errorf("health is %+v", h)
		}
		off()
		time.Sleep(2 * capture.RetryEvery)
		if err := l.Book(background, postback(c.Ref, "1")); err != nil {
			t.Error(err)
		}
	})
}

func TestUnknownOutcome(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c := record(t, l, "a")
		var sent []uint64
		answers := []error{capture.ErrUnknown, capture.ErrUnavailable, capture.ErrUnknown, nil}
		note := func(b *capture.Batch) error {
			sent = append(sent, b.Number)
			if len(sent) > len(answers) {
				return nil
			}
			return answers[len(sent)-1]
		}
		// Applied the first time, though nobody knows.
		e.SetHooks(memstore.Hooks{After: note})
		p := postback(c.Ref, "1")
		if err := l.Book(background, p); err != nil || p.Result.Outcome != capture.Recorded || p.Result.Entry == nil {
			t.Fatalf("the postback is %+v, %v", p.Result, err)
		}
		if len(sent) != 4 || slices.Min(sent) != slices.Max(sent) {
			t.Errorf("batches %v were sent, want the same four times", sent)
		}
		record(t, l, "b")
		if err := l.Book(background, postback(c.Ref, "1")); err != nil {
			t.Error(err)
		}
		if got := total(t, l); got.Clicks != 2 || got.Conversions != 1 {
			t.Errorf("the report counts %+v", got)
		}
	})
}

// TestFaultAtEveryCommit fails the n-th commit for every n, in every way. What
// was acknowledged is there once, whatever happens.
func TestFaultAtEveryCommit(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		name          string
		before, after error
	}{
		{"unavailable", capture.ErrUnavailable, nil},
		{"no space", capture.ErrNoSpace, nil},
		{"too large", capture.ErrTooLarge, nil},
		{"unknown, not applied", capture.ErrUnknown, nil},
		{"unknown, applied", nil, capture.ErrUnknown},
	} {
		for n := range 30 {
			synctest.Test(t, func(t *testing.T) {
				e := memstore.New()
				before, after := 0, 0
				nth := func(i *int, err error) error {
					*i++
					if *i == n+1 {
						return err
					}
					return nil
				}
				e.SetHooks(memstore.Hooks{
					Before: func(*capture.Batch) error { return nth(&before, fault.before) },
					After:  func(*capture.Batch) error { return nth(&after, fault.after) },
				})
				l := openLedger(t, e)
				story(t, l, fmt.Sprintf("%s at commit %d", fault.name, n))
				closeLedger(t, l)
			})
		}
	}
}

// story records ten clicks and has each converted and repeated by a sender
// that tries again while it is told to.
func story(t *testing.T, l *capture.Ledger, name string) {
	lost := 0
	for i := range 10 {
		c := click(fmt.Sprint(i))
		ticket := l.Record(c)
		for l.Wait(ticket, time.Second) == capture.SavedLater {
			time.Sleep(time.Second)
		}
		if l.Wait(ticket, 0) == capture.SavedNever {
			lost++ // before the first lease
			time.Sleep(time.Second)
			continue
		}
		for range 2 {
			err := l.Book(background, postback(c.Ref, "1"))
			for tries := 0; err != nil && tries < 10; tries++ {
				time.Sleep(time.Second)
				err = l.Book(background, postback(c.Ref, "1"))
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	if got := total(t, l); got.Clicks != int64(10-lost) || got.Conversions != int64(10-lost) || lost > 1 {
		t.Errorf("%s: %d clicks, %d conversions, %d lost", name, got.Clicks, got.Conversions, lost)
	}
	entries := 0
	r, err := l.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Journal(background, capture.JournalQuery{}, func(*capture.Entry) bool { entries++; return true }); err != nil {
		t.Fatal(err)
	}
	if entries != 2*(10-lost) {
		t.Errorf("%s: the journal has %d entries", name, entries)
	}
	if h := l.Health(); h.State != "ok" || h.QueuedClicks+h.QueuedPostbacks != 0 {
		t.Errorf("%s: health is %+v", name, h)
	}
}

func TestFatal(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		first := record(t, l, "first")
		var refuse sync.WaitGroup
		refuse.Add(1)
		entered := make(chan struct{})
		var once sync.Once
		open := make(chan struct{})
		e.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error {
			once.Do(func() { close(entered) })
			<-open
			return fmt.Errorf("%w: test", capture.ErrFatal)
		}})
		errs := make(chan error, 5)
		for i := range 5 {
			go func() { errs <- l.Book(background, postback(first.Ref, fmt.Sprint(i))) }()
		}
		<-entered
		ticket := l.Record(click("a"))
		saved := make(chan capture.Saved, 1)
		go func() { saved <- l.Wait(ticket, time.Hour) }()
		synctest.Wait()
		close(open)
		start := time.Now()
		for range 5 {
			if err := <-errs; !errors.Is(err, capture.ErrUnavailable) {
				t.Errorf("a postback gets %v", err)
			}
		}
		if got := <-saved; got != capture.SavedNever || time.Since(start) > time.Second {
			t.Errorf("a click is saved as %d after %s", got, time.Since(start))
		}
		if h := l.Health(); h.State != "stopped" || h.Why == "" || h.LostClicks != 1 || h.QueuedClicks != 0 {
			t.Errorf("health is %+v", h)
		}
		after := l.Record(click("b"))
		if got := l.Wait(after, time.Hour); got != capture.SavedNever {
			t.Errorf("a later click is saved as %d", got)
		}
		if err := l.Book(background, postback(first.Ref, "9")); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("a later postback gets %v", err)
		}
		if _, err := l.Click(background, first.Ref); err != nil {
			t.Errorf("what is stored cannot be read: %v", err)
		}
	})
}

func size(b *capture.Batch) int {
	n := len(b.Postbacks)
	for _, block := range b.Blocks {
		n += len(block.Clicks)
	}
	return n
}

func TestTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c := record(t, l, "first")
		open := make(chan struct{})
		e.SetHooks(memstore.Hooks{Before: func(b *capture.Batch) error {
			<-open
			for _, p := range b.Postbacks {
				if p.Claim.TxID == "poison" {
					return capture.ErrTooLarge
				}
			}
			for _, block := range b.Blocks {
				if block.Clicks[0].Source == "poison" {
					return capture.ErrTooLarge
				}
			}
			if size(b) > 64 {
				return capture.ErrTooLarge
			}
			return nil
		}})
		var tickets []capture.Ticket
		for range 3000 {
			tickets = append(tickets, l.Record(click("a")))
		}
		bad := click("poison")
		bad.Ref = l.Reserve(time.Now())
		tickets = append(tickets, l.Record(bad))
		errs := make([]error, 500)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				txid := fmt.Sprint(i)
				if i == 250 {
					txid = "poison"
				}
				errs[i] = l.Book(background, postback(c.Ref, txid))
			})
		}
		synctest.Wait()
		close(open)
		wg.Wait()
		lost := 0
		for _, ticket := range tickets {
			if got := l.Wait(ticket, time.Minute); got == capture.SavedNever {
				lost++
			} else if got != capture.SavedOnDisk {
				t.Fatalf("a click is saved as %d", got)
			}
		}
		for i, err := range errs {
			if (err != nil) != (i == 250) {
				t.Errorf("postback %d gets %v", i, err)
			}
		}
		if got := total(t, l); got.Clicks != 3001 || got.Conversions != 499 || lost != 1 {
			t.Errorf("%d clicks, %d conversions, %d lost", got.Clicks, got.Conversions, lost)
		}
		if h := l.Health(); h.State != "ok" || h.QueuedClicks != 0 {
			t.Errorf("health is %+v", h)
		}
	})
}

func TestWithdraw(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c := record(t, l, "first")
		open := gate(e)
		defer open()
		taken := make(chan error, 1)
		go func() { taken <- l.Book(background, postback(c.Ref, "taken")) }()
		synctest.Wait()

		start := time.Now()
		err := l.Book(background, postback(c.Ref, "waits too long"))
		if !errors.Is(err, capture.ErrUnavailable) || time.Since(start) != capture.BookTimeout {
			t.Errorf("a postback gets %v after %s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(background, time.Second)
		defer cancel()
		start = time.Now()
		err = l.Book(ctx, postback(c.Ref, "goes away"))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("a postback gets %v after %s", err, time.Since(start))
		}
		if h := l.Health(); h.QueuedPostbacks != 0 {
			t.Errorf("health is %+v", h)
		}
		open()
		if err := <-taken; err != nil {
			t.Errorf("the postback that the committer had gets %v", err)
		}
		if got := total(t, l); got.Conversions != 1 {
			t.Errorf("%d conversions are booked, want 1", got.Conversions)
		}
	})
}

func TestDegradedStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		fails := 3
		e.SetHooks(memstore.Hooks{Open: func() error {
			if fails--; fails >= 0 {
				return fmt.Errorf("%w: test", capture.ErrNoSpace)
			}
			return nil
		}})
		l := openLedger(t, e)
		c := click("a")
		if got := l.Wait(l.Record(c), time.Second); got != capture.SavedNever || c.Ref.Slot != clickid.Unrecorded {
			t.Errorf("a click is saved as %d at %+v", got, c.Ref)
		}
		if err := l.Book(background, postback(c.Ref, "1")); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("a postback gets %v", err)
		}
		if h := l.Health(); h.State != "degraded" || h.Why == "" {
			t.Errorf("health is %+v", h)
		}
		time.Sleep(5 * time.Second)
		if h := l.Health(); h.State != "ok" {
			t.Errorf("health is %+v", h)
		}
		d := record(t, l, "b")
		if err := l.Book(background, postback(d.Ref, "1")); err != nil {
			t.Error(err)
		}
		closeLedger(t, l)
	})
	synctest.Test(t, func(t *testing.T) { // the cause changes
		e := memstore.New()
		causes := []error{capture.ErrNoSpace, capture.ErrNoSpace, capture.ErrNewerFormat}
		e.SetHooks(memstore.Hooks{Open: func() error {
			err := causes[0]
			causes = causes[1:]
			return err
		}})
		l := openLedger(t, e)
		time.Sleep(5 * time.Second)
		if h := l.Health(); h.State != "stopped" {
			t.Errorf("health is %+v", h)
		}
		closeLedger(t, l)
	})
	synctest.Test(t, func(t *testing.T) { // closed before it could open
		e := memstore.New()
		e.SetHooks(memstore.Hooks{Open: func() error { return capture.ErrNoSpace }})
		closeLedger(t, openLedger(t, e))
	})
	e := memstore.New()
	e.SetHooks(memstore.Hooks{Open: func() error { return capture.ErrLocked }})
	if _, err := capture.OpenLedger(background, e, attachment(), capture.Options{}); !errors.Is(err, capture.ErrLocked) {
		t.Errorf("a locked store opens with %v", err)
	}
}

// TestFirstLeaseFails: the store opens and takes nothing yet.
func TestFirstLeaseFails(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{capture.ErrNoSpace, capture.ErrUnavailable, capture.ErrUnknown} {
		synctest.Test(t, func(t *testing.T) {
			e := memstore.New()
			off := failing(e, cause)
			start := time.Now()
			l := openLedger(t, e)
			if h := l.Health(); h.State != "degraded" || time.Since(start) != 0 {
				t.Errorf("%v: after %s health is %+v", cause, time.Since(start), h)
			}
			time.Sleep(time.Minute)
			off()
			time.Sleep(2 * capture.RetryEvery)
			record(t, l, "a")
			closeLedger(t, l)
		})
	}
}
