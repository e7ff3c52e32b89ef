package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// memTableSize also bounds a transaction: Badger takes 15 % of it, 1.2 MiB.
const memTableSize = 8 << 20

// levelZeroTables is how many tables gather on the first level before Badger
// merges them: its own default.
const levelZeroTables = 5

// maxValue is the most that one record may have. Badger would put values from
// 1 MiB on into its value log, with everything that this entails.
const maxValue = 768 << 10

// compression is none: our blocks are compressed already. Snappy would make a
// postback 260 bytes instead of 770, but Badger's table builders then keep
// three times the memory: under 100,000 clicks and 10,000 postbacks a second
// 370 MiB of live heap instead of 120. A flood must not cost a small server
// its memory, and disks are large.
const compression = options.None

// badgerOptions are sized for a server of 1 GB.
func badgerOptions(dir string, e *Engine) badger.Options {
	o := badger.DefaultOptions(dir)
	o.SyncWrites = !e.noSync && !ownSync // what is acknowledged survives a power cut; see logs
	o.DetectConflicts = false            // there is one writer
	o.MetricsEnabled = false
	o.MemTableSize = memTableSize
	o.NumMemtables = 3
	o.NumLevelZeroTables = levelZeroTables
	o.NumCompactors = 2
	o.BlockCacheSize = 32 << 20
	// Tables of one size on all levels: Badger's own get larger from level to
	// level, and those who build them take memory for two each.
	o.BaseTableSize, o.TableSizeMultiplier = 4<<20, 1
	// Two levels, whatever is stored up to 10 GB: every level more writes
	// everything once more. What is new lies together (days.go), so a table of
	// the first level mostly overlaps with few of the last, however many that
	// has. What is spread, as are conversions of clicks of all the month, is
	// merged with more: a flood of them on ten million clicks wrote a fifth
	// less than with levels that grow fourfold.
	o.BaseLevelSize, o.LevelSizeMultiplier = 40<<20, 256
	o.IndexCacheSize = 0          // only encrypted tables use one; ours are mapped
	o.ValueLogFileSize = 16 << 20 // never written to, but made at full size
	o.ChecksumVerificationMode = options.OnBlockRead
	o.NumVersionsToKeep = 1
	o.Compression = compression
	o.ExternalMagicVersion = magic
	o.Logger = newLogger(e.log())
	return o
}

// openDB opens Badger if there is room on the disk to do so.
func (e *Engine) openDB(h *home) (*badger.DB, *guard, error) {
	g := newGuard(h.dir, e.Reserve)
	g.measure()
	if err := g.look(); err != nil {
		return nil, nil, err
	}
	if err := g.check(); err != nil {
		return nil, nil, err
	}
	if err := e.moveAside(h); err != nil {
		return nil, nil, err
	}
	if err := checkTables(h.dir, badgerOptions(h.dir, e)); err != nil {
		return nil, nil, fmt.Errorf("opening the Badger files in %q: %w", h.dir, err)
	}
	if err := checkLogs(h.dir); err != nil {
		return nil, nil, fmt.Errorf("opening the Badger files in %q: %w", h.dir, err)
	}
	var db *badger.DB
	log := newLogger(e.log())
	err := e.patiently(context.Background(), func() (err error) {
		db, err = badger.OpenManaged(badgerOptions(h.dir, e).WithLogger(log))
		return openError(h.dir, err)
	})
	if err != nil {
		return nil, nil, err
	}
	log.compactions.db.Store(db)
	return db, g, nil
}

// openError says what to do about an error of Badger's.
func openError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "directory lock"):
		return lockedError(dir, "another process", err)
	case strings.Contains(err.Error(), "external magic") && !knownFormat(dir):
		// Badger has no error value for it. The only other number there can
		// be is that of a later format, which store.json has as well.
		return fmt.Errorf("%w: opening the Badger files in %q: %w: use the newer version of the program, "+
			"or a directory of its own for this one", capture.ErrNewerFormat, dir, err)
	}
	return unreadable(dir, err)
}

// knownFormat tells whether store.json is there and of a format that is known.
func knownFormat(dir string) bool {
	_, err := readIdentity(dir)
	return err == nil
}

