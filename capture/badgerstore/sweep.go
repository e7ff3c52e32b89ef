package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// sweepStep is how many records one transaction deletes: few enough that
	// a commit which waits for it does so for some milliseconds.
	sweepStep = 500
	// sweepPause lets those who wait go first.
	sweepPause = time.Millisecond
	// sweepPoll is how often an erasure looks whether a sweep lets it go on.
	sweepPoll = 10 * time.Millisecond
)

// Sweep deletes what is kept no longer and gives its space back. It also keeps
// reports fast: it folds their sums, and merges blocks of few clicks.
func (s *Store) Sweep(ctx context.Context, now time.Time, keep capture.Retention) (capture.SweepResult, error) {
	var r capture.SweepResult
	if err := s.gate.enter(); err != nil {
		return r, err
	}
	defer s.gate.leave()
	s.sweeping.Lock()
	defer s.sweeping.Unlock()

	tight := s.guard.checkRewrite()
	if tight != nil && keep != (capture.Retention{}) {
		s.log.Warn("what has expired is not deleted", zap.String("store", s.home.dir), zap.Error(tight))
		keep = capture.Retention{}
	}
	var err error
	if keep.Clicks > 0 {
		if r.Blocks, err = s.sweepClicks(ctx, now.Add(-keep.Clicks)); err != nil {
			return r, err
		}
	}
	if keep.Journal > 0 {
		if r.Entries, err = s.sweepJournal(ctx, now.Add(-keep.Journal)); err != nil {
			return r, err
		}
	}
	if keep.Conversions > 0 && keep.Clicks > 0 { // while the click is kept, so is the conversion
		for _, kind := range []byte{kindBooked, kindTest, kindUnbooked} {
			n, err := s.sweepConversions(ctx, kind, now, keep)
			r.Conversions += n
			if err != nil {
				return r, err
			}
		}
	}
	// Folding excludes nothing but itself, and may take minutes.
	s.sweeping.Unlock()
	err = s.foldSums(ctx)
	s.sweeping.Lock()
	if err != nil && !errors.Is(err, capture.ErrNoSpace) {
		return r, err
	}
	if err := s.mergeBlocks(ctx, now); err != nil && !errors.Is(err, capture.ErrNoSpace) {
		return r, err
	}
	if tight != nil {
		return r, tight
	}
	return r, s.reclaim(ctx, now)
}

// standBack lets an erasure that waits go first. The sweep must be between two
// steps: whatever it has read may have changed.
func (s *Store) standBack(ctx context.Context) error {
	for s.erasing.Load() > 0 {
		s.sweeping.Unlock()
		err := s.pause(ctx, 2*sweepPoll)
		s.sweeping.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// deleted is what was deleted since space was last given back, kept on disk
// so that a restart does not forget it.
type deleted struct {
	bytes  uint64
	since  uint64 // Unix seconds of the last time, 0 for never
	merged uint64 // bytes of the blocks that were merged, which are not in bytes
}

func (d deleted) encode() []byte {
	b := append(make([]byte, 0, 24), recordFormat)
	b = binary.AppendUvarint(b, d.bytes)
	b = binary.AppendUvarint(b, d.since)
	return binary.AppendUvarint(b, d.merged)
}

func decodeDeleted(data []byte) (d deleted, err error) {
	const what = "note of deletions"
	rest, err := readUvarints(data, what, &d.bytes, &d.since)
	if err != nil || len(rest) == 0 { // as it was before there was merging
		return d, err
	}
	_, err = readUvarints(append([]byte{recordFormat}, rest...), what, &d.merged)
	return d, err
}

// eraser is a transaction that deletes.
type eraser struct {
	txn     *transaction
	keys    keys
	bytes   int64 // what the deleted records took
	merged  int64 // and those that were merged
	written int   // what was written anew
	sum     deleted
	swept   swept
	waiting map[capture.Reason]int64
}

// erase runs f in one transaction, then makes way for others.
func (s *Store) erase(ctx context.Context, f func(d *eraser) error) error {
	if err := s.eraseNow(f); err != nil {
		return err
	}
	return s.pause(ctx, sweepPause)
}

func (s *Store) eraseNow(f func(d *eraser) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.guard.checkDelete(); err != nil {
		return err
	}
	d := &eraser{waiting: make(map[capture.Reason]int64), sum: s.deleted, swept: s.swept}
	err := s.write(func(txn *transaction) error {
		d.txn = txn
		if err := f(d); err != nil {
			return err
		}
		d.sum.bytes += uint64(max(d.bytes, 0))   //nolint:gosec // not negative
		d.sum.merged += uint64(max(d.merged, 0)) //nolint:gosec // not negative
		return txn.Set(keyDeleted, d.sum.encode())
	})
	if err != nil {
		return err
	}
	s.deleted, s.swept = d.sum, d.swept
	s.countWaiting(d.waiting)
	return nil
}

// pause waits, but not beyond the end of ctx or of the store.
func (s *Store) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.gate.closing:
		return capture.ErrClosed
	case <-timer.C:
		return nil
	}
}

// sweepConversions deletes the conversions of one index that are kept no
// longer. The sums that they are in stay.
func (s *Store) sweepConversions(ctx context.Context, kind byte, now time.Time, keep capture.Retention) (n int, err error) {
	// Each deletion reads and changes two records, so the steps are smaller.
	const step = sweepStep / 4
	cutoff := now.Add(-keep.Conversions)
	from := []byte{kind}
	for {
		var batch [][]byte
		err := s.view(ctx, func(txn *transaction) error {
			return s.scan(ctx, txn, scan{prefix: []byte{kind}, from: from}, func(item *record) (bool, error) {
				if !indexTime(item.Key()).Before(cutoff) {
					return false, nil
				}
				batch = append(batch, item.KeyCopy(nil))
				return len(batch) < step, nil
			})
		})
		if err != nil || len(batch) == 0 {
			return n, err
		}
		erased := 0
		err = s.erase(ctx, func(d *eraser) error {
			if err := d.noteSwept(swept{conversions: cutoff.UnixMilli()}); err != nil {
				return err
			}
			for _, index := range batch {
				ok, err := d.conversion(index, now, keep)
				if err != nil {
					return err
				}
				if ok {
					erased++
				}
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += erased
		from = append(batch[len(batch)-1], 0)
	}
}

// conversion deletes one conversion by its index key, unless it is still kept
// or changed since that was read.
func (d *eraser) conversion(index []byte, now time.Time, keep capture.Retention) (bool, error) {
	id := indexID(index)
	key := d.keys.conversion(id)
	c, err := getRecord[capture.Conversion](d.txn, key)
	if err != nil {
		return false, err
	}
	if c == nil || !keep.ConversionExpired(c, now) || string(d.keys.indexOf(c)) != string(index) {
		return false, nil
	}
	for _, gone := range [][]byte{key, index} {
		if item, err := d.txn.Get(gone); err == nil {
			d.bytes += item.EstimatedSize()
		}
		if err := d.txn.Delete(gone); err != nil {
			return false, err
		}
	}
	return true, d.forget(c)
}

// forget makes a click know the conversion no more, and no transaction lead to
// it.
func (d *eraser) forget(c *capture.Conversion) error {
	for _, key := range c.TxKeys {
		if err := d.txn.Delete(d.keys.txid(key, c.ID)); err != nil {
			return err
		}
	}
	return d.txn.Delete(d.keys.known(c.Click, c.ID))
}
