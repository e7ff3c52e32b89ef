package badgerstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Entry returns one journal entry.
func (s *Store) Entry(ctx context.Context, seq uint64) (e *capture.Entry, err error) {
	err = s.view(ctx, func(txn *transaction) (err error) {
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
	err := s.view(ctx, func(txn *transaction) error {
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

func stateOf(txn *transaction) (state, error) {
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
	return s.view(ctx, func(txn *transaction) error {
		spans, err := s.spansOf(ctx, txn, first, last)
		if err != nil {
			return err
		}
		w := newClickWalk(ctx, s, txn)
		defer w.close()
		for _, sp := range spans {
			if err := w.start(sp); err != nil {
				return err
			}
			for {
				c, err := w.next()
				if err != nil {
					return err
				}
				if c == nil {
					break
				}
				if q.Takes(c) && !yield(c) {
					return nil
				}
			}
		}
		return nil
	})
}
