package capture_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var background = context.Background()

var rules = &capture.Rules{Retain: capture.Retention{Clicks: capture.DefaultRetainClicks}}

func attachment() *capture.Attachment { return &capture.Attachment{Logger: zap.NewNop()} }

func openLedger(t testing.TB, e *memstore.Engine) *capture.Ledger {
	t.Helper()
	l, err := capture.OpenLedger(background, e, attachment(), capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLedger(t testing.TB, l *capture.Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
}

// bubble runs f with a ledger over an empty store on a fake clock. That no
// goroutine is left when the ledger is closed, synctest sees to.
func bubble(t *testing.T, f func(t *testing.T, e *memstore.Engine, l *capture.Ledger)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		l := openLedger(t, e)
		defer func() {
			if err := l.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}()
		f(t, e, l)
	})
}

func click(source string) *capture.Click {
	return &capture.Click{Time: time.Now(), Campaign: "acme", Source: source}
}

func postback(ref clickid.Ref, txid string) *capture.Postback {
	return &capture.Postback{
		Time: time.Now(), Route: "main", Rules: rules, Ref: ref, HasRef: true,
		Claim: attribution.Claim{Event: "sale", TxID: txid, Status: attribution.Approved, ReceivedAt: time.Now()},
	}
}

// record records a click and wants it on disk.
func record(t testing.TB, l *capture.Ledger, source string) *capture.Click {
	t.Helper()
	c := click(source)
	if got := l.Wait(l.Record(c), time.Second); got != capture.SavedOnDisk {
		t.Fatalf("the click is saved as %d", got)
	}
	return c
}

func total(t testing.TB, l *capture.Ledger) attribution.Counts {
	t.Helper()
	r, err := l.Report(background, attribution.Query{
		From: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.Total
}

// gate is a Before hook that holds commits up until it is opened.
func gate(e *memstore.Engine) (open func()) {
	ch := make(chan struct{})
	e.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { <-ch; return nil }})
	return sync.OnceFunc(func() { close(ch) })
}

// failing makes every commit fail until it is called off.
func failing(e *memstore.Engine, err error) (off func()) {
	e.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return err }})
	return func() { e.SetHooks(memstore.Hooks{}) }
}

func TestRecordConcurrently(t *testing.T) {
	t.Parallel()
	e := memstore.New()
	l := openLedger(t, e)
	const writers, each = 64, 150
	clicks := make([][]*capture.Click, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				c := click(fmt.Sprint(w))
				if i%7 == 0 {
					c.Ref = l.Reserve(c.Time)
				}
				ticket := l.Record(c)
				ref := c.Ref
				if i%3 > 0 && l.Wait(ticket, time.Minute) != capture.SavedOnDisk {
					t.Error("a click is not on disk")
				}
				if c.Ref != ref {
					t.Error("a click's place changed")
				}
				if i%10 == 0 {
					if err := l.Book(background, postback(ref, "1")); err != nil {
						t.Error(err)
					}
				}
				clicks[w] = append(clicks[w], c)
			}
		})
	}
	wg.Wait()
	closeLedger(t, l)

	l = openLedger(t, e)
	defer closeLedger(t, l)
	seen := make(map[clickid.Ref]bool)
	for _, c := range slices.Concat(clicks...) {
		if seen[c.Ref] || c.Ref.Slot == clickid.Unrecorded || c.Ref.Second != uint32(c.Time.Unix()) {
			t.Fatalf("%+v was given twice, or is wrong", c.Ref)
		}
		seen[c.Ref] = true
		if got, err := l.Click(background, c.Ref); err != nil || got.Source != c.Source {
			t.Fatalf("click %+v: %v, %v", c.Ref, got, err)
		}
	}
	if got := total(t, l); got.Clicks != writers*each || got.Conversions != writers*each/10 {
		t.Errorf("the report counts %+v", got)
	}
}

func TestWait(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		open := gate(e)
		defer open()
		c := click("a")
		ticket := l.Record(c)
		ref, start := c.Ref, time.Now()
		if got := l.Wait(ticket, 50*time.Millisecond); got != capture.SavedLater || time.Since(start) != 50*time.Millisecond {
			t.Errorf("saved as %d after %s, want later, after 50ms", got, time.Since(start))
		}
		if got := l.Wait(ticket, 0); got != capture.SavedLater || time.Since(start) != 50*time.Millisecond {
			t.Errorf("saved as %d after %s, want later, at once", got, time.Since(start))
		}
		if h := l.Health(); h.QueuedClicks != 1 || h.LateClicks != 2 {
			t.Errorf("health is %+v", h)
		}
		open()
		if got := l.Wait(ticket, time.Second); got != capture.SavedOnDisk {
			t.Errorf("saved as %d, want on disk", got)
		}
		if _, err := l.Click(background, ref); err != nil || c.Ref != ref {
			t.Errorf("the click is not where its ID said: %v", err)
		}
		if h := l.Health(); h.QueuedClicks != 0 || h.State != "ok" || h.LastCommit.IsZero() {
			t.Errorf("health is %+v", h)
		}
	})
}

