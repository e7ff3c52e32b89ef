package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// An erasure writes records anew, without what identifies the visitor. The
// old versions are on disk until compaction meets them; reclaim makes it. So
// that this cannot be missed, neither by a crash nor because somebody reads an
// old version meanwhile, each record written anew is noted under a key of its
// own in the same write, and stays so until its old versions are gone.

const (
	// rewriteBytes and rewriteStep bound one transaction, which is far below
	// what Badger allows: a commit that waits for it does so for some
	// milliseconds.
	rewriteBytes = 256 << 10
	rewriteStep  = 100
	// erasedMax bounds the memory for what was erased lately.
	erasedMax = 1 << 16
)

// Erase removes what identifies the visitor of a click. Each record is changed
// as a whole, and what was done already is left alone: after a crash, or an
// error, erasing again does the rest.
func (s *Store) Erase(ctx context.Context, ref clickid.Ref) (capture.Erased, error) {
	var r capture.Erased
	if err := s.gate.enter(); err != nil {
		return r, err
	}
	defer s.gate.leave()
	if err := s.lockSweep(ctx); err != nil {
		return r, err
	}
	defer s.sweeping.Unlock()

	// From now on no postback that has read the click before can bring back
	// what it read.
	s.mu.Lock()
	if len(s.erased) >= erasedMax {
		clear(s.erased)
	}
	s.erased[ref] = s.now()
	s.mu.Unlock()

	found, err := s.findErasable(ctx, ref)
	if err != nil {
		return r, err
	}
	if !found.click && len(found.known) == 0 && len(found.entries) == 0 {
		return r, capture.ErrNotFound
	}
	if found.click {
		if err := s.rewrite(ctx, 1, func(d *eraser, _ int) (err error) {
			r.Click, err = d.eraseClick(ref)
			return err
		}); err != nil {
			return r, err
		}
	}
	if err := s.rewrite(ctx, len(found.known), func(d *eraser, i int) error {
		changed, err := d.eraseConversion(found.known[i].ID)
		r.Conversions += count(changed)
		return err
	}); err != nil {
		return r, err
	}
	if err := s.rewrite(ctx, len(found.entries), func(d *eraser, i int) error {
		changed, err := d.eraseEntry(found.entries[i])
		r.Entries += count(changed)
		return err
	}); err != nil {
		return r, err
	}
	hurry(s.db, 1) // somebody waits
	err = s.reclaim(ctx, s.now())
	hurry(s.db, -1)
	r.Pending = s.deleted.bytes > 0
	if err != nil && ctx.Err() == nil && s.failed() == nil && !errors.Is(err, capture.ErrClosed) {
		s.log.Warn("what was erased is still on the disk, until the next sweep",
			zap.String("store", s.home.dir), zap.Error(err))
		err = nil
	}
	return r, err
}

func count(changed bool) int {
	if changed {
		return 1
	}
	return 0
}

// lockSweep waits for a sweep to end or to stand back, but not beyond the end of
// ctx.
func (s *Store) lockSweep(ctx context.Context) error {
	s.erasing.Add(1)
	defer s.erasing.Add(-1)
	for !s.sweeping.TryLock() {
		if err := s.pause(ctx, sweepPoll); err != nil {
			return err
		}
	}
	return nil
}

// erasable is where a click's visitor may be found.
type erasable struct {
	click   bool
	known   []capture.Known
	entries []uint64
}

// findErasable takes the journal's entries from their index by click. It holds
// whatever the clock did, and costs nothing for the entries of others.
func (s *Store) findErasable(ctx context.Context, ref clickid.Ref) (found erasable, err error) {
	err = s.view(ctx, func(txn *transaction) error {
		var k keys
		c, err := getClick(txn, &k, ref, capture.LookupClick)
		if err != nil {
			return err
		}
		found.click = c != nil
		if found.known, err = getKnown(txn, &k, ref); err != nil {
			return err
		}
		prefix := bytes.Clone(k.ofClickFrom(ref))
		if err := s.scan(ctx, txn, scan{prefix: prefix}, func(item *record) (bool, error) {
			found.entries = append(found.entries, indexSeq(item.Key()))
			return true, nil
		}); err != nil {
			return err
		}
		if err := s.findClickless(ctx, txn, &found); err != nil {
			return err
		}
		// What was booked again can have named another click when it arrived,
		// as the route was configured then, and has the same raw request.
		for _, seq := range found.entries {
			e, err := getRecord[capture.Entry](txn, k.number(kindEntry, seq))
			if err != nil {
				return err
			}
			if e == nil {
				return missing("journal entry", seq)
			}
			if e.Replays != 0 && !slices.Contains(found.entries, e.Replays) {
				found.entries = append(found.entries, e.Replays)
			}
		}
		return nil
	})
	return found, err
}

// rewrite calls change for 0 to n-1, as many in one transaction as are good.
// What change counts is right only without an error.
func (s *Store) rewrite(ctx context.Context, n int, change func(d *eraser, i int) error) error {
	for i := 0; i < n; {
		first := i
		err := s.erase(ctx, func(d *eraser) error {
			for ; i < n && i-first < rewriteStep && d.written < rewriteBytes; i++ {
				if err := change(d, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// touch writes the records once more whose old versions have to go. Some may
// have been written down to the last level while somebody still read the old
// version; another new one on top makes compaction visit them again.
func (s *Store) touch(ctx context.Context) error {
	rewritten, err := s.rewritten(ctx)
	if err != nil {
		return err
	}
	return s.rewrite(ctx, len(rewritten), func(d *eraser, i int) error {
		key := rewritten[i]
		data, err := getCopy(d.txn, key)
		if err != nil {
			return err
		}
		if data == nil {
			return tooLarge(d.txn.Delete(key))
		}
		d.written += len(data)
		return tooLarge(d.txn.Set(key, data))
	})
}

// rewritten lists the keys of the records whose old versions have to go.
func (s *Store) rewritten(ctx context.Context) (list [][]byte, err error) {
	err = s.view(ctx, func(txn *transaction) error {
		return s.scan(ctx, txn, scan{prefix: []byte{kindRewritten}}, func(item *record) (bool, error) {
			list = append(list, bytes.Clone(item.Key()[1:]))
			return true, nil
		})
	})
	return list, err
}

// forgetRewritten is called when all old versions are gone.
func (s *Store) forgetRewritten(ctx context.Context) error {
	rewritten, err := s.rewritten(ctx)
	if err != nil {
		return err
	}
	return s.rewrite(ctx, len(rewritten), func(d *eraser, i int) error {
		return tooLarge(d.txn.Delete(append([]byte{kindRewritten}, rewritten[i]...)))
	})
}
