package badgerstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// visited makes a store in which the visitor's click is one of a slow site's,
// whose blocks are to be merged.
func visited(t *testing.T) (e *Engine, s *Store, c *capture.Click) {
	t.Helper()
	e = newEngine(t)
	e.noSync = true
	s = openStore(t, e)
	w := newWriter(t, s)
	w.next.NextBlock = groupBlocks
	w.slow(day, time.Second, 10)
	c, _ = visit(w, day.Add(10*time.Second))
	w.slow(day.Add(20*time.Second), time.Second, 100)
	if n := len(findTraces(t, e.Dir)); n != len(traces) {
		t.Fatalf("only %d traces are on disk: the test proves nothing", n)
	}
	return e, s, c
}

// mustBeGone: the visitor is in no file, and in no version of a record.
func mustBeGone(t *testing.T, s *Store) {
	t.Helper()
	if where := findTraces(t, s.home.dir); len(where) > 0 {
		t.Errorf("still there:\n%s", strings.Join(where, "\n"))
	}
	if n, telling := versionsOf(t, s); n == 0 || telling > 0 {
		t.Errorf("%d of %d versions of records tell of the visitor", telling, n)
	}
	if left, err := s.rewritten(ctx); err != nil || len(left) > 0 {
		t.Errorf("%d records are still noted: %v", len(left), err)
	}
	checkHealthy(t, s)
}