func TestReservedClick(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		c := click("a")
		c.Ref = l.Reserve(c.Time)
		ref := c.Ref
		time.Sleep(3 * time.Second) // the application takes its time
		c.Time = time.Now()
		if got := l.Wait(l.Record(c), time.Second); got != capture.SavedOnDisk || c.Ref != ref {
			t.Fatalf("saved as %d at %+v, want %+v", got, c.Ref, ref)
		}
		if got, err := l.Click(background, ref); err != nil || !got.Time.Equal(ref.Time()) {
			t.Errorf("the reserved click is %+v, %v", got, err)
		}
		if err := l.Book(background, postback(ref, "1")); err != nil {
			t.Error(err)
		}
	})
}

func TestQueueBoundsClicks(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		open := gate(e)
		defer open()
		value := strings.Repeat("x", 8<<10)
		refs, queued := make(map[clickid.Ref]bool), 0
		var lost int
		for range capture.MaxQueuedClickBytes/len(value) + 100 {
			c := click("a")
			c.URL = value
			ticket := l.Record(c)
			if refs[c.Ref] {
				t.Fatal("two clicks have one ID")
			}
			refs[c.Ref] = true
			if l.Wait(ticket, 0) == capture.SavedNever {
				lost++
				if c.Ref.Slot != clickid.Unrecorded {
					t.Fatal("a lost click has a place")
				}
				continue
			}
			queued++
		}
		if queued*len(value) > capture.MaxQueuedClickBytes || queued < capture.MaxQueuedClickBytes/len(value)*8/10 {
			t.Errorf("%d clicks of 8 KiB are queued", queued)
		}
		if h := l.Health(); h.LostClicks != int64(lost) || lost < 100 || h.QueuedClicks != queued {
			t.Errorf("%d clicks are lost; health is %+v", lost, h)
		}
		open()
		time.Sleep(time.Second)
		record(t, l, "after")
		if got := total(t, l); got.Clicks != int64(queued)+1 {
			t.Errorf("%d clicks are on disk, want %d", got.Clicks, queued+1)
		}
	})
}

// TestPostbacksHaveAShare: clicks come faster than they are written. Postbacks of
// clicks that are stored are booked all the same, and those about one click in
// the order in which they came.
func TestPostbacksHaveAShare(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		stored := record(t, l, "stored")
		e.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error {
			time.Sleep(time.Second)
			return nil
		}})
		defer e.SetHooks(memstore.Hooks{})
		over := make(chan struct{})
		var flood sync.WaitGroup
		flood.Go(func() {
			for {
				for range 5000 {
					l.Record(click("flood"))
				}
				select {
				case <-over:
					return
				case <-time.After(time.Second):
				}
			}
		})
		time.Sleep(3 * time.Second)
		for n := range 5 {
			p := postback(stored.Ref, fmt.Sprint(n))
			if err := l.Book(background, p); err != nil || p.Result.Outcome != capture.Recorded {
				t.Errorf("postback %d is %s, %v", n, p.Result.Outcome, err)
			}
		}
		if h := l.Health(); h.QueuedClicks < 5000 {
			t.Errorf("only %d clicks are queued: that is no flood", h.QueuedClicks)
		}
		// One of a click that waits goes after it, however long that takes.
		late := click("late")
		l.Record(late)
		if err := l.Book(background, postback(late.Ref, "late")); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("a postback of a click that waits gets %v", err)
		}
		close(over)
		flood.Wait()
	})
}

