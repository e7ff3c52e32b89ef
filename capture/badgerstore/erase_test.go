package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// traces are texts that a click and its postbacks leave behind. They have
// nothing in common with each other, so that no compression hides them.
var traces = func() (list []string) {
	rnd := rand.New(rand.NewPCG(8, 15))
	for range 12 {
		list = append(list, noise(rnd, 24))
	}
	return list
}()

// visit commits a click that leaves all traces, among others in its block.
func visit(w *writer, at time.Time) (*capture.Click, []*capture.Postback) {
	c := click(at, "spring")
	c.UserAgent, c.Referer, c.Address, c.URL = traces[0], traces[1], traces[2], "https://example.com/"+traces[3]
	c.Subs = []capture.Param{{Name: "creative", Value: traces[4]}}
	c.Kept = []capture.Param{{Name: "gclid", Value: traces[5]}}
	w.clicks(click(at, "spring"), c, click(at, "spring"))
	var posts []*capture.Postback
	for i := range 3 {
		p := postback(c, txid(i), at.Add(time.Hour))
		p.Sender = traces[8]
		p.Raw = capture.Raw{
			Method: "POST", Host: traces[10], URI: "/postback?" + traces[7], UserAgent: traces[11], Body: []byte(traces[6]),
		}
		if i == 2 {
			p.Problem, p.ProblemDetail = capture.BadPayout, traces[9]
		}
		posts = append(posts, p)
	}
	w.commit(nil, posts)
	return c, posts
}

func findTraces(t *testing.T, dir string) (where []string) {
	t.Helper()
	for text, name := range findTexts(t, dir, traces...) {
		where = append(where, text+" in "+name)
	}
	slices.Sort(where)
	return where
}

// versionsOf counts the versions of all records, and those that tell of the
// visitor, whether or not anybody could still read them.
func versionsOf(t *testing.T, s *Store) (n, telling int) {
	t.Helper()
	txn := s.transaction(math.MaxUint64, false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.AllVersions = true
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		if item.IsDeletedOrExpired() {
			continue
		}
		v, err := item.ValueCopy(nil)
		if err != nil {
			t.Fatal(err)
		}
		if kind := item.Key()[0]; kind == kindBlock || kind == kindMerged {
			blocks, err := capture.DecodeBlocks(v)
			if err != nil {
				t.Fatal(err)
			}
			v = nil
			for _, b := range blocks {
				for _, c := range b.Clicks {
					v = fmt.Appendf(v, "%+v", c)
				}
			}
		}
		n++
		if slices.ContainsFunc(traces, func(text string) bool { return bytes.Contains(v, []byte(text)) }) {
			telling++
		}
	}
	return n, telling
}

func TestEraseIsProvable(t *testing.T) {
	t.Parallel()
	for name, flushed := range map[string]bool{"in memory": false, "in a table": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			s := openStore(t, e)
			w := newWriter(t, s)
			c, posts := visit(w, day)
			if n := len(findTraces(t, e.Dir)); n != len(traces) {
				t.Fatalf("only %d traces are on disk: the test proves nothing", n)
			}
			if flushed {
				closeStore(t, s, 0)
				s = openStore(t, e)
			}
			r, err := s.Erase(ctx, c.Ref)
			if err != nil || r != (capture.Erased{Click: true, Conversions: 2, Entries: 3}) {
				t.Fatalf("the erasure changed %+v: %v", r, err)
			}
			if where := findTraces(t, e.Dir); len(where) > 0 {
				t.Errorf("still there:\n%s", strings.Join(where, "\n"))
			}
			if n, telling := versionsOf(t, s); n == 0 || telling > 0 {
				t.Errorf("%d of %d versions of records tell of the visitor", telling, n)
			}
			if left, err := s.rewritten(ctx); err != nil || len(left) > 0 {
				t.Errorf("%d records are still noted: %v", len(left), err)
			}
			entry, err := s.Entry(ctx, posts[0].Seq)
			if err != nil || entry.Claim.TxID != txid(0) {
				t.Errorf("the entry is %+v: %v", entry, err)
			}
			checkHealthy(t, s)
		})
	}
}

func checkHealthy(t testing.TB, s *Store) {
	t.Helper()
	r, err := s.Check(ctx, nil)
	if err != nil || r.Wrong > 0 {
		t.Errorf("the check found %d problems (%v):\n%s", r.Wrong, err, strings.Join(r.Problems, "\n"))
	}
}

