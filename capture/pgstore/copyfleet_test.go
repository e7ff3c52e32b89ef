package pgstore

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

const day = 24 * time.Hour

func mustCopy(t *testing.T, from, to capture.Engine) {
	t.Helper()
	if r, err := capture.CopyStore(context.Background(), from, to, nil); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
}

// at sets the time of a block's clicks.
func at(b *capture.Block, when time.Time) *capture.Block {
	for _, c := range b.Clicks {
		c.Time, c.Ref.Second = when, uint32(when.Unix())
	}
	return b
}

// fleetPast is what two nodes left: blocks of the same numbers, those of one
// node fifty days older than those of the other.
type fleetPast struct {
	a, b       *Engine
	old, young []*capture.Block // of node a, of node b
	late       *capture.Block   // of node a, as young as those of b
	want       attribution.Counts
}

func newFleetPast(t *testing.T) *fleetPast {
	p := &fleetPast{a: fresh(t)}
	p.b = another(t, p.a)
	a, b := open(t, p.a), open(t, p.b)
	for i := range 5 {
		p.old = append(p.old, at(a.block(3), noon.Add(time.Duration(i)*time.Hour)))
		p.young = append(p.young, at(b.block(2), noon.Add(50*day+time.Duration(i)*time.Hour)))
	}
	p.late = at(a.block(4), noon.Add(50*day))
	for i := range p.old {
		if p.old[i].Number != p.young[i].Number {
			t.Fatal("the nodes' block numbers differ: the test proves nothing")
		}
		a.must(a.commit([]*capture.Block{p.old[i]}, sale(p.old[i].Clicks[1], "x")))
		// What one node has, the other one books.
		b.must(b.commit([]*capture.Block{p.young[i]}, sale(p.old[i].Clicks[0], "y")))
	}
	a.must(a.commit([]*capture.Block{p.late}))
	p.want = a.totals()
	a.must(a.s.Close(a.next))
	b.must(b.s.Close(b.next))
	return p
}

func (p *fleetPast) blocks() []*capture.Block {
	return append(append([]*capture.Block{p.late}, p.old...), p.young...)
}

// found looks for all clicks of blocks.
func found(t *testing.T, s capture.Store, blocks ...*capture.Block) {
	t.Helper()
	for _, b := range blocks {
		for _, c := range b.Clicks {
			got, err := s.Click(context.Background(), c.Ref)
			if err != nil || got.Ref != c.Ref || !got.Time.Equal(c.Time) {
				t.Fatalf("click %+v is %+v, %v", c.Ref, got, err)
			}
			if got, err = s.ClickToBook(context.Background(), c.Ref); err != nil || got.Ref != c.Ref {
				t.Fatalf("to book click %+v there is %+v, %v", c.Ref, got, err)
			}
		}
	}
}

func checked(t *testing.T, s capture.Store) {
	t.Helper()
	r, err := s.Check(context.Background(), nil)
	if err != nil || r.Wrong > 0 {
		t.Fatalf("the check: %v, %+v", err, r)
	}
}

