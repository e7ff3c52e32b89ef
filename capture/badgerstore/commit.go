package badgerstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Commit decides a batch and makes it durable in one transaction.
func (s *Store) Commit(ctx context.Context, b *capture.Batch) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failed(); err != nil {
		return err
	}
	if b.Number <= s.state.batch {
		return s.recall(ctx, b)
	}
	// Somebody may have taken all room since the last look, and Badger does not
	// survive a full disk.
	_ = s.guard.look() // the last answer holds on
	if err := s.guard.check(); err != nil {
		return err
	}
	b.NumberEntries(s.state.seq)
	t := newTx(s)
	defer t.txn.Discard()
	if err := t.apply(b); err != nil {
		return s.notApplied(err)
	}
	if err := s.lease.raise(t.state.lease); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	if err := s.finish(t.txn); err != nil {
		return err
	}
	t.done()
	clear(s.results) // let them go
	s.results = s.results[:0]
	for _, p := range b.Postbacks {
		s.results = append(s.results, p.Result)
	}
	return nil
}

// notApplied classifies an error before anything was written.
func (s *Store) notApplied(err error) error {
	switch {
	case errors.Is(err, errDamaged):
		// Whatever is decided on damaged records would damage more.
		return s.fail(err)
	case errors.Is(err, capture.ErrTooLarge):
		return err
	}
	return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
}

// recall fills in the results of a batch that was applied before: of the last
// one from memory; of one from before a restart from the journal, where a
// conversion is then in the state in which the whole batch left it.
func (s *Store) recall(ctx context.Context, b *capture.Batch) error {
	if b.Number == s.state.batch && len(b.Postbacks) == len(s.results) {
		for i, p := range b.Postbacks {
			p.Result = s.results[i]
		}
		return nil
	}
	t := newTx(s)
	defer t.txn.Discard()
	for _, p := range b.Postbacks {
		e, err := t.Entry(p.Seq)
		if err != nil {
			return s.notApplied(err)
		}
		if e == nil {
			return fmt.Errorf("%w: batch %d was applied before, but its journal entry %d is gone",
				capture.ErrUnavailable, b.Number, p.Seq)
		}
		r := capture.Result{Outcome: e.Outcome, Reason: e.Reason, Detail: e.Detail, Test: e.Test, Entry: e}
		if e.Outcome.Booked() {
			if r.Conversion, err = t.Conversion(e.Conversion); err != nil {
				return s.notApplied(err)
			}
			if r.Conversion != nil && e.Outcome == capture.Recorded {
				r.Lag = r.Conversion.Lag()
			}
		}
		p.Result = r
	}
	return ctx.Err()
}
