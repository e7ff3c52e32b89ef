package capture_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// reserve takes n places, of which lost are unrecorded, all different.
func reserve(t *testing.T, l *capture.Ledger, n int, seen map[clickid.Ref]bool) (highest uint64, lost int) {
	t.Helper()
	for range n {
		ref := l.Reserve(time.Now())
		if seen[ref] {
			t.Fatalf("%+v was given twice", ref)
		}
		seen[ref] = true
		if ref.Slot == clickid.Unrecorded {
			lost++
			continue
		}
		highest = max(highest, ref.Block)
	}
	return highest, lost
}

// TestLeaseIsExtended: reservations alone use block numbers up, and nothing
// else gives the committer work.
func TestLeaseIsExtended(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		seen := make(map[clickid.Ref]bool)
		for range 30 {
			if _, lost := reserve(t, l, 1000, seen); lost > 0 {
				t.Fatalf("after %d places, %d were not given", len(seen), lost)
			}
			synctest.Wait()
		}
	})
}

func TestLeaseRunsOut(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		open := gate(e)
		defer open()
		seen := make(map[clickid.Ref]bool)
		if _, lost := reserve(t, l, capture.Overdraft+2*capture.LeaseBlocks, seen); lost != capture.LeaseBlocks {
			t.Errorf("%d places were not given, want %d", lost, capture.LeaseBlocks)
		}
		c := click("a")
		if got := l.Wait(l.Record(c), time.Second); got != capture.SavedNever || seen[c.Ref] {
			t.Errorf("a click is saved as %d at %+v", got, c.Ref)
		}
		open()
		synctest.Wait()
		if _, lost := reserve(t, l, 1000, seen); lost != 0 {
			t.Errorf("%d places were not given after the store came back", lost)
		}
		record(t, l, "b")
	})
}

func TestCrashReusesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		seen := make(map[clickid.Ref]bool)
		for range 5 {
			l := openLedger(t, e)
			highest := uint64(0)
			for range 4 {
				h, _ := reserve(t, l, 900, seen)
				c := record(t, l, "a")
				if seen[c.Ref] {
					t.Fatalf("%+v was given twice", c.Ref)
				}
				seen[c.Ref] = true
				highest = max(highest, h, c.Ref.Block)
			}
			e.Crash()
			_ = l.Close() // the store is gone
			store, err := e.Open(background)
			if err != nil {
				t.Fatal(err)
			}
			if next := store.Position().NextBlock; next <= highest || next > highest+2*capture.LeaseBlocks {
				t.Errorf("after the crash the next block is %d; %d was used", next, highest)
			}
			if err := store.Close(0); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestCleanCloseLeavesNoGap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := memstore.New()
		l := openLedger(t, e)
		c := record(t, l, "a")
		closeLedger(t, l)
		l = openLedger(t, e)
		if d := record(t, l, "b"); d.Ref.Block != c.Ref.Block+1 {
			t.Errorf("block %d follows %d", d.Ref.Block, c.Ref.Block)
		}
		closeLedger(t, l)
	})
}
