package spool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Store is an open shared store with its spool.
type Store struct {
	e        *Engine
	queue    Queue
	position capture.Position

	// What follows belongs to whoever commits, one at a time.
	expected uint64    // the number that the ledger gives to the next batch
	spooled  bool      // the last batch went to the queue
	last     time.Time // when it did
	waited   uint64    // the first batch of the queue when it was waited for in vain

	switching sync.Mutex // held by Switch

	mu      sync.Mutex
	shares  atomic.Pointer[Engine] // by which the shared store is reached; the queue stays that of the opening
	shared  capture.Store          // nil while it is not open
	refusal error                  // why it cannot be opened in this way, ever
	failed  opening                // the last one in vain
	later   func([]*capture.Postback)
	heard   chan struct{} // ends when later is set the first time
	hearing sync.Once
	state   state
	// next is the number of the next batch in the shared store, 0 while that is
	// not known.
	next uint64
	// claimed: the committer has a batch under way that has that number, or one of
	// which it does not know whether it was applied under it.
	claimed bool
	// tail is the last batch of the queue as it is there, if this process put it
	// there and nothing happened to it since.
	tail     []byte
	tailHead head
	// first is the key of the first batch that waits, nextKey that of the next
	// one to come.
	first, nextKey    uint64
	clicks, postbacks int
	bytes             int64
	wanted            int64 // what there was no room for
	oldest            time.Time
	why               string // why nothing reaches the shared store
	since             time.Time
	tookAt            time.Time     // when it took something last
	took              time.Duration // what a batch of the queue takes to be sent, lately
	closed            bool
	broken            error  // why the queue takes nothing more
	sticks            bool   // and does not let go of what is there
	alarm             string // what a person has to see to
	aside             aside
	again             []string // files of what is in the queue again

	reads   map[int]context.CancelCauseFunc // those under way
	reading int
	cut     *time.Timer // ends them while the shared store is away

	// pending ends when the shared store has come back from a call that was
	// given up. It belongs to whoever may send: the committer while nothing
	// waits, the forwarder while something does.
	pending chan struct{}

	opening bool // a call to open the shared store is under way
	opened  chan opening
	wake    chan struct{}
	prod    chan struct{} // ends a pause
	stop    chan struct{}
	work    sync.WaitGroup
}

type opening struct {
	by    *Engine
	store capture.Store
	err   error
}

// Position returns where the counters stood.
func (s *Store) Position() capture.Position { return s.position }

// Later makes f be told of the postbacks of each batch that is decided after it
// was accepted, in order.
func (s *Store) Later(f func([]*capture.Postback)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hearing.Do(func() { close(s.heard) })
	s.later = f
}

// trouble notes why the shared store was not reached.
func (s *Store) trouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := err.Error()
	alarm := ""
	if errors.Is(err, capture.ErrDenied) || errors.Is(err, capture.ErrLocked) || s.refusal != nil {
		alarm = why
	}
	if alarm != "" && alarm != s.alarm {
		s.e.log().Error("the shared store does not take this node: somebody has to see to it. It is tried again, and what comes waits on this machine",
			zap.String("store", s.key()), zap.Error(err))
	}
	s.alarm = alarm
	if s.why == "" {
		if s.since = s.e.now(); s.cut != nil {
			s.cut.Stop()
		}
		s.cut = time.AfterFunc(readPatience, s.cutReads)
	}
	s.why = why
}

// back notes that the shared store takes what it is sent. The lock is held.
func (s *Store) back() {
	if s.why == "" {
		return
	}
	s.why, s.alarm, s.since = "", "", s.e.now()
	s.e.log().Info("the shared store is back", zap.String("store", s.key()),
		zap.Int("clicks", s.clicks), zap.Int("postbacks", s.postbacks))
}

// key names the shared store.
func (s *Store) key() string { return s.shares.Load().Key() }

func (s *Store) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close waits for what is under way. What still waits is on disk.
func (s *Store) Close(next uint64) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return capture.ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.work.Wait()
	s.mu.Lock()
	shared, waits, away := s.shared, s.waiting() > 0, s.why != ""
	s.shared = nil
	if s.cut != nil {
		s.cut.Stop()
	}
	var err error
	if next > 0 && next < s.state.Lease {
		n := s.state
		n.Lease = next
		err = s.save(n)
	}
	if waits {
		s.e.log().Warn("stopping while clicks and postbacks wait on this machine for the shared store: they are sent when Caddy runs again with this spool",
			zap.String("store", s.key()), zap.String("spool", s.e.Place()), zap.Int("clicks", s.clicks), zap.Int("postbacks", s.postbacks))
	}
	s.mu.Unlock()
	if shared != nil {
		if waits {
			next = 0 // what waits still needs its lease there
		}
		if closing := closeShared(shared, next, away); err == nil && !reachable(closing) {
			err = closing
		}
	}
	s.abandon()
	if closed := s.queue.Close(); err == nil {
		err = closed
	}
	return err
}

// closeShared closes a shared store, and does not wait for long for one that
// does not answer. That may not have been noticed yet: somebody waits for the end
// of Caddy, and what is under way ends by itself.
func closeShared(shared capture.Store, next uint64, away bool) error {
	done := make(chan error, 1)
	go func() { done <- shared.Close(next) }()
	limit := suddenPatience
	if away {
		limit = closePatience
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return nil // nothing of ours hangs on it
	}
}

// abandon closes a shared store that is still being opened, when it is.
func (s *Store) abandon() {
	if !s.opening {
		return
	}
	go func() {
		if o := <-s.opened; o.store != nil {
			_ = o.store.Close(0)
		}
	}()
}
