package spool

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A batch costs the shared store about as much whether it is large or small. So
// that the queue is sent faster than it grows, small batches that wait are joined
// into larger ones, the next one is let grow for longer the longer they take, and the
// last of the queue is waited for rather than followed by more.

const (
	// joinBelow is how large a batch may be to have another one joined to it.
	joinBelow = 32 << 10
	// joinedMost is how large both may be.
	joinedMost = 128 << 10
	// handoverFor is how long the end of the queue is waited for.
	handoverFor = time.Second
	// handoverAt is how many batches are its end.
	handoverAt = 2
)

// pause is how long a batch has to wait that would go to the queue. While that is
// being sent, more have to leave it than come, or what begins under load would
// not end before the load does.
func (s *Store) pause(b *capture.Batch) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	pace := minPace
	switch {
	case s.waiting() == 0:
		return 0
	case s.shared != nil && s.why == "" && !full(b):
		pace = min(max(minPace, 2*s.took), maxPace)
	}
	return time.Until(s.last.Add(pace))
}

// full tells whether a batch is large enough to go on at once: it is no use to let
// more of them wait in memory.
func full(b *capture.Batch) bool {
	requests, bytes := len(b.Postbacks), 0
	for _, p := range b.Postbacks {
		bytes += len(p.Raw.URI) + len(p.Raw.Body)
	}
	for _, block := range b.Blocks {
		requests += len(block.Clicks)
		for _, c := range block.Clicks {
			bytes += len(c.URL) + len(c.Referer) + len(c.UserAgent)
		}
	}
	return requests >= fullRequests || bytes >= fullBytes
}

// join adds a batch to the last one of the queue, unless that one is large, or the
// first: which may be under way, and have a number in the shared store. The lock
// is held.
func (s *Store) join(b *capture.Batch) (bool, error) {
	if s.e.apart || s.waiting() < 2 || s.tail == nil || len(s.tail) > joinBelow {
		return false, nil
	}
	last, err := capture.DecodeBatch(s.tail)
	if err != nil {
		return false, nil //nolint:nilerr // whoever sends it says so
	}
	both := &capture.Batch{
		Now: b.Now, Lease: max(last.Lease, b.Lease),
		Blocks: slices.Concat(last.Blocks, b.Blocks), Postbacks: slices.Concat(last.Postbacks, b.Postbacks),
	}
	data, err := capture.EncodeBatch(both)
	if err != nil || len(data) > joinedMost {
		return false, nil //nolint:nilerr // it goes by itself
	}
	h := headOf(both)
	h.At = s.tailHead.At
	raw, err := json.Marshal(h)
	if err != nil {
		return false, err
	}
	if err := s.room(int64(len(data) - len(s.tail))); err != nil {
		return false, err
	}
	switch err := s.put(s.nextKey-1, raw, data); {
	case errors.Is(err, capture.ErrTooLarge):
		return false, nil
	case err != nil:
		return false, err
	}
	s.count(s.tailHead, int64(len(s.tail)), -1)
	s.count(h, int64(len(data)), 1)
	s.tail, s.tailHead = data, h
	return true, nil
}

// handover waits for the end of the queue, if that is near, so that batches go
// straight again although they never cease to come.
func (s *Store) handover() {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(handoverFor); ; {
		s.mu.Lock()
		waiting, first := s.waiting(), s.first
		idle := s.shared == nil || s.why != "" || s.state.Splits != 0
		s.mu.Unlock()
		switch {
		case waiting == 0 || waiting > handoverAt || idle || first == s.waited:
			return
		case time.Now().After(end):
			s.waited = first
			return
		}
		<-tick.C
	}
}
