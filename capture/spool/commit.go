package spool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Commit makes a batch durable, in the shared store or on this machine.
func (s *Store) Commit(_ context.Context, b *capture.Batch) error {
	err := s.commit(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	// While it is not known whether the batch has used up its number, that is
	// nobody else's.
	s.claimed = errors.Is(err, capture.ErrUnknown)
	return err
}

func (s *Store) commit(b *capture.Batch) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return capture.ErrClosed
	case b.Number+1 == s.expected && s.spooled:
		s.accept(b)
		return nil
	case b.Number+1 != s.expected && b.Number != s.expected:
		return fmt.Errorf("%w: batch %d came instead of %d", capture.ErrFatal, b.Number, s.expected)
	}
	if err := s.promise(b); err != nil {
		return err
	}
	if b.Number == s.expected {
		time.Sleep(s.pause(b)) // after which nothing may wait any more
		s.handover()
	}
	shared, number, away := s.direct()
	if b.Number != s.expected { // it is sent once more
		if shared == nil {
			return fmt.Errorf("%w: the shared store is away", capture.ErrUnknown)
		}
		return s.send(shared, b, number-1, s.e.deadline())
	}
	var sent error
	if shared != nil && !away {
		if sent = s.sendDirect(shared, b, number); sent == nil || errors.Is(sent, capture.ErrTooLarge) {
			return sent
		}
	}
	err := s.spool(b)
	switch {
	case err == nil:
		s.expected, s.spooled = s.expected+1, true
		s.accept(b)
	case shared != nil && away: // it is the last hope
		if sent = s.sendDirect(shared, b, number); sent == nil {
			return nil
		}
	}
	if sent != nil && (errors.Is(sent, capture.ErrFatal) || errors.Is(sent, capture.ErrClosed)) {
		s.giveUpShared(shared)
	}
	if err != nil && sent != nil && errors.Is(sent, capture.ErrUnknown) {
		return fmt.Errorf("%w, and this machine cannot keep the batch: %w", sent, errors.New(err.Error()))
	}
	return err
}

// direct returns the shared store if batches may go straight to it, the number
// of the next one, and whether it is known not to answer.
func (s *Store) direct() (shared capture.Store, number uint64, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared == nil || s.waiting() > 0 {
		return nil, 0, false
	}
	_, asked := s.shared.(pinger)
	s.claimed = true
	return s.shared, s.next, s.why != "" && asked
}

// sendDirect sends the ledger's own batch.
func (s *Store) sendDirect(shared capture.Store, b *capture.Batch, number uint64) error {
	err := s.send(shared, b, number, s.e.deadline())
	if err != nil {
		if !errors.Is(err, capture.ErrTooLarge) {
			s.trouble(err)
		}
		return err
	}
	s.mu.Lock()
	s.next++
	s.tookAt = time.Now()
	s.back()
	s.mu.Unlock()
	s.expected, s.spooled = s.expected+1, false
	return nil
}

