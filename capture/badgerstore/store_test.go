package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

func TestReopenKeepsEverything(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	if got, want := s.Position(), (capture.Position{NextBlock: 1, NextSeq: 1, NextBatch: 1}); got != want {
		t.Fatalf("a new store stands at %+v, want %+v", got, want)
	}
	w := newWriter(t, s)
	clicks := w.clicks(click(day, "spring"), click(day.Add(time.Second), "autumn"))
	w.commit(nil, []*capture.Postback{postback(clicks[0], "a", day.Add(time.Minute)), unknownPostback(9999, day)})
	lease := w.batch(nil, nil)
	lease.Lease = 5000
	if err := s.Commit(ctx, lease); err != nil {
		t.Fatal(err)
	}
	q := attribution.Query{By: []string{"campaign", "event"}, From: day, To: day.Add(24 * time.Hour)}
	before := report(t, s, q)
	closeStore(t, s, 0)

	s = openStore(t, e)
	if got, want := s.Position(), (capture.Position{NextBlock: 5000, NextSeq: 3, NextBatch: 4}); got != want {
		t.Errorf("reopened, the store stands at %+v, want %+v", got, want)
	}
	for _, c := range clicks {
		got, err := s.Click(ctx, c.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if got.Ref != c.Ref || got.Campaign != c.Campaign || !got.Time.Equal(c.Time) || got.Sub("creative") != "blue" {
			t.Errorf("the click is %+v, want %+v", got, c)
		}
	}
	if list := conversions(t, s, capture.ConversionQuery{}); len(list) != 1 || list[0].Click != clicks[0].Ref {
		t.Errorf("the conversions are %v", list)
	}
	if got := s.Status().Quarantine[capture.UnknownClick]; got != 1 {
		t.Errorf("%d wait in quarantine, want 1", got)
	}
	if after := report(t, s, q); !reflect.DeepEqual(before, after) {
		t.Errorf("the report was\n%+v\nand is\n%+v", before, after)
	}
	closeStore(t, s, 42)
	s = openStore(t, e)
	if got := s.Position().NextBlock; got != 42 {
		t.Errorf("after a clean close the next block is %d, want 42", got)
	}
}

func TestClickNeedsTheVerySameRef(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	ref := w.clicks(click(day, "spring"))[0].Ref
	for name, change := range map[string]func(){
		"epoch": func() { ref.Epoch++ }, "second": func() { ref.Second++ }, "slot": func() { ref.Slot++ },
		"block": func() { ref.Block++ }, "unrecorded": func() { ref.Slot = 255 },
	} {
		old := ref
		change()
		_, err := s.Click(ctx, ref)
		if !errors.Is(err, capture.ErrNotFound) {
			t.Errorf("another %s: the error is %v, want ErrNotFound", name, err)
		}
		ref = old
	}
}

func TestSameBatchTwice(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	b := w.commit(nil, []*capture.Postback{
		postback(c, "a", day.Add(time.Hour)), postback(c, "a", day.Add(time.Hour)), unknownPostback(77, day),
	})
	want := make([]capture.Result, len(b.Postbacks))
	for i, p := range b.Postbacks {
		want[i], p.Result = p.Result, capture.Result{}
	}
	closeStore(t, s, 0)
	s = openStore(t, e) // so that the journal is asked, not memory
	if err := s.Commit(ctx, b); err != nil {
		t.Fatal(err)
	}
	for i, p := range b.Postbacks {
		got, w := p.Result, want[i]
		if got.Outcome != w.Outcome || got.Reason != w.Reason || got.Detail != w.Detail || got.Lag != w.Lag ||
			(got.Conversion == nil) != (w.Conversion == nil) || got.Entry == nil || got.Entry.Seq != p.Seq {
			t.Errorf("postback %d: recalled %+v, was %+v", i, got, w)
		}
	}
	r := report(t, s, attribution.Query{From: day, To: day.Add(24 * time.Hour)})
	if r.Total.Conversions != 1 {
		t.Errorf("%d conversions are counted, want 1", r.Total.Conversions)
	}
	if got := s.Status().Quarantine[capture.UnknownClick]; got != 1 {
		t.Errorf("%d wait in quarantine, want 1", got)
	}
}

func TestFailStop(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	broken := errors.New("input/output error")
	s.commitAt = func(*badger.Txn, uint64) error { return broken }
	err := s.Commit(ctx, w.batch([]*capture.Block{w.block(click(day, "lost"))}, nil))
	mustErr(t, err, capture.ErrFatal)
	mustErr(t, err, broken)
	s.commitAt = func(txn *badger.Txn, ts uint64) error { return txn.CommitAt(ts, nil) }
	mustErr(t, s.Commit(ctx, w.batch(nil, nil)), capture.ErrFatal)
	if _, err := s.Sweep(ctx, day.Add(1000*time.Hour), capture.Retention{Clicks: time.Hour}); !errors.Is(err, capture.ErrFatal) {
		t.Errorf("sweeping a failed store: %v", err)
	}
	if st := s.Status(); !st.Failed || st.Writable || st.Why == "" {
		t.Errorf("the status is %+v", st)
	}
	if _, err := s.Click(ctx, c.Ref); err != nil {
		t.Errorf("reading goes on, but: %v", err)
	}
	closeStore(t, s, 900)
	if got := openStore(t, e).Position().NextBlock; got == 900 {
		t.Error("a failed store wrote its lease")
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	huge := postback(c, "a", day)
	huge.Raw.Body = make([]byte, maxValue)
	mustErr(t, s.Commit(ctx, w.batch(nil, []*capture.Postback{huge})), capture.ErrTooLarge)
	w.next = capture.Position{NextBlock: w.next.NextBlock, NextSeq: 1, NextBatch: w.next.NextBatch - 1}
	var many []*capture.Postback
	for i := range 40 {
		p := postback(c, txid(i), day)
		p.Raw.Body = make([]byte, 64<<10)
		many = append(many, p)
	}
	mustErr(t, s.Commit(ctx, w.batch(nil, many)), capture.ErrTooLarge)
	if got := journal(t, s, capture.JournalQuery{}); len(got) != 0 {
		t.Errorf("entries %v are there", got)
	}
	w.next = capture.Position{NextBlock: w.next.NextBlock, NextSeq: 1, NextBatch: w.next.NextBatch - 1}
	w.commit(nil, many[:10])
	if got := report(t, s, attribution.Query{From: day, To: day.Add(time.Hour)}).Total.Conversions; got != 10 {
		t.Errorf("%d conversions, want 10", got)
	}
}

func TestJournalInTime(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	var all []*capture.Postback
	for i := range 300 {
		p := postback(c, txid(i), day.Add(time.Duration(i)*time.Minute))
		if i%10 == 0 {
			p = unknownPostback(5000, p.Time)
		}
		all = append(all, p)
	}
	w.commit(nil, all)
	for _, q := range []capture.JournalQuery{
		{}, {From: day.Add(100 * time.Minute)}, {To: day.Add(100 * time.Minute)},
		{From: day.Add(50 * time.Minute), To: day.Add(60 * time.Minute)}, {Open: true}, {Before: 51},
		{Open: true, Before: 51, From: day.Add(20 * time.Minute)}, {To: day.Add(-time.Hour)},
		{From: day.Add(100 * time.Hour)}, {To: day.Add(100 * time.Hour)},
	} {
		var want []uint64
		for i := len(all) - 1; i >= 0; i-- {
			if q.Takes(all[i].Result.Entry) {
				want = append(want, all[i].Seq)
			}
		}
		if got := journal(t, s, q); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: got %v, want %v", q, got, want)
		}
	}
}

func TestConversionsInPages(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	var all []*capture.Postback
	for i := range 50 {
		all = append(all, postback(c, txid(i), day.Add(time.Duration(i/3)*time.Second))) // some at the same time
	}
	w.commit(nil, all)
	whole := conversions(t, s, capture.ConversionQuery{})
	var paged []*capture.Conversion
	for q := (capture.ConversionQuery{}); ; {
		n := 0
		err := s.Conversions(ctx, q, func(c *capture.Conversion) bool {
			paged = append(paged, c)
			q.After = c.Cursor()
			n++
			return n < 7
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if len(whole) != 50 || !reflect.DeepEqual(whole, paged) {
		t.Errorf("%d conversions in one go, %d in pages", len(whole), len(paged))
	}
	for i := 1; i < len(whole); i++ {
		if whole[i].State.Time.After(whole[i-1].State.Time) {
			t.Fatalf("conversion %d is newer than the one before", i)
		}
	}
	q := capture.ConversionQuery{From: day.Add(5 * time.Second), To: day.Add(7 * time.Second)}
	if got := conversions(t, s, q); len(got) != 6 {
		t.Errorf("%d conversions in two seconds, want 6", len(got))
	}
}

// TestCellsAndRecordsAgree is the property that both ways to a report give the
// same one.
func TestCellsAndRecordsAgree(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []*capture.Click
	for range 40 {
		var batch []*capture.Click
		for range 1 + rnd.IntN(150) {
			c := click(day.Add(time.Duration(rnd.IntN(6*3600*1000))*time.Millisecond), fmt.Sprint("c", rnd.IntN(4)))
			c.Source = []string{"", "a", "b\x00", "b"}[rnd.IntN(4)]
			c.Flags = []capture.ClickFlags{0, 0, capture.FlagBot, capture.FlagTest, capture.FlagPrefetch}[rnd.IntN(5)]
			if rnd.IntN(3) == 0 {
				c.Cost = money("0.25")
			}
			batch = append(batch, c)
		}
		all = append(all, w.clicks(batch...)...)
		var posts []*capture.Postback
		for range rnd.IntN(60) {
			c := all[rnd.IntN(len(all))]
			p := postback(c, txid(rnd.IntN(3)), c.Time.Add(time.Duration(rnd.IntN(3600))*time.Second))
			p.Claim.Event = []string{"sale", "lead"}[rnd.IntN(2)]
			p.Claim.Status = []attribution.Status{attribution.Approved, attribution.Pending, attribution.Reversed}[rnd.IntN(3)]
			p.Claim.SentAt = p.Time
			posts = append(posts, p)
		}
		w.commit(nil, posts)
	}
	for _, by := range [][]string{
		{}, {"campaign"}, {"source", "event"}, {"hour", "destination"}, {"day", "campaign", "source"},
	} {
		for range 10 {
			from := day.Add(time.Duration(rnd.IntN(20)) * capture.CellSpan)
			q := attribution.Query{By: by, From: from, To: from.Add(time.Duration(1+rnd.IntN(20)) * capture.CellSpan)}
			if rnd.IntN(2) == 0 {
				q.Campaign = "c1"
			}
			cells, records := attribution.NewBuilder(q), attribution.NewBuilder(q)
			err := s.view(ctx, func(txn *transaction) error {
				return errors.Join(s.reportCells(ctx, txn, q, cells), s.reportRecords(ctx, txn, q, records))
			})
			if err != nil {
				t.Fatal(err)
			}
			a, _ := cells.Report().MarshalJSON()
			b, _ := records.Report().MarshalJSON()
			if string(a) != string(b) {
				t.Fatalf("%+v: cells\n%s\nrecords\n%s", q, a, b)
			}
		}
	}
	if report(t, s, attribution.Query{From: day, To: day.Add(24 * time.Hour)}).Total.Conversions == 0 {
		t.Error("no conversions: the test proves nothing")
	}
}

func TestCloseDuringScans(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	for i := range 30 {
		var clicks []*capture.Click
		for range 640 {
			clicks = append(clicks, click(day.Add(time.Duration(i)*time.Second), "spring"))
		}
		w.clicks(clicks...)
	}
	q := attribution.Query{By: []string{"sub.creative"}, From: day, To: day.Add(time.Hour)}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				_, err := s.Report(ctx, q)
				if err == nil {
					// Nested reading must not wait for Close.
					err = s.Journal(ctx, capture.JournalQuery{}, func(*capture.Entry) bool { return true })
				}
				if errors.Is(err, capture.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for {
			if err := s.Commit(ctx, w.batch([]*capture.Block{w.block(click(day, "x"))}, nil)); err != nil {
				if !errors.Is(err, capture.ErrClosed) {
					t.Error(err)
				}
				return
			}
		}
	})
	time.Sleep(200 * time.Millisecond)
	closeStore(t, s, 0)
	wg.Wait()
	mustErr(t, s.Close(0), capture.ErrClosed)
	_, err := s.Click(ctx, w.block(click(day, "x")).Clicks[0].Ref)
	mustErr(t, err, capture.ErrClosed)
	_, err = s.Sweep(ctx, day, capture.Retention{})
	mustErr(t, err, capture.ErrClosed)
	_ = s.Status()
}

func TestContextEndsAScan(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := s.Report(canceled, attribution.Query{From: day, To: day.Add(time.Hour)})
	mustErr(t, err, context.Canceled)
	mustErr(t, s.Commit(canceled, &capture.Batch{Number: 1}), capture.ErrUnavailable)
}

// TestNothingInTheValueLog proves that there is no value-log garbage: the log
// stays as it was made.
func TestNothingInTheValueLog(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	before := diskSize(t, canonical(e.Dir), "*.vlog")
	c := w.clicks(click(day, "spring"))[0]
	for i := range 30 {
		p := postback(c, txid(i), day)
		p.Raw.Body = make([]byte, maxValue-1024)
		w.commit(nil, []*capture.Postback{p})
	}
	if after := diskSize(t, canonical(e.Dir), "*.vlog"); after != before {
		t.Errorf("the value log grew from %d to %d bytes", before, after)
	}
	names, _ := filepath.Glob(filepath.Join(canonical(e.Dir), "*.vlog"))
	if len(names) != 1 {
		t.Errorf("the value logs are %v", names)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Size() > 2*16<<20 {
			t.Errorf("%s has %d bytes: %v", name, info.Size(), err)
		}
	}
}

// A click may have any number of conversions: what one more costs must not grow
// with them, or whoever has a click ID could slow the store down.
func TestManyConversionsOfOneClick(t *testing.T) {
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	c := w.clicks(click(day, "many"))[0]
	const batches, each = 8, 500
	var largest uint64
	for i := range batches {
		var postbacks []*capture.Postback
		for j := range each {
			postbacks = append(postbacks, postback(c, txid(i*each+j), day.Add(time.Minute)))
		}
		before := s.db.MaxVersion()
		w.commit(nil, postbacks)
		largest = max(largest, s.db.MaxVersion()-before)
	}
	if largest != 1 {
		t.Errorf("a batch took %d transactions", largest)
	}
	list, err := s.ClickConversions(t.Context(), c.Ref)
	if err != nil || len(list) != batches*each {
		t.Fatalf("the click has %d conversions (%v), want %d", len(list), err, batches*each)
	}
	// Each is known by a key of its own, none by a growing one.
	var k keys
	item := 0
	err = s.view(t.Context(), func(txn *transaction) error {
		return eachKnown(txn, &k, c.Ref, func(capture.Known) bool { item++; return true })
	})
	if err != nil || item != batches*each {
		t.Errorf("the click knows %d conversions (%v)", item, err)
	}
	checkHealthy(t, s)
}
