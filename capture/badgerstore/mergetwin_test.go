package badgerstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// twins are two stores with the same history, of which one merges.
type twins struct {
	t   *testing.T
	rnd *rand.Rand
	now time.Time

	e [2]*Engine
	s [2]*Store
	w [2]*writer

	clicks []*capture.Click // all that were made, as they were
	booked []*capture.Click // those that were sold to
	held   [2][]*capture.Block

	absorbed, interrupted, merged, deleted, shortened int
}

const merges = 1 // which of the twins does

func newTwins(t *testing.T, seed uint64) *twins {
	w := &twins{t: t, rnd: rand.New(rand.NewPCG(seed, 9)), now: day}
	for i := range w.e {
		w.e[i] = newEngine(t)
		w.e[i].noSync = true
		w.open(i)
		w.w[i] = newWriter(t, w.s[i])
	}
	return w
}

func (w *twins) open(i int) {
	w.s[i] = openStore(w.t, w.e[i])
	if i == merges {
		w.s[i].merging.step = groupBlocks
	} else {
		w.s[i].merging.least = 1 << 30
	}
	if w.w[i] != nil {
		w.w[i].s = w.s[i]
	}
}

// traffic commits blocks of any size; some blocks are held back for later.
func (w *twins) traffic() {
	largest := []int{1, 1, 3, 8, capture.BlockClicks}[w.rnd.IntN(5)]
	pause := []time.Duration{time.Second, time.Minute, 4 * time.Minute}[w.rnd.IntN(3)]
	var blocks [2][]*capture.Block
	for range 1 + w.rnd.IntN(60) {
		w.now = w.now.Add(time.Duration(w.rnd.Int64N(int64(pause))))
		hold := w.rnd.IntN(20) == 0
		gap := uint64(0)
		if w.rnd.IntN(100) == 0 {
			gap = uint64(w.rnd.IntN(300))
		}
		size := 1 + w.rnd.IntN(largest)
		var made []*capture.Click
		for range size {
			c := click(w.now.Add(-time.Duration(w.rnd.IntN(1000))*time.Millisecond), fmt.Sprint("c", w.rnd.IntN(3)))
			c.Source = fmt.Sprint("s", w.rnd.IntN(4))
			c.Subs = []capture.Param{{Name: "sub1", Value: fmt.Sprint("v", w.rnd.IntN(9))}}
			c.Flags = []capture.ClickFlags{0, 0, 0, capture.FlagBot, capture.FlagTest}[w.rnd.IntN(5)]
			if w.rnd.IntN(2) == 0 {
				c.Cost = money(fmt.Sprint("0.0", w.rnd.IntN(100)))
			}
			made = append(made, c)
		}
		for i := range w.w {
			w.w[i].next.NextBlock += gap
			var list []*capture.Click
			for _, c := range made {
				of := *c
				list = append(list, &of)
			}
			b := w.w[i].block(list...)
			if hold {
				w.held[i] = append(w.held[i], b)
			} else {
				blocks[i] = append(blocks[i], b)
			}
			if i == 0 {
				w.clicks = append(w.clicks, list...)
			}
		}
	}
	if w.rnd.IntN(4) == 0 {
		for i := range blocks {
			blocks[i] = append(blocks[i], w.held[i]...)
			w.held[i] = nil
		}
	}
	for i := range blocks {
		w.w[i].commit(blocks[i], nil)
	}
}

// some returns a click that was made at any time, or some time ago.
func (w *twins) some() *capture.Click {
	n := w.rnd.IntN(len(w.clicks))
	if w.rnd.IntN(2) == 0 {
		n = max(n, len(w.clicks)*3/4)
	}
	return w.clicks[n]
}

func (w *twins) book() {
	c, at := w.some(), w.now.Add(time.Duration(w.rnd.IntN(3600))*time.Second)
	if len(w.booked) > 0 && w.rnd.IntN(4) == 0 {
		c = w.booked[w.rnd.IntN(len(w.booked))]
	}
	w.booked = append(w.booked, c)
	tx := txid(w.rnd.IntN(3))
	var results [2]string
	for i := range w.w {
		p := postback(c, tx, at)
		w.w[i].commit(nil, []*capture.Postback{p})
		results[i] = fmt.Sprint(p.Result.Outcome, p.Result.Reason, p.Result.Detail)
	}
	w.same("a postback is", results[0], results[1])
}

