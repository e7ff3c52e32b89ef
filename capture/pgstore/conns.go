package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// pingAfter is how long a connection may rest and still be taken for good.
	pingAfter = 100 * time.Millisecond
	// pingPatience is how long one that has rested has to show that it is.
	pingPatience = 2 * time.Second
	// rested is where a connection notes that it is to be asked.
	rested = "capture: rested"
)

// noteRest is called by a pool for each connection that it lends.
func noteRest(_ context.Context, p pgxpool.ShouldPingParams) bool {
	p.Conn.PgConn().CustomData()[rested] = p.IdleDuration > pingAfter
	return false // the pool would wait for an answer, and then for a place, see giveBack
}

// acquire takes a connection that is there: who asks for a report right after the
// database has come back, or has moved, is not to get one that has ended with the
// server before, nor to wait for its answer.
func acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	for {
		conn, err := pool.Acquire(ctx)
		if err != nil || conn.Conn().PgConn().CustomData()[rested] != true {
			return conn, err
		}
		asked, cancel := context.WithTimeout(ctx, pingPatience)
		err = conn.Ping(asked)
		cancel()
		if err == nil {
			return conn, nil
		}
		hangUp(conn)
		giveBack(conn)
	}
}

// with lends f a connection.
func with(ctx context.Context, pool *pgxpool.Pool, f func(conn *pgxpool.Conn) error) error {
	conn, err := acquire(ctx, pool)
	if err != nil {
		return err
	}
	defer giveBack(conn)
	return f(conn)
}

// giveBack ends what is left of a transaction, so that the connection can be
// used again; if that takes long, it is given up. One that was given up is taken
// out of the pool at once: it may take a quarter of a minute to say goodbye to a
// server that does not answer, and others need its place.
func giveBack(conn *pgxpool.Conn) {
	c := conn.Conn()
	if !c.IsClosed() && c.PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.PgConn().Exec(ctx, "ROLLBACK").Close() // the pool looks whether that helped
	}
	if c.IsClosed() {
		conn.Hijack()
		return
	}
	conn.Release()
}

// hangUp ends a connection, which is then not used again.
func hangUp(conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Conn().Close(ctx) // the server finds out
}
