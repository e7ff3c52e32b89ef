package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// linger is how long the committer waits for company when the batch
	// before was busy: fewer, fuller batches, and half the worst waiting time
	// under load; an idle site never waits for it.
	linger      = time.Millisecond
	lingerAfter = 8
	// retryEvery is how often a write that was refused is tried again.
	retryEvery = 250 * time.Millisecond
)

// committer writes what the queue holds, batch by batch.
type committer struct {
	l     *Ledger
	store Store
	seq   uint64
	batch uint64
	limit int
	last  int // requests in the batch before

	started chan struct{} // closed by start: the first lease is there or failed
	start   func()
}

func newCommitter(l *Ledger, store Store) *committer {
	pos := store.Position()
	c := &committer{
		l: l, store: store, seq: pos.NextSeq, batch: pos.NextBatch, limit: maxBatchRequests,
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
			if c.last > lingerAfter {
				time.Sleep(linger)
			}
		}
		ok = c.round()
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
	err := c.commit(w)
	switch {
	case err == nil:
		c.last = w.requests
		c.limit = maxBatchRequests
		return true
	case errors.Is(err, ErrTooLarge) && c.limit > 1 && w.requests > 0:
		c.limit = max(1, c.limit/4)
		c.requeue(w)
		return true
	case errors.Is(err, ErrTooLarge) && w.requests > 0:
		// It would be too large for ever, and hold up all that comes after.
		c.l.log().Error("giving up what is too large for the store", zap.Int("requests", w.requests), zap.Error(err))
		c.fail(w, err)
		c.lose(w)
		return true
	case errors.Is(err, ErrFatal), errors.Is(err, ErrClosed):
		c.stop(w, err)
		return false
	}
	c.degrade(err)
	c.fail(w, err)
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

// pause waits until it is time to try again.
func (c *committer) pause() {
	select {
	case <-c.l.ctx.Done():
	case <-time.After(retryEvery):
	}
}

// requeue puts everything back for a smaller batch. The postbacks go back
// into the hands of the queue in their old order.
func (c *committer) requeue(w load) {
	q := &c.l.queue
	q.putBack(load{blocks: w.blocks})
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range w.postbacks {
		p.taken = false
		q.postbackBytes += p.bytes
	}
	q.postbacks = append(append([]*queuedPostback(nil), w.postbacks...), q.postbacks...)
}

// commit writes a batch and wakes those who wait for it.
func (c *committer) commit(w load) error {
	b := &Batch{Number: c.batch, Now: c.l.now(), Lease: w.lease}
	for _, q := range w.blocks {
		b.Blocks = append(b.Blocks, &q.Block)
	}
	for i, q := range w.postbacks {
		q.Postback.Seq = c.seq + uint64(i) //nolint:gosec // not negative
		b.Postbacks = append(b.Postbacks, q.Postback)
	}
	start := time.Now()
	if err := c.send(b); err != nil {
		return err
	}
	c.batch++
	c.seq += uint64(len(w.postbacks))
	c.l.queue.settle(w, true)
	c.recovered()
	c.l.lastCommit.Store(c.l.now().UnixMilli())
	for _, q := range w.blocks {
		close(q.done)
	}
	for _, q := range w.postbacks {
		close(q.done)
	}
	if hook := c.l.current.Load().Committed; hook != nil && w.requests > 0 {
		hook(w.requests, time.Since(start))
	}
	c.l.feed.publish(w.postbacks)
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

// fail answers the waiting postbacks with an error; clicks wait on.
func (c *committer) fail(w load, err error) {
	for _, q := range w.postbacks {
		q.err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		close(q.done)
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

// stop ends all writing: what waits is told, what comes is not taken.
func (c *committer) stop(w load, err error) {
	q := &c.l.queue
	q.close()
	c.l.setState(&ledgerState{store: c.store, why: err.Error(), stopped: true})
	if errors.Is(err, ErrFatal) {
		c.l.log().Error("the store was stopped to protect what is stored: "+
			"the site serves on without tracking; check the disk, then restart Caddy",
			zap.String("store", c.l.Key()), zap.Error(err))
	}
	c.fail(w, err)
	rest := load{blocks: w.blocks}
	q.mu.Lock()
	rest.blocks = append(rest.blocks, q.ready...)
	if q.open != nil {
		rest.blocks = append(rest.blocks, q.open)
	}
	rest.postbacks = q.postbacks
	q.ready, q.open, q.postbacks, q.postbackBytes = nil, nil, nil, 0
	for _, p := range rest.postbacks {
		p.taken = true
	}
	q.mu.Unlock()
	c.fail(load{postbacks: rest.postbacks}, err)
	c.lose(rest)
}

// lose gives up clicks that will never be written.
func (c *committer) lose(w load) {
	c.l.queue.settle(w, false)
	for _, b := range w.blocks {
		b.lost = true
		c.l.lost.Add(int64(len(b.Clicks)))
		close(b.done)
	}
}
