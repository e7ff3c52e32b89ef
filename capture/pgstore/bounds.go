package pgstore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// openTimeout bounds the opening of the store.
	openTimeout = time.Minute
	// closeTimeout bounds the giving back of the node: who comes next on this
	// machine can do without it, and somebody waits for the end of Caddy.
	closeTimeout = 3 * time.Second
	// lookupTimeout bounds the reading of single records.
	lookupTimeout = 10 * time.Second
	// abandonAfter is when the server ends a transaction of ours by itself: a
	// little later than we give it up. A node that the network cut off cannot
	// end its own, and the locks of that would keep everybody waiting for as
	// long as the server takes it to be there, which is for hours.
	abandonAfter = attemptTimeout + 2*time.Second
	// readersIdle is the same for who reads, who may be slow.
	readersIdle = 10 * time.Minute
)

// bounded begins a short transaction. The bounds are its own, and not the
// session's, which a pooler may give to anybody.
func bounded(level pgx.TxIsoLevel) pgx.TxOptions {
	ms := abandonAfter.Milliseconds()
	return pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN ISOLATION LEVEL %s; SET LOCAL statement_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d",
		level, ms, ms)}
}

// long begins a transaction that may take long, but not between its statements.
func long(idle time.Duration) pgx.TxOptions {
	return pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = %d", idle.Milliseconds())}
}

// inTx runs f in a short transaction, which is durable when it returns nil.
func (s *Store) inTx(ctx context.Context, level pgx.TxIsoLevel, f func(tx pgx.Tx) error) error {
	return with(ctx, s.write, func(conn *pgxpool.Conn) error {
		forgetWarnings(conn.Conn())
		if err := pgx.BeginTxFunc(ctx, conn, bounded(level), f); err != nil {
			return err
		}
		return confirmed(conn.Conn())
	})
}

// readerOptions begin a transaction that sees one moment, and may take long.
var readerOptions = pgx.TxOptions{BeginQuery: fmt.Sprintf("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = %d",
	readersIdle.Milliseconds())}

// queueBounds is for transactions that are sent in one go.
func (e *Engine) queueBounds(b *pgx.Batch) {
	ms := cmp.Or(e.abandonAfter, abandonAfter).Milliseconds()
	b.Queue(fmt.Sprintf("SET LOCAL statement_timeout = %d", ms))
	b.Queue(fmt.Sprintf("SET LOCAL idle_in_transaction_session_timeout = %d", ms))
}
