package badgerstore

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// clickWalk walks clicks in the order of their blocks, of which some are by
// themselves and others merged: a group's late blocks lie between those of its
// record.
type clickWalk struct {
	single, merged clickRecords
	to             uint64        // the last block
	last           *clickRecords // that had the click
}

func newClickWalk(ctx context.Context, s *Store, txn *transaction) *clickWalk {
	w := new(clickWalk)
	w.single.open(ctx, s, txn, kindBlock)
	w.merged.open(ctx, s, txn, kindMerged)
	return w
}

func (w *clickWalk) close() {
	w.single.it.Close()
	w.merged.it.Close()
}

// start goes to the first click of a span.
func (w *clickWalk) start(sp span) error {
	w.to, w.last = sp.last, nil
	if err := w.single.seek(sp.first, sp.last); err != nil {
		return err
	}
	if err := w.merged.seek(groupOf(sp.first), groupOf(sp.last)); err != nil {
		return err
	}
	for w.merged.there && w.merged.click.Ref.Block < sp.first {
		if err := w.merged.step(); err != nil {
			return err
		}
	}
	return nil
}

// next returns the next click, which is good until the next call; nil at the end.
func (w *clickWalk) next() (*capture.Click, error) {
	if w.last != nil {
		if err := w.last.step(); err != nil {
			return nil, err
		}
	}
	r := &w.single
	if m := &w.merged; m.there && (!r.there || m.click.Ref.Block < r.click.Ref.Block) {
		r = m
	}
	if w.last = r; !r.there || r.click.Ref.Block > w.to {
		w.last = nil
		return nil, nil
	}
	return &r.click, nil
}

// clickRecords reads the clicks of one kind of records.
type clickRecords struct {
	it     *iterator
	kind   byte
	keys   keys
	to     uint64 // the last record
	reader capture.BlockReader
	click  capture.Click
	there  bool // there is a click
	pace   pace
}

func (r *clickRecords) open(ctx context.Context, s *Store, txn *transaction, kind byte) {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte{kind}
	r.it, r.kind = txn.NewIterator(o), kind
	r.pace = pace{ctx: ctx, closing: s.gate.closing}
}

// seek goes to the first click of the records with these numbers.
func (r *clickRecords) seek(first, last uint64) error {
	r.to = last
	r.it.Seek(r.keys.number(r.kind, first))
	return r.load()
}

// step goes to the next click.
func (r *clickRecords) step() error {
	if r.there = r.reader.Next(&r.click); r.there {
		return nil
	}
	if err := r.reader.Err(); err != nil {
		return damagedClicks(r.it.Item().Key(), err)
	}
	r.it.Next()
	return r.load()
}

// load goes to the first click of the record at which the iterator is, or of a
// later one if that has none.
func (r *clickRecords) load() error {
	for r.there = false; r.it.Valid() && keyNumber(r.it.Item().Key()) <= r.to; r.it.Next() {
		// A record's clicks may have taken their consumer a while.
		if err := r.pace.now(); err != nil {
			return err
		}
		err := r.it.Item().Value(r.reader.Reset)
		if err == nil {
			r.there = r.reader.Next(&r.click)
			err = r.reader.Err()
		}
		if err != nil {
			return damagedClicks(r.it.Item().Key(), err)
		}
		if r.there {
			return nil
		}
	}
	return r.pace.now()
}
