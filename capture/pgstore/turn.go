package pgstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// turnPatience is how long the turn is waited for at a time. A pooler may have
// fewer connections than there are nodes, and if all of them wait there is none
// left for whoever has the turn.
const turnPatience = 250 * time.Millisecond

// turn waits for the lock that lets one node's batch go before others. It is
// held by another transaction than the batch's: that one has to begin after
// those before it have ended, to see what they wrote.
func (s *Store) turn(ctx context.Context) (done func(), err error) {
	for {
		done, err = s.tryTurn(ctx)
		if codeOf(err) != codeLockTimeout {
			return done, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(rand.N(turnPatience / 16)): //nolint:gosec // not to come at the same moment
		}
	}
}

func (s *Store) tryTurn(ctx context.Context) (done func(), err error) {
	conn, err := acquire(ctx, s.write)
	if err != nil {
		return nil, err
	}
	var b pgx.Batch
	b.Queue("BEGIN")
	s.e.queueBounds(&b)
	b.Queue(fmt.Sprintf("SET LOCAL lock_timeout = %d", turnPatience.Milliseconds()))
	b.Queue(s.q(`SELECT one FROM {s}.turn FOR UPDATE`))
	if err := conn.SendBatch(ctx, &b).Close(); err != nil {
		if codeOf(err) != codeLockTimeout {
			hangUp(conn)
		}
		giveBack(conn)
		return nil, err
	}
	return func() { giveBack(conn) }, nil
}
