package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// within is a context for what must not wait for somebody who is gone.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestFrozenCommit: the network swallows all that a node and the server say to
// each other, in the middle of a transaction. The server ends that by itself, or
// the locks that it holds would keep the node, or all of them, from going on.
func TestFrozenCommit(t *testing.T) {
	t.Parallel()
	for name, word := range map[string]string{"own row": "COMMIT", "turn": "FOR UPDATE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t)
			p.word = word
			direct := fresh(t)
			e := another(t, direct)
			e.DSN, e.patience = p.dsn(), 0
			n, other := open(t, e), open(t, direct)
			click := n.block(2)
			n.must(n.commit([]*capture.Block{click}, sale(click.Clicks[0], "1")))
			n.s.contended = time.Now().Add(time.Hour) // waits for its turn
			other.s.contended = n.s.contended
			b := n.make(nil, sale(click.Clicks[0], "2"))
			e.abandonAfter = 3 * time.Second
			p.mode.Store(freezes)
			if err := n.s.Commit(within(t, 5*time.Second), b); !errors.Is(err, capture.ErrUnknown) && !errors.Is(err, capture.ErrUnavailable) {
				t.Fatalf("the commit that was frozen: %v", err)
			}
			if p.cut.Load() != 1 {
				t.Fatal("nothing was frozen: the test proves nothing")
			}
			e.abandonAfter = 0
			n.must(other.s.Commit(within(t, time.Minute), other.make(nil, sale(click.Clicks[1], "1"))))
			n.must(n.s.Commit(within(t, time.Minute), b))
			if got := n.totals(); got.Conversions != 3 {
				t.Errorf("%d conversions are counted, want 3", got.Conversions)
			}
			n.healthy()
		})
	}
}

// TestFrozenOpen: opening ends by itself, whatever the server does.
func TestFrozenOpen(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.word = "schema_version"
	e := fresh(t)
	if _, err := e.Identity(); err != nil {
		t.Fatal(err)
	}
	e.DSN, e.openFor = p.dsn(), time.Second
	p.mode.Store(freezes)
	done := make(chan error, 1)
	go func() {
		_, err := e.Open(context.Background())
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("opening: %v, want ErrUnavailable", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("opening never ends")
	}
}

// TestFrozenLookup: so does looking something up, with an error that says who is
// away.
func TestFrozenLookup(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.word = "FROM \"capture"
	e := fresh(t)
	e.DSN, e.lookupFor = p.dsn(), 500*time.Millisecond
	n := open(t, e)
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}))
	for range n.s.read.Config().MaxConns { // one that is frozen is no other's to wait for
		frozen := p.cut.Load()
		p.mode.Store(freezes)
		for tries := 0; tries < 20 && p.cut.Load() == frozen; tries++ { // a busy machine may not get as far as to ask
			if _, err := n.s.ClickToBook(context.Background(), b.Clicks[0].Ref); !errors.Is(err, capture.ErrUnavailable) {
				t.Errorf("looking up a click: %v, want ErrUnavailable", err)
			}
		}
	}
	if got := p.cut.Load(); got != n.s.read.Config().MaxConns {
		t.Fatalf("%d connections were frozen, want %d: the test proves nothing", got, n.s.read.Config().MaxConns)
	}
	// A busy machine may take its time for a new connection. There are fewer tries
	// than there were frozen ones: none of these may be left.
	var err error
	for range n.s.read.Config().MaxConns - 1 {
		if _, err = n.s.ClickToBook(context.Background(), b.Clicks[0].Ref); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("looking up a click afterwards: %v", err)
	}
}

