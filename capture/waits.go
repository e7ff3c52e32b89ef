package capture

import (
	"sync"
	"time"
)

// waits is where those wait whose clicks are in one block, until the block is
// done with or they have waited for long enough. Those who come at about the
// same time share a timer: at a thousand requests at once, one for each costs
// more than writing what they wait for.
type waits struct {
	mu    sync.Mutex
	turns []*turn
	ended bool // the block is done with
}

// turn are those who share a timer, which starts with the first of them.
// Whoever comes soon after may join: nobody waits longer than the limit, and
// nobody less than nine tenths of it.
type turn struct {
	begun time.Time
	limit time.Duration
	timer *time.Timer
	over  chan struct{}
	past  bool // over is closed
}

func (t *turn) admits(now time.Time, limit time.Duration) bool {
	return t.limit == limit && now.Sub(t.begun) <= limit/16
}

// wait waits until the block is done with, but no longer than limit.
func (w *waits) wait(limit time.Duration) {
	now := time.Now()
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return
	}
	over := w.join(now, limit).over
	w.mu.Unlock()
	<-over
}

// join returns the turn to wait in. The lock is held.
func (w *waits) join(now time.Time, limit time.Duration) *turn {
	for i := len(w.turns) - 1; i >= 0; i-- {
		if w.turns[i].admits(now, limit) {
			return w.turns[i]
		}
	}
	t := &turn{begun: now, limit: limit, over: make(chan struct{})}
	t.timer = time.AfterFunc(limit, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		t.end()
	})
	w.turns = append(w.turns, t)
	return t
}

// end lets those go on who wait in the turn. The lock is held.
func (t *turn) end() {
	if !t.past {
		t.past = true
		close(t.over)
	}
}

// end is called when the block is done with.
func (w *waits) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, t := range w.turns {
		t.timer.Stop()
		t.end()
	}
	w.turns = nil
}
