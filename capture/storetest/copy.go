package storetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// RunCopy copies stores of one kind to places of another. from and to are called
// for each test and may use t.TempDir.
func RunCopy(t *testing.T, from, to func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *place, func() Fixture)
	}{
		{"whole", testCopyWhole},
		{"empty", testCopyEmpty},
		{"interrupted", testCopyInterrupted},
		{"refused", testCopyRefused},
		{"falsified", testCopyFalsified},
		{"to and fro", testCopyBack},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fix := from(t)
			p := &place{t: t, fix: fix, engine: fix.Engine, fresh: func() Fixture { return from(t) }}
			p.open()
			t.Cleanup(func() { _ = p.store.Close(0) }) // most tests have closed it
			c.test(t, p, func() Fixture { return to(t) })
		})
	}
}

// copied copies a place, which it closes, and opens the copy.
func (p *place) copied(fix Fixture) *place {
	p.t.Helper()
	p.closeAt(p.next)
	p.copyTo(fix.Engine)
	return p.at(fix)
}

func (p *place) copyTo(to capture.Engine) capture.CopyResult {
	p.t.Helper()
	r, err := capture.CopyStore(background, p.engine, to, nil)
	if err != nil || r.Wrong != 0 {
		p.t.Fatalf("copying: %v\n%s", err, strings.Join(r.Problems, "\n"))
	}
	return r
}

// at opens the copy of a place.
func (p *place) at(fix Fixture) *place {
	p.t.Helper()
	q := &place{t: p.t, fix: fix, engine: fix.Engine, fresh: p.fresh, now: p.now}
	q.open()
	p.t.(*testing.T).Cleanup(func() { _ = q.store.Close(0) })
	return q
}

// lived is a place with some of everything, and what to ask of its copy.
type lived struct {
	*place
	old, erased, early, told *capture.Click
	booked                   *capture.Postback
	refund, parked, repeated *capture.Postback
}

// live gives a place a past.
func (p *place) live() *lived {
	l := &lived{place: p}
	p.history(rand.New(rand.NewPCG(11, 12)))
	l.old, l.erased, l.early, l.told = p.click(), p.telling(), p.click(), p.telling()
	p.commit(p.block(l.old, l.erased))
	l.booked = p.post(l.old, sale, tells)
	p.commit(l.booked, p.post(l.old, named(sale, "other"), tells), p.post(l.erased, sale, tells))
	p.erase(l.erased.Ref)
	// Under another rule, so that both are known.
	p.commit(p.post(l.old, said("lead", "third", 3), under(deduped(attribution.DedupEvent))))
	// What waits: for its sale, for its click, for its sender to say it again.
	l.refund = p.unsold(refund("r", "2.50"))
	p.block(l.early) // which is to come
	l.parked = p.post(l.early, named(sale, "early"))
	l.repeated = p.post(l.old, named(sale, "bad"), tells, problem(capture.BadPayout))
	p.commit(l.refund, l.parked, l.repeated)
	p.commit(p.block(l.told), p.post(l.told, named(sale, "told"), tells))
	for _, b := range []*capture.Postback{l.refund, l.parked, l.repeated} {
		if b.Result.Outcome != capture.Quarantined {
			p.t.Fatalf("%+v does not wait", b.Result)
		}
	}
	p.lease = p.next + 500
	p.commit()
	return l
}

// goesOn asks of a copy what the place would have answered.
func (l *lived) goesOn(q *place) {
	t := q.t
	t.Helper()
	q.find(l.old)
	q.find(l.told)
	again := *l.booked
	again.Seq, again.Result, again.Time = 0, capture.Result{}, q.now
	q.want(q.book(&again), capture.Duplicate, "")
	q.want(q.book(q.post(l.told, named(sale, "late"))), capture.Recorded, "")
	q.want(q.book(q.post(l.old, with(sale, func(c *attribution.Claim) { c.Status = attribution.Reversed }))), capture.Updated, "")
	// The click that a postback waits for comes with its block.
	b := &capture.Block{Number: l.early.Ref.Block, Clicks: []*capture.Click{l.early}}
	if l.early.Ref.Epoch == q.epoch {
		q.commit(b)
		if e, err := q.store.Entry(background, l.parked.Seq); err != nil || e.Waiting() {
			t.Errorf("the postback that waited for its click is %+v: %v", e, err)
		}
	}
	// What waits for its sale is booked with it.
	c := q.click()
	q.commit(q.block(c))
	q.want(q.book(q.post(c, sale, indexed)), capture.Recorded, "")
	if e, err := q.store.Entry(background, l.refund.Seq); err != nil || e.Waiting() {
		t.Errorf("the refund that waited for its sale is %+v: %v", e, err)
	}
	// Who is erased now is found wherever there is anything of him.
	if r := q.erase(l.told.Ref); !r.Click || r.Conversions != 2 || r.Entries < 1 {
		t.Errorf("of the click erased there was %+v", r)
	}
	if r := q.erase(l.erased.Ref); r.Click || r.Conversions != 0 || r.Entries != 0 {
		t.Errorf("of the click erased before the copy there was %+v", r)
	}
	q.healthy()
	q.reopen()
	q.healthy()
	q.find(c)
}

