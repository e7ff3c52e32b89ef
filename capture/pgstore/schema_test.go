package pgstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
)

func TestNewerSchema(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	_, err := n.s.write.Exec(context.Background(), n.s.q(`INSERT INTO {s}.schema_version (version) VALUES (1000)`))
	n.must(err)
	n.must(n.s.Close(0))
	if _, err := e.Open(context.Background()); !errors.Is(err, capture.ErrNewerFormat) || errors.Is(err, capture.ErrUnavailable) {
		t.Errorf("opening a newer schema: %v", err)
	}
}

// TestHalfBegun: whoever made the schema was killed in the middle. The next one makes
// all that migrations rest on.
func TestHalfBegun(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	other := open(t, fresh(t)) // for its connection
	_, err := other.s.write.Exec(t.Context(), e.schema().q(`CREATE SCHEMA {s}; CREATE TABLE {s}.schema_version (version int PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())`))
	other.must(err)
	n := open(t, e)
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	var locks int
	n.must(n.s.read.QueryRow(t.Context(), n.s.q(`SELECT count(*) FROM {s}.schema_version WHERE version = 0`)).Scan(&locks))
	if locks != 1 {
		t.Errorf("there are %d rows by which those who change the schema wait for each other, want 1", locks)
	}
}

func TestSchemaNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b", `a"b`, "1a", "a'", "capture;", "é"} {
		e := fresh(t)
		e.Schema = name
		if _, err := e.Open(context.Background()); err == nil {
			t.Errorf("a schema %q was made", name)
		}
	}
	e := fresh(t)
	e.Schema = "Capture_Upper"
	n := open(t, e)
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	n.healthy()
}

func TestDamagedNodeFile(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "{", "{}", `{"format":1,"token":"x","node":5000,"store":"y"}`, `{"format":1,"token":"x","node":5,"store":"y"}`} {
		e := fresh(t)
		if err := os.WriteFile(filepath.Join(e.Dir, nodeName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Identity(); !errors.Is(err, capture.ErrDamaged) {
			t.Errorf("%q: %v, want ErrDamaged", text, err)
		}
	}
	e := fresh(t)
	if err := os.WriteFile(filepath.Join(e.Dir, nodeName), []byte(`{"format":2,"token":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Identity(); !errors.Is(err, capture.ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
}

// TestNodeNumbersRunOut: a node that is gone for long has a successor, which
// goes on far beyond it.
func TestNodeNumbersRunOut(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	old := n.s.node
	_, err := n.s.write.Exec(context.Background(), n.s.q(`INSERT INTO {s}.nodes (node, token) SELECT i, 'taken ' || i
FROM generate_series(1, 4095) i ON CONFLICT DO NOTHING`))
	n.must(err)
	more := another(t, e)
	if id, err := more.Identity(); err == nil {
		t.Errorf("a node got number %d, which is in use", id.Epoch)
	}
	n.must(n.s.Close(n.next))
	direct := open(t, fresh(t)) // for its connection
	_, err = direct.s.write.Exec(context.Background(), e.schema().q(`UPDATE {s}.alive SET until = now() - interval '500 days'`))
	n.must(err)
	if id, err := more.Identity(); err == nil {
		t.Errorf("a node got number %d, which was given lately", id.Epoch)
	}
	_, err = direct.s.write.Exec(context.Background(), e.schema().q(`UPDATE {s}.nodes SET joined = now() - interval '600 days' WHERE node = $1`), old)
	n.must(err)
	if id, err := more.Identity(); err == nil {
		t.Errorf("a node got number %d, whose clicks are kept", id.Epoch)
	}
	_, err = direct.s.write.Exec(context.Background(), e.schema().q(`DELETE FROM {s}.blocks`))
	direct.must(err)
	m := open(t, more)
	if m.s.node != old || m.next < n.next+reuseJump {
		t.Errorf("the successor has number %d and begins at block %d, after %d at %d", m.s.node, m.next, old, n.next)
	}
	if _, err := e.Open(context.Background()); err == nil {
		t.Error("who was the node still is")
	}
}

// TestOneSuccessor: of nodes that want the only number that is left at the same
// moment, one gets it.
func TestOneSuccessor(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	_, err := n.s.write.Exec(t.Context(), n.s.q(`INSERT INTO {s}.nodes (node, token, joined)
SELECT i, 'taken ' || i, CASE i WHEN $1 THEN now() - interval '500 days' ELSE now() END FROM generate_series(1, 4095) i ON CONFLICT DO NOTHING`), n.s.node%4095+1)
	n.must(err)
	conn, err := n.s.bulk.Acquire(t.Context())
	n.must(err)
	defer giveBack(conn)
	_, err = conn.Exec(t.Context(), n.s.q(`BEGIN; SELECT 1 FROM {s}.nodes WHERE token LIKE 'taken %' FOR UPDATE`)) // until all have chosen
	n.must(err)
	const nodes = 3
	var errs [nodes]error
	var wg sync.WaitGroup
	for i := range nodes {
		own := another(t, e)
		own.DSN += " application_name=" + e.Schema
		wg.Go(func() { _, errs[i] = own.Identity() })
	}
	for waiting := 0; waiting < nodes; time.Sleep(10 * time.Millisecond) {
		n.must(n.s.read.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'`, e.Schema).Scan(&waiting))
	}
	_, err = conn.Exec(t.Context(), `ROLLBACK`)
	n.must(err)
	wg.Wait()
	got := 0
	for _, err := range errs {
		if err == nil {
			got++
		}
	}
	if got != 1 {
		t.Errorf("%d nodes have the number, want 1: %v", got, errors.Join(errs[:]...))
	}
}

// TestDayDropped: another node drops a partition that this one knows of.
func TestDayDropped(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	a, b := open(t, e), open(t, another(t, e))
	a.must(a.commit([]*capture.Block{a.block(1)}))
	r, err := b.s.Sweep(context.Background(), noon.AddDate(0, 0, 60), capture.Retention{Clicks: 30 * 24 * time.Hour})
	b.must(err)
	if r.Blocks != 1 {
		t.Errorf("the sweep deleted %+v", r)
	}
	if days, err := a.s.daysUntil(context.Background(), a.s.read, noon); err != nil || len(days) != 0 {
		t.Errorf("the partitions left are %v: %v", days, err)
	}
	a.must(a.commit([]*capture.Block{a.block(1)}))
	if got := a.totals(); got.Clicks != 2 {
		t.Errorf("%d clicks are counted, want 2", got.Clicks)
	}
	a.healthy()
}

// TestDayDroppedByHand: a person drops a partition, and does not know of the rest.
func TestDayDroppedByHand(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	n.must(n.commit([]*capture.Block{n.block(1)}))
	_, err := n.s.write.Exec(t.Context(), `DROP TABLE `+n.s.partition(dayOf(noon)))
	n.must(err)
	_, err = n.s.Sweep(t.Context(), noon.AddDate(0, 0, 60), capture.Retention{Clicks: 30 * 24 * time.Hour})
	n.must(err)
	n.must(n.commit([]*capture.Block{n.block(1)}))
	clicks := 0
	n.must(n.s.Clicks(t.Context(), capture.ClickQuery{}, func(*capture.Click) bool { clicks++; return true }))
	if clicks != 1 {
		t.Errorf("%d clicks are listed, want 1", clicks)
	}
}

// TestReaderOfDays: who reads clicks for long neither keeps others from writing
// those of a new day nor a sweep from deleting old ones.
func TestReaderOfDays(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	n.must(n.commit([]*capture.Block{n.block(1)}))
	seen := 0
	n.must(n.s.Clicks(context.Background(), capture.ClickQuery{}, func(*capture.Click) bool {
		seen++
		late := n.block(1)
		late.Clicks[0].Time = noon.AddDate(0, 0, 3)
		late.Clicks[0].Ref.Second = uint32(late.Clicks[0].Time.Unix())
		n.must(n.commit([]*capture.Block{late}))
		r, err := n.s.Sweep(context.Background(), noon.AddDate(0, 0, 31), capture.Retention{Clicks: 30 * 24 * time.Hour})
		n.must(err)
		if r.Blocks != 1 {
			t.Errorf("the sweep deleted %+v", r)
		}
		return true
	}))
	if seen != 1 {
		t.Errorf("%d clicks were listed, want the one that was there", seen)
	}
	// What is empty goes with the next sweep.
	if _, err := n.s.Sweep(context.Background(), noon.AddDate(0, 0, 31), capture.Retention{Clicks: 30 * 24 * time.Hour}); err != nil {
		t.Error(err)
	}
	days, err := n.s.daysUntil(context.Background(), n.s.read, noon.AddDate(0, 0, 30)) // others are of the days to come
	n.must(err)
	if !slices.EqualFunc(days, []time.Time{dayOf(noon.AddDate(0, 0, 3))}, time.Time.Equal) {
		t.Errorf("the partitions left are %v", days)
	}
}

// TestKnownBlocks: blocks that are there already are not counted again, whatever
// batch they come in.
func TestKnownBlocks(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(3)
	n.must(n.commit([]*capture.Block{b}))
	n.must(n.commit([]*capture.Block{b, n.block(1)}, sale(b.Clicks[0], "1")))
	if got := n.totals(); got.Clicks != 4 || got.Conversions != 1 {
		t.Errorf("the report counts %+v", got)
	}
	n.healthy()
}

// TestRestoreElsewhere: of a fleet's backup each node goes on as itself.
func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	second := another(t, e)
	a, b := open(t, e), open(t, second)
	block := b.block(1)
	b.must(b.commit([]*capture.Block{block}))
	a.must(a.commit([]*capture.Block{a.block(2)}, sale(block.Clicks[0], "1")))
	var file bytes.Buffer
	a.must(a.s.Backup(context.Background(), &file))
	a.must(a.s.Close(0))
	b.must(b.s.Close(0))
	conn, err := pgx.Connect(context.Background(), e.DSN)
	a.must(err)
	defer conn.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	_, err = conn.Exec(context.Background(), e.schema().q(`DROP SCHEMA {s} CASCADE`))
	a.must(err)

	a.must(second.Restore(context.Background(), bytes.NewReader(file.Bytes())))
	if err := e.Restore(context.Background(), bytes.NewReader(file.Bytes())); err == nil {
		t.Error("it was restored twice")
	}
	again := open(t, second)
	if again.s.node != b.s.node || again.next < b.next+leaseJump {
		t.Errorf("the node that restored is %d at block %d, and was %d at %d", again.s.node, again.next, b.s.node, b.next)
	}
	again.must(again.commit([]*capture.Block{again.block(1)}, sale(block.Clicks[0], "1")))
	if got := again.totals(); got.Clicks != 4 || got.Conversions != 1 {
		t.Errorf("the report counts %+v", got)
	}
	again.healthy()
	// So does the other one.
	id, err := e.Identity()
	a.must(err)
	if id.Epoch != uint16(a.s.node) {
		t.Errorf("the other node is %d, and was %d", id.Epoch, a.s.node)
	}
	other := open(t, e)
	if other.s.node != a.s.node {
		t.Errorf("the other node is %d, and was %d", other.s.node, a.s.node)
	}
}

// TestOtherEncoding: a database that cannot hold all text is refused at once.
func TestOtherEncoding(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	conn, err := pgx.Connect(t.Context(), e.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	if _, err := conn.Exec(t.Context(), `CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0`); err != nil {
		t.Fatal(err)
	}
	e.DSN = strings.Replace(e.DSN, "dbname=postgres", "dbname=latin", 1)
	if _, err := e.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("opening: %v", err)
	}
}

// TestGivenSchema: a role that may not make schemas uses the one that it has.
func TestGivenSchema(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	conn, err := pgx.Connect(t.Context(), e.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	for _, sql := range []string{
		`CREATE ROLE modest LOGIN`, `CREATE DATABASE modest`, `REVOKE CREATE ON DATABASE modest FROM PUBLIC`,
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	in, err := pgx.Connect(t.Context(), strings.Replace(e.DSN, "dbname=postgres", "dbname=modest", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	if _, err := in.Exec(t.Context(), e.schema().q(`CREATE SCHEMA {s} AUTHORIZATION modest`)); err != nil {
		t.Fatal(err)
	}
	e.DSN = strings.NewReplacer("dbname=postgres", "dbname=modest", "user=postgres", "user=modest").Replace(e.DSN)
	n := open(t, e)
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	if _, err := n.s.Erase(t.Context(), b.Clicks[0].Ref); err != nil {
		t.Error(err)
	}
	_, err = n.s.Sweep(t.Context(), noon.AddDate(0, 0, 60), capture.Retention{Clicks: 30 * 24 * time.Hour})
	n.must(err)
	n.healthy()
}

// TestErasedFiles: what is erased leaves the files of all tables that had it.
func TestErasedFiles(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(1)
	b.Clicks[0].Subs = []capture.Param{{Name: "sub1", Value: "somebody"}}
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	vacuumed := func() (tables []string) {
		rows, err := n.s.read.Query(t.Context(), `SELECT relname FROM pg_stat_user_tables WHERE schemaname = $1 AND vacuum_count > 0 ORDER BY 1`, string(n.s.schema))
		n.must(err)
		tables, err = pgx.CollectRows(rows, pgx.RowTo[string])
		n.must(err)
		return tables
	}
	if list := vacuumed(); len(list) > 0 {
		t.Fatalf("%q were vacuumed already", list)
	}
	r, err := n.s.Erase(t.Context(), b.Clicks[0].Ref)
	n.must(err)
	if !r.Click || r.Conversions != 1 || r.Pending {
		t.Errorf("erased are %+v", r)
	}
	want := []string{"blocks_20260301", "journal", "ledger"}
	for range 500 { // the server counts a little later
		if slices.Equal(vacuumed(), want) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if list := vacuumed(); !slices.Equal(list, want) {
		t.Errorf("%q were vacuumed, want %q", list, want)
	}

	// What could not be done at once the next sweep does.
	conn, err := n.s.bulk.Acquire(t.Context())
	n.must(err)
	_, err = conn.Exec(t.Context(), "BEGIN")
	n.must(err)
	_, err = conn.Exec(t.Context(), n.s.q(`LOCK TABLE {s}.ledger IN SHARE UPDATE EXCLUSIVE MODE`))
	n.must(err)
	c := n.block(1)
	c.Clicks[0].Subs = b.Clicks[0].Subs
	n.must(n.commit([]*capture.Block{c}))
	if r, err = n.s.Erase(t.Context(), c.Clicks[0].Ref); err != nil || !r.Pending {
		t.Errorf("while that is not possible: %+v, %v", r, err)
	}
	_, err = conn.Exec(t.Context(), "ROLLBACK")
	n.must(err)
	conn.Release()
	var before, after int
	count := func() (count int) {
		n.must(n.s.read.QueryRow(t.Context(), `SELECT vacuum_count FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'ledger'`, string(n.s.schema)).Scan(&count))
		return count
	}
	before = count()
	_, err = n.s.Sweep(t.Context(), noon, capture.Retention{})
	n.must(err)
	for range 500 {
		if after = count(); after > before {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if after <= before {
		t.Error("the sweep did not vacuum")
	}
}

// TestClockAhead: a node whose clock is wrong does not delete what others have.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	b := n.block(1)
	b.Clicks[0].Time = time.Now().Truncate(time.Millisecond)
	b.Clicks[0].Ref.Second = uint32(b.Clicks[0].Time.Unix())
	n.must(n.commit([]*capture.Block{b}))
	wrong := another(t, e)
	wrong.Now = func() time.Time { return time.Now().AddDate(0, 0, 60) }
	m := open(t, wrong)
	r, err := m.s.Sweep(t.Context(), wrong.Now(), capture.Retention{Clicks: 30 * 24 * time.Hour})
	n.must(err)
	if _, err := n.s.Click(t.Context(), b.Clicks[0].Ref); err != nil || r.Blocks != 0 {
		t.Errorf("the sweep deleted %+v: %v", r, err)
	}
}

// TestRecallDeleted: a batch that comes again when its entries are deleted
// already is done with all the same.
func TestRecallDeleted(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	n := open(t, e)
	b := n.block(1)
	n.must(n.commit([]*capture.Block{b}))
	batch := n.make(nil, sale(b.Clicks[0], "1"))
	n.must(n.s.Commit(t.Context(), batch))
	_, err := n.s.Sweep(t.Context(), noon.AddDate(0, 0, 100), capture.Retention{Journal: 24 * time.Hour})
	n.must(err)
	n.s.crash()
	n = open(t, e) // which knows nothing of what became of it
	batch.Postbacks[0].Seq = 0
	n.must(n.s.Commit(t.Context(), batch))
	if got := outcomes(batch.Postbacks...); got != "duplicate" {
		t.Errorf("the postback is %s", got)
	}
	if got := n.totals(); got.Conversions != 1 {
		t.Errorf("%d conversions are counted, want 1", got.Conversions)
	}
}

// TestSmallPool: one connection to work with is enough.
func TestSmallPool(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	e.Pool = 1
	n := open(t, e)
	b := n.block(1)
	b.Clicks[0].Subs = []capture.Param{{Name: "sub1", Value: "somebody"}}
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	n.s.contended = time.Now().Add(time.Hour)
	n.must(n.s.Commit(within(t, time.Minute), n.make(nil, sale(b.Clicks[0], "2"))))
	if _, err := n.s.Erase(within(t, time.Minute), b.Clicks[0].Ref); err != nil {
		t.Error(err)
	}
	if _, err := n.s.Sweep(within(t, time.Minute), noon, capture.Retention{Clicks: 30 * 24 * time.Hour}); err != nil {
		t.Error(err)
	}
	n.healthy()
}
