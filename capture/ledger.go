package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Ledger is one store in use: it mints click IDs, queues clicks and postbacks,
// and has one committer that writes whatever has queued up as one batch (group
// commit). It outlives configurations; what it takes from them is attached and
// detached. All methods are safe for concurrent use.
type Ledger struct {
	engine   atomic.Pointer[Engine]
	identity atomic.Pointer[Identity]
	now      func() time.Time

	queue  queue
	state  atomic.Pointer[ledgerState]
	ctx    context.Context // ends when the ledger is to stop
	cancel context.CancelFunc
	work   sync.WaitGroup

	useMu sync.Mutex // held by Use

	attachMu    sync.Mutex
	attachments []*Attachment
	current     atomic.Pointer[Attachment]

	feed feed

	lastCommit atomic.Int64 // Unix ms
	lost       atomic.Int64
	late       atomic.Int64
}

// Attachment is what a configuration lends to the ledger for its lifetime.
type Attachment struct {
	Logger *zap.Logger
	Retain Retention
	// Committed, if set, is told of each batch that is on disk.
	Committed func(requests int, took time.Duration)
	// Booked, if set, is told of each postback that made a journal entry, once
	// that is on disk, in their order. The committer calls it, so it must not
	// wait, and what it is given may change when it has returned.
	Booked func(*Result)
	// Identified, if set, is told when the ledger's identity is no longer a
	// stand-in for the store's own.
	Identified func()
}

// Options are the knobs of a ledger that tests turn.
type Options struct {
	// Now is the clock; nil means the real one.
	Now func() time.Time
}

// ledgerState is whether the store can be used; replaced as a whole.
type ledgerState struct {
	store Store // nil until opened
	why   string
	// stopped: no commit will ever succeed again.
	stopped bool
	since   time.Time
}

func (l *Ledger) setState(s *ledgerState) {
	s.since = l.now()
	l.state.Store(s)
}

func (l *Ledger) log() *zap.Logger { return l.current.Load().Logger }

// Key names the store.
func (l *Ledger) Key() string { return (*l.engine.Load()).Key() }

// Identity returns the store's identity.
func (l *Ledger) Identity() Identity { return *l.identity.Load() }

// Attach makes a configuration's logger and retention current. The returned
// function undoes it: the newest attachment that is left becomes current.
func (l *Ledger) Attach(a *Attachment) (detach func()) {
	l.attachMu.Lock()
	defer l.attachMu.Unlock()
	l.attachments = append(l.attachments, a)
	l.current.Store(a)
	return sync.OnceFunc(func() {
		l.attachMu.Lock()
		defer l.attachMu.Unlock()
		l.attachments = slices.DeleteFunc(l.attachments, func(x *Attachment) bool { return x == a })
		// The last one stays current: the ledger may still have to log.
		if n := len(l.attachments); n > 0 {
			l.current.Store(l.attachments[n-1])
		}
	})
}

// Reader gives access to what is stored; an error wrapping ErrUnavailable says
// why there is none.
func (l *Ledger) Reader() (Reader, error) {
	s := l.state.Load()
	if s.store == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnavailable, s.why)
	}
	return s.store, nil
}

// Close stops taking requests, writes what is queued, and closes the store.
func (l *Ledger) Close() error {
	l.queue.close()
	l.cancel()
	l.work.Wait()
	l.feed.close()
	s := l.state.Load()
	if s.store == nil {
		if waiting, _ := l.queue.look(); waiting {
			l.log().Error("stopping with clicks that could not be written", zap.String("store", l.Key()), zap.String("cause", s.why))
		}
		l.giveUp(nil, load{}, ErrClosed)
		return nil
	}
	l.setState(&ledgerState{why: ErrClosed.Error(), stopped: true})
	next := l.queue.nextBlock()
	if s.stopped {
		next = 0
	}
	return s.store.Close(next)
}

// Saved tells how far a click has got.
type Saved uint8

const (
	// SavedOnDisk: the click is durable.
	SavedOnDisk Saved = iota
	// SavedLater: the click waits in memory; it was not written in time.
	SavedLater
	// SavedNever: the click could not be queued and will not be recorded. Its
	// ID is valid all the same.
	SavedNever
)

// Ticket is a click's place in the queue.
type Ticket struct{ b *queuedBlock }

