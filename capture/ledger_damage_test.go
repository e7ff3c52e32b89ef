package capture_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var errFile = fmt.Errorf("%w: 000001.sst, restore a backup", capture.ErrDamaged)

// openObserved opens a ledger and returns what it logs from errors on.
func openObserved(t *testing.T, e *memstore.Engine) (*capture.Ledger, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.ErrorLevel)
	l, err := capture.OpenLedger(background, e, &capture.Attachment{Logger: zap.New(core)}, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l, logs
}

// stopped wants a ledger that has no store and never will have.
func stopped(t *testing.T, l *capture.Ledger, why string, seen map[clickid.Ref]bool) {
	t.Helper()
	start := time.Now()
	for range 100 {
		c, reserved := click("a"), click("b")
		reserved.Ref = l.Reserve(time.Now())
		for _, c := range []*capture.Click{c, reserved} {
			if got := l.Wait(l.Record(c), time.Hour); got != capture.SavedNever {
				t.Fatalf("a click is saved as %d", got)
			}
			// In a slot that no stored click ever has.
			if c.Ref.Slot != clickid.Unrecorded || c.Ref.Epoch != l.Identity().Epoch || c.Ref.Second != uint32(c.Time.Unix()) || seen[c.Ref] {
				t.Fatalf("a click is at %+v", c.Ref)
			}
			seen[c.Ref] = true
		}
		if err := l.Book(background, postback(c.Ref, "1")); !errors.Is(err, capture.ErrUnavailable) {
			t.Fatalf("a postback gets %v", err)
		}
	}
	if took := time.Since(start); took != 0 {
		t.Errorf("somebody had to wait for %s", took)
	}
	if _, err := l.Reader(); !errors.Is(err, capture.ErrUnavailable) || !strings.Contains(err.Error(), why) {
		t.Errorf("the reader is refused with %v", err)
	}
	h := l.Health()
	if h.State != "stopped" || !strings.Contains(h.Why, why) || h.QueuedClicks+h.QueuedPostbacks != 0 || h.Store.Writable {
		t.Errorf("health is %+v", h)
	}
}

// TestDamagedStart: the site is served, and the store left alone until
// somebody has mended it.
func TestDamagedStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		l := openLedger(t, e)
		first := record(t, l, "first")
		closeLedger(t, l)

		opens := 0
		e.SetHooks(memstore.Hooks{Open: func() error { opens++; return errFile }})
		l, logs := openObserved(t, e)
		seen := make(map[clickid.Ref]bool)
		stopped(t, l, "000001.sst", seen)
		time.Sleep(time.Hour)
		if h := l.Health(); h.LostClicks != 200 || opens != 1 {
			t.Errorf("%d clicks are counted as lost; the store was opened %d times", h.LostClicks, opens)
		}
		if logs.Len() != 1 || !strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()), "000001.sst") ||
			!strings.Contains(fmt.Sprint(logs.All()[0].ContextMap()), e.Key()) {
			t.Errorf("the log has %+v", logs.All())
		}
		closeLedger(t, l)

		e.SetHooks(memstore.Hooks{})
		l = openLedger(t, e)
		for i := range 200 {
			if c := record(t, l, fmt.Sprint(i)); seen[c.Ref] || c.Ref == first.Ref {
				t.Fatalf("%+v was given twice", c.Ref)
			}
		}
		for ref := range seen { // genuine, and known not to be stored
			if _, err := l.Click(background, ref); !errors.Is(err, capture.ErrNotFound) {
				t.Fatalf("%+v: %v", ref, err)
			}
		}
		if got := total(t, l); got.Clicks != 201 {
			t.Errorf("%d clicks are stored", got.Clicks)
		}
		closeLedger(t, l)
	})
}

