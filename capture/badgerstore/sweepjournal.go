package badgerstore

import (
	"context"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// sweepJournal deletes the entries that arrived before cutoff. They are in the
// order of arrival, so it ends at the first younger one; but not for good at
// those that came while the clock was wrong: see expiredBehind.
func (s *Store) sweepJournal(ctx context.Context, cutoff time.Time) (n int, err error) {
	type old struct {
		entry *capture.Entry // without its raw request, unless it waits
		size  int64
	}
	var next uint64
	for more := true; more; {
		var batch []old
		err := s.view(ctx, func(txn *transaction) error {
			var k keys
			w := scan{prefix: []byte{kindEntry}, from: k.number(kindEntry, next)}
			more = false
			err := s.scan(ctx, txn, w, func(item *record) (bool, error) {
				e, err := decode[capture.Entry](item)
				if err != nil {
					return false, err
				}
				if !e.Time.Before(cutoff) {
					next, more, err = expiredBehind(txn, e.Seq, cutoff)
					return false, err
				}
				e.Raw = capture.Raw{}
				batch = append(batch, old{e, item.EstimatedSize()})
				next, more = e.Seq+1, len(batch) == sweepStep
				return !more, nil
			})
			return err
		})
		if err != nil {
			return n, err
		}
		if len(batch) == 0 {
			continue
		}
		err = s.erase(ctx, func(d *eraser) error {
			for _, e := range batch {
				if err := d.entry(e.entry); err != nil {
					return err
				}
				d.bytes += e.size
			}
			return nil
		})
		if err != nil {
			return n, err
		}
		n += len(batch)
	}
	return n, nil
}

const lookBehind = 256

// expiredBehind looks for an entry before cutoff behind the entry seq, which is
// younger: that one arrived, and perhaps others with it, while the clock was
// set in the future. It looks at lookBehind entries, then in steps that double,
// as nearly always there is nothing, and goes back to the first such entry. Of
// what it misses, a later sweep finds more, for the expired part of the journal
// grows.
func expiredBehind(txn *transaction, seq uint64, cutoff time.Time) (first uint64, found bool, err error) {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{kindEntry}, false
	it := txn.NewIterator(o)
	defer it.Close()
	// expired tells whether the first entry from a number on is.
	expired := func(from uint64) (old, there bool, err error) {
		var k keys
		if it.Seek(k.number(kindEntry, from)); !it.Valid() {
			return false, false, nil
		}
		e, err := decode[capture.Entry](it.Item())
		return err == nil && e.Time.Before(cutoff), true, err
	}
	young := seq
	for step := uint64(1); ; {
		old, there, err := expired(seq + step)
		if err != nil || !there {
			return 0, false, err
		}
		if old {
			first = seq + step
			break
		}
		young = seq + step
		if step < lookBehind {
			step++
		} else {
			step *= 2
		}
	}
	for first-young > 1 {
		middle := young + (first-young)/2
		old, _, err := expired(middle)
		if err != nil {
			return 0, false, err
		}
		if old {
			first = middle
		} else {
			young = middle
		}
	}
	return first, true, nil
}

// entry deletes a journal entry and its places in the indexes.
func (d *eraser) entry(e *capture.Entry) error {
	key := d.keys.number(kindEntry, e.Seq)
	if e.Waiting() {
		// It may have left quarantine since it was read, and it may be known
		// for another click's.
		now, err := getRecord[capture.Entry](d.txn, key)
		if err != nil {
			return err
		}
		if now == nil {
			return missing("journal entry", e.Seq)
		}
		if e = now; e.Waiting() {
			if err := d.unwait(e); err != nil {
				return err
			}
		}
	}
	if e.HasClick {
		if err := d.txn.Delete(d.keys.ofClick(e.Click, e.Seq)); err != nil {
			return tooLarge(err)
		}
	}
	return tooLarge(d.txn.Delete(key))
}

// unwait takes an entry out of the listings of the quarantine, if it waits.
func (d *eraser) unwait(e *capture.Entry) error {
	if !e.Waiting() {
		return nil
	}
	d.waiting[e.Reason]--
	if err := unlist(&d.keys, e, d.txn.Delete); err != nil {
		return tooLarge(err)
	}
	return tooLarge(d.txn.Delete(d.keys.number(kindWaiting, e.Seq)))
}
