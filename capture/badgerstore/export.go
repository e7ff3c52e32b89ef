package badgerstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Entry returns one journal entry.
func (s *Store) Entry(ctx context.Context, seq uint64) (e *capture.Entry, err error) {
	err = s.view(ctx, func(txn *badger.Txn) (err error) {
		var k keys
		if e, err = getRecord[capture.Entry](txn, k.number(kindEntry, seq)); err == nil && e == nil {
			err = capture.ErrNotFound
		}
		return err
	})
	return e, err
}

// Try decides postbacks on what is durable now, and writes nothing.
func (s *Store) Try(ctx context.Context, b *capture.Batch, t *capture.Trial) error {
	err := s.view(ctx, func(txn *badger.Txn) error {
		st, err := stateOf(txn)
		if err != nil {
			return err
		}
		// Only for reading, for which a tx needs nothing of the store.
		return capture.Try(&tx{txn: txn, state: st}, b, st.seq, t)
	})
	if err != nil && !errors.Is(err, capture.ErrClosed) && !errors.Is(err, capture.ErrTrialTooLarge) {
		err = fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	return err
}

func stateOf(txn *badger.Txn) (state, error) {
	data, err := getCopy(txn, keyState)
	if err != nil || data == nil {
		return state{seq: 1, lease: 1}, err
	}
	return decodeState(data)
}

// Clicks lists clicks block by block. The markers of the quarters say which
// blocks to read; these are numbered in the order in which they were begun.
func (s *Store) Clicks(ctx context.Context, q capture.ClickQuery, yield func(*capture.Click) bool) error {
	first, last := uint32(0), ^uint32(0)
	if !q.From.IsZero() {
		first = quarterAt(q.From)
	}
	if !q.To.IsZero() {
		last = quarterAt(q.To)
	}
	return s.view(ctx, func(txn *badger.Txn) error {
		spans, err := s.spansOf(ctx, txn, first, last)
		if err != nil {
			return err
		}
		var k keys
		var r capture.BlockReader
		c := new(capture.Click)
		p := pace{ctx: ctx, closing: s.gate.closing}
		for _, sp := range spans {
			more := true
			w := scan{prefix: []byte{kindBlock}, from: k.number(kindBlock, sp.first)}
			err := s.scan(ctx, txn, w, func(item *badger.Item) (bool, error) {
				if keyNumber(item.Key()) > sp.last {
					return false, nil
				}
				// A block's clicks may take their consumer a while.
				if err := p.now(); err != nil {
					return false, err
				}
				err := item.Value(func(v []byte) (err error) {
					more, err = eachClick(&r, v, c, &q, yield)
					return err
				})
				if err != nil {
					err = fmt.Errorf("%w: click block %d: %w", errDamaged, keyNumber(item.Key()), err)
				}
				return more, err
			})
			if err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// eachClick yields the clicks of one block that the query takes; false if that
// is to be the end.
func eachClick(r *capture.BlockReader, block []byte, c *capture.Click, q *capture.ClickQuery,
	yield func(*capture.Click) bool,
) (bool, error) {
	if err := r.Reset(block); err != nil {
		return false, err
	}
	for r.Next(c) {
		if q.Takes(c) && !yield(c) {
			return false, nil
		}
	}
	return true, r.Err()
}
