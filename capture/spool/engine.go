package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// DefaultDeadline is how long the shared store has to take a batch before
	// that goes to the disk of this machine.
	DefaultDeadline = 2 * time.Second
	// firstPatience is how long it has to open where it never gave this node a
	// number, without which nothing can be kept here.
	firstPatience = 10 * time.Second
	// forwardDeadline is how long it has for a batch that waits on disk already.
	forwardDeadline = 15 * time.Second
	// minPause and maxPause are between two tries to reach the shared store.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
	// grace is for a shared store to say that its time is up.
	grace = 250 * time.Millisecond
	// minPace and maxPace bound the time between two batches that go to the
	// disk. A batch costs the shared store about as much whether it is large or
	// small, so many small ones might never all be sent.
	minPace = 10 * time.Millisecond
	maxPace = 500 * time.Millisecond
	// fullRequests and fullBytes are of a batch that has waited for long enough:
	// what comes after it would not fit into it.
	fullRequests = 1024
	fullBytes    = 256 << 10
	// probeEvery is how often a shared store that nobody writes to is asked
	// whether it is there.
	probeEvery = 5 * time.Second
	// readPatience is how long a shared store that is known to be away has for
	// whoever reads.
	readPatience = 5 * time.Second
	// closePatience is how long one that does not answer has when it is closed, and
	// suddenPatience one that did until a moment ago.
	closePatience  = 3 * time.Second
	suddenPatience = 5 * time.Second
	// switchPatience is how long a shared store has that is reached in another way.
	switchPatience = 10 * time.Second
	// listenFor is how long whoever opens the store has to say that it wants to be
	// told of what is sent.
	listenFor = time.Second
	// headroom is how far block numbers may be ahead of what is durable of them
	// here, while the disk of this machine is full. A process that starts without
	// the shared store leaves out as many.
	headroom = 1 << 20

	// DefaultLimit is how much may wait on disk.
	DefaultLimit = 10 << 30
)

// Queue is the batches that wait on disk, by number, and the spool's own state.
// Append and SaveState are durable when they return; Remove need not be.
// All methods but Close may be called at any time.
type Queue interface {
	// State returns what SaveState wrote last, or nil.
	State() ([]byte, error)
	SaveState(data []byte) error
	// Heads calls yield for each batch that waits, in order.
	Heads(yield func(key uint64, head []byte, size int64) error) error
	// Append adds a batch, or replaces the last one. Errors wrap capture.ErrNoSpace, capture.ErrTooLarge
	// or capture.ErrUnavailable, where nothing was written; after any other the
	// queue takes nothing more.
	Append(key uint64, head, data []byte) error
	// Read returns what was appended.
	Read(key uint64) (head, data []byte, err error)
	// Remove removes a batch that was sent.
	Remove(key uint64) error
	// Split puts two batches in the place of one, the first of them under the
	// key before: all of that is durable or nothing. Its errors are those of
	// Append.
	Split(key uint64, headBefore, before, headAfter, after []byte) error
	// SetAside keeps data under a name, durable and apart from the batches.
	SetAside(name string, data []byte) error
	// Aside lists the names of what was set aside, ReadAside returns it,
	// RemoveAside removes it, and AsideDir says where it is.
	Aside() ([]string, error)
	ReadAside(name string) ([]byte, error)
	RemoveAside(name string) error
	AsideDir() string
	// Emptied tells that no batch is left, so that space can be given back.
	Emptied() error
	// Room tells why nothing can be appended now, or nil, and what the disk has
	// free and is kept free of it.
	Room() (free, reserve int64, full error)
	Close() error
}

// Engine is a shared store with a spool.
type Engine struct {
	Shared capture.Engine
	// OpenQueue opens the queue, which no other process may have open.
	OpenQueue func(ctx context.Context) (Queue, error)
	// Deadline is instead of DefaultDeadline, if not zero.
	Deadline time.Duration
	// Limit is how many bytes may wait, instead of DefaultLimit, if not zero.
	Limit int64
	// Home names the directory of the queue: engines of the same one are of the
	// same place. "" leaves that to the key of the shared store.
	Home string
	// Settings stands for all that the shared store is reached with, so that it
	// is known when that changes. It may hold secrets, and is never shown.
	Settings string
	Logger   *zap.Logger
	// Now is the clock; nil means the real one.
	Now func() time.Time

	apart bool // tests: batches are not joined
}