// promise makes durable, on this machine, which block numbers may be in use.
// Where the disk is full it may be behind: the numbers in between are left out
// by whoever relies on it.
func (s *Store) promise(b *capture.Batch) error {
	lease := b.Lease
	for _, block := range b.Blocks {
		lease = max(lease, block.Number+1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if lease <= s.state.Lease {
		return nil
	}
	n := s.state
	n.Lease = lease
	if err := s.save(n); err != nil && (s.state.Lease == 0 || lease > s.state.Lease+headroom) {
		return fmt.Errorf("%w: noting the lease of click IDs: %w", capture.ErrUnavailable, err)
	}
	return nil
}

// accept answers postbacks that will be decided later.
func (s *Store) accept(b *capture.Batch) {
	for _, p := range b.Postbacks {
		p.Result = capture.Result{Outcome: capture.Accepted}
	}
}

// send sends a batch to the shared store, and waits no longer than limit. The
// store gets a copy: it may still be at work on it when it was given up.
func (s *Store) send(shared capture.Store, b *capture.Batch, number uint64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	timer := time.NewTimer(limit + grace)
	defer timer.Stop()
	if s.pending != nil {
		select {
		case <-s.pending:
			s.pending = nil
		case <-timer.C:
			cancel()
			// Of this batch nothing was sent, but of one of its number maybe.
			return fmt.Errorf("%w: the shared store has not come back from the batch before within %s", capture.ErrUnknown, limit)
		case <-s.stop:
			cancel()
			return fmt.Errorf("%w: %w", capture.ErrUnknown, capture.ErrClosed)
		}
	}
	again := *b
	again.Number = number
	again.Postbacks = make([]*capture.Postback, len(b.Postbacks))
	copies := make([]capture.Postback, len(b.Postbacks))
	for i, p := range b.Postbacks {
		copies[i] = *p
		again.Postbacks[i] = &copies[i]
	}
	done := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		defer cancel()
		done <- shared.Commit(ctx, &again)
		close(ended)
	}()
	var given string
	select {
	case err := <-done:
		if err == nil {
			for i, p := range b.Postbacks {
				*p = copies[i]
			}
		}
		return err
	case <-timer.C:
		given = "the shared store does not answer within " + limit.String()
	case <-s.stop: // the forwarder's batch, which is on disk
		given = capture.ErrClosed.Error()
	}
	s.pending = ended
	return fmt.Errorf("%w: %s", capture.ErrUnknown, given)
}

// spool puts a batch into the queue.
func (s *Store) spool(b *capture.Batch) error {
	for _, p := range b.Postbacks {
		if p.Seq != 0 {
			return fmt.Errorf("%w: the shared store is away, and only that one can keep the number %d of an entry", capture.ErrUnavailable, p.Seq)
		}
	}
	s.last = time.Now()
	data, err := capture.EncodeBatch(b)
	if err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if joined, err := s.join(b); joined || err != nil {
		return err
	}
	begins := s.waiting() == 0
	if err := s.append(headOf(b), data); err != nil {
		return err
	}
	if begins {
		s.e.log().Error("the shared store does not take what comes: clicks and postbacks go to the disk of this machine, and are sent when it does",
			zap.String("store", s.key()), zap.String("cause", s.why))
	}
	s.signal()
	return nil
}

// append adds a batch to the queue. The lock is held.
func (s *Store) append(h head, data []byte) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	if err := s.room(int64(len(data))); err != nil {
		s.wanted = int64(len(data))
		return err
	}
	s.wanted = 0
	begins := s.waiting() == 0
	if begins {
		n := s.state
		n.Key, n.Number = s.nextKey, s.next
		if err := s.save(n); err != nil {
			return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
		}
	}
	if err := s.put(s.nextKey, raw, data); err != nil {
		return err
	}
	s.tail, s.tailHead = data, h
	s.nextKey++
	if s.next != 0 {
		s.next++
	}
	s.count(h, int64(len(data)), 1)
	if begins {
		s.oldest = time.UnixMilli(h.At)
		if s.why == "" { // else it has been away for longer
			s.since = s.e.now()
		}
	}
	return nil
}

// put writes a batch to the queue. The lock is held.
func (s *Store) put(key uint64, raw, data []byte) error {
	err := s.queue.Append(key, raw, data)
	switch {
	case err == nil, errors.Is(err, capture.ErrNoSpace), errors.Is(err, capture.ErrTooLarge), errors.Is(err, capture.ErrUnavailable):
		return err
	}
	s.broken = err
	s.e.log().Error("the spool was stopped: while the shared store is away, clicks wait in memory and postbacks get 503",
		zap.String("store", s.key()), zap.Error(err))
	return fmt.Errorf("%w: %w", capture.ErrUnavailable, errors.New(err.Error()))
}

// room tells why nothing more can wait on this machine, or nil. The lock is held.
func (s *Store) room(more int64) error {
	if s.broken != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, s.broken)
	}
	if _, _, full := s.queue.Room(); full != nil {
		return full
	}
	if limit := s.shares.Load().limit(); s.bytes+more > limit {
		return fmt.Errorf("%w: %d bytes wait for the shared store on this machine, where they may be no more than %d (spool_size)",
			capture.ErrUnavailable, s.bytes, limit)
	}
	return nil
}
