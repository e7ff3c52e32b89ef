package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A batch begins with the row of its node: it counts the batch, and goes on only
// if this process still is the node and the batch is the next one. The row is not
// read but met, as if it were to be inserted. What is read counts as all rows of
// its page to the server, so whoever reads one node's row meets all nodes that
// write theirs; what is in the way of an insertion does not count as read.
const (
	countBatch = `INSERT INTO {s}.nodes AS n (node, token) VALUES ($1, '') ON CONFLICT (node) DO UPDATE
SET batch = $2::bigint, attempt = 0, seqs = '{}', lease = greatest(n.lease, $4::bigint) WHERE n.holder = $3 AND n.batch = $2::bigint - 1 RETURNING n.holder`
	noteAttempt = `INSERT INTO {s}.nodes AS n (node, token) VALUES ($1, '') ON CONFLICT (node) DO UPDATE SET attempt = $2, seqs = $3`
)

// errNotNext: the batch is not the next one of this process.
var errNotNext = errors.New("the batch is not the next one")

// askNode makes sure that this process still is the node, and that the batch is
// the next one.
func (s *Store) askNode(q *pgx.Batch, b *capture.Batch) {
	lease := b.Lease
	for _, block := range b.Blocks {
		lease = max(lease, block.Number+1)
	}
	q.Queue(s.q(countBatch), s.node, int64(b.Number), s.holder, int64(lease)).QueryRow(func(row pgx.Row) error { //nolint:gosec // both count from 1
		var holder string
		err := row.Scan(&holder)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && holder != s.holder {
			return errNotNext
		}
		return err
	})
}

// whyNotNext finds out in the same transaction why a batch is not the next one.
func (s *Store) whyNotNext(ctx context.Context, conn *pgxpool.Conn, b *capture.Batch) error {
	var holder string
	var last int64
	err := conn.QueryRow(ctx, s.q(`SELECT holder, batch FROM {s}.nodes WHERE node = $1`), s.node).Scan(&holder, &last)
	switch {
	case err != nil:
		return err
	case holder != s.holder: // "" is of the one that was inserted just now, or a successor's
		return s.fail(s.displaced(holder))
	case b.Number <= uint64(last): //nolint:gosec // never negative
		return errApplied
	}
	return s.fail(fmt.Errorf("batch %d came instead of %d", b.Number, last+1))
}
