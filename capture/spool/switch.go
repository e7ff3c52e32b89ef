package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// errSwitched is why nothing reaches the shared store while it is opened anew.
var errSwitched = errors.New("the shared store is being opened with other settings")

// Switch goes over to another engine of the same place: to a new password, for
// example, or to more connections. What comes meanwhile goes to the queue. It is
// refused where the shared store cannot be reached in the new way and could be in
// the old one, and where it never can.
func (s *Store) Switch(engine capture.Engine) error {
	next, ok := engine.(*Engine)
	if !ok || next.Place() != s.e.Place() {
		return fmt.Errorf("%s is not the place of the store that is open", engine.Key())
	}
	s.switching.Lock()
	defer s.switching.Unlock()
	s.mu.Lock()
	before := s.shares.Load()
	reached := s.shared != nil && s.why == ""
	s.mu.Unlock()
	if before.Key() == next.Key() && before.Settings == next.Settings {
		s.mu.Lock()
		s.shares.Store(next)
		s.mu.Unlock()
		return nil
	}
	if err := s.reach(next); err != nil {
		return err
	}
	err := s.reached(next)
	if err == nil || reachable(err) && !errors.Is(err, capture.ErrDenied) && !reached {
		return nil
	}
	if again := s.reach(before); again != nil {
		return again
	}
	_ = s.reached(before) // it goes on as it was, also where that was not well
	return err
}

// reach makes the forwarder open the shared store by way of an engine.
func (s *Store) reach(by *Engine) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return capture.ErrClosed
	}
	old, away := s.shared, s.why != ""
	s.shares.Store(by)
	s.shared, s.refusal, s.failed, s.why = nil, nil, opening{}, errSwitched.Error()
	s.mu.Unlock()
	if old != nil {
		_ = closeShared(old, 0, away)
	}
	select {
	case s.prod <- struct{}{}:
	default:
	}
	return nil
}

// reached waits a moment until the shared store is open, or why it is not.
func (s *Store) reached(by *Engine) error {
	limit := time.NewTimer(switchPatience)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		shared, why, failed := s.shared, s.why, s.failed
		s.mu.Unlock()
		switch {
		case shared != nil:
			return nil
		case failed.by == by && failed.err != nil && !errors.Is(failed.err, capture.ErrLocked):
			return failed.err
		}
		select {
		case <-s.stop:
			return capture.ErrClosed
		case <-limit.C:
			return fmt.Errorf("%w: %s", capture.ErrUnavailable, why)
		case <-tick.C:
		}
	}
}