func TestQueueBoundsPostbacks(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c := record(t, l, "a")
		open := gate(e)
		defer open()
		body := make([]byte, 64<<10)
		n := capture.MaxQueuedPostbackBytes/len(body) + 50
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				p := postback(c.Ref, fmt.Sprint(i))
				p.Raw.Body = body
				errs[i] = l.Book(background, p)
			})
		}
		synctest.Wait()
		open()
		wg.Wait()
		refused := 0
		for _, err := range errs {
			if err != nil {
				refused++
				if !errors.Is(err, capture.ErrUnavailable) {
					t.Error(err)
				}
			}
		}
		if refused == 0 || refused > 80 {
			t.Errorf("%d postbacks were refused", refused)
		}
		if got := total(t, l); got.Conversions != int64(n-refused) {
			t.Errorf("%d conversions are booked, want %d", got.Conversions, n-refused)
		}
		if err := l.Book(background, postback(c.Ref, "after")); err != nil {
			t.Error(err)
		}
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		l := openLedger(t, e)
		first := record(t, l, "first")
		open := gate(e)
		var clicks []*capture.Click
		for range 1000 {
			c := click("a")
			l.Record(c)
			clicks = append(clicks, c)
		}
		booked := make(chan error, 1)
		go func() { booked <- l.Book(background, postback(first.Ref, "1")) }()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		time.Sleep(time.Minute)
		select {
		case <-closed:
			t.Fatal("Close did not wait for the commit under way")
		default:
		}
		late := click("late")
		if got := l.Wait(l.Record(late), time.Second); got != capture.SavedNever || late.Ref.Slot != clickid.Unrecorded {
			t.Errorf("while closing a click is saved as %d at %+v", got, late.Ref)
		}
		open()
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		<-booked // one way or the other

		other := click("late")
		if got := l.Wait(l.Record(other), time.Second); got != capture.SavedNever || other.Ref == late.Ref {
			t.Errorf("after Close a click is saved as %d at %+v", got, other.Ref)
		}
		if err := l.Book(background, postback(first.Ref, "2")); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("after Close a postback gets %v", err)
		}
		if _, err := l.Reader(); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("after Close a reader gets %v", err)
		}
		if h := l.Health(); h.State != "stopped" {
			t.Errorf("after Close health is %+v", h)
		}

		l = openLedger(t, e)
		for _, c := range clicks {
			if _, err := l.Click(background, c.Ref); err != nil {
				t.Fatalf("a queued click was not written: %v", err)
			}
		}
		closeLedger(t, l)
	})
}

// TestCloseRace records until the ledger is closed: what was taken is on disk.
func TestCloseRace(t *testing.T) {
	t.Parallel()
	for range 50 {
		e := memstore.New()
		l := openLedger(t, e)
		var mu sync.Mutex
		var taken []clickid.Ref
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					c := click("a")
					l.Record(c)
					if c.Ref.Slot == clickid.Unrecorded {
						return
					}
					mu.Lock()
					taken = append(taken, c.Ref)
					mu.Unlock()
					time.Sleep(10 * time.Microsecond)
				}
			})
		}
		time.Sleep(time.Millisecond)
		closeLedger(t, l)
		wg.Wait()
		l = openLedger(t, e)
		for _, ref := range taken {
			if _, err := l.Click(background, ref); err != nil {
				t.Fatalf("a click that was taken before Close is lost: %v", err)
			}
		}
		closeLedger(t, l)
	}
}

func TestAttach(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		swept := make(chan capture.Retention, 10)
		e.SetHooks(memstore.Hooks{Sweep: func(r capture.Retention) { swept <- r }})
		with := func(d time.Duration) *capture.Attachment {
			return &capture.Attachment{Logger: zap.NewNop(), Retain: capture.Retention{Clicks: d}}
		}
		// A change holds at the next hour, and what stays is deleted once a day.
		want := func(d time.Duration, after int) {
			t.Helper()
			for hours := 1; ; hours++ {
				got := (<-swept).Clicks
				if got == 0 && hours < after {
					continue
				}
				if got != d || hours != after {
					t.Errorf("swept with %s after %d hours, want %s after %d", got, hours, d, after)
				}
				return
			}
		}
		one := l.Attach(with(1))
		want(1, 1)
		two := l.Attach(with(2))
		three := l.Attach(with(3))
		want(3, 1)
		two() // in the middle
		want(3, 24)
		three()
		three()
		want(1, 1)
		one() // the last one stays in force
		want(1, 24)
		want(1, 24)
		var requests int
		defer l.Attach(&capture.Attachment{Logger: zap.NewNop(), Committed: func(n int, _ time.Duration) { requests += n }})()
		record(t, l, "a")
		synctest.Wait()
		if requests != 1 {
			t.Errorf("%d requests were committed, want 1", requests)
		}
	})
}

func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		l := openLedger(t, e)
		c := record(t, l, "a")
		slow, _ := l.Follow()
		gone, stop := l.Follow()
		fast, _ := l.Follow()
		var got []uint64
		done := make(chan struct{})
		go func() {
			for e := range fast {
				got = append(got, e.Seq)
			}
			close(done)
		}()
		stop()
		const n = capture.FeedBuffer + 50
		for i := range n {
			if err := l.Book(background, postback(c.Ref, fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		closeLedger(t, l)
		<-done
		if len(got) != n || !slices.IsSorted(got) {
			t.Errorf("a fast follower got %d of %d entries", len(got), n)
		}
		if len(slow) != capture.FeedBuffer || len(gone) != 0 {
			t.Errorf("a slow follower has %d entries, one that left %d", len(slow), len(gone))
		}
		after, _ := l.Follow()
		if _, ok := <-after; ok {
			t.Error("a closed ledger sent an entry")
		}
	})
}
