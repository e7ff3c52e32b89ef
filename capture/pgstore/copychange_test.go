package pgstore

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// TestCopyOfErasures: a click that was erased while its node was cut off comes
// without its visitor also into a copy, and into the copy of an embedded copy.
func TestCopyOfErasures(t *testing.T) {
	t.Parallel()
	for way, through := range map[string]func() capture.Engine{
		"straight":    nil,
		"over a disk": func() capture.Engine { return badgerstore.New(filepath.Join(t.TempDir(), "store"), zap.NewNop()) },
		"over memory": func() capture.Engine { return memstore.New() },
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			e := fresh(t)
			a, b := open(t, e), open(t, another(t, e))
			later := a.block(2)
			for _, c := range later.Clicks {
				c.Address, c.Subs = "192.0.2.1", []capture.Param{{Name: "sub1", Value: "somebody"}}
			}
			for _, c := range append(b.block(3).Clicks, later.Clicks[0]) {
				if _, err := b.s.Erase(t.Context(), c.Ref); !errors.Is(err, capture.ErrNotFound) {
					t.Fatalf("erasing a click that nobody has yet: %v", err)
				}
			}
			a.must(a.s.Close(a.next))
			b.must(b.s.Close(b.next))
			var from capture.Engine = e
			if through != nil {
				on := through()
				mustCopy(t, from, on)
				from = on
			}
			moved := &Engine{DSN: e.DSN, Schema: fresh(t).Schema, Dir: e.Dir, Logger: zap.NewNop(), patience: patient}
			mustCopy(t, from, moved)
			n := open(t, moved)
			if n.s.node != a.s.node {
				t.Fatalf("node %d goes on as %d", a.s.node, n.s.node)
			}
			n.must(n.commit([]*capture.Block{later}, sale(later.Clicks[0], "1"), sale(later.Clicks[1], "2")))
			for i, c := range later.Clicks {
				got, err := n.s.Click(t.Context(), c.Ref)
				n.must(err)
				convs, err := n.s.ClickConversions(t.Context(), c.Ref)
				n.must(err)
				blank := got.Address == "" && len(got.Subs) == 0 && len(convs) == 1 && len(convs[0].Subs) == 0
				whole := got.Address != "" && len(got.Subs) == 1 && len(convs) == 1 && len(convs[0].Subs) == 1
				if i == 0 && !blank || i == 1 && !whole {
					t.Errorf("click %d is stored as %+v with %+v", i, got, convs)
				}
			}
			n.healthy()
		})
	}
}

// TestCopyOfAChangingStore: what a node does to the source while that is copied
// is noticed, however little it is.
func TestCopyOfAChangingStore(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(n *node, old *capture.Block){
		"a click":    func(n *node, _ *capture.Block) { n.must(n.commit([]*capture.Block{n.block(1)})) },
		"a postback": func(n *node, old *capture.Block) { n.must(n.commit(nil, sale(old.Clicks[0], "late"))) },
		"an erasure": func(n *node, old *capture.Block) { _, err := n.s.Erase(t.Context(), old.Clicks[0].Ref); n.must(err) },
		"clicks too old": func(n *node, _ *capture.Block) {
			_, err := n.s.Sweep(t.Context(), noon.Add(9*day), capture.Retention{Clicks: day})
			n.must(err)
		},
		"somebody who runs": nil,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := fresh(t)
			n := open(t, e)
			old := n.block(3)
			n.must(n.commit([]*capture.Block{old}, sale(old.Clicks[1], "x")))
			n.must(n.s.Close(n.next))
			to := memstore.New()
			_, err := capture.CopyStore(context.Background(), e, &small{CopyEngine: to, put: func(i int) {
				if i > 1 {
					return
				}
				again := open(t, e)
				if change != nil {
					change(again, old)
					again.must(again.s.Close(again.next))
				}
			}}, nil)
			if !errors.Is(err, capture.ErrLocked) || !strings.Contains(err.Error(), "stop all Caddies") {
				t.Errorf("the copy ends with %v", err)
			}
			if _, err := to.Open(context.Background()); !errors.Is(err, capture.ErrUnfinished) {
				t.Errorf("the copy is opened: %v", err)
			}
		})
	}
}

// latecomer changes the source when all of it was copied and compared.
type latecomer struct {
	capture.CopyEngine
	change func(capture.CopyTarget)
}

type lateTarget struct {
	capture.CopyTarget
	e *latecomer
}

func (e *latecomer) OpenTarget(ctx context.Context, head *capture.CopyHead) (capture.CopyTarget, error) {
	t, err := e.CopyEngine.OpenTarget(ctx, head)
	if err != nil {
		return nil, err
	}
	return &lateTarget{t, e}, nil
}

func (t *lateTarget) Check(ctx context.Context, progress func(done, total int64)) (capture.CheckResult, error) {
	r, err := t.CopyTarget.Check(ctx, progress)
	t.e.change(t.CopyTarget)
	return r, err
}

// TestCopyOfAStoreThatChangesLate: the check of a large copy takes long, too.
func TestCopyOfAStoreThatChangesLate(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	n.must(n.commit([]*capture.Block{n.block(3)}))
	n.must(n.s.Close(n.next))
	to := memstore.New()
	_, err := capture.CopyStore(context.Background(), e, &latecomer{to, func(capture.CopyTarget) {
		again := open(t, e)
		again.must(again.commit([]*capture.Block{again.block(1)}))
		again.must(again.s.Close(again.next))
	}}, nil)
	if !errors.Is(err, capture.ErrLocked) {
		t.Errorf("the copy ends with %v", err)
	}
	if _, err := to.Open(context.Background()); !errors.Is(err, capture.ErrUnfinished) {
		t.Errorf("the copy is opened: %v", err)
	}
}

// TestCopyOutlivesItsConnection: a network may have dropped the connection that
// wrote, and which had nothing to do while the copy was checked.
func TestCopyOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	from, to := filled(t), fresh(t)
	_, err := capture.CopyStore(context.Background(), from, &latecomer{to, func(target capture.CopyTarget) {
		_ = target.(*copyTarget).conn.Close(context.Background())
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	node := open(t, to)
	if got := node.totals(); got.Clicks != 3200 {
		t.Errorf("the copy counts %+v", got)
	}
}

// TestCopyCutOff: the network cuts off who copies, in the middle of a piece, and the
// server does not hear of that. Whoever goes on with the copy need not wait until it
// does.
func TestCopyCutOff(t *testing.T) {
	t.Parallel()
	from, p, to := filled(t), newProxy(t), fresh(t)
	direct := to.DSN
	p.word = "commit"
	to.DSN = p.dsn()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	puts := 0
	_, err := capture.CopyStore(ctx, from, &small{CopyEngine: to, put: func(int) {
		if puts++; puts == 7 {
			to.abandonAfter = 3 * time.Second // not before: a busy machine may be as slow between two statements
			p.mode.Store(freezes)
			go func() {
				for p.cut.Load() == 0 {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
		}
	}}, nil)
	if !errors.Is(err, context.Canceled) || p.cut.Load() != 1 {
		t.Fatalf("%v, %d cuts", err, p.cut.Load())
	}
	to.DSN, to.abandonAfter = direct, 0
	ctx, cancel = context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := capture.CopyStore(ctx, from, to, nil)
	if err != nil || r.Resumed == 0 {
		t.Fatalf("%v: %+v", err, r)
	}
	node := open(t, to)
	if got := node.totals(); got.Clicks != 3200 {
		t.Errorf("the copy counts %+v", got)
	}
}
