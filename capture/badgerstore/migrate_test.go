package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A format that never was: what is kept by day is under 'Y', and values of
// the quarantine's index have a byte more.
const oldByDay = 'Y'

func fromFormat0(m *migrator) error {
	if err := m.rewrite([]byte{oldByDay}, func(old pair) (pair, error) {
		return pair{append([]byte{kindByDay}, old.key[1:]...), old.value}, nil
	}); err != nil {
		return err
	}
	return m.rewrite([]byte{kindWaiting}, func(old pair) (pair, error) {
		return pair{old.key, bytes.TrimPrefix(old.value, []byte{'!'})}, nil
	})
}

// makeFormat0 makes a store of the old format.
func makeFormat0(t *testing.T, e *Engine, posts int) {
	t.Helper()
	s := openStore(t, e)
	w := newWriter(t, s)
	for i := 0; i < posts; i += 100 {
		c := w.clicks(click(day, "spring"))[0]
		var list []*capture.Postback
		for j := range 100 {
			list = append(list, postback(c, txid(i+j), day.Add(time.Hour)))
		}
		w.commit(nil, append(list, unknownPostback(5000, day)))
	}
	s.mu.Lock()
	rename := &migrator{ctx: ctx, db: s.db, guard: s.guard, ts: s.ts}
	err := errors.Join(
		rename.rewrite([]byte{kindByDay}, func(p pair) (pair, error) {
			return pair{append([]byte{oldByDay}, p.key[1:]...), p.value}, nil
		}),
		rename.rewrite([]byte{kindWaiting}, func(p pair) (pair, error) { return pair{p.key, append([]byte{'!'}, p.value...)}, nil }),
	)
	s.ts = rename.ts
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	id, err := readIdentity(s.home.dir)
	if err != nil {
		t.Fatal(err)
	}
	id.Format = 0
	if err := errors.Join(saveIdentity(s.db, id), s.home.writeIdentity(id)); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s, 0)
}

// It is not parallel to anything, as it changes the table of migrations.
func TestMigration(t *testing.T) {
	const posts = migrateStep + 200 // more than one step
	entries := posts + posts/100
	runs := 0
	var interrupt func(m *migrator) error
	migrations[0] = func(m *migrator) error {
		runs++
		if interrupt != nil {
			return interrupt(m)
		}
		return fromFormat0(m)
	}
	defer delete(migrations, 0)
	e := newEngine(t)
	makeFormat0(t, e, posts)

	// The process ends in the middle of it.
	interrupt = func(m *migrator) error {
		n := 0
		return m.rewrite([]byte{oldByDay}, func(old pair) (pair, error) {
			if n++; n > migrateStep+10 {
				return pair{}, errors.New("the process ends")
			}
			return pair{append([]byte{kindByDay}, old.key[1:]...), old.value}, nil
		})
	}
	if _, err := e.Open(ctx); err == nil {
		t.Fatal("half a migration was opened")
	}
	id, err := readIdentity(canonical(e.Dir))
	if err != nil || id.Format != 0 {
		t.Errorf("the format is %d after half a migration: %v", id.Format, err)
	}
	interrupt = nil
	check := func(e *Engine) {
		t.Helper()
		s := openStore(t, e)
		if n := len(journal(t, s, capture.JournalQuery{})); n != entries {
			t.Errorf("%d entries, want %d", n, entries)
		}
		if n := len(journal(t, s, capture.JournalQuery{Open: true})); n != posts/100 || s.Status().Quarantine[capture.UnknownClick] != posts/100 {
			t.Errorf("%d entries wait", n)
		}
		checkHealthy(t, s)
		closeStore(t, s, 0)
	}
	check(e)
	if runs != 2 {
		t.Errorf("the migration ran %d times, want 2", runs)
	}
	check(e)
	if id, err = readIdentity(canonical(e.Dir)); err != nil || id.Format != format || runs != 2 {
		t.Errorf("the format is %d after %d runs: %v", id.Format, runs, err)
	}

	// The process ended between the two notes of the format.
	id.Format = 0
	if err := (&home{dir: canonical(e.Dir)}).writeIdentity(id); err != nil {
		t.Fatal(err)
	}
	check(e)
	if id, err = readIdentity(canonical(e.Dir)); err != nil || id.Format != format || runs != 2 {
		t.Errorf("the format is %d after %d runs: %v", id.Format, runs, err)
	}
	testRestoreOlder(t, posts, check)
	testNewer(t, e)
}

// testRestoreOlder: a backup of an older format is migrated when it is opened.
func testRestoreOlder(t *testing.T, posts int, check func(*Engine)) {
	e := newEngine(t)
	makeFormat0(t, e, posts)
	h, err := e.claim(ctx)
	if err != nil {
		t.Fatal(err)
	}
	db, g, err := e.openDB(h)
	if err != nil {
		t.Fatal(err)
	}
	// As the older program would have done.
	s := &Store{db: db, home: h, guard: g, log: e.log(), gate: newGate(db.MaxVersion()), now: e.now}
	var file bytes.Buffer
	err = s.Backup(ctx, &file)
	_ = db.Close()
	h.release()
	if err != nil {
		t.Fatal(err)
	}
	if head, err := capture.VerifyBackup(bytes.NewReader(file.Bytes())); err != nil || head.Format != 0 {
		t.Fatalf("the header is %+v: %v", head, err)
	}
	to := newEngine(t)
	if err := to.Restore(ctx, bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	check(to)
}

// testNewer: a store of a newer format is refused, wherever that is noted.
func testNewer(t *testing.T, e *Engine) {
	dir := canonical(e.Dir)
	id, err := readIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	h, err := e.claim(ctx)
	if err != nil {
		t.Fatal(err)
	}
	db, _, err := e.openDB(h)
	if err != nil {
		t.Fatal(err)
	}
	newer := id
	newer.Format = format + 1
	if err := errors.Join(saveIdentity(db, newer), db.Close()); err != nil {
		t.Fatal(err)
	}
	h.release()
	_, err = e.Open(ctx)
	mustErr(t, err, capture.ErrNewerFormat)
	if err := (&home{dir: dir}).writeIdentity(newer); err != nil {
		t.Fatal(err)
	}
	before := fileTimes(t, dir)
	_, err = e.Open(ctx)
	mustErr(t, err, capture.ErrNewerFormat)
	if after := fileTimes(t, dir); after != before {
		t.Errorf("a store of a newer format was changed:\n%s\n%s", before, after)
	}
}

func fileTimes(t *testing.T, dir string) (s string) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		if filepath.Base(name) != lockName {
			s += fmt.Sprintln(name, diskSize(t, filepath.Dir(name), filepath.Base(name)))
		}
	}
	return s
}
