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

// pinger is a shared store that can be asked whether it is there.
type pinger interface {
	Ping(ctx context.Context) error
}

// openShared opens the shared store in a goroutine of its own, as nobody knows
// how long that takes. The result comes over the channel opened.
func (s *Store) openShared() {
	s.opening = true
	s.mu.Lock()
	by := s.shares.Load()
	s.mu.Unlock()
	go func() {
		store, err := by.Shared.Open(context.Background())
		s.opened <- opening{by, store, err}
	}()
}

// forward sends what waits, for as long as the store is open.
func (s *Store) forward() {
	timer := time.NewTimer(listenFor)
	defer timer.Stop()
	select {
	case <-s.heard:
	case <-timer.C:
	case <-s.stop:
		return
	}
	pause := minPause
	for {
		more, err := s.step()
		if err == nil && more {
			pause = minPause
			select {
			case <-s.stop:
				return
			default:
			}
			continue
		}
		wake, again := s.wake, probeEvery
		if err != nil {
			s.trouble(err)
			wake, again = nil, pause
			pause = min(2*pause, maxPause)
		} else {
			pause = minPause
		}
		if !s.rest(wake, again, &pause) {
			return
		}
	}
}

// rest waits until there is something to do; false when there never will be.
func (s *Store) rest(wake <-chan struct{}, limit time.Duration, pause *time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.stop:
		return false
	case o := <-s.opened:
		s.opening = false
		err := s.use(o)
		if err == nil {
			*pause = minPause
			return true
		}
		s.trouble(err)
		timer.Reset(*pause)
		*pause = min(2**pause, maxPause)
		select {
		case <-s.stop:
			return false
		case <-timer.C:
		case <-s.prod:
		}
	case <-timer.C:
	case <-wake:
	case <-s.prod:
		*pause = minPause
	}
	return true
}

// use takes a shared store into use that was opened.
func (s *Store) use(o opening) error {
	s.mu.Lock()
	stale := o.by != s.shares.Load()
	s.mu.Unlock()
	switch {
	case stale: // it is to be reached in another way by now
		if o.store != nil {
			_ = o.store.Close(0)
		}
		return nil
	case o.err == nil:
		if o.err = s.adopt(o.store); o.err != nil {
			_ = o.store.Close(0)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal, s.failed = nil, o
	if o.err != nil {
		if !reachable(o.err) && !errors.Is(o.err, capture.ErrLocked) {
			s.refusal = o.err
		}
		return o.err
	}
	s.since = s.e.now()
	if s.waiting() == 0 {
		s.back()
	}
	return nil
}

// step sends the first batch that waits; more tells whether there are others.
func (s *Store) step() (more bool, err error) {
	s.mu.Lock()
	shared, key, waits, number := s.shared, s.first, s.waiting() > 0, s.number(s.first)
	s.mu.Unlock()
	switch {
	case shared == nil && !s.opening:
		s.openShared()
		return false, nil
	case shared == nil:
		return false, nil
	case !waits:
		return s.idle(shared)
	}
	if err := s.tidy(); err != nil {
		return true, err
	}
	p, err := s.read(key)
	if err != nil {
		return true, err
	}
	if p.batch == nil {
		return true, s.setAside(p)
	}
	s.mu.Lock()
	s.oldest = time.UnixMilli(p.head.At)
	s.mu.Unlock()
	start := time.Now()
	err = s.send(shared, p.batch, number, forwardDeadline)
	switch {
	case err == nil:
	case errors.Is(err, capture.ErrRefused), errors.Is(err, capture.ErrTooLarge):
		p.why = err
		return true, s.refused(p)
	case errors.Is(err, capture.ErrFatal), errors.Is(err, capture.ErrClosed):
		s.giveUpShared(shared)
		return true, err
	default:
		return true, err
	}
	s.mu.Lock()
	later := s.later
	s.took += (time.Since(start) - s.took) / 4
	s.mu.Unlock()
	if later != nil && len(p.batch.Postbacks) > 0 {
		later(p.batch.Postbacks)
	}
	return s.sent(p)
}

// idle looks whether the shared store is there although nobody writes to it, and
// tries again what was set aside.
func (s *Store) idle(shared capture.Store) (more bool, err error) {
	s.mu.Lock()
	busy := s.why == "" && time.Since(s.tookAt) < probeEvery
	s.mu.Unlock()
	if p, ok := shared.(pinger); ok && !busy {
		ctx, cancel := context.WithTimeout(context.Background(), s.e.deadline())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- p.Ping(ctx) }()
		select {
		case err = <-done:
		case <-s.stop:
			return false, nil
		}
		if errors.Is(err, capture.ErrFatal) || errors.Is(err, capture.ErrClosed) {
			s.giveUpShared(shared)
		}
		if err != nil {
			return false, fmt.Errorf("asking whether the shared store is there: %w", err)
		}
		s.mu.Lock()
		s.back()
		s.mu.Unlock()
	}
	return s.retryAside(), nil
}

// sent removes the first batch that waits, which the shared store has.
func (s *Store) sent(p parcel) (more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tookAt = time.Now()
	s.back()
	s.drop(p)
	return s.waiting() > 0, nil
}

// drop removes the first batch that waits. That it is there again after a crash
// harms nobody, so neither does a disk that does not take its removal. The lock is
// held.
func (s *Store) drop(p parcel) {
	if err := s.queue.Remove(s.first); err != nil && !s.sticks {
		s.sticks = true
		s.e.log().Error("what was sent cannot be removed from the spool; it is known to be sent all the same", zap.String("store", s.key()), zap.Error(err))
	}
	s.first++
	s.count(p.head, p.size, -1)
	if s.waiting() > 0 {
		return
	}
	s.tail = nil
	s.clicks, s.postbacks, s.bytes = 0, 0, 0 // also where what was read of one was less
	s.since = s.e.now()
	s.e.log().Info("nothing waits on this machine any more", zap.String("store", s.key()))
	// Whatever comes back of the queue, should the giving back of its space be cut
	// off, was sent. A disk that is full needs the space all the more.
	n := s.state
	n.Key, n.Number = s.nextKey, s.next
	_ = s.save(n)
	if err := s.queue.Emptied(); err != nil {
		s.e.log().Warn("giving back the space of the spool", zap.Error(err))
	}
}

// parcel is a batch as it waits in the queue.
type parcel struct {
	key   uint64
	head  head
	size  int64
	data  []byte
	batch *capture.Batch // nil if it cannot be read
	why   error          // why it cannot be sent
}

// read reads a batch. An error means that it may be read later.
func (s *Store) read(key uint64) (parcel, error) {
	raw, data, err := s.queue.Read(key)
	if err != nil && !errors.Is(err, capture.ErrDamaged) && !errors.Is(err, capture.ErrNotFound) {
		return parcel{}, fmt.Errorf("reading batch %d of the spool: %w", key, err)
	}
	p := parcel{key: key, size: int64(len(data)), data: data, why: err}
	if err == nil {
		p.why = json.Unmarshal(raw, &p.head)
	}
	if p.why == nil {
		p.batch, p.why = capture.DecodeBatch(data)
	}
	return p, nil
}

// giveUpShared closes a shared store that has failed for good; the forwarder
// opens it anew.
func (s *Store) giveUpShared(shared capture.Store) {
	s.mu.Lock()
	if s.shared != shared {
		s.mu.Unlock()
		return
	}
	s.shared = nil
	s.mu.Unlock()
	s.e.log().Error("the shared store has failed and is opened anew", zap.String("store", s.key()))
	_ = closeShared(shared, 0, true)
	s.signal()
}
