package badgerstore

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// TestCompactionsPause makes Badger merge tables: whether it stands back then hangs
// on a line that it logs.
func TestCompactionsPause(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.noSync = true
	log := newLogger(zap.NewNop())
	o := badgerOptions(e.Dir, e).WithLogger(log).WithMemTableSize(1 << 20).WithValueThreshold(64 << 10)
	db, err := badger.OpenManaged(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	log.compactions.db.Store(db)
	value := make([]byte, 32<<10)
	end := time.Now().Add(time.Minute)
	for n := uint64(1); log.compactions.paused.Load() == 0; {
		if time.Now().After(end) {
			t.Fatalf("no merge has paused: %s", db.LevelsToString())
		}
		if db.Levels()[0].NumTables >= levelZeroTables { // enough to be merged, and not so many that it is urgent
			time.Sleep(time.Millisecond)
			continue
		}
		n++
		_, _ = rand.Read(value)
		txn := db.NewTransactionAt(n, true)
		if err := errors.Join(txn.Set(value[:16], value), txn.CommitAt(n, nil)); err != nil {
			t.Fatal(err)
		}
	}

	other := newLogger(zap.NewNop())
	other.compactions.db.Store(db)
	built := func() int64 {
		other.Debugf(mergeLine+" %d keys. Skipped %d keys. Iteration took: %v", 1, 2, 3, time.Nanosecond)
		return other.compactions.paused.Load()
	}
	if n := built(); n != 1 {
		t.Errorf("after a table there were %d pauses", n)
	}
	other.compactions.hurry.Add(1)
	if n := built(); n != 1 {
		t.Errorf("in a hurry there was a pause all the same: %d", n)
	}
}

// TestCompactionsOfAStore looks whether those of a store pause, and for how long.
func TestCompactionsOfAStore(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	l, ok := s.db.Opts().Logger.(logger)
	if !ok {
		t.Fatalf("Badger logs to %T", s.db.Opts().Logger)
	}
	if l.compactions.db.Load() != s.db {
		t.Error("they do not know their database, and will never pause")
	}
	c, _ := visit(newWriter(t, s), day)
	if _, err := s.Erase(ctx, c.Ref); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := s.compact(ended); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(time.Minute); l.compactions.hurry.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d still wait for them", l.compactions.hurry.Load())
		}
	}
	closeStore(t, s, 0)
	if n := l.compactions.hurry.Load(); n != 1 {
		t.Errorf("%d wait for them while the store closes", n)
	}
}

func TestPauseAfter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		worked time.Duration
		tables int     // on the first level
		score  float64 // of the last
		want   time.Duration
	}{
		{20 * time.Millisecond, 0, 0, 60 * time.Millisecond},
		{20 * time.Millisecond, hurryFrom - 1, 1.5, 60 * time.Millisecond},
		{20 * time.Millisecond, hurryFrom, 0, 0},
		{20 * time.Millisecond, 0, hurryScore, 0},
		{time.Minute, 5, 0, maxPause},
		{-time.Second, 5, 0, 0},
	} {
		levels := []badger.LevelInfo{{NumTables: c.tables, Score: 2 * hurryScore}, {NumTables: 1000}, {Score: c.score}}
		if got := pauseAfter(c.worked, levels); got != c.want {
			t.Errorf("after %v with %d tables and a score of %g: %v, want %v", c.worked, c.tables, c.score, got, c.want)
		}
	}
}