var (
	_ capture.Engine = (*Engine)(nil)
	_ capture.Store  = (*Store)(nil)
)

func (e *Engine) log() *zap.Logger {
	if e.Logger == nil {
		return zap.NewNop()
	}
	return e.Logger
}

func (e *Engine) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

func (e *Engine) deadline() time.Duration { return cmp.Or(e.Deadline, DefaultDeadline) }

func (e *Engine) limit() int64 { return cmp.Or(e.Limit, DefaultLimit) }

// Key names the shared store.
func (e *Engine) Key() string { return e.Shared.Key() }

// Place names what only one store can have open at a time, and what says which
// node it is: the queue.
func (e *Engine) Place() string { return cmp.Or(e.Home, e.Key()) }

// Same tells whether another engine does as this one does.
func (e *Engine) Same(other capture.Engine) bool {
	o, ok := other.(*Engine)
	return ok && o.Place() == e.Place() && o.Key() == e.Key() && o.Settings == e.Settings && o.limit() == e.limit()
}

// Identity returns the node's identity, which the shared store's engine knows
// without it.
func (e *Engine) Identity() (capture.Identity, error) { return e.Shared.Identity() }

// Restore fills the shared store, unless something waits to be sent to it.
func (e *Engine) Restore(ctx context.Context, r io.ReadSeeker) error {
	if err := e.nothingWaits(ctx); err != nil {
		return err
	}
	return e.Shared.Restore(ctx, r)
}

// Open opens the queue, and the shared store if it can be reached.
func (e *Engine) Open(ctx context.Context) (_ capture.Store, err error) {
	identity, err := e.Shared.Identity()
	if err != nil {
		return nil, err
	}
	q, err := e.OpenQueue(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = q.Close()
		}
	}()
	s := &Store{
		e: e, queue: q, since: e.now(), wake: make(chan struct{}, 1), prod: make(chan struct{}, 1), stop: make(chan struct{}),
		heard: make(chan struct{}), opened: make(chan opening, 1), reads: make(map[int]context.CancelCauseFunc),
	}
	s.shares.Store(e)
	if err := s.load(identity); err != nil {
		return nil, err
	}
	if err := s.tidy(); err != nil {
		return nil, err
	}
	if err := s.countAside(); err != nil {
		return nil, err
	}
	s.openShared()
	if err := s.openFirst(); err != nil {
		return nil, err
	}
	next := s.state.Lease
	if s.shared == nil {
		next += headroom // what is durable may be behind by so much
	}
	s.position = capture.Position{NextBlock: next, NextSeq: max(s.position.NextSeq, 1), NextBatch: max(s.next, 1)}
	s.expected = s.position.NextBatch
	s.work.Go(s.forward)
	s.signal()
	return s, nil
}

// openFirst waits a moment for the shared store. An error says that there is no
// doing without it now.
func (s *Store) openFirst() error {
	patience := s.e.deadline()
	if s.state.Lease == 0 {
		patience = max(patience, firstPatience)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case o := <-s.opened:
		s.opening = false
		if err = o.err; err == nil {
			err = s.adopt(o.store)
		}
		if err != nil && o.store != nil {
			_ = o.store.Close(0)
		}
	case <-timer.C:
		err = fmt.Errorf("%w: the shared store does not answer within %s", capture.ErrUnavailable, patience)
	}
	switch {
	case err == nil:
		return nil
	case reachable(err) && s.state.Lease > 0:
		s.trouble(err)
		return nil
	}
	s.abandon()
	return err
}

// reachable tells whether an error of opening the shared store may pass.
func reachable(err error) bool {
	return errors.Is(err, capture.ErrUnavailable) || errors.Is(err, capture.ErrNoSpace) || errors.Is(err, context.DeadlineExceeded)
}