// TestEraseUnderAReader: somebody reads an old version for so long that the
// new one is compacted down to it.
func TestEraseUnderAReader(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	fill(w, day, 400) // so that the click's block has a table of its own
	c, _ := visit(w, day)
	fill(w, day, 400)
	closeStore(t, s, 0)
	s = openStore(t, e)
	s.patience = 50 * time.Millisecond
	ts, err := s.gate.read()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Erase(ctx, c.Ref)
	if err != nil || !r.Pending || r.Entries != 3 {
		t.Fatalf("the erasure changed %+v: %v", r, err)
	}
	if err := s.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.compact(ctx); err != nil {
		t.Fatal(err)
	}
	txn := s.transaction(ts, false)
	var k keys
	if got, err := getClick(txn, &k, c.Ref, wholeClick); err != nil || got == nil || got.UserAgent != traces[0] {
		t.Errorf("the reader lost the click: %v", err)
	}
	txn.Discard()
	if _, telling := versionsOf(t, s); telling == 0 || len(findTraces(t, e.Dir)) == 0 {
		t.Fatal("the traces are gone already: the test proves nothing")
	}

	// A backup has only what is to be there, even now.
	var file bytes.Buffer
	if err := s.Backup(ctx, &file); err != nil {
		t.Fatal(err)
	}
	for _, text := range traces {
		if bytes.Contains(file.Bytes(), []byte(text)) {
			t.Errorf("%s is in a backup", text)
		}
	}
	s.gate.done(ts)
	closeStore(t, s, 0)
	s = openStore(t, e)
	if _, err := s.Sweep(ctx, day, capture.Retention{}); err != nil {
		t.Fatal(err)
	}
	if where := findTraces(t, e.Dir); len(where) > 0 {
		t.Errorf("still there after the sweep:\n%s", strings.Join(where, "\n"))
	}
	if n, telling := versionsOf(t, s); n == 0 || telling > 0 {
		t.Errorf("%d of %d versions of records tell of the visitor", telling, n)
	}
	if again, err := s.Erase(ctx, c.Ref); err != nil || again != (capture.Erased{}) {
		t.Errorf("erasing again changed %+v: %v", again, err)
	}
}

// TestEraseInterrupted ends an erasure after each of its writes.
func TestEraseInterrupted(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		e := newEngine(t)
		e.noSync = true
		s := openStore(t, e)
		c, _ := visit(newWriter(t, s), day)
		writes := 0
		s.commitAt = func(txn *badger.Txn, ts uint64) error {
			if writes++; writes > n {
				return errors.New("the process ends")
			}
			return txn.CommitAt(ts, nil)
		}
		_, err := s.Erase(ctx, c.Ref)
		closeStore(t, s, 0)
		s = openStore(t, e)
		checkHealthy(t, s)
		if _, again := s.Erase(ctx, c.Ref); again != nil {
			t.Fatal(again)
		}
		if where := findTraces(t, e.Dir); len(where) > 0 {
			t.Errorf("interrupted after %d writes (%v), and done again:\n%s", n, err, strings.Join(where, "\n"))
		}
		checkHealthy(t, s)
		closeStore(t, s, 0)
		if err == nil {
			return
		}
		if n == 6 {
			n = 1000 // what follows is filler
		}
	}
}

// TestEraseManyEntries has more journal entries than one transaction takes.
func TestEraseManyEntries(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	cs := w.clicks(click(day, "spring"), click(day, "spring"))
	for range 5 {
		var posts []*capture.Postback
		for i := range 100 {
			posts = append(posts, postback(cs[i%2], fmt.Sprint(i%9), day.Add(time.Hour)))
		}
		w.commit(nil, posts)
	}
	r, err := s.Erase(ctx, cs[0].Ref)
	if err != nil || r.Entries != 250 || r.Conversions != 9 {
		t.Errorf("the erasure changed %+v: %v", r, err)
	}
	checkHealthy(t, s)
}

// TestSweepIsProvable: what the retention no longer keeps is in no file.
func TestSweepIsProvable(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	visit(w, day)
	if n := len(findTraces(t, e.Dir)); n != len(traces) {
		t.Fatalf("only %d traces are on disk: the test proves nothing", n)
	}
	young := w.clicks(click(day.Add(100*24*time.Hour), "spring"))[0]
	w.commit(nil, []*capture.Postback{postback(young, "young", young.Time)})
	month := 30 * 24 * time.Hour
	r, err := s.Sweep(ctx, young.Time, capture.Retention{Clicks: month, Journal: month, Conversions: month})
	if err != nil || r != (capture.SweepResult{Blocks: 1, Entries: 3, Conversions: 2}) {
		t.Fatalf("the sweep deleted %+v: %v", r, err)
	}
	if where := findTraces(t, e.Dir); len(where) > 0 {
		t.Errorf("still there:\n%s", strings.Join(where, "\n"))
	}
	checkHealthy(t, s)
	if n, telling := versionsOf(t, s); n == 0 || telling > 0 {
		t.Errorf("%d of %d versions of records tell of the visitor", telling, n)
	}
	if s.swept.clicks == 0 || s.swept.conversions == 0 {
		t.Errorf("the note of the sweep is %+v", s.swept)
	}
}
