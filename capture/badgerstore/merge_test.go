package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// countKeys counts what is there of a kind.
func countKeys(t testing.TB, s *Store, kind byte) (n int) {
	t.Helper()
	err := s.view(ctx, func(txn *transaction) error {
		return s.scan(ctx, txn, scan{prefix: []byte{kind}}, func(*record) (bool, error) {
			n++
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// slow commits one click after the other, each in a block of its own.
func (w *writer) slow(from time.Time, every time.Duration, n int) (clicks []*capture.Click) {
	w.t.Helper()
	var blocks []*capture.Block
	for i := range n {
		c := click(from.Add(time.Duration(i)*every), fmt.Sprint("c", i%3))
		c.Subs = []capture.Param{{Name: "sub1", Value: fmt.Sprint("v", i%7)}}
		c.Kept = []capture.Param{{Name: "gclid", Value: fmt.Sprintf("%08x", i*7919)}}
		clicks = append(clicks, c)
		if blocks = append(blocks, w.block(c)); len(blocks) == 200 || i == n-1 {
			w.commit(blocks, nil)
			blocks = nil
		}
	}
	return clicks
}

func sweepAt(t testing.TB, s *Store, now time.Time, keep capture.Retention) capture.SweepResult {
	t.Helper()
	r, err := s.Sweep(ctx, now, keep)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestMerge: which groups a sweep merges, and that the next one goes on there.
func TestMerge(t *testing.T) {
	t.Parallel()
	const group = groupBlocks
	for name, c := range map[string]struct {
		// made commits clicks, to be swept at day+10h.
		made           func(w *writer)
		single, merged int
	}{
		"nothing": {func(*writer) {}, 0, 0},
		"one group and a later block": {func(w *writer) {
			w.next.NextBlock = group
			w.slow(day, time.Second, group+1)
		}, 1, 1},
		"a group of which more may come": {func(w *writer) { w.slow(day, time.Second, group-1) }, group - 1, 0},
		"with gaps": {func(w *writer) {
			w.slow(day, time.Second, 2)
			w.next.NextBlock = 5*group + 1
			w.slow(day.Add(time.Hour), time.Second, 3)
			w.next.NextBlock = 900 * group
			w.slow(day.Add(time.Hour), time.Second, 1)
		}, 1, 2},
		"a block alone": {func(w *writer) {
			w.slow(day, time.Second, 1)
			w.next.NextBlock = group
			w.slow(day, time.Second, 1)
		}, 2, 0},
		"too young": {func(w *writer) {
			w.slow(day, time.Second, group)
			w.slow(day.Add(9*time.Hour+time.Minute), time.Second, 3*group)
		}, 3*group + 1, 1},
		"of the future": {func(w *writer) {
			w.slow(day.Add(5000*time.Hour), time.Second, group)
			w.slow(day, time.Second, group)
		}, 1, 2},
		"full blocks": {func(w *writer) {
			w.clicks(manyClicks(group * capture.BlockClicks)...)
			w.slow(day, time.Second, 2*group)
		}, group - 1 + 1, 2},
		"some clicks too many": {func(w *writer) {
			w.next.NextBlock = group
			w.clicks(manyClicks(capture.MergedClicks)...)
			w.next.NextBlock = 2 * group
			w.clicks(manyClicks(capture.MergedClicks + 1)...)
			w.next.NextBlock = 3 * group
			w.clicks(click(day, "last"))
		}, 5 + 1, 1},
		"large clicks": {func(w *writer) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var blocks []*capture.Block
			w.next.NextBlock = group
			for range group {
				c := click(day, "large")
				c.URL = noise(rnd, 4<<10)
				blocks = append(blocks, w.block(c))
			}
			w.commit(blocks, nil)
			w.slow(day, time.Second, 1)
		}, group + 1, 0},
		"two epochs": {func(w *writer) {
			w.slow(day, time.Second, 2)
			w.epoch++
			w.slow(day, time.Second, 2)
			w.next.NextBlock = group
			w.slow(day, time.Second, 3)
			w.next.NextBlock = 2 * group
			w.slow(day, time.Second, 1)
		}, 5, 1},
		"a block that cannot be read": {func(w *writer) {
			w.slow(day, time.Second, 4)
			var k keys
			w.s.mu.Lock()
			err := w.s.write(func(txn *transaction) error { return txn.Set(k.number(kindBlock, 2), []byte{1, 2, 3}) })
			w.s.mu.Unlock()
			if err != nil {
				w.t.Error(err)
			}
			w.next.NextBlock = group
			w.slow(day, time.Second, group+1)
		}, 5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			e.noSync = true
			s := openStore(t, e)
			c.made(newWriter(t, s))
			sweepAt(t, s, day.Add(10*time.Hour), capture.Retention{})
			for range 2 {
				if single, merged := countKeys(t, s, kindBlock), countKeys(t, s, kindMerged); single != c.single || merged != c.merged {
					t.Errorf("%d blocks by themselves and %d records of merged ones, want %d and %d", single, merged, c.single, c.merged)
				}
				sweepAt(t, s, day.Add(10*time.Hour), capture.Retention{})
				next := s.merging.next
				closeStore(t, s, 0)
				if s = openStore(t, e); s.merging.next != next {
					t.Errorf("the next group is %d, and was %d", s.merging.next, next)
				}
			}
		})
	}
}

// TestMergeGoesOn: each sweep begins where the last one ended, and what comes
// late stays by itself.
func TestMergeGoesOn(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	w.next.NextBlock = groupBlocks
	late := w.block(click(day, "late"))
	w.slow(day, time.Second, groupBlocks)
	sweepAt(t, s, day.Add(2*time.Hour), capture.Retention{})
	w.commit([]*capture.Block{late}, nil)
	w.slow(day.Add(2*time.Hour), time.Second, groupBlocks)
	sweepAt(t, s, day.Add(2*time.Hour), capture.Retention{})
	if s.merging.next != 2 || countKeys(t, s, kindMerged) != 1 {
		t.Errorf("the next group is %d", s.merging.next)
	}
	sweepAt(t, s, day.Add(9*time.Hour), capture.Retention{})
	if s.merging.next != 3 || countKeys(t, s, kindMerged) != 2 || countKeys(t, s, kindBlock) != 2 {
		t.Errorf("the next group is %d", s.merging.next)
	}
	if c, err := s.Click(ctx, late.Clicks[0].Ref); err != nil || c.Campaign != "late" {
		t.Errorf("the late click is %+v: %v", c, err)
	}
	var first *capture.Click
	if err := s.Clicks(ctx, capture.ClickQuery{}, func(c *capture.Click) bool { first = c; return false }); err != nil || first.Campaign != "late" {
		t.Errorf("the first click is %+v: %v", first, err)
	}
	checkHealthy(t, s)
}

// TestMergeStops: a sweep that is to end does so between two transactions.
func TestMergeStops(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]error{"the caller": errors.New("enough"), "no space": capture.ErrNoSpace} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			s := openStore(t, e)
			w := newWriter(t, s)
			w.next.NextBlock = groupBlocks
			w.slow(day, time.Second, 10*groupBlocks+1)
			s.merging.step = groupBlocks
			ctx, cancel := context.WithCancelCause(ctx)
			writes := 0
			s.commitAt = func(txn *badger.Txn, ts uint64) error {
				if writes++; writes == 3 {
					if errors.Is(stop, capture.ErrNoSpace) {
						s.guard.full.Store(true)
					} else {
						cancel(stop)
					}
				}
				return txn.CommitAt(ts, nil)
			}
			s.sweeping.Lock()
			err := s.mergeBlocks(ctx, day.Add(5*time.Hour))
			s.sweeping.Unlock()
			mustErr(t, err, stop)
			if n := countKeys(t, s, kindMerged); n != 3 || writes != 3 {
				t.Errorf("%d groups were merged in %d transactions", n, writes)
			}
			s.guard.full.Store(false)
			sweepAt(t, s, day.Add(5*time.Hour), capture.Retention{})
			if n := countKeys(t, s, kindMerged); n != 10 {
				t.Errorf("%d groups are merged at the end", n)
			}
			checkHealthy(t, s)
		})
	}
}