// TestEraseMergedIsProvable: nothing of the visitor is left, neither of the block
// that was nor of the record that it was merged into.
func TestEraseMergedIsProvable(t *testing.T) {
	t.Parallel()
	now := day.Add(5 * time.Hour)
	merge := func(t *testing.T, s *Store) {
		t.Helper()
		if err := s.mergeBlocks(ctx, now); err != nil {
			t.Fatal(err)
		}
		if countKeys(t, s, kindMerged) != 1 {
			t.Fatal("nothing was merged: the test proves nothing")
		}
	}
	tables := func(t *testing.T, s *Store) {
		t.Helper()
		if err := s.flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for name, before := range map[string]func(t *testing.T, s *Store){
		"in memory":           merge,
		"merged in tables":    func(t *testing.T, s *Store) { tables(t, s); merge(t, s) },
		"merged, then tables": func(t *testing.T, s *Store) { merge(t, s); tables(t, s) },
		"all in tables": func(t *testing.T, s *Store) {
			tables(t, s)
			merge(t, s)
			tables(t, s)
		},
		"compacted": func(t *testing.T, s *Store) {
			tables(t, s)
			if err := s.compact(ctx); err != nil {
				t.Fatal(err)
			}
			merge(t, s)
			tables(t, s)
			if err := s.compact(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"merged again": func(t *testing.T, s *Store) {
			merge(t, s)
			tables(t, s)
			if err := s.mergeAll(); err != nil {
				t.Fatal(err)
			}
		},
		"a reader of the single blocks, while they were compacted": func(t *testing.T, s *Store) {
			tables(t, s)
			ts, err := s.gate.read()
			if err != nil {
				t.Fatal(err)
			}
			merge(t, s)
			tables(t, s)
			if err := s.compact(ctx); err != nil {
				t.Fatal(err)
			}
			s.gate.done(ts)
			if _, telling := versionsOf(t, s); telling < 2 {
				t.Fatal("the old versions are gone already: the test proves nothing")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s, c := visited(t)
			before(t, s)
			r, err := s.Erase(ctx, c.Ref)
			if err != nil || r != (capture.Erased{Click: true, Conversions: 2, Entries: 3}) {
				t.Fatalf("the erasure changed %+v: %v", r, err)
			}
			mustBeGone(t, s)
			got, err := s.Click(ctx, c.Ref)
			if err != nil || got.Flags&capture.FlagErased == 0 || got.Campaign != c.Campaign || !got.Time.Equal(c.Time) {
				t.Errorf("the click is %+v: %v", got, err)
			}
			if r, err := s.Erase(ctx, c.Ref); err != nil || r != (capture.Erased{}) {
				t.Errorf("erasing again changed %+v: %v", r, err)
			}
		})
	}
}

// TestMergeAfterErase: somebody read the block while it was erased and merged.
func TestMergeAfterErase(t *testing.T) {
	t.Parallel()
	e, s, c := visited(t)
	s.patience = 50 * time.Millisecond
	ts, err := s.gate.read()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.Erase(ctx, c.Ref); err != nil || !r.Pending {
		t.Fatalf("the erasure changed %+v: %v", r, err)
	}
	now := day.Add(5 * time.Hour)
	sweepAt(t, s, now, capture.Retention{})
	if err := s.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.compact(ctx); err != nil {
		t.Fatal(err)
	}
	if len(findTraces(t, e.Dir)) == 0 {
		t.Fatal("the traces are gone already: the test proves nothing")
	}
	txn := s.transaction(ts, false)
	var k keys
	if got, err := getClick(txn, &k, c.Ref, wholeClick); err != nil || got == nil || got.UserAgent != traces[0] {
		t.Errorf("the reader lost the click: %v", err)
	}
	txn.Discard()
	s.gate.done(ts)
	sweepAt(t, s, now, capture.Retention{})
	if countKeys(t, s, kindMerged) != 1 {
		t.Error("nothing was merged")
	}
	mustBeGone(t, s)
}

// TestEraseMergedInterrupted ends an erasure after each of its writes.
func TestEraseMergedInterrupted(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		e, s, c := visited(t)
		sweepAt(t, s, day.Add(5*time.Hour), capture.Retention{})
		writes := 0
		s.commitAt = func(txn *badger.Txn, ts uint64) error {
			if writes++; writes > n {
				return errors.New("the process ends")
			}
			return txn.CommitAt(ts, nil)
		}
		_, err := s.Erase(ctx, c.Ref)
		mustErr(t, err, capture.ErrFatal)
		closeStore(t, s, 0)
		s = openStore(t, e)
		if _, err := s.Erase(ctx, c.Ref); err != nil {
			t.Fatal(err)
		}
		mustBeGone(t, s)
	}
}

// TestExpiredOfMerged: the blocks of a record expire one after the other, as if
// they were by themselves. What they said is in no file once space was given back.
func TestExpiredOfMerged(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	w.next.NextBlock = spanRound
	clicks := w.slow(day, time.Hour, 10)
	visitor := click(day.Add(10*time.Hour), "spring")
	visitor.UserAgent, visitor.Referer, visitor.Address, visitor.URL = traces[0], traces[1], traces[2], traces[3]
	clicks = append(clicks, w.clicks(visitor)...)
	clicks = append(clicks, w.slow(day.Add(11*time.Hour), time.Hour, groupBlocks-11)...)
	w.next.NextBlock = 2 * spanRound
	w.slow(day.Add(100*time.Hour), time.Hour, 1)
	sweepAt(t, s, day.Add(90*time.Hour), capture.Retention{})
	if countKeys(t, s, kindMerged) != 1 || len(findTraces(t, e.Dir)) != 4 {
		t.Fatal("nothing was merged: the test proves nothing")
	}
	for _, c := range []struct{ now, blocks, left int }{{40, 16, 48}, {40, 0, 48}, {45, 5, 43}, {60, 15, 28}, {90, 28, 0}} {
		r := sweepAt(t, s, day.Add(time.Duration(c.now)*time.Hour), capture.Retention{Clicks: 24 * time.Hour})
		if left := blocksOfRecords(t, s)[spanRound/groupBlocks]; r.Blocks != c.blocks || left != c.left {
			t.Errorf("after %d hours %d blocks were deleted, and %d are left", c.now, r.Blocks, left)
		}
		for i, click := range clicks {
			_, err := s.Click(ctx, click.Ref)
			if there := err == nil; there != (i >= groupBlocks-c.left) {
				t.Errorf("after %d hours click %d is there: %t", c.now, i, there)
			}
		}
		if where := findTraces(t, e.Dir); len(where) > 0 {
			t.Errorf("still there after %d hours:\n%s", c.now, strings.Join(where, "\n"))
		}
		checkHealthy(t, s)
	}
}

// TestEraseBesideAMerge: an erasure need not wait until millions of blocks are
// merged.
func TestEraseBesideAMerge(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	w.next.NextBlock = groupBlocks
	clicks := w.slow(day, time.Second, 12*groupBlocks)
	s.merging.step = groupBlocks
	erased := make(chan error, 1)
	// Guarded by the lock that each write has.
	writes := 0
	var merged, reached uint64 // by the merge: so far, and when the erasure wrote the last time
	s.commitAt = func(txn *badger.Txn, ts uint64) error {
		data, err := getCopy(txn, keyMerged)
		if err != nil {
			return err
		}
		next := uint64(0)
		if data != nil {
			if next, err = decodeMerged(data); err != nil {
				return err
			}
		}
		if next > merged {
			merged = next
		} else {
			reached = merged
		}
		if writes++; writes == 3 {
			go func() {
				_, err := s.Erase(ctx, clicks[len(clicks)/2].Ref)
				erased <- err
			}()
			for s.erasing.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		return txn.CommitAt(ts, nil)
	}
	s.sweeping.Lock()
	err := s.mergeBlocks(ctx, day.Add(5*time.Hour))
	s.sweeping.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	if last := groupOf(clicks[len(clicks)-1].Ref.Block); reached == 0 || reached >= last {
		t.Errorf("when the erasure was done, %d of %d groups had been looked at", reached, last)
	}
	c, err := s.Click(ctx, clicks[len(clicks)/2].Ref)
	if err != nil || c.UserAgent != "" || c.Flags&capture.FlagErased == 0 {
		t.Errorf("the click is %+v: %v", c, err)
	}
	checkHealthy(t, s)
}
