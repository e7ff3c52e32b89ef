package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Store is the open store as one node has it.
type Store struct {
	schema
	e        *Engine
	home     *home
	node     int32
	holder   string
	position capture.Position

	// Commits have connections of their own; reports and look-ups share others,
	// and what may go on for as long as somebody reads has still others.
	write, read, bulk *pgxpool.Pool
	reports           chan struct{} // bounds those that run, so that look-ups find a connection

	// mu is held by whoever writes as this node.
	mu        sync.Mutex
	batch     uint64 // the last one that is known to be applied
	attempts  attempts
	contended time.Time          // until when a turn is waited for
	days      map[time.Time]bool // the partitions that are known to exist
	checkAll  bool               // blocks may be there already, although they are new
	seqBehind bool               // the sequence gave numbers that the journal has

	failure  atomic.Pointer[string] // why it is stopped for good
	vacuumed atomic.Int64           // up to when what was erased is gone from the files, ms

	gate    sync.RWMutex // held for writing while it is closed
	closed  bool
	closing context.Context
	end     context.CancelCauseFunc
	work    sync.WaitGroup // what goes on, readers and our own

	statusMu   sync.Mutex
	quarantine quarantine
	counting   int       // how many count it anew
	changes    []counted // what was written meanwhile
	bytes      int64
	measured   time.Time // when bytes was asked for
	why        string    // why nothing can be written for now
}

// Open connects to the database and makes this process the one that writes as
// this node.
func (e *Engine) Open(ctx context.Context) (capture.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(e.openFor, openTimeout))
	defer cancel()
	h, err := e.claim(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{schema: e.schema(), e: e, home: h, days: make(map[time.Time]bool), quarantine: make(quarantine)}
	if err := s.open(ctx); err != nil {
		s.closePools()
		h.release()
		return nil, err
	}
	s.closing, s.end = context.WithCancelCause(context.Background())
	s.work.Go(s.keepAlive)
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	f, err := s.e.join(ctx)
	if err != nil {
		return err
	}
	s.node = int32(f.Node)
	readers := max(cmp.Or(s.e.Pool, DefaultPool), MinPool) - writers
	s.reports = make(chan struct{}, readers-1)
	for _, p := range []struct {
		pool  **pgxpool.Pool
		conns int
	}{{&s.write, writers}, {&s.read, readers}, {&s.bulk, cmp.Or(s.e.Pool, DefaultPool)}} {
		if *p.pool, err = s.e.pool(ctx, p.conns); err != nil {
			return err
		}
	}
	conn, err := s.e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing hangs on it
	if err := s.take(ctx, conn, f); err != nil {
		return err
	}
	last, err := s.lastSeq(ctx, conn)
	if err != nil {
		return away("opening the store", err)
	}
	s.position.NextSeq = last + 1
	if err := s.count(ctx, conn); err != nil {
		return away("opening the store", err)
	}
	return nil
}

// lastSeq returns the highest number that the journal's sequence has given.
func (s schema) lastSeq(ctx context.Context, q querier) (uint64, error) {
	var last int64
	err := q.QueryRow(ctx, s.q(`SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {s}.journal_seq`)).Scan(&last)
	return uint64(last), err //nolint:gosec // never negative
}

func (s *Store) closePools() {
	for _, p := range []*pgxpool.Pool{s.write, s.read, s.bulk} {
		if p != nil {
			p.Close()
		}
	}
}

// enter lets a caller in, whose work ends with the store at the latest. leave is
// to be called once.
func (s *Store) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return nil, nil, capture.ErrClosed
	}
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	s.work.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.closing, func() { cancel(capture.ErrClosed) })
	return ctx, func() { stop(); cancel(nil); s.work.Done() }, nil
}

// Position returns where the counters stood.
func (s *Store) Position() capture.Position { return s.position }

// Close waits for what is under way and gives the node back.
func (s *Store) Close(next uint64) error {
	if !s.shut() {
		return capture.ErrClosed
	}
	defer s.closePools()   // which may take a while, where the server does not answer
	defer s.home.release() // and whoever opens the store next fences this one off
	if s.failure.Load() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := s.inTx(ctx, pgx.ReadCommitted, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.q(`UPDATE {s}.nodes SET holder = '', lease = CASE WHEN $3 > 0 THEN $3 ELSE lease END
WHERE node = $1 AND holder = $2`), s.node, s.holder, int64(next)) //nolint:gosec // at most clickid.MaxBlock
		if err == nil {
			_, err = tx.Exec(ctx, s.q(`UPDATE {s}.alive SET until = now() WHERE node = $1`), s.node)
		}
		return err
	})
	if err != nil {
		return away("closing the store", err)
	}
	return nil
}