// TestUnreadableIdentity: with the key of click IDs gone there is a stand-in
// for it, but only where the store cannot be opened anyway.
func TestUnreadableIdentity(t *testing.T) {
	t.Parallel()
	lost := func(err error) func(*capture.Identity) error {
		return func(*capture.Identity) error { return err }
	}
	errKey := fmt.Errorf("%w: store.json", capture.ErrDamaged)
	for _, c := range []struct{ open, identity error }{
		{errFile, errKey}, {errFile, capture.ErrNoSpace}, {errFile, capture.ErrLocked},
		{capture.ErrNoSpace, capture.ErrNoSpace}, {capture.ErrNoSpace, errKey},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := memstore.New()
			own, _ := e.Identity()
			e.SetHooks(memstore.Hooks{Open: func() error { return c.open }, Identity: lost(c.identity)})
			l, logs := openObserved(t, e)
			id := l.Identity()
			if !id.StandIn || id.Epoch != 0 || own.Epoch == 0 || len(id.Secret) < 16 || string(id.Secret) == string(own.Secret) {
				t.Errorf("%v: the identity is %+v", c, id)
			}
			stopped(t, l, "click_id_key", make(map[clickid.Ref]bool))
			if logs.Len() != 1 {
				t.Errorf("the log has %+v", logs.All())
			}
			closeLedger(t, l)
		})
	}
	for _, c := range []struct{ open, identity error }{
		{nil, errKey}, {capture.ErrNoSpace, capture.ErrLocked}, {capture.ErrLocked, nil}, {capture.ErrNewerFormat, errKey},
	} {
		e := memstore.New()
		e.SetHooks(memstore.Hooks{Open: func() error { return c.open }, Identity: lost(c.identity)})
		want := c.identity
		if c.open != nil && !errors.Is(c.open, capture.ErrNoSpace) {
			want = c.open
		}
		if _, err := capture.OpenLedger(background, e, attachment(), capture.Options{}); !errors.Is(err, want) {
			t.Errorf("%v: the ledger opens with %v", c, err)
		}
		e.SetHooks(memstore.Hooks{})
		closeLedger(t, openLedger(t, e)) // it was left closed
	}
}

// TestDamagedLater: there was no room at first, clicks wait, and then the
// store turns out to be damaged. They are told.
func TestDamagedLater(t *testing.T) {
	t.Parallel()
	for _, end := range []error{errFile, nil} { // nil: closed while they wait
		synctest.Test(t, func(t *testing.T) {
			e := memstore.New()
			e.SetHooks(memstore.Hooks{
				Open:     func() error { return capture.ErrNoSpace },
				Identity: func(id *capture.Identity) error { id.NextBlock = 5000; return nil },
			})
			l, logs := openObserved(t, e)
			var tickets []capture.Ticket
			seen := make(map[clickid.Ref]bool)
			for range 100 {
				c := click("a")
				ticket := l.Record(c)
				if got := l.Wait(ticket, time.Hour); got != capture.SavedLater || c.Ref.Block < 5000 || c.Ref.Slot == clickid.Unrecorded {
					t.Fatalf("a click is saved as %d at %+v", got, c.Ref)
				}
				tickets, seen[c.Ref] = append(tickets, ticket), true
			}
			if h := l.Health(); h.State != "degraded" || h.QueuedClicks != 100 {
				t.Errorf("health is %+v", h)
			}
			if end == nil {
				closeLedger(t, l)
			} else {
				e.SetHooks(memstore.Hooks{Open: func() error { return end }})
				time.Sleep(5 * time.Second)
				stopped(t, l, "000001.sst", seen)
			}
			for _, ticket := range tickets {
				if got := l.Wait(ticket, time.Hour); got != capture.SavedNever {
					t.Fatalf("a click is saved as %d", got)
				}
			}
			if h := l.Health(); h.LostClicks != int64(len(seen)) || h.QueuedClicks != 0 {
				t.Errorf("health is %+v", h)
			}
			if logs.Len() != 2 {
				t.Errorf("the log has %+v", logs.All())
			}
			if end != nil {
				closeLedger(t, l)
			}
		})
	}
}
