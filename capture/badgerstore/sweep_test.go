package badgerstore

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// noise is text that no compression shortens much.
func noise(rnd *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rnd.IntN(len(letters))]
	}
	return string(b)
}

// fill writes n blocks of 64 clicks of some 300 bytes of noise, in time order.
func fill(w *writer, from time.Time, n int) {
	rnd := rand.New(rand.NewPCG(uint64(from.Unix()), uint64(n)))
	for i := 0; i < n; i += 20 {
		var clicks []*capture.Click
		for range min(20, n-i) * capture.BlockClicks {
			c := click(from.Add(time.Duration(i)*time.Second), "spring")
			c.Referer = noise(rnd, 300)
			clicks = append(clicks, c)
		}
		w.clicks(clicks...)
	}
}

const hidden = "this-visitor-asked-to-be-forgotten-4711"

func TestSweepGivesSpaceBack(t *testing.T) {
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	secret := click(day, "spring")
	secret.Kept = []capture.Param{{Name: "who", Value: hidden}}
	w.clicks(secret)
	const blocks = 2500
	fill(w, day, blocks)
	fresh := day.Add(40 * 24 * time.Hour)
	young := w.clicks(click(fresh, "spring"))[0]
	posts := []*capture.Postback{}
	for i := range 300 {
		posts = append(posts, postback(secret, txid(i), day.Add(time.Hour)))
	}
	w.commit(nil, posts)
	q := attribution.Query{By: []string{"campaign"}, From: day, To: fresh.Add(time.Hour)}
	before := report(t, s, q)
	filled := diskSize(t, e.Dir, "*.sst") // logs have their size, whatever is in them

	// Meanwhile visitors come, and somebody reads.
	var stop atomic.Bool
	var wg sync.WaitGroup
	var worst time.Duration
	commits := 0
	wg.Go(func() {
		for !stop.Load() {
			start := time.Now()
			w.clicks(click(fresh.Add(time.Minute), "during"))
			worst = max(worst, time.Since(start))
			commits++
			time.Sleep(time.Millisecond)
		}
	})
	wg.Go(func() {
		for !stop.Load() {
			if _, err := s.Click(ctx, young.Ref); err != nil {
				t.Errorf("reading during the sweep: %v", err)
				return
			}
		}
	})
	start := time.Now()
	n, err := s.Sweep(ctx, fresh.Add(time.Hour), capture.Retention{Clicks: 10 * 24 * time.Hour, Journal: 10 * 24 * time.Hour})
	took := time.Since(start)
	stop.Store(true)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	left := diskSize(t, e.Dir, "*.sst")
	t.Logf("%d MiB became %.1f MiB in %v; %d commits meanwhile, the slowest %v", filled>>20, float64(left)/(1<<20), took, commits, worst)
	if n.Blocks != blocks+1 || n.Entries != 300 {
		t.Errorf("the sweep deleted %+v", n)
	}
	if filled < 40<<20 || left > filled/10 {
		t.Errorf("%d bytes became %d", filled, left)
	}
	if _, err := s.Click(ctx, secret.Ref); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("the expired click: %v", err)
	}
	if where := findText(t, e.Dir, hidden); where != "" {
		t.Errorf("the expired click's text is still in %s", where)
	}
	after := report(t, s, q)
	if last := len(after.Rows) - 1; !reflect.DeepEqual(before.Rows[0], after.Rows[last]) {
		t.Errorf("the sums were %+v and are %+v", before.Rows[0], after.Rows[last])
	}
	closeStore(t, s, 0)
	s = openStore(t, e)
	if s.deleted.bytes != 0 || s.deleted.since == 0 {
		t.Errorf("the note of deletions is %+v", s.deleted)
	}
	if got := len(conversions(t, s, capture.ConversionQuery{})); got != 300 {
		t.Errorf("%d conversions, want 300", got)
	}
}

// findText returns the file of a store that has a text in it, if there is one.
func findText(t *testing.T, dir, text string) string {
	t.Helper()
	return findTexts(t, dir, text)[text]
}

// findTexts returns a file for each of the texts that is in one. It reads each
// file but once, and not the room that a log has behind what was written.
func findTexts(t *testing.T, dir string, texts ...string) (where map[string]string) {
	t.Helper()
	where = make(map[string]string)
	empty := make([]byte, 4096)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for bytes.HasSuffix(data, empty) {
			data = data[:len(data)-len(empty)]
		}
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				where[text] = name
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return where
}

func TestSmallStoresGiveBackToo(t *testing.T) {
	t.Parallel()
	for name, flushed := range map[string]bool{"in memory": false, "in a table": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			s := openStore(t, e)
			w := newWriter(t, s)
			c := click(day, "spring")
			c.Referer = hidden
			w.clicks(c)
			if flushed {
				closeStore(t, s, 0)
				s = openStore(t, e)
			}
			if findText(t, e.Dir, hidden) == "" {
				t.Fatal("the text is not on disk: the test proves nothing")
			}
			n, err := s.Sweep(ctx, day.Add(48*time.Hour), capture.Retention{Clicks: time.Hour})
			if err != nil || n.Blocks != 1 {
				t.Fatalf("the sweep deleted %+v: %v", n, err)
			}
			if where := findText(t, e.Dir, hidden); where != "" {
				t.Errorf("the text is still in %s", where)
			}
		})
	}
}