// shut ends all that is under way; false if it was closed before.
func (s *Store) shut() bool {
	s.gate.Lock()
	was := s.closed
	s.closed = true
	s.gate.Unlock()
	if was {
		return false
	}
	s.end(capture.ErrClosed)
	s.work.Wait()
	return true
}

// fail stops the store for good.
func (s *Store) fail(err error) error {
	why := err.Error()
	if s.failure.CompareAndSwap(nil, &why) {
		s.e.log().Error("the store was stopped", zap.String("store", s.e.Key()), zap.Error(err))
	}
	return fmt.Errorf("%w: %w", capture.ErrFatal, err)
}

// keepAlive renews the lease and looks at what other nodes changed.
func (s *Store) keepAlive() {
	tick := time.NewTicker(leaseFor / 3)
	defer tick.Stop()
	for told := false; ; {
		select {
		case <-s.closing.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(s.closing, leaseFor/3)
		err := s.beat(ctx)
		cancel()
		if err != nil && !told && s.closing.Err() == nil && !errors.Is(err, capture.ErrFatal) {
			s.e.log().Warn("the node could not tell the database that it is alive", zap.String("store", s.e.Key()), zap.Error(err))
		}
		told = err != nil
	}
}

func (s *Store) beat(ctx context.Context) error {
	if err := s.renew(ctx); err != nil {
		return err
	}
	return s.recount(ctx)
}

// renew renews the lease.
func (s *Store) renew(ctx context.Context) error {
	conn, err := acquire(ctx, s.write)
	if err != nil {
		return err
	}
	defer giveBack(conn)
	lives := leaseFor.Seconds()
	tag, err := conn.Exec(ctx, s.q(`UPDATE {s}.alive SET until = now() + $3::float8 * interval '1 second'
WHERE node = $1 AND EXISTS (SELECT 1 FROM {s}.nodes WHERE node = $1 AND holder = $2)`), s.node, s.holder, lives)
	if err == nil && tag.RowsAffected() == 0 {
		if err = s.whoWrites(ctx, conn); err == nil { // the lease is gone, and we are still the node
			_, err = conn.Exec(ctx, s.q(`INSERT INTO {s}.alive (node, until) VALUES ($1, now() + $2::float8 * interval '1 second')
ON CONFLICT (node) DO UPDATE SET until = excluded.until`), s.node, lives)
		}
	}
	if err != nil && !errors.Is(err, capture.ErrFatal) {
		hangUp(conn)
	}
	return err
}

// whoWrites stops the store if this process is not the node any more.
func (s *Store) whoWrites(ctx context.Context, q querier) error {
	var holder string
	err := q.QueryRow(ctx, s.q(`SELECT holder FROM {s}.nodes WHERE node = $1`), s.node).Scan(&holder)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) || holder == s.holder {
		return err
	}
	return s.fail(s.displaced(holder))
}

// displaced says why this process is not the node any more.
func (s *Store) displaced(holder string) error {
	if holder == "" {
		return fmt.Errorf("the database does not know node %d any more", s.node) // who opens it anew makes it known
	}
	return fmt.Errorf("another process writes as node %d now: was the directory %q copied? give each node a directory of its own",
		s.node, s.e.Dir)
}

// Status tells what is known from memory.
func (s *Store) Status() capture.StoreStatus {
	s.gate.RLock()
	closed := s.closed
	s.gate.RUnlock()
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	st := capture.StoreStatus{Writable: true, Bytes: s.bytes, Quarantine: maps.Clone(s.quarantine)}
	// What another node put there and this one took out is not counted yet.
	maps.DeleteFunc(st.Quarantine, func(_ capture.Reason, n int64) bool { return n <= 0 })
	switch why := s.failure.Load(); {
	case closed:
		st.Writable, st.Why = false, capture.ErrClosed.Error()
	case why != nil:
		st.Writable, st.Failed, st.Why = false, true, *why
	case s.why != "":
		st.Writable, st.Why = false, s.why
	}
	return st
}
