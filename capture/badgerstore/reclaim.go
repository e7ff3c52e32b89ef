package badgerstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

// Deletions only add to a Badger store: each is a tombstone in the newest
// level, and the record is on disk until compaction has carried the tombstone
// down to it. On a store that is written little that is never. So after
// substantial deletions the way down is forced, while the store serves:
//
//  1. The memtable is pushed over its edge with filler, of which the last
//     step leaves nothing. (DropPrefix would flush it, too, but holds
//     Badger's lock meanwhile: all reads wait, for up to a second.)
//  2. Flatten carries everything to the last level, where tombstones and what
//     they delete meet and vanish. It runs beside reads and writes. Only Close
//     has to wait for it, and then it hurries: some seconds for each GB; a
//     process that cannot wait may be killed. Flatten leaves the first level alone while there is no
//     other, so in a store that is that small it is filled up with filler,
//     until Badger compacts it.
//
// What the filler costs is 8 MiB of writing to the log, and once more as a
// table that goes at once; up to five times that, once in a store's life.
const (
	reclaimBytes = 32 << 20       // enough to be worth it, for small stores
	reclaimShare = 20             // one twentieth of the store is, for large ones
	reclaimEvery = 24 * time.Hour // and then whatever there is
	// What was merged holds nothing that is to go. It is mostly young, and
	// vanishes with what Badger compacts anyway; until then it costs reports
	// some time to step over it. So it may be as much as that share of the store.
	reclaimMerged = 4

	readersPatience = 10 * time.Second
	flushPatience   = time.Minute

	fillerSize = 512 << 10
	fillers    = 2 // in one transaction, 1 MiB, which Badger's limit allows
)

// reclaim gives the space of what was deleted back to the disk, if that is due.
func (s *Store) reclaim(ctx context.Context, now time.Time) error {
	if !s.deleted.due(now, s.guard.bytes.Load()) {
		return nil
	}
	if err := s.guard.checkRewrite(); err != nil {
		return err
	}
	start := time.Now()
	s.guard.measure()
	before := s.guard.bytes.Load()
	s.mu.Lock()
	target := s.ts // of the last deletion or later
	s.mu.Unlock()

	// What a reader may still want is kept by compaction, and would be kept
	// from then on.
	ok, err := s.await(ctx, s.patience, func() bool { return s.gate.oldest() >= target })
	if err != nil || !ok {
		return err // it is due again at the next sweep
	}
	if err := s.touch(ctx); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if err := s.compact(ctx); err != nil {
		return fmt.Errorf("giving back the space of what was deleted: %w", err)
	}
	if err := s.forgetRewritten(ctx); err != nil {
		return err
	}
	err = s.eraseNow(func(d *eraser) error {
		for i := range fillers {
			if err := d.txn.Delete([]byte{kindFiller, byte(i)}); err != nil {
				return err
			}
		}
		d.sum = deleted{since: uint64(max(now.Unix(), 0))} //nolint:gosec // not negative
		return nil
	})
	if err != nil {
		return err
	}
	s.guard.measure()
	s.log.Info("the space of deleted records was given back", zap.String("store", s.home.dir),
		zap.String("before", size(before)), zap.String("after", size(s.guard.bytes.Load())),
		zap.Duration("took", time.Since(start)))
	return nil
}

// due tells whether space is to be given back, of a store of that size.
func (d deleted) due(now time.Time, store int64) bool {
	reaches := func(bytes uint64, share int64) bool {
		return bytes >= uint64(max(reclaimBytes, store/share)) //nolint:gosec // not negative
	}
	since := now.Sub(time.Unix(int64(d.since), 0)) //nolint:gosec // we wrote it
	return reaches(d.merged, reclaimMerged) ||
		d.bytes > 0 && (reaches(d.bytes, reclaimShare) || since < 0 || since >= reclaimEvery)
}

// compact carries all tables to the last level.
func (s *Store) compact(ctx context.Context) error {
	for s.onlyFirstLevel() {
		if s.db.Levels()[0].NumTables < levelZeroTables {
			if err := s.flush(ctx); err != nil {
				return err
			}
			continue
		}
		done, err := s.await(ctx, flushPatience, func() bool { return !s.onlyFirstLevel() })
		if err != nil {
			return err
		}
		if !done {
			return fmt.Errorf("tables of the first level were not merged within %s", flushPatience)
		}
	}
	// Flatten knows no context, and whoever closes the store waits for it.
	stop := context.AfterFunc(ctx, func() { hurry(s.db, 1) })
	err := s.db.Flatten(1)
	if !stop() {
		hurry(s.db, -1)
	}
	return err
}

// onlyFirstLevel tells whether there are tables, and none below the first level.
func (s *Store) onlyFirstLevel() bool {
	levels := s.db.Levels()
	for _, l := range levels[1:] {
		if l.NumTables > 0 {
			return false
		}
	}
	return levels[0].NumTables > 0
}

// await asks again and again whether something is so, for a while.
func (s *Store) await(ctx context.Context, limit time.Duration, so func() bool) (bool, error) {
	for end := time.Now().Add(limit); !so(); {
		if time.Now().After(end) {
			return false, nil
		}
		if err := s.pause(ctx, 10*time.Millisecond); err != nil {
			return false, err
		}
	}
	return true, nil
}

// flush makes Badger write everything up to now from memory into tables.
// Memtables are written in order, so it is done when there is a table with the
// timestamp of now or a later one.
func (s *Store) flush(ctx context.Context) error {
	var target uint64
	flushed := func() bool {
		for _, t := range s.db.Tables() {
			if t.MaxVersion >= target {
				return true
			}
		}
		return false
	}
	if err := s.erase(ctx, s.poke); err != nil {
		return err
	}
	s.mu.Lock()
	target = s.ts // with that
	s.mu.Unlock()
	filler := make([]byte, fillerSize)
	log := s.newestLog()
	for range memTableSize/(fillers*fillerSize) + 1 {
		if flushed() || s.newestLog() != log {
			break // full, and on its way
		}
		err := s.erase(ctx, func(d *eraser) error {
			for i := range fillers {
				if err := d.txn.Set([]byte{kindFiller, byte(i)}, filler); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	ok, err := s.await(ctx, flushPatience, flushed)
	if err == nil && !ok {
		err = fmt.Errorf("giving back the space of what was deleted: the disk took longer than %s", flushPatience)
	}
	return err
}

// newestLog names the log of the memtable in use.
func (s *Store) newestLog() string {
	names, err := filesIn(s.home.dir, ".mem")
	if err != nil || len(names) == 0 {
		return ""
	}
	return slices.Max(names)
}

// poke touches the tables in which tombstones got stuck, because somebody was
// reading when they arrived at the last level: a deletion of nothing in a
// table's range makes compaction visit it once more.
func (s *Store) poke(d *eraser) error {
	tables := s.db.Tables()
	for _, t := range tables[:min(len(tables), pokeMax)] {
		if t.StaleDataSize == 0 || len(t.Left) <= versionSize {
			continue
		}
		key := append(append([]byte(nil), t.Left[:len(t.Left)-versionSize]...), 0)
		if string(key) >= string(t.Right) {
			continue
		}
		if err := d.txn.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// pokeMax keeps the transaction within Badger's bounds.
const pokeMax = 10_000

// versionSize is what Badger appends to a key.
const versionSize = 8