// TestBackupOfMerged: a copy has the same records.
func TestBackupOfMerged(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	clicks := w.slow(day, time.Second, 300)
	w.commit(nil, []*capture.Postback{postback(clicks[7], "1", day.Add(time.Hour))})
	sweepAt(t, s, day.Add(5*time.Hour), capture.Retention{})
	want := dumpStore(t, s)
	var file bytes.Buffer
	if err := s.Backup(ctx, &file); err != nil {
		t.Fatal(err)
	}
	e := newEngine(t)
	if err := e.Restore(ctx, bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	copied := openStore(t, e)
	if got := dumpStore(t, copied); !bytes.Equal(got, want) {
		t.Errorf("the copy holds\n%s\nwant\n%s", got, want)
	}
	if n := countKeys(t, copied, kindMerged); n != 4 || copied.merging.next != s.merging.next {
		t.Errorf("the copy has %d records of merged blocks, and goes on at %d", n, copied.merging.next)
	}
	checkHealthy(t, copied)
}

// TestCheckFindsInMerged breaks records of merged blocks.
func TestCheckFindsInMerged(t *testing.T) {
	t.Parallel()
	get := func(txn *transaction, key []byte) []byte {
		data, err := getCopy(txn, key)
		if err != nil || data == nil {
			t.Errorf("no key %q: %v", key, err)
		}
		return data
	}
	for name, c := range map[string]struct {
		spoil func(txn *transaction, k *keys) error
		says  string
	}{
		"gone":       {func(txn *transaction, k *keys) error { return txn.Delete(k.number(kindMerged, 1)) }, `"clicks":0`},
		"unreadable": {func(txn *transaction, k *keys) error { return txn.Set(k.number(kindMerged, 1), []byte{2, 9}) }, "group 1"},
		"another group": {func(txn *transaction, k *keys) error {
			return txn.Set(k.number(kindMerged, 2), get(txn, k.number(kindMerged, 1)))
		}, "is of group 1"},
		"there twice": {func(txn *transaction, k *keys) error {
			blocks, err := capture.DecodeBlocks(get(txn, k.number(kindMerged, 1)))
			if err != nil {
				return err
			}
			return txn.Set(k.number(kindBlock, blocks[3].Number), capture.EncodeBlock(blocks[3]))
		}, fmt.Sprint("click block ", groupBlocks+3, " is there by itself and merged")},
		"beyond the lease": {func(txn *transaction, k *keys) error {
			b := &capture.Block{Number: 1 << 20, Clicks: []*capture.Click{click(day, "c")}}
			return txn.Set(k.merged(b.Number), capture.EncodeBlocks([]*capture.Block{b}))
		}, "beyond the lease"},
		"in no marker": {func(txn *transaction, k *keys) error { return txn.Delete(k.quarter(capture.QuarterOf(day))) }, "no marker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openStore(t, newEngine(t))
			w := newWriter(t, s)
			w.next.NextBlock = groupBlocks
			w.slow(day, time.Second, groupBlocks+1)
			sweepAt(t, s, day.Add(5*time.Hour), capture.Retention{})
			checkHealthy(t, s)
			s.mu.Lock()
			err := s.write(func(txn *transaction) error { return c.spoil(txn, new(keys)) })
			s.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Check(ctx, nil)
			if err != nil || r.Wrong == 0 || !bytes.Contains(fmt.Append(nil, r.Problems), []byte(c.says)) {
				t.Errorf("the check says %q (%v), and not %q", r.Problems, err, c.says)
			}
		})
	}
}