// TestReaderDuringSweep: a reader that was there before keeps compaction from
// dropping what it may want; the next sweep drops it.
func TestReaderDuringSweep(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	c := click(day, "spring")
	c.Referer = hidden
	fill(w, day, 500) // so that what expires has tables of its own
	w.clicks(c)
	fill(w, day, 500)
	filled := diskSize(t, e.Dir, "*.mem", "*.sst")
	ts, err := s.gate.read()
	if err != nil {
		t.Fatal(err)
	}
	// The tombstones reach the last level while the reader reads.
	if _, err := s.sweepClicks(ctx, day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.compact(ctx); err != nil {
		t.Fatal(err)
	}
	txn := s.transaction(ts, false)
	var k keys
	if got, err := getClick(txn, &k, c.Ref, wholeClick); err != nil || got == nil {
		t.Errorf("the reader lost the click: %v", err)
	}
	txn.Discard()
	s.gate.done(ts)
	if _, err := s.Sweep(ctx, day.Add(48*time.Hour), capture.Retention{Clicks: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if where := findText(t, e.Dir, hidden); where != "" {
		t.Errorf("the text is still in %s", where)
	}
	// A log has its room, whatever is in it.
	if left := diskSize(t, e.Dir, "*.sst"); left > filled/5 {
		t.Errorf("%d bytes became %d", filled, left)
	}
}

func TestSweepIsNotDueForLittle(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	for i := range 2 {
		at := day.Add(time.Duration(i) * time.Hour)
		w.clicks(click(at, "spring"))
		if _, err := s.Sweep(ctx, at.Add(2*time.Hour), capture.Retention{Clicks: time.Hour}); err != nil {
			t.Fatal(err)
		}
		if pending := s.deleted.bytes > 0; pending != (i > 0) {
			t.Errorf("after sweep %d: %+v", i, s.deleted)
		}
	}
}

// TestOldNoteOfDeletions: it was shorter before blocks were merged.
func TestOldNoteOfDeletions(t *testing.T) {
	t.Parallel()
	if d, err := decodeDeleted([]byte{recordFormat, 5, 6}); err != nil || d != (deleted{bytes: 5, since: 6}) {
		t.Errorf("it reads as %+v: %v", d, err)
	}
	for _, bad := range [][]byte{{recordFormat, 5}, {recordFormat, 5, 6, 0x80}} {
		if d, err := decodeDeleted(bad); !errors.Is(err, errDamaged) {
			t.Errorf("%x reads as %+v: %v", bad, d, err)
		}
	}
}

// TestReclaimIsDue: merging alone makes no store compact every day.
func TestReclaimIsDue(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	ago := func(d time.Duration) uint64 { return uint64(day.Add(-d).Unix()) }
	for name, c := range map[string]struct {
		d     deleted
		store int64
		want  bool
	}{
		"nothing":                     {deleted{}, 100 * mib, false},
		"never before":                {deleted{bytes: 1}, 100 * mib, true},
		"little lately":               {deleted{bytes: 31 * mib, since: ago(time.Hour)}, 100 * mib, false},
		"much":                        {deleted{bytes: 32 * mib, since: ago(time.Hour)}, 100 * mib, true},
		"too little of a large store": {deleted{bytes: 32 * mib, since: ago(time.Hour)}, 1000 * mib, false},
		"the clock was set back":      {deleted{bytes: 1, since: ago(-time.Hour)}, 100 * mib, true},
		"a day ago":                   {deleted{bytes: 1, since: ago(24 * time.Hour)}, 100 * mib, true},
		"merged a day ago":            {deleted{merged: 31 * mib, since: ago(1000 * time.Hour)}, 100 * mib, false},
		"much was merged":             {deleted{merged: 32 * mib, since: ago(time.Hour)}, 100 * mib, true},
		"of a large store":            {deleted{merged: 32 * mib}, 1000 * mib, false},
		"very much was merged":        {deleted{merged: 250 * mib, since: ago(time.Hour)}, 1000 * mib, true},
	} {
		if got := c.d.due(day, c.store); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestSubtractSpans(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(3, 4))
	some := func() (list []span) {
		for range rnd.IntN(6) {
			first := uint64(rnd.IntN(40))
			list = append(list, span{first, first + uint64(rnd.IntN(12))})
		}
		return list
	}
	in := func(list []span, n uint64) bool {
		for _, sp := range list {
			if sp.first <= n && n <= sp.last {
				return true
			}
		}
		return false
	}
	for range 5000 {
		a, b := some(), some()
		got := subtractSpans(joinSpans(append([]span(nil), a...)), joinSpans(append([]span(nil), b...)))
		for n := range uint64(60) {
			if want := in(a, n) && !in(b, n); in(got, n) != want {
				t.Fatalf("%v without %v is %v: wrong at %d", a, b, got, n)
			}
		}
	}
}