func (w *twins) erase() {
	c := w.some()
	if len(w.booked) > 0 && w.rnd.IntN(2) == 0 {
		c = w.booked[w.rnd.IntN(len(w.booked))]
	}
	var results [2]string
	for i := range w.s {
		r, err := w.s[i].Erase(ctx, c.Ref)
		results[i] = fmt.Sprint(r, errors.Is(err, capture.ErrNotFound))
		if err != nil && !errors.Is(err, capture.ErrNotFound) {
			w.t.Fatal(err)
		}
	}
	w.same("an erasure changed", results[0], results[1])
}

// sweep sweeps both; the one that merges may be interrupted after some writes.
func (w *twins) sweep() {
	keep := capture.Retention{Clicks: 4 * time.Hour, Conversions: 6 * time.Hour}
	if w.rnd.IntN(3) == 0 {
		keep = capture.Retention{}
	}
	s := w.s[merges]
	before := blocksOfRecords(w.t, s)
	want := sweepAt(w.t, w.s[0], w.now, keep)
	w.deleted += want.Blocks
	defer func() {
		for group, blocks := range blocksOfRecords(w.t, w.s[merges]) {
			if blocks < before[group] {
				w.shortened++
			}
		}
	}()
	if w.rnd.IntN(2) == 0 {
		left := w.rnd.IntN(8)
		s.commitAt = func(txn *badger.Txn, ts uint64) error {
			if left--; left < 0 {
				return errors.New("the process ends")
			}
			return txn.CommitAt(ts, nil)
		}
		if _, err := s.Sweep(ctx, w.now, keep); err != nil {
			mustErr(w.t, err, capture.ErrFatal)
			w.interrupted++
			w.reopen(merges)
			checkHealthy(w.t, w.s[merges])
		}
		s = w.s[merges]
		s.commitAt = func(txn *badger.Txn, ts uint64) error { return txn.CommitAt(ts, nil) }
		sweepAt(w.t, s, w.now, keep)
	} else {
		w.same("a sweep deleted", want, sweepAt(w.t, s, w.now, keep))
	}
	if w.rnd.IntN(3) == 0 {
		if err := s.mergeAll(); err != nil {
			w.t.Fatal(err)
		}
		w.absorbed++
	}
}