// TestSyncStandbyGone: while the database waits for a synchronous standby, a
// batch that was given up is committed, but is not what the database was asked to
// keep. Nobody is told that it is until a standby has it.
func TestSyncStandbyGone(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t) // or skip
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	e := fresh(t)
	e.DSN = server.DSN()
	n := open(t, e)
	click := n.block(2)
	n.must(n.commit([]*capture.Block{click}))
	conn, err := pgx.Connect(t.Context(), server.DSN())
	n.must(err)
	defer conn.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	standby := func(name string) {
		for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + name + "'", "SELECT pg_reload_conf()"} {
			_, err := conn.Exec(t.Context(), sql)
			n.must(err)
		}
		for {
			var now string
			n.must(conn.QueryRow(t.Context(), "SHOW synchronous_standby_names").Scan(&now))
			if now == name {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second) // until all others have heard of it
	}
	standby("nobody")

	// The deadline cancels the wait. A busy machine needs some time to get there.
	b := n.make(nil, sale(click.Clicks[0], "1"))
	for i, limit := range []time.Duration{5 * time.Second, 2 * time.Second} {
		if err := n.s.Commit(within(t, limit), b); err == nil || i == 0 && !errors.Is(err, capture.ErrUnknown) {
			t.Errorf("attempt %d without the standby: %v", i, err)
		}
	}
	standby("")
	n.must(n.s.Commit(t.Context(), b))
	if got := outcomes(b.Postbacks...); got != "recorded" {
		t.Errorf("in the end the postback is %s", got)
	}

	// Somebody else does, and the server says that it has committed.
	standby("nobody")
	b = n.make(nil, sale(click.Clicks[1], "1"))
	done := make(chan error, 1)
	go func() { done <- n.s.Commit(context.Background(), b) }()
	for {
		var cancelled int
		n.must(conn.QueryRow(t.Context(), "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&cancelled))
		if cancelled > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := <-done; !errors.Is(err, capture.ErrUnknown) {
		t.Errorf("a commit that nobody waits for any more: %v, want ErrUnknown", err)
	}
	standby("")
	n.must(n.s.Commit(t.Context(), b))
	if got := n.totals(); got.Conversions != 2 {
		t.Errorf("%d conversions are counted, want 2", got.Conversions)
	}
	n.healthy()
}

// TestReadOnly: a connection to what has become a replica is of no use, so
// another one is made.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}))
	var conns []*pgxpool.Conn
	for range n.s.write.Stat().TotalConns() {
		c, err := n.s.write.Acquire(t.Context())
		n.must(err)
		_, err = c.Exec(t.Context(), "SET default_transaction_read_only = on")
		n.must(err)
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Release()
	}
	batch := n.make(nil, sale(b.Clicks[0], "1"))
	var err error
	for range 3 { // as many as there are connections, and once more
		if err = n.s.Commit(t.Context(), batch); err == nil {
			break
		}
		if !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("a commit on a replica: %v, want ErrUnavailable", err)
		}
	}
	n.must(err)
}

// TestReplica: a server that takes no writes is not connected to at all.
func TestReplica(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	if _, err := e.Identity(); err != nil {
		t.Fatal(err)
	}
	e.DSN += " default_transaction_read_only=on"
	s, err := e.Open(t.Context())
	if !errors.Is(err, capture.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "read only") {
		t.Errorf("opening on a replica: %v, want ErrUnavailable", err)
	}
	if err == nil {
		_ = s.Close(0)
	}
}

// TestNothingTold: no error tells the password, however wrong the connection
// string is.
func TestNothingTold(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://capture:hunter2/hunter3@db.example/capture",
		"postgres://capture:hunter2#hunter3@db.example/capture",
		"postgres://capture:123#hunter3@db.example/capture",
		"postgres://capture:hunter2%zz@db.example/capture",
		"postgres://db.example/capture?password=hunter2&connect_timeout=x",
		"host=db.example password = hunter2 port=x",
		`host=db.example password='hunter2\'hunter3' port=x`,
		"host=db.example sslpassword=hunter2 port=hunter3",
		"capture:hunter2@db.example/capture",
		"postgres://capture:hunter2@127.0.0.1:1/capture?sslmode=disable",
	} {
		e := fresh(t)
		e.DSN, e.Schema = dsn, "capture"
		_, err := e.Open(t.Context())
		if err == nil {
			t.Errorf("%q was opened", dsn)
			continue
		}
		if text := err.Error() + e.Key(); strings.Contains(text, "hunter") || strings.Contains(text, "123") {
			t.Errorf("%q: the error or the key tells of the password: %s", dsn, text)
		}
	}
}

