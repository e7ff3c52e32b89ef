package badgerstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// nobody is a postback that waits because it names no click.
func nobody(txid string, at time.Time) *capture.Postback {
	p := unknownPostback(1, at)
	p.HasRef, p.Problem, p.ProblemDetail = false, capture.MissingClickID, "because"
	p.Raw.URI = "/postback?txid=" + txid
	return p
}

// TestFilter: what was added is never missed, whatever else was, and what was
// not added seldom found.
func TestFilter(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	var waits []*capture.Postback
	for i := range 100 {
		waits = append(waits, nobody(fmt.Sprint(i), day))
	}
	w.commit(nil, waits)
	var f filter
	load := func() {
		t.Helper()
		txn := s.transaction(s.ts, false)
		defer txn.Discard()
		if err := f.load(txn, kindRepeatable); err != nil {
			t.Fatal(err)
		}
	}
	fingerprint := func(i int) uint64 {
		e := &capture.Entry{Route: waits[0].Route, Raw: nobody(fmt.Sprint(i), day).Raw}
		fp, ok := e.Fingerprint()
		if !ok {
			t.Fatal("a request has no fingerprint")
		}
		return fp
	}
	load()
	check := func() {
		t.Helper()
		for i := range waits {
			if !f.has(fingerprint(i)) {
				t.Errorf("request %d is not found", i)
			}
		}
		wrong := 0
		for i := 1000; i < 3000; i++ {
			if f.has(fingerprint(i)) {
				wrong++
			}
		}
		if wrong > 20 {
			t.Errorf("%d of 2000 requests are found that were never seen", wrong)
		}
	}
	check()
	for i := range filterFull {
		f.add(uint64(i) * 0x9e3779b97f4a7c15)
	}
	load() // too full to be of use
	check()
	if f.empty() {
		t.Error("the filter takes the quarantine for empty")
	}
}

// TestSweepOfResolved: an entry leaves quarantine, and gets a click, after a
// sweep has read it and before it deletes it.
func TestSweepOfResolved(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	waits, more := nobody("1", day), nobody("2", day)
	w.commit(nil, []*capture.Postback{waits, more})
	stale, err := s.Entry(ctx, waits.Seq)
	if err != nil {
		t.Fatal(err)
	}
	known := postback(c, "1", day.Add(time.Hour))
	known.Raw = waits.Raw
	w.commit(nil, []*capture.Postback{known})
	if e, err := s.Entry(ctx, waits.Seq); err != nil || e.Waiting() || !e.HasClick {
		t.Fatalf("the entry is %+v, %v: the test proves nothing", e, err)
	}
	if err := s.erase(ctx, func(d *eraser) error { return d.entry(stale) }); err != nil {
		t.Fatal(err)
	}
	checkHealthy(t, s)
	if n := s.Status().Quarantine[capture.MissingClickID]; n != 1 {
		t.Errorf("%d wait in quarantine, want 1", n)
	}
	month := 30 * 24 * time.Hour
	n, err := s.Sweep(ctx, day.Add(2*month), capture.Retention{Journal: month})
	if err != nil || n.Entries != 2 {
		t.Errorf("the sweep deleted %+v: %v", n, err)
	}
	checkHealthy(t, s)
	for _, kind := range []byte{kindEntry, kindWaiting, kindOfClick, kindRepeatable, kindAwaiting} {
		err := s.view(ctx, func(txn *transaction) error {
			return s.scan(ctx, txn, scan{prefix: []byte{kind}}, func(item *record) (bool, error) {
				t.Errorf("the key %q is left", item.Key())
				return true, nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestEraseReadsNoOthers: an entry of another click cannot be read, which an
// erasure that looked at it would find out.
func TestEraseReadsNoOthers(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	cs := w.clicks(click(day, "spring"), click(day, "spring"))
	var posts []*capture.Postback
	for i := range 20 {
		posts = append(posts, postback(cs[i%2], fmt.Sprint(i), day.Add(time.Hour)))
	}
	w.commit(nil, posts)
	var k keys
	s.mu.Lock()
	err := s.write(func(txn *transaction) error { return txn.Set(k.number(kindEntry, posts[1].Seq), []byte{7}) })
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.Erase(ctx, cs[0].Ref); err != nil || r.Entries != 10 {
		t.Errorf("the erasure changed %+v: %v", r, err)
	}
	if _, err := s.Erase(ctx, cs[1].Ref); err == nil {
		t.Error("the damaged entry is not noticed by its own click either")
	}
}
