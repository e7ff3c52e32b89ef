package capture

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// linger is how long the committer waits at a time, and lingers how often
	// at most, until the batch is as full as those before: a commit costs as
	// much for one request as for a hundred. It waits only where batches have
	// more than lingerAfter requests, and none was idleAfter ago: an idle site
	// never waits.
	linger      = time.Millisecond
	lingers     = 3
	lingerAfter = 8
	idleAfter   = 100 * time.Millisecond
	// retryEvery is how often a write that was refused is tried again.
	retryEvery = 250 * time.Millisecond
)

// committer writes what the queue holds, batch by batch.
type committer struct {
	l     *Ledger
	store Store
	batch uint64
	limit int
	usual int       // requests in a batch, as those before let expect
	last  time.Time // when a batch was written
	early early

	started chan struct{} // closed by start: the first lease is there or failed
	start   func()
}

func newCommitter(l *Ledger, store Store) *committer {
	pos := store.Position()
	c := &committer{
		l: l, store: store, batch: pos.NextBatch, limit: maxBatchRequests,
		started: make(chan struct{}),
	}
	c.start = sync.OnceFunc(func() { close(c.started) })
	return c
}

// loop is the one goroutine that writes. It makes the first block numbers
// usable before the first click asks for one. It ends when the queue is closed
// and empty, or the store has failed for good.
func (c *committer) loop() {
	defer c.start()
	ok := c.write(c.l.queue.takeLease())
	c.start()
	for ok {
		waiting, closed := c.l.queue.look()
		switch {
		case waiting || c.degraded() && !closed:
		case closed:
			return
		default:
			<-c.l.queue.wake
		}
		c.gather(closed)
		ok = c.round()
	}
}

// gather lets requests join the next batch.
//
// Whoever wakes the committer makes it run next. So it first lets those run
// who are ready to, on a small machine all that have arrived: else each would
// have a commit to itself, with all others waiting for it.
func (c *committer) gather(closed bool) {
	runtime.Gosched()
	if time.Since(c.last) > idleAfter {
		c.usual = 0
	}
	if c.usual <= lingerAfter || closed || c.degraded() {
		return
	}
	before := 0
	for range lingers {
		n := c.l.queue.requests()
		if n >= c.usual || n == before {
			return // nobody else came, so nobody may
		}
		before = n
		time.Sleep(linger)
	}
}

// round writes one batch; false when the loop is to end.
func (c *committer) round() bool {
	w := c.l.queue.take(c.limit)
	if w.empty() {
		if !c.degraded() {
			return true
		}
		// Nobody waits, as postbacks are turned away: find out by ourselves
		// when the store takes writes again.
		w = c.l.queue.takeLease()
	}
	return c.write(w)
}

// write writes a batch and deals with its failure; false when the loop is to
// end.
func (c *committer) write(w load) bool {
	waiting := len(c.early.list)
	err := c.commit(w)
	switch {
	case err == nil:
		c.usual, c.last = max(w.requests, c.usual-c.usual/8-1), time.Now()
		c.limit = maxBatchRequests
		return true
	case tooMuch(err) && (c.limit > 1 || len(c.early.list) < waiting) && w.requests > 0:
		c.limit = max(1, c.limit/4)
		c.l.queue.putBack(w) // for a smaller batch
		return true
	case tooMuch(err) && w.requests > 0:
		// It would be so for ever, and hold up all that comes after.
		c.l.log().Error("giving up what the store does not take", zap.Int("requests", w.requests), zap.Error(err))
		c.l.fail(w, err)
		c.l.lose(w)
		return true
	case errors.Is(err, ErrFatal), errors.Is(err, ErrClosed):
		c.stop(w, err)
		return false
	}
	c.degrade(err)
	c.l.fail(w, err)
	c.l.queue.putBack(load{blocks: w.blocks})
	if waiting, closed := c.l.queue.look(); closed {
		if waiting {
			c.l.log().Error("stopping with requests that could not be written", zap.Error(err))
		}
		c.stop(load{}, err)
		return false
	}
	c.pause()
	return true
}

// tooMuch tells of an error of a batch of which a part may be taken.
func tooMuch(err error) bool { return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRefused) }

// pause waits until it is time to try again.
func (c *committer) pause() {
	select {
	case <-c.l.ctx.Done():
	case <-time.After(retryEvery):
	}
}