// TestReportersWait: whoever has all connections for reading does not keep
// anybody from writing.
func TestReportersWait(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}))
	for range n.s.read.Config().MaxConns {
		c, err := n.s.read.Acquire(t.Context())
		n.must(err)
		defer c.Release()
	}
	ctx, cancel := context.WithCancel(t.Context())
	beaten := make(chan struct{})
	go func() {
		defer close(beaten)
		_ = n.s.beat(ctx)
	}()
	time.Sleep(300 * time.Millisecond) // until it waits for a connection
	waits := sale(b.Clicks[0], "1")
	waits.Problem = capture.BadPayout
	n.must(n.s.Commit(within(t, time.Minute), n.make(nil, waits)))
	cancel()
	<-beaten
	if got := n.s.Status().Quarantine[capture.BadPayout]; got != 1 {
		t.Errorf("%d are in quarantine, want 1", got)
	}
}

// TestSequenceBehind: the sequence of numbers can be behind the journal, as it is
// after a crash while somebody has numbers that were not used yet. No entry is
// replaced by another one.
func TestSequenceBehind(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(4)
	first := sale(b.Clicks[0], "1")
	second := sale(b.Clicks[1], "1")
	n.must(n.commit([]*capture.Block{b}, first, second))
	_, err := n.s.write.Exec(t.Context(), n.s.q(`SELECT setval('{s}.journal_seq', $1)`), int64(first.Seq))
	n.must(err)
	third, fourth := sale(b.Clicks[2], "3"), sale(b.Clicks[3], "4")
	n.must(n.commit(nil, third, fourth))
	for _, p := range []*capture.Postback{first, second, third, fourth} {
		e, err := n.s.Entry(t.Context(), p.Seq)
		if err != nil || e.Click != p.Ref {
			t.Errorf("entry %d is about %+v: %v, want %+v", p.Seq, e.Click, err, p.Ref)
		}
	}
	if list := n.entries(); list != 4 {
		t.Errorf("the journal has %d entries, want 4", list)
	}
	n.healthy()

	// A batch that was numbered and not written leaves numbers that the sequence
	// has to go beyond.
	fifth := sale(b.Clicks[0], "5")
	fifth.Seq = fourth.Seq + 3
	n.must(n.commit(nil, fifth))
	var more []*capture.Postback
	for i := range 5 {
		more = append(more, sale(b.Clicks[0], fmt.Sprint("more", i)))
	}
	n.must(n.commit(nil, more...))
	if list := n.entries(); list != 10 {
		t.Errorf("the journal has %d entries, want 10", list)
	}
	n.healthy()
}

func (n *node) entries() (count int) {
	n.t.Helper()
	n.must(n.s.Journal(context.Background(), capture.JournalQuery{}, func(*capture.Entry) bool { count++; return true }))
	return count
}

// TestCopiesAtOnce: of copies of one node that start at the same moment one
// becomes the node, and the others are told so.
func TestCopiesAtOnce(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	data, err := os.ReadFile(filepath.Join(e.Dir, nodeName))
	n.must(err)
	n.s.crash()
	db := open(t, another(t, e)) // for its connection
	for range 8 {
		_, err := db.s.write.Exec(t.Context(), db.s.q(`UPDATE {s}.alive SET until = now() - interval '1 second' WHERE node = $1`), n.s.node)
		n.must(err)
		var wg sync.WaitGroup
		var stores [4]capture.Store
		for i := range stores {
			c := another(t, e)
			c.patience = shortly
			n.must(os.WriteFile(filepath.Join(c.Dir, nodeName), data, 0o600))
			wg.Go(func() {
				s, err := c.Open(context.Background())
				switch {
				case err == nil:
					stores[i] = s
				case !errors.Is(err, capture.ErrLocked):
					t.Errorf("a copy: %v, want ErrLocked", err)
				}
			})
		}
		wg.Wait()
		opened := 0
		for _, s := range stores {
			if s != nil {
				opened++
				s.(*Store).crash()
			}
		}
		if opened != 1 {
			t.Fatalf("%d copies are the node, want 1", opened)
		}
	}
}