func testCopyWhole(t *testing.T, p *place, fresh func() Fixture) {
	l := p.live()
	want, quarantine := p.everythingIn(), p.store.Status().Quarantine
	id, err := p.engine.Identity()
	p.must(err)
	seq, lease := p.seq, p.lease
	q := p.copied(fresh())
	if got := q.everythingIn(); got != want {
		t.Errorf("the copy has %d bytes, want %d, or others", len(got), len(want))
	}
	again, err := q.engine.Identity()
	p.must(err)
	if again.Epoch != id.Epoch || string(again.Secret) != string(id.Secret) {
		t.Errorf("the identity is another: epoch %d, want %d", again.Epoch, id.Epoch)
	}
	if got := q.store.Status().Quarantine; name("%v", got) != name("%v", quarantine) {
		t.Errorf("the quarantine is %v, want %v", got, quarantine)
	}
	if pos := q.store.Position(); pos.NextSeq != seq || pos.NextBlock < lease {
		t.Errorf("the position is %+v; the lease was %d, the next entry %d", pos, lease, seq)
	}
	q.healthy()
	l.goesOn(q)
	// The source is what it was.
	p.open()
	if got := p.everythingIn(); got != want {
		t.Error("the source is not what it was")
	}
	p.healthy()
	p.closeAt(0)
}

func testCopyEmpty(t *testing.T, p *place, fresh func() Fixture) {
	q := p.copied(fresh())
	c := q.click()
	q.commit(q.block(c), q.post(c, sale))
	q.find(c)
	q.healthy()
}

// fewer is a target that takes little at once, and fails when it is told to.
type fewer struct {
	capture.CopyEngine
	most int
	// fail tells what happens to the next piece.
	fail func() (before, after error)
	// change, if not nil, alters what is written.
	change func(*capture.CopyRecord) *capture.CopyRecord
}

type fewerTarget struct {
	capture.CopyTarget
	e *fewer
}

func (e *fewer) OpenTarget(ctx context.Context, head *capture.CopyHead) (capture.CopyTarget, error) {
	t, err := e.CopyEngine.OpenTarget(ctx, head)
	if err != nil {
		return nil, err
	}
	return &fewerTarget{t, e}, nil
}

func (t *fewerTarget) Put(ctx context.Context, records []*capture.CopyRecord) error {
	if len(records) > t.e.most {
		return capture.ErrTooLarge
	}
	before, after := error(nil), error(nil)
	if t.e.fail != nil {
		before, after = t.e.fail()
	}
	if before != nil {
		return before
	}
	if t.e.change != nil {
		for i, r := range records {
			records[i] = t.e.change(r)
		}
	}
	if err := t.CopyTarget.Put(ctx, records); err != nil {
		return err
	}
	return after
}

var errInterrupted = errors.New("interrupted by the test")

// testCopyInterrupted: a copy that fails at every other piece, before it is
// written or after, is the same in the end.
func testCopyInterrupted(t *testing.T, p *place, fresh func() Fixture) {
	l := p.live()
	want := p.everythingIn()
	p.closeAt(p.next)
	fix := fresh()
	pieces, failures := 0, 0
	to := &fewer{CopyEngine: fix.Engine.(capture.CopyEngine), most: 60}
	to.fail = func() (before, after error) {
		pieces++
		switch pieces % 5 {
		case 2:
			failures++
			return errInterrupted, nil
		case 4:
			failures++
			return nil, errInterrupted
		}
		return nil, nil
	}
	var last int64
	for {
		r, err := capture.CopyStore(background, p.engine, to, nil)
		if r.Resumed < last {
			t.Fatalf("the copy went on at %d, after it had been at %d", r.Resumed, last)
		}
		last = r.Resumed
		if err == nil {
			break
		}
		if !errors.Is(err, errInterrupted) {
			t.Fatalf("%v\n%s", err, strings.Join(r.Problems, "\n"))
		}
		if _, err := fix.Engine.Open(background); !errors.Is(err, capture.ErrUnfinished) {
			t.Fatalf("an unfinished copy is opened: %v", err)
		}
	}
	if failures < 6 || last == 0 {
		t.Fatalf("%d pieces, %d failures, at last from %d: the test proves little", pieces, failures, last)
	}
	q := p.at(fix)
	if got := q.everythingIn(); got != want {
		t.Errorf("the copy has %d bytes, want %d, or others", len(got), len(want))
	}
	l.goesOn(q)
}