// blocksOfRecords counts the blocks of each record of merged ones.
func blocksOfRecords(t *testing.T, s *Store) map[uint64]int {
	t.Helper()
	blocks := make(map[uint64]int)
	err := s.view(ctx, func(txn *transaction) error {
		return s.scan(ctx, txn, scan{prefix: []byte{kindMerged}}, func(item *record) (bool, error) {
			return true, item.Value(func(v []byte) error {
				list, err := capture.DecodeBlocks(v)
				blocks[keyNumber(item.Key())] = len(list)
				return err
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// reopen opens one of the twins anew. What was erased lately a store knows only
// while it is open, for the sake of postbacks on their way: both forget it.
func (w *twins) reopen(i int) {
	closeStore(w.t, w.s[i], w.w[i].next.NextBlock)
	w.open(i)
	for _, s := range w.s {
		s.mu.Lock()
		clear(s.erased)
		s.mu.Unlock()
	}
}

func (w *twins) same(what string, want, got any) {
	w.t.Helper()
	if a, b := fmt.Sprint(want), fmt.Sprint(got); a != b {
		w.t.Fatalf("%s %s without merging, and %s with", what, a, b)
	}
}

// sameRecords compares all records.
func (w *twins) sameRecords() {
	w.t.Helper()
	var all [2]bytes.Buffer
	for i := range w.s {
		eachRecord(w.t, w.s[i], func(kind string, v any) {
			data, err := json.Marshal(v)
			if err != nil {
				w.t.Fatal(err)
			}
			fmt.Fprintf(&all[i], "%s %s\n", kind, data)
		})
	}
	if !bytes.Equal(all[0].Bytes(), all[merges].Bytes()) {
		w.t.Fatalf("the store that merges holds\n%s\nwant\n%s", all[merges].Bytes(), all[0].Bytes())
	}
}

// compare compares all that both answer.
func (w *twins) compare() {
	w.t.Helper()
	w.sameRecords()
	from := day.Add(time.Duration(w.rnd.Int64N(int64(w.now.Sub(day)) + 1)))
	to := from.Add(1 + time.Duration(w.rnd.Int64N(int64(5*time.Hour))))
	for _, q := range []attribution.Query{
		{By: []string{"sub.sub1", "source"}, From: day.Add(-time.Hour), To: w.now.Add(time.Hour)},
		{By: []string{"campaign", "hour"}, From: from, To: to},
		{By: []string{"sub.sub1"}, From: from, To: to, Campaign: "c1", Lags: true},
		{From: from, To: to},
	} {
		var got [2]string
		for i := range w.s {
			data, err := json.Marshal(report(w.t, w.s[i], q))
			if err != nil {
				w.t.Fatal(err)
			}
			got[i] = string(data)
		}
		w.same("a report is", got[0], got[1])
	}
	for _, q := range []capture.ClickQuery{{}, {From: from, To: to}, {From: from, Source: "s1"}, {Test: true}} {
		var got [2][]string
		for i := range w.s {
			if err := w.s[i].Clicks(ctx, q, func(c *capture.Click) bool {
				got[i] = append(got[i], fmt.Sprintf("%+v", *c))
				return len(got[i]) < 5000
			}); err != nil {
				w.t.Fatal(err)
			}
		}
		if !slices.Equal(got[0], got[1]) {
			w.t.Fatalf("%d clicks are listed without merging, and %d with", len(got[0]), len(got[1]))
		}
	}
	for range 200 {
		c := w.some()
		ref := c.Ref
		switch w.rnd.IntN(8) { // or one that never was
		case 0:
			ref.Slot += uint8(w.rnd.IntN(3)) //nolint:gosec // small
		case 1:
			ref.Second++
		}
		var got [2]string
		for i := range w.s {
			c, err := w.s[i].Click(ctx, ref)
			if err != nil && !errors.Is(err, capture.ErrNotFound) {
				w.t.Fatal(err)
			}
			got[i] = fmt.Sprintf("%+v", c)
			if c != nil {
				got[i] = fmt.Sprintf("%+v", *c)
			}
		}
		w.same("a click is", got[0], got[1])
	}
	for i := range w.s {
		checkHealthy(w.t, w.s[i])
	}
	w.merged += countKeys(w.t, w.s[merges], kindMerged)
	if countKeys(w.t, w.s[0], kindMerged) > 0 {
		w.t.Fatal("both merge: the test proves nothing")
	}
}

// TestMergingChangesNoAnswer: whatever is done to two stores, the one that merges
// answers as the other does.
func TestMergingChangesNoAnswer(t *testing.T) {
	t.Parallel()
	var all [3]*twins
	t.Run("seeds", func(t *testing.T) {
		for seed := range all {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				all[seed] = newTwins(t, uint64(seed)) //nolint:gosec // small
				all[seed].live(63)
			})
		}
	})
	if t.Failed() {
		return
	}
	var deleted, merged, shortened, interrupted, absorbed int
	for _, w := range all {
		deleted, merged, shortened = deleted+w.deleted, merged+w.merged, shortened+w.shortened
		interrupted, absorbed = interrupted+w.interrupted, absorbed+w.absorbed
	}
	if min(deleted, merged, shortened, interrupted, absorbed) == 0 {
		t.Errorf("%d blocks were deleted; %d records of merged ones were met, and %d shortened; %d sweeps were interrupted, "+
			"and everything was merged %d times: the test proves little", deleted, merged, shortened, interrupted, absorbed)
	}
}

// live does so many things to both stores.
func (w *twins) live(steps int) {
	w.traffic()
	for step := range steps {
		switch n := w.rnd.IntN(20); {
		case n < 9:
			w.traffic()
		case n < 12:
			w.book()
		case n < 14:
			w.erase()
		case n < 18:
			w.sweep()
		default:
			w.reopen(w.rnd.IntN(2))
		}
		if step%21 == 20 {
			w.compare()
		}
	}
}
