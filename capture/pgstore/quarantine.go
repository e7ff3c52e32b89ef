package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// quarantine counts by reason what waits.
type quarantine map[capture.Reason]int64

func (q quarantine) add(reason capture.Reason, n int64) {
	if q == nil {
		return
	}
	if q[reason] += n; q[reason] == 0 {
		delete(q, reason)
	}
}

// measureEvery is how often the database is asked how large the store is: it looks
// at the files of all days for that.
const measureEvery = time.Minute

// recount counts it anew.
func (s *Store) recount(ctx context.Context) error {
	return with(ctx, s.read, func(conn *pgxpool.Conn) error { return s.count(ctx, conn) })
}

// counted is what one batch changed.
type counted struct {
	batch   uint64
	changes quarantine
}

// count counts what waits in quarantine, as all nodes change that. Commits go on
// meanwhile, however long it takes: what they change is added, unless what was
// counted has it already.
func (s *Store) count(ctx context.Context, q querier) error {
	s.statusMu.Lock()
	s.counting++
	measure := time.Since(s.measured) >= measureEvery
	s.statusMu.Unlock()
	batch, waiting, err := s.waiting(ctx, q)
	var bytes int64
	if err == nil && measure {
		// Who may not ask for sizes still has a store.
		_ = q.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r'`, string(s.schema)).Scan(&bytes)
	}
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if err == nil {
		for _, c := range s.changes {
			if c.batch > batch {
				for reason, n := range c.changes {
					waiting.add(reason, n)
				}
			}
		}
		s.quarantine = waiting
		if bytes > 0 {
			s.bytes, s.measured = bytes, time.Now()
		}
	}
	if s.counting--; s.counting == 0 {
		s.changes = nil
	}
	return err
}

// waiting counts as of one moment, after some batch of this node.
func (s *Store) waiting(ctx context.Context, q querier) (batch uint64, waiting quarantine, err error) {
	waiting = make(quarantine)
	rows, err := q.Query(ctx, s.q(`SELECT n.batch, j.reason, j.waiting FROM {s}.nodes n
LEFT JOIN (SELECT reason, count(*) AS waiting FROM {s}.journal WHERE waits GROUP BY reason) j ON true WHERE n.node = $1`), s.node)
	if err != nil {
		return 0, nil, err
	}
	var last int64
	var reason *string
	var n *int64
	_, err = pgx.ForEachRow(rows, []any{&last, &reason, &n}, func() error {
		if batch = uint64(last); reason != nil { //nolint:gosec // never negative
			waiting[capture.Reason(unescape(*reason))] = *n
		}
		return nil
	})
	return batch, waiting, err
}
