package spool_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/pgstore"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
	"github.com/caddy-capture/caddy-capture/capture/spool"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		child()
		return
	}
	pgtest.Main(m)
}

func fleetNode(t *testing.T, dsn, schema, dir string) *capture.Ledger {
	t.Helper()
	e := &spool.Engine{
		Shared: &pgstore.Engine{DSN: dsn, Schema: schema, Dir: dir, Logger: zap.NewNop()},
		OpenQueue: func(ctx context.Context) (spool.Queue, error) {
			q, err := badgerstore.New(filepath.Join(dir, "queue"), zap.NewNop()).OpenQueue(ctx)
			if err != nil {
				return nil, err
			}
			return q, nil
		},
		Deadline: 20 * time.Second, // what is expected to be decided is not accepted instead,
	}
	l, err := capture.OpenLedger(context.Background(), e, &capture.Attachment{Logger: zap.NewNop()}, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func clicked(t *testing.T, l *capture.Ledger) *capture.Click {
	t.Helper()
	c := &capture.Click{Time: time.Now(), Campaign: "acme", Source: "news", Destination: "https://acme.example/"}
	if got := l.Wait(l.Record(c), time.Minute); got != capture.SavedOnDisk {
		t.Fatalf("a click is saved as %d: %+v", got, l.Health())
	}
	return c
}

func sold(t *testing.T, l *capture.Ledger, c *capture.Click, txid string) capture.Result {
	t.Helper()
	p := &capture.Postback{
		Time: time.Now(), Route: "main", Ref: c.Ref, HasRef: true,
		Rules: &capture.Rules{Retain: capture.Retention{Clicks: capture.DefaultRetainClicks}},
		Raw:   capture.Raw{Method: http.MethodGet, Host: "a.example", URI: "/pb?txid=" + txid},
		Claim: attribution.Claim{Event: "sale", TxID: txid, Status: attribution.Approved},
	}
	if err := l.Book(context.Background(), p); err != nil {
		t.Fatalf("%v: %+v", err, l.Health())
	}
	return p.Result
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never comes true that %s", what)
		}
	}
}