// commit writes a batch and wakes those who wait for it.
func (c *committer) commit(w load) error {
	b := &Batch{Number: c.batch, Now: c.l.now(), Lease: w.lease}
	for _, q := range w.blocks {
		b.Blocks = append(b.Blocks, &q.Block)
	}
	due, after := c.early.due(w.blocks, b.Now)
	booked := slices.Concat(due, w.postbacks)
	for _, q := range booked {
		q.Postback.Seq = 0 // also where a batch before this one came to nothing
		b.Postbacks = append(b.Postbacks, q.Postback)
	}
	start := time.Now()
	if err := c.send(b); err != nil {
		if tooMuch(err) {
			c.early.forget(due) // what has waited can wait on, rather than cost the click its place
		}
		return err
	}
	c.batch++
	c.early.forget(slices.Concat(due, after))
	for _, q := range after {
		_, _ = c.l.queue.addPostback(q.Postback) // where there is no room, it waits on
	}
	for _, q := range w.postbacks {
		c.early.note(q.Postback, c.l.Identity().Epoch)
	}
	c.l.queue.settle(w, true)
	c.recovered()
	c.l.lastCommit.Store(c.l.now().UnixMilli())
	for _, q := range w.blocks {
		q.finish()
	}
	for _, q := range w.postbacks {
		close(q.done)
	}
	current := c.l.current.Load()
	if hook := current.Committed; hook != nil && w.requests > 0 {
		hook(w.requests, time.Since(start))
	}
	if current.Booked != nil {
		for _, p := range booked {
			if p.newEntry() {
				current.Booked(&p.Result)
			}
		}
	}
	c.l.feed.publish(booked)
	return nil
}

// send commits a batch. Once it is not known whether the batch was written,
// nothing else may be sent under its number: what the store has would not be
// what it is asked to have. So it is sent until that is known, whatever the
// store answers in between, or the ledger closes.
func (c *committer) send(b *Batch) error {
	unknown := false
	for {
		err := c.store.Commit(context.Background(), b)
		unknown = unknown || errors.Is(err, ErrUnknown)
		switch {
		case err == nil, !unknown, errors.Is(err, ErrFatal), errors.Is(err, ErrClosed):
			return err
		case c.l.queue.isClosed():
			return fmt.Errorf("%w: %s", ErrUnknown, err)
		}
		c.degrade(err)
		c.pause()
	}
}

// degrade notes that the store takes nothing for now. It is logged once.
func (c *committer) degrade(err error) {
	defer c.start()
	if s := c.l.state.Load(); s.why == "" {
		c.l.setState(&ledgerState{store: c.store, why: err.Error()})
		c.l.log().Error("the store takes nothing now: redirects go on, clicks wait in memory, postbacks get 503",
			zap.String("store", c.l.Key()), zap.Error(err))
	}
}

func (c *committer) degraded() bool { return c.l.state.Load().why != "" }

func (c *committer) recovered() {
	if s := c.l.state.Load(); s.why != "" && !s.stopped {
		c.l.setState(&ledgerState{store: c.store})
		c.l.log().Info("the store takes writes again", zap.String("store", c.l.Key()))
	}
}

// stop ends all writing for good.
func (c *committer) stop(w load, err error) {
	c.l.giveUp(c.store, w, err)
	if errors.Is(err, ErrFatal) {
		c.l.log().Error("the store was stopped to protect what is stored: "+
			"the site serves on without tracking; check the disk, then restart Caddy",
			zap.String("store", c.l.Key()), zap.Error(err))
	}
}

// giveUp ends all writing: what waits is told, what comes is not taken. w was
// taken from the queue before.
func (l *Ledger) giveUp(store Store, w load, err error) {
	q := &l.queue
	q.close()
	l.setState(&ledgerState{store: store, why: err.Error(), stopped: true})
	l.fail(w, err)
	rest := q.drain()
	l.fail(rest, err)
	rest.blocks = append(w.blocks, rest.blocks...)
	l.lose(rest)
}

// fail answers the waiting postbacks with an error; clicks wait on.
func (l *Ledger) fail(w load, err error) {
	for _, q := range w.postbacks {
		q.err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		close(q.done)
	}
}

// lose gives up clicks that will never be written.
func (l *Ledger) lose(w load) {
	l.queue.settle(w, false)
	for _, b := range w.blocks {
		b.lost = true
		l.lost.Add(int64(len(b.Clicks)))
		b.finish()
	}
}
