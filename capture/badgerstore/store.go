package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// errDamaged: a record cannot be read, so the store must not be built upon.
var errDamaged = capture.ErrDamaged

// Store is an open store.
type Store struct {
	home     *home
	db       *badger.DB
	gate     *gate
	guard    *guard
	logs     *logs
	log      *zap.Logger
	lease    *leaseFile
	position capture.Position
	failure  atomic.Pointer[error]

	// mu is held by whoever writes: the committer or a sweep. What follows
	// belongs to the writer.
	mu    sync.Mutex
	ts    uint64 // of the last transaction
	state state
	cells cellCache
	spans map[markerOf]span // markers written last
	// results are those of the last batch, should it be sent again.
	results []capture.Result
	// erased are the clicks erased lately; a postback may have read one before.
	erased map[clickid.Ref]time.Time
	// repeatable spares most postbacks the look into the quarantine.
	repeatable filter
	// awaiting spares most the look for what awaits their transaction.
	awaiting filter
	// days are those of which there are records; they only become more.
	days atomic.Pointer[days]
	// commitAt commits a transaction; tests replace it.
	commitAt func(txn *badger.Txn, ts uint64) error
	ownSync  bool // Badger does not sync what it writes: we do

	// sweeping admits one sweep at a time, which deleted belongs to. It is
	// taken before mu.
	sweeping sync.Mutex
	erasing  atomic.Int32 // how many erasures wait for it
	deleted  deleted
	swept    swept
	merging  merging
	now      func() time.Time // the engine's clock
	patience time.Duration    // with readers, before space is given back

	// folding admits one at a time to fold the sums. It is taken after
	// sweeping and before mu, by which fold and loose are guarded.
	folding sync.Mutex
	fold    fold
	loose   int           // cells of the generation that is written to
	foldNow chan struct{} // holds one token

	quarantineMu sync.Mutex
	quarantine   map[capture.Reason]int64

	stop chan struct{} // closed to end the goroutines of work
	work sync.WaitGroup
}

// Position returns where the counters stood when the store was opened.
func (s *Store) Position() capture.Position { return s.position }

// Status tells the state of the store.
func (s *Store) Status() capture.StoreStatus {
	st := capture.StoreStatus{
		Writable: true,
		Bytes:    s.guard.bytes.Load(), Free: s.guard.free.Load(), Reserve: s.guard.reserve.Load(),
	}
	if s.guard.full.Load() {
		st.Writable, st.Why = false, s.guard.why()
	}
	if err := s.failed(); err != nil {
		st.Writable, st.Failed, st.Why = false, true, err.Error()
	}
	s.quarantineMu.Lock()
	defer s.quarantineMu.Unlock()
	st.Quarantine = maps.Clone(s.quarantine)
	return st
}

// failed returns the error with which the store failed, if it did.
func (s *Store) failed() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail stops all writing for good. After a failed sync nobody knows what is on
// disk and what only seems to be, so nothing may be built upon it.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("%w: %w", capture.ErrFatal, err)
	s.failure.CompareAndSwap(nil, &err)
	return s.failed()
}

// closeLimit bounds the wait for Badger, which tries for ever to write its
// memtable to a disk that has failed.
const closeLimit = time.Minute

// Close waits for what is under way and closes the store.
func (s *Store) Close(next uint64) error {
	hurry(s.db, 1)
	if !s.gate.close() {
		return capture.ErrClosed
	}
	close(s.stop)
	s.work.Wait()
	var err error
	if next > 0 && s.failed() == nil && s.guard.check() == nil {
		err = s.saveLease(next)
	}
	done := make(chan error, 1)
	go func() {
		s.logs.close()
		done <- s.db.Close()
		s.lease.close()
		s.home.release()
	}()
	select {
	case closing := <-done:
		if closing != nil && err == nil {
			err = fmt.Errorf("closing the store in %q: %w", s.home.dir, closing)
		}
	case <-time.After(closeLimit):
		err = fmt.Errorf("closing the store in %q: the disk did not finish within %s; what was acknowledged is safe in the log",
			s.home.dir, closeLimit)
	}
	return err
}

func (s *Store) saveLease(next uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.lease = next
	return s.write(func(txn *transaction) error { return txn.Set(keyState, st.encode()) })
}

// view runs f on what is durable now.
func (s *Store) view(ctx context.Context, f func(txn *transaction) error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	ts, err := s.gate.read()
	if err != nil {
		return err
	}
	defer s.gate.done(ts)
	txn := s.transaction(ts, false)
	defer txn.Discard()
	return f(txn)
}

// write runs f in a transaction of its own and makes it durable. The caller
// holds mu. An error of f means that nothing was written.
func (s *Store) write(f func(txn *transaction) error) error {
	if err := s.failed(); err != nil {
		return err
	}
	txn := s.transaction(s.ts, true)
	defer txn.Discard()
	if err := f(txn); err != nil {
		return err
	}
	return s.finish(txn)
}

// finish commits a transaction. The caller holds mu.
func (s *Store) finish(txn *transaction) error {
	s.home.touch()
	s.gate.write()
	ts := s.ts + 1
	err := s.commitAt(txn.Txn, ts)
	switch {
	case err != nil:
	case s.ownSync:
		err = s.logs.sync(s.db.Sync)
	default:
		s.logs.room()
	}
	switch {
	case err == nil:
	case errors.Is(err, badger.ErrTxnTooBig):
		return fmt.Errorf("%w: %w", capture.ErrTooLarge, err)
	default:
		// Badger may have written it, in part or in memory only.
		return s.fail(fmt.Errorf("writing to the disk of %q: %w", s.home.dir, err))
	}
	s.ts = ts
	s.days.Store(txn.days) // before anybody can read what is of a new one
	s.gate.publish(ts)
	s.db.SetDiscardTs(s.gate.oldest())
	return nil
}

var _ capture.Store = (*Store)(nil)
var _ capture.Engine = (*Engine)(nil)