// unreadable tells damage of a file of the store, or of its directory, from
// what the system has against using it.
func unreadable(name string, err error) error {
	dir := name
	if info, stat := os.Stat(name); stat != nil || !info.IsDir() {
		dir = filepath.Dir(name)
	}
	// Badger's errors often keep no more than the text of what they wrap.
	is := func(causes ...syscall.Errno) bool {
		return slices.ContainsFunc(causes, func(c syscall.Errno) bool {
			return errors.Is(err, c) || strings.Contains(err.Error(), c.Error())
		})
	}
	switch {
	case is(syscall.EACCES, syscall.EPERM, syscall.EROFS), errors.Is(err, os.ErrPermission):
		return dirError("used", dir, err)
	case is(syscall.ENOSPC, syscall.EDQUOT):
		return fmt.Errorf("%w: opening %q: %w; make room on its disk", capture.ErrNoSpace, name, err)
	case is(syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM):
		return fmt.Errorf("opening %q: %w; the system gives this process too little", name, err)
	}
	return fmt.Errorf("%w: %s: %w", errDamaged, name, err)
}

// withRemedy adds to the error of a damaged store what to do about it.
func withRemedy(dir string, err error) error {
	if !errors.Is(err, capture.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w; to mend it, check the disk, move the directory aside with `mv %s %s.damaged`, restore a backup "+
		"with `caddy capture restore <file> --store %s` as the user that Caddy runs as, and restart Caddy; "+
		"without a backup, restart it without restoring: the store begins anew", err, dir, dir, dir)
}

// open opens the store in a directory that is ours.
func (e *Engine) open(ctx context.Context, h *home) (_ *Store, err error) {
	// A store of a newer format is not even looked into.
	if _, err := readIdentity(h.dir); errors.Is(err, capture.ErrNewerFormat) {
		return nil, err
	}
	db, g, err := e.openDB(h)
	if err != nil {
		return nil, err
	}
	s := &Store{
		home: h, db: db, guard: g, logs: newLogs(h.dir), log: e.log(),
		commitAt:   func(txn *badger.Txn, ts uint64) error { return txn.CommitAt(ts, nil) },
		ownSync:    ownSync && !e.noSync,
		cells:      make(cellCache),
		spans:      make(map[markerOf]span),
		erased:     make(map[clickid.Ref]time.Time),
		merging:    merging{after: mergeAfter, least: 2, step: mergeStep},
		now:        e.now,
		patience:   readersPatience,
		quarantine: make(map[capture.Reason]int64),
		foldNow:    make(chan struct{}, 1),
		stop:       make(chan struct{}),
	}
	defer func() {
		if err != nil {
			close(s.stop)
			s.work.Wait()
			s.lease.close()
			_ = db.Close()
		}
	}()
	id, err := e.reconcile(h, db)
	if err != nil {
		return nil, err
	}
	if err := e.migrate(ctx, h, db, g, id); err != nil {
		return nil, err
	}
	if s.lease, err = openLease(h.dir); err != nil {
		return nil, err
	}
	s.ts = db.MaxVersion()
	if err := s.loadDays(); err != nil {
		return nil, fmt.Errorf("reading the store in %q: %w", h.dir, err)
	}
	s.gate = newGate(s.ts)
	db.SetDiscardTs(s.ts)
	if err := s.load(ctx); err != nil {
		return nil, fmt.Errorf("reading the store in %q: %w", h.dir, err)
	}
	s.work.Go(s.watch)
	s.work.Go(s.foldLoop)
	s.work.Go(s.verifyAlways)
	return s, nil
}

// load reads what the store keeps in memory.
func (s *Store) load(ctx context.Context) error {
	s.state = state{batch: 0, seq: 1, lease: 1}
	err := s.view(ctx, func(txn *transaction) error {
		if data, err := getCopy(txn, keyState); err != nil {
			return err
		} else if data != nil {
			if s.state, err = decodeState(data); err != nil {
				return err
			}
		}
		data, err := getCopy(txn, keyDeleted)
		if err != nil {
			return err
		}
		if data != nil {
			if s.deleted, err = decodeDeleted(data); err != nil {
				return err
			}
		}
		if s.swept, err = sweptOf(txn); err != nil {
			return err
		}
		if s.merging.next, err = mergedOf(txn); err != nil {
			return err
		}
		if err := s.loadFold(ctx, txn); err != nil {
			return err
		}
		return s.scan(ctx, txn, scan{prefix: []byte{kindWaiting}}, func(item *record) (bool, error) {
			return true, item.Value(func(v []byte) error {
				s.quarantine[capture.Reason(v)]++
				return nil
			})
		})
	})
	s.position = capture.Position{NextBlock: s.state.lease, NextSeq: s.state.seq, NextBatch: s.state.batch + 1}
	return err
}

const (
	watchEvery   = 250 * time.Millisecond
	measureEvery = 20 // in watches
)

// watch keeps an eye on the disk.
func (s *Store) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if n%measureEvery == 0 {
			s.guard.measure()
		}
		_ = s.guard.look() // the last answer holds on
	}
}
