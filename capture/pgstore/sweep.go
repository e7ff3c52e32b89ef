package pgstore

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// sweepStep is how many records one transaction deletes.
	sweepStep  = 1000
	sweepPause = time.Millisecond
	// erasedFor is how long a postback can be under way that has read a click
	// before it was erased. The click itself may wait on another node for as long
	// as clicks are kept.
	erasedFor = 24 * time.Hour
	// wholeDays is for how long clicks have to be kept so that they are deleted by
	// the day only, and may stay for another one. What is deleted row by row has to
	// be found and vacuumed, which takes a large database far longer.
	wholeDays = 48 * time.Hour
	// clockTolerance is by how much clocks may differ.
	clockTolerance = 5 * time.Minute
)

// Sweep deletes what is kept no longer: whole days of clicks by dropping their
// partitions; and makes those of the days to come. Any number of nodes may do so
// at once.
func (s *Store) Sweep(ctx context.Context, now time.Time, keep capture.Retention) (r capture.SweepResult, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return r, err
	}
	defer leave()
	conn, err := acquire(ctx, s.bulk)
	if err != nil {
		return r, reading(ctx, "sweeping", err)
	}
	defer giveBack(conn)
	if now, err = s.rightTime(ctx, conn, now); err != nil {
		return r, reading(ctx, "sweeping", err)
	}
	if err := s.makeAhead(ctx, conn, now); err != nil && ctx.Err() == nil {
		s.e.log().Warn("the partitions for the clicks of the next days could not be made; the first click of each day has to wait for its own",
			zap.String("store", s.e.Key()), zap.Error(err))
	}
	if keep.Clicks > 0 {
		r.Blocks, err = s.sweepClicks(ctx, conn, now.Add(-keep.Clicks), keep.Clicks >= wholeDays)
	}
	if err == nil && keep.Journal > 0 {
		r.Entries, err = s.sweepJournal(ctx, conn, now.Add(-keep.Journal))
	}
	if err == nil && keep.Conversions > 0 && keep.Clicks > 0 { // while the click is kept, so is the conversion
		r.Conversions, err = s.sweepConversions(ctx, conn, now.Add(-keep.Conversions), now.Add(-keep.Clicks))
	}
	if err == nil {
		err = s.vacuumErased(ctx, conn)
	}
	if err == nil && keep.Clicks > 0 {
		_, err = conn.Exec(ctx, s.q(`DELETE FROM {s}.erased WHERE at < now() - $1::float8 * interval '1 second'`), max(keep.Clicks, erasedFor).Seconds())
	}
	if err == nil {
		err = s.recount(ctx)
	}
	return r, reading(ctx, "sweeping", err)
}

// rightTime takes off by how much this machine's clock is ahead of the
// database's: a clock that is wrong by a month would delete what the whole fleet
// has of that.
func (s *Store) rightTime(ctx context.Context, conn *pgxpool.Conn, now time.Time) (time.Time, error) {
	var there time.Time
	if err := conn.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&there); err != nil {
		return now, err
	}
	ahead := s.e.now().Sub(there)
	if ahead < clockTolerance {
		return now, nil
	}
	s.e.log().Error("the clock of this machine is ahead of the database's: what is kept no longer is deleted by the database's",
		zap.String("store", s.e.Key()), zap.Duration("ahead", ahead))
	return now.Add(-ahead), nil
}

// swept notes up to when records are being deleted, before they are.
func (s *Store) swept(ctx context.Context, conn *pgxpool.Conn, column string, cutoff time.Time) error {
	_, err := conn.Exec(ctx, s.q(`UPDATE {s}.store SET `+column+` = $1 WHERE `+column+` < $1`), cutoff.UnixMilli())
	return err
}

func (s *Store) sweepClicks(ctx context.Context, conn *pgxpool.Conn, cutoff time.Time, whole bool) (n int, err error) {
	days, err := s.daysUntil(ctx, conn, cutoff)
	if whole {
		days = slices.DeleteFunc(days, dayOf(cutoff).Equal)
	}
	if err != nil || len(days) == 0 {
		return 0, err
	}
	if err := s.swept(ctx, conn, "swept_clicks", cutoff); err != nil {
		return 0, err
	}
	before := ceil(cutoff).UnixMilli()
	for _, day := range days {
		blocks, gone, err := s.dropDay(ctx, conn.Conn(), day, before)
		n += blocks
		if err != nil {
			return n, err
		}
		if gone {
			continue
		}
		deleted, err := s.inSteps(ctx, func() (int, error) {
			tag, err := conn.Exec(ctx, s.q(`DELETE FROM {s}.blocks WHERE day = $1 AND (node, number) IN
(SELECT node, number FROM {s}.blocks WHERE day = $1 AND last_ms < $2 LIMIT $3)`), day, before, int64(sweepStep))
			return int(tag.RowsAffected()), err
		})
		n += deleted
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// inSteps deletes until there is nothing left, with pauses for others.
func (s *Store) inSteps(ctx context.Context, step func() (int, error)) (n int, err error) {
	for {
		deleted, err := step()
		if err != nil && !collided(err) {
			return n, err
		}
		n += deleted
		if err == nil && deleted < sweepStep {
			return n, nil
		}
		select {
		case <-ctx.Done():
			return n, context.Cause(ctx)
		case <-time.After(sweepPause):
		}
	}
}

func (s *Store) sweepJournal(ctx context.Context, conn *pgxpool.Conn, cutoff time.Time) (int, error) {
	return s.inSteps(ctx, func() (n int, err error) {
		err = pgx.BeginTxFunc(ctx, conn, bounded(pgx.ReadCommitted), func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, s.q(`DELETE FROM {s}.journal WHERE seq IN
(SELECT seq FROM {s}.journal WHERE at < $1 LIMIT $2) RETURNING seq`), ceil(cutoff), int64(sweepStep))
			if err != nil {
				return err
			}
			seqs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
			if err != nil {
				return err
			}
			n = len(seqs)
			_, err = tx.Exec(ctx, s.q(`DELETE FROM {s}.awaiting WHERE seq = ANY($1::bigint[])`), seqs)
			return err
		})
		if err != nil {
			n = 0
		}
		return n, err
	})
}

// sweepConversions deletes the conversions that are of before cutoff, of clicks
// of before clicks. The sums that they are in stay.
func (s *Store) sweepConversions(ctx context.Context, conn *pgxpool.Conn, cutoff, clicks time.Time) (int, error) {
	if err := s.swept(ctx, conn, "swept_conversions", cutoff); err != nil {
		return 0, err
	}
	return s.inSteps(ctx, func() (n int, err error) {
		err = pgx.BeginTxFunc(ctx, conn, bounded(pgx.ReadCommitted), func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, s.q(`DELETE FROM {s}.ledger WHERE id IN
(SELECT id FROM {s}.ledger WHERE at < $1 AND click_at < $2 LIMIT $3) AND at < $1 RETURNING data`),
				ceil(cutoff), ceil(clicks), int64(sweepStep))
			if err != nil {
				return err
			}
			list, err := pgx.CollectRows(rows, rowToConversion)
			if err != nil {
				return err
			}
			n = len(list)
			var leads pairs
			for _, c := range list {
				for _, key := range c.TxKeys {
					leads.add(key, c.ID)
				}
			}
			var b pgx.Batch
			leads.remove(s.schema, &b)
			return exec(ctx, tx, &b)
		})
		if err != nil {
			n = 0
		}
		return n, err
	})
}