// A database is stopped and started under two nodes, one of which is started anew
// meanwhile. A click waits at one, its postback comes to the other.
func TestPostgresAwayAndBack(t *testing.T) {
	t.Parallel()
	pgtest.Shared(t) // or skip
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	schema, dirs := pgtest.Schema(), []string{t.TempDir(), t.TempDir()}
	a, b := fleetNode(t, server.DSN(), schema, dirs[0]), fleetNode(t, server.DSN(), schema, dirs[1])
	defer func() { _ = b.Close() }()
	clicks, sales := 0, 0
	for range 3 {
		c := clicked(t, a)
		if r := sold(t, b, c, "1"); r.Outcome != capture.Recorded {
			t.Fatalf("a postback is %+v", r)
		}
		clicks, sales = clicks+1, sales+1
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	var crossing []*capture.Click
	for round := range 2 {
		for n := range 5 {
			c := clicked(t, a)
			crossing = append(crossing, c)
			for node, l := range []*capture.Ledger{a, b} {
				if r := sold(t, l, c, fmt.Sprint(node)); r.Outcome != capture.Accepted {
					t.Fatalf("postback %d of round %d is %+v", n, round, r)
				}
				sales++
			}
			clicks++
		}
		if h := a.Health(); h.State != "ok" || h.Store.Spool.State != capture.SpoolSpooling || h.Store.Spool.Clicks != 5*(round+1) {
			t.Errorf("the health is %+v, %+v", h, h.Store.Spool)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			a = fleetNode(t, server.DSN(), schema, dirs[0])
		}
	}
	// The other node is first: its postbacks have to wait for clicks that are in
	// the spool of a node that is not even running.
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	until(t, "the second node is drained", func() bool { return b.Health().Store.Spool.State == capture.SpoolShared })
	r, err := b.Reader()
	if err != nil {
		t.Fatal(err)
	}
	parked := 0
	if err := r.Journal(context.Background(), capture.JournalQuery{Open: true}, func(e *capture.Entry) bool {
		if e.Parked != nil && e.Reason == capture.UnknownClick {
			parked++
		}
		return true
	}); err != nil || parked != len(crossing) {
		t.Errorf("%d postbacks are parked: %v", parked, err)
	}
	a = fleetNode(t, server.DSN(), schema, dirs[0])
	defer func() { _ = a.Close() }()
	until(t, "the first node is drained", func() bool { return a.Health().Store.Spool.State == capture.SpoolShared })
	c := clicked(t, a)
	if r := sold(t, a, c, "1"); r.Outcome != capture.Recorded {
		t.Errorf("afterwards a postback is %+v", r)
	}
	report, err := b.Report(context.Background(), attribution.Query{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
	if err != nil || int(report.Total.Clicks) != clicks+1 || int(report.Total.Conversions) != sales+1 {
		t.Errorf("the report counts %+v, want %d clicks and %d conversions: %v", report.Total, clicks+1, sales+1, err)
	}
	for _, c := range crossing {
		for _, txid := range []string{"0", "1"} {
			if r := sold(t, b, c, txid); r.Outcome != capture.Duplicate {
				t.Errorf("said again, a postback is %+v", r)
			}
		}
	}
}

// A constraint of somebody's own refuses one sale among many, in the middle of a
// batch that waits: it is set aside, all others are there, and it is booked when
// the constraint is gone.
func TestPostgresRefused(t *testing.T) {
	t.Parallel()
	server, schema, dir := pgtest.Own(t), pgtest.Schema(), t.TempDir()
	l := fleetNode(t, server.DSN(), schema, dir)
	c := clicked(t, l)
	sql := func(text string) {
		t.Helper()
		conn, err := pgx.Connect(context.Background(), server.DSN())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background()) //nolint:errcheck // as it is
		if _, err := conn.Exec(context.Background(), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			p := &capture.Postback{
				Time: time.Now(), Route: fmt.Sprint("route", n), Ref: c.Ref, HasRef: true,
				Rules: &capture.Rules{Retain: capture.Retention{Clicks: capture.DefaultRetainClicks}},
				Raw:   capture.Raw{Method: http.MethodGet, Host: "a.example", URI: "/pb"},
				Claim: attribution.Claim{Event: "sale", TxID: fmt.Sprint(n), Status: attribution.Approved},
			}
			if err := l.Book(context.Background(), p); err != nil || p.Result.Outcome != capture.Accepted {
				t.Errorf("%+v, %v", p.Result, err)
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	sql(fmt.Sprintf(`ALTER TABLE %q.journal ADD CONSTRAINT mine CHECK (route <> 'route17')`, schema))
	l = fleetNode(t, server.DSN(), schema, dir)
	until(t, "one is set aside", func() bool {
		st := l.Health().Store.Spool
		return st.State == capture.SpoolShared && st.RefusedPostbacks == 1 && st.RefusedClicks == 0
	})
	if h := l.Health(); h.State != "degraded" || !strings.Contains(h.Why, "mine") || !h.Store.Writable {
		t.Errorf("the health is %+v", h)
	}
	conversions := func() int64 {
		t.Helper()
		r, err := l.Report(context.Background(), attribution.Query{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		return r.Total.Conversions
	}
	if n := conversions(); n != 39 {
		t.Errorf("%d conversions are there", n)
	}
	if r := sold(t, l, clicked(t, l), "1"); r.Outcome != capture.Recorded {
		t.Errorf("afterwards a postback is %+v", r)
	}
	sql(fmt.Sprintf(`ALTER TABLE %q.journal DROP CONSTRAINT mine`, schema))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = fleetNode(t, server.DSN(), schema, dir)
	defer func() { _ = l.Close() }()
	until(t, "it is tried again at the start", func() bool { return l.Health().State == "ok" && l.Health().Store.Spool.State == capture.SpoolShared })
	if n := conversions(); n != 41 {
		t.Errorf("%d conversions are there in the end", n)
	}
}

// A machine is cut off with clicks and sales that wait, and a copy of its directory
// becomes the node and writes more than that. When the machine is back, all that it
// has acknowledged is there, once.
func TestPostgresDisplaced(t *testing.T) {
	t.Parallel()
	server, schema, dir, copied := pgtest.Own(t), pgtest.Schema(), t.TempDir(), t.TempDir()
	a := fleetNode(t, server.DSN(), schema, dir)
	c := clicked(t, a)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	const waiting, others = 10, 20
	for n := range waiting {
		clicked(t, a)
		if r := sold(t, a, c, fmt.Sprint(n)); r.Outcome != capture.Accepted {
			t.Fatalf("a postback is %+v", r)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(copied, "node.json"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(context.Background(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // as it is
	if _, err := conn.Exec(context.Background(), fmt.Sprintf(`UPDATE %q.alive SET until = now() - interval '1 second'`, schema)); err != nil {
		t.Fatal(err)
	}
	b := fleetNode(t, server.DSN(), schema, copied)
	for range others {
		clicked(t, b)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	a = fleetNode(t, server.DSN(), schema, dir)
	defer func() { _ = a.Close() }()
	until(t, "what waited is sent", func() bool { return a.Health().Store.Spool.State == capture.SpoolShared })
	report, err := a.Report(context.Background(), attribution.Query{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
	if err != nil || report.Total.Clicks != 1+waiting+others || report.Total.Conversions != waiting {
		t.Errorf("the report counts %+v, want %d clicks and %d conversions: %v", report.Total, 1+waiting+others, waiting, err)
	}
}

// Who follows the journal at one node sees what the other books, too, and each
// entry once.
func TestPostgresFollow(t *testing.T) {
	t.Parallel()
	server, schema := pgtest.Shared(t), pgtest.Schema()
	a, b := fleetNode(t, server.DSN(), schema, t.TempDir()), fleetNode(t, server.DSN(), schema, t.TempDir())
	defer func() { _ = a.Close() }()
	defer func() { _ = b.Close() }()
	c := clicked(t, a)
	sold(t, a, c, "before")
	entries, stop := b.Follow()
	defer stop()
	begun(t, a, c, entries)
	want := make(map[string]int)
	for n := range 10 {
		for node, l := range []*capture.Ledger{a, b} {
			txid := fmt.Sprint(node, "-", n)
			want[txid] = 1
			sold(t, l, c, txid)
		}
	}
	got := make(map[string]int)
	note := func(e *capture.Entry) {
		if !strings.HasPrefix(e.Claim.TxID, begins) {
			got[e.Claim.TxID]++
		}
	}
	for end := time.After(time.Minute); len(got) < len(want); {
		select {
		case e := <-entries:
			note(e)
		case <-end:
			t.Fatalf("got %v", got)
		}
	}
	last := time.After(3 * time.Second)
	for more := true; more; {
		select {
		case e := <-entries:
			note(e)
		case <-last:
			more = false
		}
	}
	for txid, n := range got {
		if n != want[txid] {
			t.Errorf("the entry of %q came %d times", txid, n)
		}
	}
}

// begins is what the transactions are called by which a test learns that it is told
// of what others book.
const begins = "begins "

// begun returns when the journal was looked at the first time: what was booked
// elsewhere before that is not told of.
func begun(t *testing.T, elsewhere *capture.Ledger, c *capture.Click, entries <-chan *capture.Entry) {
	t.Helper()
	for n := range 120 {
		sold(t, elsewhere, c, fmt.Sprint(begins, n))
		select {
		case e := <-entries:
			if !strings.HasPrefix(e.Claim.TxID, begins) {
				t.Fatalf("told of %q, which was booked before", e.Claim.TxID)
			}
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Fatal("nothing is told of")
}