func listed(t *testing.T, s capture.Store) (n int64) {
	t.Helper()
	if err := s.Clicks(context.Background(), capture.ClickQuery{}, func(*capture.Click) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestCopyOfAFleet: an embedded store takes the clicks of all nodes, though their
// block numbers are the same, and they can be told apart as long as they live.
func TestCopyOfAFleet(t *testing.T) {
	for home, engine := range map[string]func(*fleetPast) *Engine{
		"home is the old node": func(p *fleetPast) *Engine { return p.a }, "home is the young node": func(p *fleetPast) *Engine { return p.b },
		"home is chosen": func(p *fleetPast) *Engine { return another(t, p.a) },
	} {
		for kind, fresh := range map[string]func() capture.Engine{
			"disk":   func() capture.Engine { return badgerstore.New(filepath.Join(t.TempDir(), "store"), zap.NewNop()) },
			"memory": func() capture.Engine { return memstore.New() },
		} {
			t.Run(home+", "+kind, func(t *testing.T) {
				t.Parallel()
				p := newFleetPast(t)
				from, to := engine(p), fresh()
				mustCopy(t, from, to)
				s, err := to.Open(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				n := &embedded{t: t, s: s, past: p}
				n.lives(to)
				if err := s.Close(n.next); err != nil {
					t.Fatal(err)
				}
				n.returns(to)
			})
		}
	}
}

// embedded is the copy of a fleet's store in an engine without nodes.
type embedded struct {
	t    *testing.T
	s    capture.Store
	past *fleetPast
	next uint64
	mine *capture.Block
}

func (n *embedded) commit(blocks []*capture.Block, posts ...*capture.Postback) {
	n.t.Helper()
	pos := n.s.Position()
	b := &capture.Batch{Number: pos.NextBatch, Now: noon.Add(51 * day), Blocks: blocks, Postbacks: posts}
	if n.mine != nil {
		b.Number++
	}
	if err := n.s.Commit(context.Background(), b); err != nil {
		n.t.Fatal(err)
	}
}

// lives asks the copy what a fleet is asked, and lets time pass.
func (n *embedded) lives(e capture.Engine) {
	t, p := n.t, n.past
	found(t, n.s, p.blocks()...)
	checked(t, n.s)
	r, err := n.s.Report(context.Background(), attribution.Query{From: noon.AddDate(-1, 0, 0), To: noon.AddDate(1, 0, 0)})
	if err != nil || r.Total.Clicks != p.want.Clicks || r.Total.Conversions != p.want.Conversions ||
		r.Total.Revenue["USD"].String() != p.want.Revenue["USD"].String() {
		t.Errorf("the report counts %+v, want %+v: %v", r.Total, p.want, err)
	}
	if got := listed(t, n.s); got != p.want.Clicks {
		t.Errorf("%d clicks are listed, want %d", got, p.want.Clicks)
	}
	id, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	// Old and late postbacks for clicks of both nodes.
	pos := n.s.Position()
	again, late, other := sale(p.old[2].Clicks[0], "y"), sale(p.old[2].Clicks[2], "z"), sale(p.young[2].Clicks[1], "z")
	n.next = pos.NextBlock
	c := &capture.Click{Time: noon.Add(51 * day), Campaign: "acme"}
	c.Ref.Epoch, c.Ref.Block, c.Ref.Second = id.Epoch, n.next, uint32(c.Time.Unix())
	mine := &capture.Block{Number: n.next, Clicks: []*capture.Click{c}}
	n.next++
	n.commit([]*capture.Block{mine}, again, late, other)
	n.mine = mine
	if got := outcomes(again, late, other); got != "duplicate recorded recorded" {
		t.Errorf("the outcomes are %s", got)
	}
	for _, b := range []*capture.Block{p.old[3], p.young[3]} {
		if r, err := n.s.Erase(context.Background(), b.Clicks[0].Ref); err != nil {
			t.Errorf("erasing %+v: %+v, %v", b.Clicks[0].Ref, r, err)
		}
	}
	checked(t, n.s)

	// Retention takes the clicks of the old node, and only those.
	if _, err := n.s.Sweep(context.Background(), noon.Add(100*day), capture.Retention{Clicks: 90 * day}); err != nil {
		t.Fatal(err)
	}
	for _, b := range p.old {
		if _, err := n.s.Click(context.Background(), b.Clicks[0].Ref); !errors.Is(err, capture.ErrNotFound) {
			t.Errorf("click %+v is still there: %v", b.Clicks[0].Ref, err)
		}
	}
	found(t, n.s, append(p.young, p.late, mine)...)
	checked(t, n.s)
	var file bytes.Buffer
	if err := n.s.Backup(context.Background(), &file); err != nil || file.Len() == 0 {
		t.Error(err)
	}
}

// returns copies the store to another schema, where both nodes go on as
// themselves.
func (n *embedded) returns(from capture.Engine) {
	t, p := n.t, n.past
	leases := make(map[uint16]uint64)
	next := fresh(t)
	for _, e := range []*Engine{p.a, p.b} {
		e.Schema = next.Schema
		id, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		leases[id.Epoch] = 7 // blocks of a; b had fewer
	}
	mustCopy(t, from, p.a)
	for _, e := range []*Engine{p.a, p.b} {
		was, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		node := open(t, e)
		if uint16(node.s.node) != was.Epoch || node.next < leases[was.Epoch] {
			t.Errorf("node %d goes on as %d at block %d", was.Epoch, node.s.node, node.next)
		}
		found(t, node.s, append(p.young, p.late, n.mine)...)
		node.healthy()
		node.must(node.commit([]*capture.Block{node.block(1)}, sale(p.young[4].Clicks[0], e.Dir)))
	}
	// A third one gets a number of its own.
	third := open(t, another(t, p.a))
	if leases[uint16(third.s.node)] != 0 {
		t.Errorf("a new node has the number %d of an old one", third.s.node)
	}
	third.healthy()
}
