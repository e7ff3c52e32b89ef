package capture

import (
	"sync"
	"time"
)

// waits is where those wait whose clicks are in one block, until the block is
// done with or they have waited for long enough. They share one timer, which
// starts with the first of them: at a thousand requests at once, a timer for
// each costs more than writing what they wait for. So where the disk stalls,
// whoever comes later waits a little less than the limit; nobody waits longer.
type waits struct {
	mu    sync.Mutex
	limit time.Duration
	timer *time.Timer
	over  chan struct{} // nil before anybody waits
	past  bool          // over is closed
	ended bool          // the block is done with
}

// wait waits until the block is done with, when done is closed, but no longer
// than limit.
func (w *waits) wait(done <-chan struct{}, limit time.Duration) {
	w.mu.Lock()
	if w.ended {
		w.mu.Unlock()
		return
	}
	if w.over == nil {
		w.over, w.limit = make(chan struct{}), limit
		w.timer = time.AfterFunc(limit, w.release)
	}
	over, same := w.over, w.limit == limit
	w.mu.Unlock()
	if same {
		<-over
		return
	}
	// It is of another route, with another limit.
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// end is called when the block is done with.
func (w *waits) end() {
	w.mu.Lock()
	w.ended = true
	timer := w.timer
	w.mu.Unlock()
	if timer != nil {
		timer.Stop()
		w.release()
	}
}

// release lets those go on who wait.
func (w *waits) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.past {
		w.past = true
		close(w.over)
	}
}