// Record queues a click and gives it its Ref, unless it has one from Reserve.
// The click must not be changed afterwards.
func (l *Ledger) Record(c *Click) Ticket {
	c.Time = c.Time.Truncate(time.Millisecond)
	b := l.queue.add(c, l.identity.Load().Epoch)
	if b == nil {
		l.lost.Add(1)
	}
	return Ticket{b}
}

// Reserve returns a Ref for a click that may never come to be recorded.
func (l *Ledger) Reserve(at time.Time) clickid.Ref {
	return l.queue.reserve(at, l.identity.Load().Epoch)
}

// Wait waits until the click of t is on disk, but no longer than limit, and
// not at all while the store is known not to take anything.
func (l *Ledger) Wait(t Ticket, limit time.Duration) Saved {
	if t.b == nil {
		return SavedNever
	}
	s := l.state.Load()
	if s.store != nil && s.why == "" && limit > 0 {
		t.b.waits.wait(limit)
	}
	select {
	case <-t.b.done:
		if t.b.lost {
			return SavedNever
		}
		return SavedOnDisk
	default:
		l.late.Add(1)
		return SavedLater
	}
}

// BookTimeout is how long a postback waits for its place in a batch before
// its sender is told to come again.
const BookTimeout = 5 * time.Second

// Book decides a postback and makes the result durable; p.Result is set if it
// returns nil. An error means that nothing was booked and that the sender is
// to try again, unless ctx ended first, when that is not known.
func (l *Ledger) Book(ctx context.Context, p *Postback) error {
	s := l.state.Load()
	if s.store == nil || s.why != "" {
		return fmt.Errorf("%w: %s", ErrUnavailable, s.why)
	}
	if p.HasRef && p.Click == nil {
		click, err := s.store.ClickToBook(ctx, p.Ref)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		p.Click = click
	}
	q, err := l.queue.addPostback(p)
	if err != nil {
		return err
	}
	timer := time.NewTimer(BookTimeout)
	defer timer.Stop()
	select {
	case <-q.done:
		return q.err
	case <-timer.C:
	case <-ctx.Done():
	}
	if l.queue.withdraw(q) {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
		return fmt.Errorf("%w: no room in a batch for %s", ErrUnavailable, BookTimeout)
	}
	// The committer has it: its fate is known soon.
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Health is the state of a ledger.
type Health struct {
	// State is "ok", "degraded" (nothing is written now, and it will go on by
	// itself, or there is something that a person has to see to) or "stopped" (a restart is needed); Why says more.
	State string
	Why   string
	Since time.Time

	QueuedClicks, QueuedPostbacks int
	// LastCommit is zero if nothing was written yet.
	LastCommit time.Time
	// LateClicks were redirected before they were on disk; LostClicks could
	// not be queued at all. Both count from the start of the process.
	LateClicks, LostClicks int64

	Store StoreStatus
}

// Health tells the state of the ledger, cheaply.
func (l *Ledger) Health() Health {
	s := l.state.Load()
	h := Health{State: "ok", Why: s.why, Since: s.since, LateClicks: l.late.Load(), LostClicks: l.lost.Load()}
	h.QueuedClicks, h.QueuedPostbacks = l.queue.lengths()
	if ms := l.lastCommit.Load(); ms != 0 {
		h.LastCommit = time.UnixMilli(ms)
	}
	if s.store != nil {
		h.Store = s.store.Status()
		if h.Why == "" && !h.Store.Writable {
			h.Why = h.Store.Why
		}
		if h.Why == "" {
			h.Why = h.Store.Alarm
		}
	}
	switch {
	case s.stopped || h.Store.Failed:
		h.State = "stopped"
	case h.Why != "":
		h.State = "degraded"
	}
	return h
}

// Follow subscribes to the journal: each entry is sent once it is on disk. A
// reader that does not keep up misses entries rather than holding up the
// ledger. The channel is closed when the ledger closes.
func (l *Ledger) Follow() (entries <-chan *Entry, stop func()) { return l.feed.subscribe() }

// Click returns a stored click; one that still waits in the queue is not found.
func (l *Ledger) Click(ctx context.Context, ref clickid.Ref) (*Click, error) {
	r, err := l.Reader()
	if err != nil {
		return nil, err
	}
	return r.Click(ctx, ref)
}

// Report answers a report.
func (l *Ledger) Report(ctx context.Context, q attribution.Query) (attribution.Report, error) {
	r, err := l.Reader()
	if err != nil {
		return attribution.Report{}, err
	}
	return r.Report(ctx, q)
}