func testCopyRefused(t *testing.T, p *place, fresh func() Fixture) {
	c := p.click()
	p.commit(p.block(c), p.post(c, sale))
	refused := func(what string, from, to capture.Engine, want error) {
		t.Helper()
		if _, err := capture.CopyStore(background, from, to, nil); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	fix := fresh()
	refused("a source that is in use", p.engine, fix.Engine, capture.ErrLocked)
	p.closeAt(p.next)
	refused("onto itself", p.engine, p.engine, nil)

	// An unfinished copy is no store, and nothing else is copied over it.
	to := &fewer{CopyEngine: fix.Engine.(capture.CopyEngine), most: 1, fail: func() (_, after error) { return nil, errInterrupted }}
	refused("interrupted", p.engine, to, errInterrupted)
	if _, err := fix.Engine.Open(background); !errors.Is(err, capture.ErrUnfinished) {
		t.Errorf("an unfinished copy was opened: %v", err)
	}
	other := p.fresh()
	o := &place{t: t, fix: other, engine: other.Engine}
	o.open()
	d := o.click()
	o.commit(o.block(d))
	o.closeAt(o.next)
	refused("another source", other.Engine, fix.Engine, capture.ErrAnotherCopy)
	refused("from an unfinished copy", fix.Engine, fresh().Engine, capture.ErrUnfinished)
	p.open()
	p.commit(p.block(p.click()))
	p.closeAt(p.next)
	refused("the source went on", p.engine, fix.Engine, capture.ErrAnotherCopy)

	// A place with something in it, closed or open.
	full := fresh()
	q := p.at(full)
	e := q.click()
	q.commit(q.block(e), q.post(e, sale))
	refused("onto an open store", p.engine, full.Engine, capture.ErrLocked)
	q.closeAt(q.next)
	refused("onto a store", p.engine, full.Engine, nil)
	q.open()
	q.find(e)
	q.healthy()
}

// testCopyFalsified: what is not as in the source is found, and no store.
func testCopyFalsified(t *testing.T, p *place, fresh func() Fixture) {
	p.history(rand.New(rand.NewPCG(13, 14)))
	p.closeAt(p.next)
	for what, change := range map[string]func(*capture.CopyRecord) (*capture.CopyRecord, error){
		"sum": func(r *capture.CopyRecord) (*capture.CopyRecord, error) {
			if r.Key.Kind != capture.CopySum {
				return nil, nil
			}
			n := r.Counts.Clone()
			n.Clicks++
			return &capture.CopyRecord{Key: r.Key, Counts: n}, nil
		},
		"block": func(r *capture.CopyRecord) (*capture.CopyRecord, error) {
			if r.Key.Kind != capture.CopyBlock {
				return nil, nil
			}
			b, err := capture.DecodeBlock(r.Data)
			if err != nil {
				return nil, err
			}
			b.Clicks[0].UserAgent += "!"
			return &capture.CopyRecord{Key: r.Key, Data: capture.EncodeBlock(b)}, nil
		},
		"entry": func(r *capture.CopyRecord) (*capture.CopyRecord, error) {
			if r.Key.Kind != capture.CopyEntry {
				return nil, nil
			}
			e := new(capture.Entry)
			if err := capture.DecodeRecord(r.Data, e); err != nil {
				return nil, err
			}
			e.Sender = "192.0.2.9"
			data, err := capture.EncodeRecord(e)
			return &capture.CopyRecord{Key: r.Key, Data: data}, err
		},
		"conversion": func(r *capture.CopyRecord) (*capture.CopyRecord, error) {
			if r.Key.Kind != capture.CopyConversion {
				return nil, nil
			}
			c := new(capture.Conversion)
			if err := capture.DecodeRecord(r.Data, c); err != nil {
				return nil, err
			}
			c.Destination += "?"
			data, err := capture.EncodeRecord(c)
			return &capture.CopyRecord{Key: r.Key, Data: data}, err
		},
	} {
		fix := fresh()
		done := false
		to := &fewer{CopyEngine: fix.Engine.(capture.CopyEngine), most: 1000, change: func(r *capture.CopyRecord) *capture.CopyRecord {
			if done {
				return r
			}
			other, err := change(r)
			p.must(err)
			if other == nil {
				return r
			}
			done = true
			return other
		}}
		r, err := capture.CopyStore(background, p.engine, to, nil)
		if !errors.Is(err, capture.ErrCopyDiffers) || r.Wrong != 1 || len(r.Problems) != 1 {
			t.Errorf("a %s that is another: %v, %+v", what, err, r)
		}
		if _, err := fix.Engine.Open(background); !errors.Is(err, capture.ErrUnfinished) {
			t.Errorf("a %s that is another: the copy was opened: %v", what, err)
		}
	}
}

// testCopyBack: there and back again, with some life on the way.
func testCopyBack(t *testing.T, p *place, fresh func() Fixture) {
	l := p.live()
	q := p.copied(fresh())
	c, d := q.click(), q.click()
	q.commit(q.block(c), q.post(c, sale))
	q.commit(q.block(d))
	want := q.everythingIn()
	lease := q.next
	r := q.copied(p.fresh())
	if got := r.everythingIn(); got != want {
		t.Errorf("the copy of the copy has %d bytes, want %d, or others", len(got), len(want))
	}
	if pos := r.store.Position(); pos.NextBlock < lease {
		t.Errorf("the next block is %d, below %d", pos.NextBlock, lease)
	}
	r.find(c)
	r.want(r.book(r.post(d, named(sale, "late"))), capture.Recorded, "")
	l.goesOn(r)
}
