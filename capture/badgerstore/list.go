package badgerstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// clockStep is how far the clock may have been set back and the order of
// arrival still be taken for the order of time.
const clockStep = time.Minute

// Conversions lists booked conversions, newest first; those of the same
// millisecond by falling ID.
func (s *Store) Conversions(ctx context.Context, q capture.ConversionQuery, yield func(*capture.Conversion) bool) error {
	var k keys
	kind := byte(kindBooked)
	if q.Test {
		kind = kindTest
	}
	w := scan{prefix: []byte{kind}, reverse: true}
	if !q.To.IsZero() {
		w.from = k.index(kind, q.To, attribution.ConversionID(after[:16]))
	}
	var cursor []byte
	if q.After != (capture.Cursor{}) {
		cursor = k.index(kind, q.After.Time, q.After.ID)
		if w.from == nil || string(cursor) < string(w.from) {
			w.from = cursor
		}
	}
	return s.view(ctx, func(txn *transaction) error {
		return s.scan(ctx, txn, w, func(item *record) (bool, error) {
			key := item.Key()
			switch {
			case cursor != nil && string(key) >= string(cursor):
				return true, nil
			case !q.From.IsZero() && indexTime(key).Before(q.From.Truncate(time.Millisecond)):
				return false, nil
			}
			var k keys
			c, err := getRecord[capture.Conversion](txn, k.conversion(indexID(key)))
			if err != nil {
				return false, err
			}
			if c == nil {
				return false, missing("conversion", indexID(key))
			}
			return !q.Takes(c) || yield(c), nil
		})
	})
}

func missing(what string, name any) error {
	return fmt.Errorf("%w: %s %v is listed but not there", errDamaged, what, name)
}

// Journal lists journal entries, newest first.
func (s *Store) Journal(ctx context.Context, q capture.JournalQuery, yield func(*capture.Entry) bool) error {
	var k keys
	kind := byte(kindEntry)
	if q.Open {
		kind = kindWaiting
	}
	return s.view(ctx, func(txn *transaction) error {
		last := uint64(math.MaxUint64)
		if q.Before > 0 {
			last = q.Before - 1
		}
		if !q.To.IsZero() {
			seq, err := s.seqAt(ctx, txn, q.To.Add(clockStep))
			if err != nil {
				return err
			}
			last = min(last, seq)
		}
		w := scan{prefix: []byte{kind}, from: k.number(kind, last), reverse: true}
		return s.scan(ctx, txn, w, func(item *record) (bool, error) {
			e, err := s.entryOf(txn, item, q.Open)
			if err != nil {
				return false, err
			}
			if !q.From.IsZero() && e.Time.Before(q.From.Add(-clockStep)) {
				return false, nil
			}
			return !q.Takes(e) || yield(e), nil
		})
	})
}

// entryOf returns the entry of an item, which may be that of the quarantine.
func (*Store) entryOf(txn *transaction, item *record, waiting bool) (*capture.Entry, error) {
	if !waiting {
		return decode[capture.Entry](item)
	}
	var k keys
	seq := keyNumber(item.Key())
	e, err := getRecord[capture.Entry](txn, k.number(kindEntry, seq))
	if err == nil && e == nil {
		err = missing("journal entry", seq)
	}
	return e, err
}

// seqAt finds the number of the first entry that arrived at t or later, or the
// greatest number, by halving: a listing of last year need not read this one.
func (s *Store) seqAt(ctx context.Context, txn *transaction, t time.Time) (uint64, error) {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte{kindEntry}
	it := txn.NewIterator(o)
	defer it.Close()
	it.Rewind()
	if !it.Valid() {
		return math.MaxUint64, nil
	}
	// The entry at lo arrived before t, or lo is the first there is; those
	// from hi on arrived later.
	lo, hi := keyNumber(it.Item().Key()), uint64(math.MaxUint64)
	var k keys
	for lo < hi {
		if err := (&pace{ctx: ctx, closing: s.gate.closing}).now(); err != nil {
			return 0, err
		}
		mid := lo + (hi-lo)/2
		it.Seek(k.number(kindEntry, mid))
		if !it.Valid() {
			hi = mid
			continue
		}
		e, err := decode[capture.Entry](it.Item())
		if err != nil {
			return 0, err
		}
		if e.Time.Before(t) {
			lo = e.Seq + 1
		} else {
			hi = mid
		}
	}
	return hi, nil
}
