package pgstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// Who asks for something after the database has come back gets it, although the
// connections that were used just before have ended with it.
func TestReportAfterRestart(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t) // or skip
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	n := open(t, &Engine{DSN: server.DSN(), Dir: t.TempDir(), Logger: zap.NewNop()})
	n.must(n.commit([]*capture.Block{n.block(1)}))
	query := attribution.Query{From: noon.AddDate(0, 0, -1), To: noon.AddDate(0, 0, 1)}
	for range 3 {
		_, err := n.s.Report(context.Background(), query)
		n.must(err)
		n.must(server.Crash())
		n.must(server.Restart())
		time.Sleep(2 * pingAfter)
		r, err := n.s.Report(context.Background(), query)
		n.must(err)
		if r.Total.Clicks != 1 {
			t.Errorf("the report counts %d clicks", r.Total.Clicks)
		}
	}
}

// TestManyStarts: a process that was killed is known to be gone, however many starts
// come to nothing after it. So nothing is sent twice that it had in its spool.
func TestManyStarts(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n, db := open(t, e), open(t, another(t, e)) // for its connection
	n.must(n.commit([]*capture.Block{n.block(1)}))
	n.s.crash()
	_, err := db.s.write.Exec(t.Context(), db.s.q(`CREATE TABLE {s}.copying ()`))
	n.must(err)
	for range mostKnown + 3 {
		if s, err := e.Open(t.Context()); !errors.Is(err, capture.ErrUnfinished) {
			t.Fatalf("opening: %v (%v), want ErrUnfinished", err, s)
		}
	}
	_, err = db.s.write.Exec(t.Context(), db.s.q(`DROP TABLE {s}.copying`))
	n.must(err)
	again := open(t, e)
	if again.batch != n.batch {
		t.Errorf("it goes on at batch %d, want %d", again.batch, n.batch)
	}
}
