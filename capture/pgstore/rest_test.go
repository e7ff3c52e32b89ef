package pgstore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestEndedWithAWord: the server ends a connection and says so, before anything of
// the batch was written. Another connection does.
func TestEndedWithAWord(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	dsn := e.DSN
	e.DSN += " application_name=" + e.Schema
	n := open(t, e)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	var conns [2]*pgx.Conn
	for i := range conns {
		c, err := pgx.Connect(t.Context(), dsn)
		n.must(err)
		defer c.Close(context.Background()) //nolint:errcheck // nothing hangs on it
		conns[i] = c
	}
	for quick := false; !quick; {
		_, err := conns[0].Exec(t.Context(), n.s.q(`BEGIN; SELECT 1 FROM {s}.nodes FOR UPDATE`)) // which the batch waits for
		n.must(err)
		b := n.make([]*capture.Block{n.block(1)})
		begin, done := time.Now(), make(chan error, 1)
		go func() { done <- n.s.Commit(context.Background(), b) }()
		for ended := 0; ended == 0; time.Sleep(5 * time.Millisecond) {
			n.must(conns[1].QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = $1 AND wait_event_type = 'Lock'`, e.Schema).Scan(&ended))
		}
		quick = time.Since(begin) < staleAfter/2 // else it is taken for a server that does not answer
		_, err = conns[0].Exec(t.Context(), `ROLLBACK`)
		n.must(err)
		if err := <-done; err != nil {
			if quick {
				t.Errorf("the batch: %v", err)
			}
			n.must(n.s.Commit(context.Background(), b))
		}
	}
	n.healthy()
}

// TestFrozenRest: the other end of a connection goes while it rests, and nothing
// tells of that. Whoever reads next does not wait for its answer.
func TestFrozenRest(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.word = "-- ping"
	e := fresh(t)
	e.DSN = p.dsn()
	n := open(t, e)
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}))
	for range n.s.read.Config().MaxConns { // nor for the place that it had
		_, err := n.s.ClickToBook(t.Context(), b.Clicks[0].Ref)
		n.must(err)
		time.Sleep(3 * pingAfter)
		p.mode.Store(freezes)
		_, err = n.s.ClickToBook(within(t, time.Minute), b.Clicks[0].Ref)
		n.must(err)
	}
	if got := p.cut.Load(); got != n.s.read.Config().MaxConns {
		t.Errorf("%d connections were frozen, want %d", got, n.s.read.Config().MaxConns)
	}
}

// TestPingReadOnly: connections to what takes no writes any more are given up, also
// those that nobody would write with.
func TestPingReadOnly(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	n.must(n.commit([]*capture.Block{n.block(1)}))
	n.totals()
	for _, p := range []*pgxpool.Pool{n.s.write, n.s.read} {
		for _, c := range p.AcquireAllIdle(t.Context()) {
			_, err := c.Exec(t.Context(), "SET default_transaction_read_only = on")
			n.must(err)
			c.Release()
		}
	}
	if err := n.s.Ping(t.Context()); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("asked whether it is there, the store says %v, want ErrUnavailable", err)
	}
	n.must(n.s.Ping(t.Context()))
	n.must(n.commit([]*capture.Block{n.block(1)}))
}

// TestSettings: nothing in the connection string keeps batches from being sent, or
// holds more connections than are needed.
func TestSettings(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	e.DSN += " description_cache_capacity=0 statement_cache_capacity=0 default_query_exec_mode=simple_protocol pool_min_idle_conns=3 pool_max_conn_idle_time=1h"
	n := open(t, e)
	if c := n.s.bulk.Config(); c.MaxConnIdleTime > idleFor || c.MinIdleConns > 0 {
		t.Errorf("%d connections are held that nobody needs, and others for %s", c.MinIdleConns, c.MaxConnIdleTime)
	}
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	if got := n.totals(); got.Conversions != 1 {
		t.Errorf("%d conversions are counted, want 1", got.Conversions)
	}
}

// TestFrozenMigration: a node that makes the tables is cut off in the middle. The
// server ends that by itself, or no other one could ever start.
func TestFrozenMigration(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.word = "schema_version (version) VALUES ($1)"
	direct := fresh(t)
	e := another(t, direct)
	e.DSN, e.openFor = p.dsn(), 20*time.Second
	p.mode.Store(freezes)
	if _, err := e.Open(context.Background()); !errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("opening: %v, want ErrUnavailable", err)
	}
	if p.cut.Load() != 1 {
		t.Fatal("nothing was frozen: the test proves nothing")
	}
	direct.openFor = 3 * abandonAfter
	n := open(t, direct)
	n.must(n.commit([]*capture.Block{n.block(1)}))
}

// TestMeasureSeldom: the size of the store is asked for now and then only.
func TestMeasureSeldom(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	n.must(n.commit([]*capture.Block{n.block(1)}))
	for _, c := range []struct {
		ago   time.Duration
		asked bool
	}{{0, false}, {2 * measureEvery, true}} {
		n.s.statusMu.Lock()
		n.s.bytes, n.s.measured = 1, time.Now().Add(-c.ago)
		n.s.statusMu.Unlock()
		n.must(n.s.recount(t.Context()))
		if got := n.s.Status().Bytes; (got != 1) != c.asked {
			t.Errorf("%s after it was measured, the size is %d", c.ago, got)
		}
	}
}
