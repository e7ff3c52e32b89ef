package pgstore

import (
	"sync"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// TestClicksNeverMeet: batches of clicks are never tried again because of those
// of other nodes, however few nodes there are: the server notes what is read of
// small tables as all of the table.
func TestClicksNeverMeet(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	e.DSN = pgtest.Own(t, "autovacuum=off").DSN() // what the tests beside hold for long would be in the way, too
	nodes := []*node{open(t, e), open(t, another(t, e)), open(t, another(t, e))}
	for _, n := range nodes {
		n.must(n.commit([]*capture.Block{n.block(1)}))
	}
	_, err := nodes[0].s.write.Exec(t.Context(), nodes[0].s.q(`ANALYZE {s}.nodes, {s}.sums, {s}.blocks, {s}.days`))
	nodes[0].must(err)
	// Nor while somebody looks at the store as it was, as a backup does.
	holds := holdSnapshot(t, nodes[0])
	defer holds()
	const rounds = 300
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			for range rounds {
				if err := n.commit([]*capture.Block{n.block(3)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i, n := range nodes {
		if got := n.s.attempts.last; got != rounds+1 {
			t.Errorf("node %d made %d attempts at %d batches", i, got, rounds+1)
		}
	}
	nodes[0].healthy()
}

// holdSnapshot begins to look at the store, until it is told to end.
func holdSnapshot(t *testing.T, n *node) (end func()) {
	t.Helper()
	conn, err := n.s.bulk.Acquire(t.Context())
	n.must(err)
	for _, sql := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ", n.s.q(`SELECT count(*) FROM {s}.nodes`)} {
		_, err := conn.Exec(t.Context(), sql)
		n.must(err)
	}
	return func() { giveBack(conn) }
}
