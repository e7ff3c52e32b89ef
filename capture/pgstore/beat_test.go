package pgstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestRenew: a lease that is gone is made again, and a node that is not one any more
// is told why.
func TestRenew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"all is well":         {`SELECT $1::int`, ""},
		"the lease is gone":   {`DELETE FROM {s}.alive WHERE node = $1`, ""},
		"the node is gone":    {`DELETE FROM {s}.nodes WHERE node = $1`, "does not know node"},
		"the node is new":     {`UPDATE {s}.nodes SET holder = '' WHERE node = $1`, "does not know node"},
		"it is somebody else": {`UPDATE {s}.nodes SET holder = 'another' WHERE node = $1`, "another process"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := open(t, fresh(t))
			_, err := n.s.read.Exec(t.Context(), n.s.q(c.sql), n.s.node)
			n.must(err)
			err = n.s.renew(t.Context())
			switch {
			case c.want != "":
				if !errors.Is(err, capture.ErrFatal) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("renewing gives %v, want %q", err, c.want)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			var lives bool
			n.must(n.s.read.QueryRow(t.Context(), n.s.q(`SELECT until > now() FROM {s}.alive WHERE node = $1`), n.s.node).Scan(&lives))
			if !lives {
				t.Error("the node is not known to be alive")
			}
		})
	}
}

// TestNoQuestionBefore: a batch after a pause is not asked for before it is sent.
func TestNoQuestionBefore(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.word = "-- ping"
	e := fresh(t)
	e.DSN = p.dsn()
	n := open(t, e)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	n.totals() // by a connection that is asked about later
	time.Sleep(3 * pingAfter)
	p.mode.Store(cutsBefore)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	if p.cut.Load() != 0 {
		t.Error("the connection was asked whether it is there, before the batch was sent")
	}
	time.Sleep(3 * pingAfter)
	n.totals()
	if p.cut.Load() != 1 {
		t.Error("who reads was not asked, so the test shows nothing")
	}
	if got := n.totals(); got.Clicks != 2 {
		t.Errorf("%d clicks are counted", got.Clicks)
	}
}
