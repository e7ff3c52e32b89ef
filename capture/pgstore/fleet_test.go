package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestStartAtOnce: nodes find no schema, and all make it.
func TestStartAtOnce(t *testing.T) {
	t.Parallel()
	first := fresh(t)
	engines := []*Engine{first}
	for range 7 {
		engines = append(engines, another(t, first))
	}
	stores := make([]capture.Store, len(engines))
	var wg sync.WaitGroup
	for i, e := range engines {
		wg.Go(func() {
			var err error
			if stores[i], err = e.Open(context.Background()); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	epochs := make(map[uint16]bool)
	var secret []byte
	for i, e := range engines {
		id, err := e.Identity()
		if err != nil {
			t.Fatal(err)
		}
		if id.Epoch == 0 || epochs[id.Epoch] {
			t.Errorf("node %d has number %d, which another one has, or which is none", i, id.Epoch)
		}
		epochs[id.Epoch] = true
		if secret == nil {
			secret = id.Secret
		}
		if !bytes.Equal(secret, id.Secret) {
			t.Errorf("node %d has another secret", i)
		}
		if stores[i] != nil {
			if err := stores[i].Close(0); err != nil {
				t.Error(err)
			}
		}
		if e.Key() != first.Key() {
			t.Errorf("the key of node %d is %q, want %q", i, e.Key(), first.Key())
		}
	}
}

// TestSameInstant: two nodes book the same postbacks, at the same instant and
// many at a time. Each is recorded once.
func TestSameInstant(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	nodes := []*node{open(t, e), open(t, another(t, e))}
	const rounds, each = 25, 20
	for round := range rounds {
		b := nodes[0].block(each)
		nodes[0].must(nodes[0].commit([]*capture.Block{b}))
		var posts [2][]*capture.Postback
		var errs [2]error
		var wg sync.WaitGroup
		for i, n := range nodes {
			for j, c := range b.Clicks {
				posts[i] = append(posts[i], sale(c, fmt.Sprint(round, j)))
			}
			wg.Go(func() { errs[i] = n.commit(nil, posts[i]...) })
		}
		wg.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			t.Fatal(err)
		}
		seqs := make(map[uint64]bool)
		for j := range each {
			got := outcomes(posts[0][j], posts[1][j])
			if got != "recorded duplicate" && got != "duplicate recorded" {
				t.Errorf("round %d, postback %d became %s", round, j, got)
			}
			seqs[posts[0][j].Seq], seqs[posts[1][j].Seq] = true, true
		}
		if len(seqs) != 2*each {
			t.Errorf("%d journal numbers were given to %d postbacks", len(seqs), 2*each)
		}
	}
	for _, n := range nodes {
		if got := n.totals(); got.Conversions != rounds*each || got.Clicks != rounds*each || got.Revenue["USD"].String() != "6250" {
			t.Errorf("the report counts %+v", got)
		}
		n.healthy()
	}
}

// TestManyNodes: five nodes book postbacks of the same clicks, half of them the
// same ones. All get on, and each conversion is there once.
func TestManyNodes(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	nodes := []*node{open(t, e)}
	for range 4 {
		nodes = append(nodes, open(t, another(t, e)))
	}
	const rounds, each = 15, 32
	b := nodes[0].block(each)
	nodes[0].must(nodes[0].commit([]*capture.Block{b}))
	var wg sync.WaitGroup
	for k, n := range nodes {
		wg.Go(func() {
			for round := range rounds {
				var posts []*capture.Postback
				for i, c := range b.Clicks {
					txid := fmt.Sprint(round)
					if i%2 == 0 {
						txid = fmt.Sprint("only ", k, round)
					}
					posts = append(posts, sale(c, txid))
				}
				if err := n.commit(nil, posts...); err != nil {
					t.Errorf("node %d, round %d: %v", k, round, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, want := nodes[0].totals().Conversions, int64(rounds*each/2*(1+len(nodes))); got != want {
		t.Errorf("%d conversions are counted, want %d", got, want)
	}
	nodes[1].healthy()
}

// TestEachItsOwn: what one node wrote another reads, and their batches do not
// count as each other's.
func TestEachItsOwn(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	a, b := open(t, e), open(t, another(t, e))
	click := a.block(1)
	a.must(a.commit([]*capture.Block{click}))
	first := sale(click.Clicks[0], "1")
	b.must(b.commit([]*capture.Block{b.block(2)}, first))
	if first.Result.Outcome != capture.Recorded {
		t.Errorf("the postback on the other node is %s", first.Result.Outcome)
	}
	refund := sale(click.Clicks[0], "1")
	refund.Time, refund.Claim.Status = refund.Time.Add(time.Hour), 4
	a.must(a.commit(nil, refund))
	if refund.Result.Outcome != capture.Updated {
		t.Errorf("the refund on the first node is %s", refund.Result.Outcome)
	}
	if got := b.totals(); got.Clicks != 3 || got.Conversions != 1 || got.Reversed != 1 || len(got.Revenue) != 0 {
		t.Errorf("the report counts %+v", got)
	}
	waits := sale(click.Clicks[0], "2")
	waits.Problem = capture.BadPayout
	a.must(a.commit(nil, waits))
	b.must(b.s.beat(context.Background()))
	if n := b.s.Status().Quarantine[capture.BadPayout]; n != 1 {
		t.Errorf("the other node knows of %d in quarantine, want 1", n)
	}
	a.healthy()
}

// TestSameNode: one directory is one process, and a copy of it is none while
// that runs.
func TestSameNode(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	locked := func(what string, e *Engine) {
		t.Helper()
		e.patience = shortly
		if s, err := e.Open(context.Background()); !errors.Is(err, capture.ErrLocked) {
			t.Errorf("%s: %v, want ErrLocked", what, err)
			if err == nil {
				_ = s.Close(0)
			}
		}
	}
	locked("again", e)
	same := another(t, e)
	same.Dir = e.Dir
	locked("by another engine", same)
	copied := another(t, e)
	data, err := os.ReadFile(filepath.Join(e.Dir, nodeName))
	n.must(err)
	n.must(os.WriteFile(filepath.Join(copied.Dir, nodeName), data, 0o600))
	locked("with a copy of the directory", copied)
	data, err = os.ReadFile(filepath.Join(e.Dir, lockName))
	n.must(err)
	n.must(os.WriteFile(filepath.Join(copied.Dir, lockName), data, 0o600))
	locked("with a copy of all that is in it", copied)

	// When the lease has ended the copy is the node, and who was it is not. A sign of life that comes between renews it.
	var s capture.Store
	for end := time.Now().Add(30 * time.Second); s == nil; {
		_, err = n.s.write.Exec(context.Background(), n.s.q(`UPDATE {s}.alive SET until = now() - interval '1 second'`))
		n.must(err)
		if s, err = copied.Open(context.Background()); err != nil && (!errors.Is(err, capture.ErrLocked) || time.Now().After(end)) {
			t.Fatal(err)
		}
	}
	m := opened(t, copied, s)
	if m.next < n.next+leaseJump || m.batch != n.batch+capture.BatchJump {
		t.Errorf("the copy goes on at block %d and batch %d, want %d and %d", m.next, m.batch, n.next+leaseJump, n.batch+capture.BatchJump)
	}
	m.must(m.commit([]*capture.Block{m.block(1)}))
	if err := n.commit([]*capture.Block{n.block(1)}); !errors.Is(err, capture.ErrFatal) {
		t.Errorf("a commit of who was the node: %v, want ErrFatal", err)
	}
	if err := n.s.Ping(t.Context()); !errors.Is(err, capture.ErrFatal) {
		t.Errorf("asked whether it is there, who was the node says %v, want ErrFatal", err)
	}
	if st := n.s.Status(); st.Writable || !st.Failed {
		t.Errorf("the status is %+v", st)
	}
	if got := m.totals(); got.Clicks != 2 {
		t.Errorf("%d clicks are counted, want 2", got.Clicks)
	}
}

// TestIdentityAway: who a node is does not need the database.
func TestIdentityAway(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	id, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	away := another(t, e)
	away.Dir, away.DSN = e.Dir, "postgres://capture:hidden@127.0.0.1:1/capture?sslmode=disable"
	again, err := away.Identity()
	if err != nil || again.Epoch != id.Epoch || !bytes.Equal(again.Secret, id.Secret) {
		t.Errorf("without the database the identity is %d: %v, want %d", again.Epoch, err, id.Epoch)
	}
	if _, err := away.Open(context.Background()); !errors.Is(err, capture.ErrUnavailable) || bytes.Contains([]byte(err.Error()), []byte("hidden")) {
		t.Errorf("opening without the database: %v", err)
	}
	if key := away.Key(); key != fmt.Sprintf("postgres 127.0.0.1:1/capture schema %q", e.Schema) {
		t.Errorf("the key is %q", key)
	}
	// A new node has to ask.
	unknown := another(t, away)
	if _, err := unknown.Identity(); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("a new node without the database: %v", err)
	}
	// And no node is one of another store.
	other := another(t, e)
	other.Dir, other.Schema = e.Dir, e.Schema+"_other"
	if s, err := other.Open(context.Background()); err == nil {
		t.Error("a node was opened on another store")
		_ = s.Close(0)
	}
}

// TestNodeLost: a node that the database has lost goes on as who it is, unless
// its number is another one's now.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	db := open(t, another(t, e)) // for its connection
	for _, taken := range []bool{false, true} {
		n.s.crash()
		_, err := db.s.write.Exec(t.Context(), db.s.q(`DELETE FROM {s}.nodes WHERE node = $1`), n.s.node)
		n.must(err)
		if taken {
			_, err = db.s.write.Exec(t.Context(), db.s.q(`INSERT INTO {s}.nodes (node, token) VALUES ($1, 'another')`), n.s.node)
			n.must(err)
			if _, err := e.Open(t.Context()); err == nil {
				t.Error("two nodes have the same number")
			}
			break
		}
		m := open(t, e)
		if m.s.node != n.s.node || m.next < n.next+leaseJump-2 || m.batch != 1 {
			t.Errorf("it goes on as node %d at block %d and batch %d", m.s.node, m.next, m.batch)
		}
		m.must(m.commit([]*capture.Block{m.block(1)}))
		m.healthy()
		n = m
	}
	other := another(t, e)
	running := open(t, other)
	_, err := db.s.write.Exec(t.Context(), db.s.q(`DELETE FROM {s}.nodes WHERE node = $1`), running.s.node)
	n.must(err)
	// It has to be opened anew, by which it becomes known.
	if err := running.commit([]*capture.Block{running.block(1)}); !errors.Is(err, capture.ErrFatal) {
		t.Errorf("a node that the database lost while it ran: %v, want ErrFatal", err)
	}
	n.must(running.s.Close(0))
	again := open(t, other)
	again.must(again.commit([]*capture.Block{again.block(1)}))
}
