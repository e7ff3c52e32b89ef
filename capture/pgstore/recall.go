package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// recall fills in the results of a batch that was applied before: those that
// were decided when it was, if this process did that; or else from the journal,
// where a conversion is then in the state in which it is now.
func (s *Store) recall(ctx context.Context, b *capture.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	var last, attempt int64
	var seqs []int64
	if err := s.confirm(ctx, &last, &attempt, &seqs); err != nil {
		return unknown(err)
	}
	if results := s.attempts.results[attempt]; s.attempts.batch == b.Number && uint64(last) == b.Number && len(results) == len(b.Postbacks) { //nolint:gosec // never negative
		for i, p := range b.Postbacks {
			p.Result = results[i]
			p.Seq = uint64(seqs[i]) //nolint:gosec // never negative
		}
		s.batch = b.Number
		s.recountRecalled(ctx)
		return nil
	}
	err := with(ctx, s.write, func(conn *pgxpool.Conn) error {
		for i, p := range b.Postbacks {
			if uint64(last) == b.Number && i < len(seqs) { //nolint:gosec // never negative
				p.Seq = uint64(seqs[i]) //nolint:gosec // never negative
			}
			if err := s.recallOne(ctx, conn, b, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return unknown(err)
	}
	s.recountRecalled(ctx)
	return nil
}

// recountRecalled counts the quarantine anew: what the batch changed was not
// counted when it was written. Where that does not work, the next beat does it.
func (s *Store) recountRecalled(ctx context.Context) {
	_ = with(ctx, s.write, func(conn *pgxpool.Conn) error { return s.count(ctx, conn) })
}

// unknown: it was written before, so it is not right to say that it was not.
func unknown(err error) error {
	return fmt.Errorf("%w: asking for a batch that was applied: %s", capture.ErrUnknown, err)
}

// confirm reads what is known of the last batch, and writes something. When that
// is durable, so is the batch.
func (s *Store) confirm(ctx context.Context, batch, attempt *int64, seqs *[]int64) error {
	conn, err := acquire(ctx, s.write)
	if err != nil {
		return err
	}
	defer giveBack(conn)
	forgetWarnings(conn.Conn())
	err = conn.QueryRow(ctx, s.q(`UPDATE {s}.nodes SET batch = batch WHERE node = $1 RETURNING batch, attempt, seqs`), s.node).Scan(batch, attempt, seqs)
	if err == nil {
		err = confirmed(conn.Conn())
	}
	if err != nil {
		hangUp(conn)
	}
	return err
}

func (s *Store) recallOne(ctx context.Context, conn *pgxpool.Conn, b *capture.Batch, p *capture.Postback) error {
	e, err := s.entry(ctx, conn, p.Seq)
	switch {
	case errors.Is(err, capture.ErrNotFound):
		// A sweep took it, long after. Nothing is left to be said or done.
		p.Result = capture.Result{Outcome: capture.Duplicate, Detail: fmt.Sprintf("batch %d was written before, and its journal entries are deleted", b.Number)}
		return nil
	case err != nil:
		return err
	}
	r := capture.Result{Outcome: e.Outcome, Reason: e.Reason, Detail: e.Detail, Test: e.Test, Entry: e}
	if e.Outcome.Booked() {
		c, err := s.conversion(ctx, conn, e.Conversion)
		if err != nil && !errors.Is(err, capture.ErrNotFound) {
			return err
		}
		if r.Conversion = c; c != nil && e.Outcome == capture.Recorded {
			r.Lag = c.Lag()
		}
	}
	p.Result = r
	return nil
}
