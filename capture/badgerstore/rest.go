package badgerstore

import (
	"runtime"
	"time"
)

// rest lets others have the processor. A report is some seconds of pure work;
// without a pause a request would wait until the scheduler takes the processor
// away, which is 10 ms, as nobody looks at the network while all processors
// have something to do.
//
// A pause lasts up to a millisecond if nobody else has anything to do: that is
// the least for which the scheduler waits for the network. So they are fewer
// while the store is quiet.
type rest struct {
	gate        *gate
	n           int
	work, yield time.Time // since when it works, without letting others go first
}

const (
	restAfter   = time.Millisecond
	restQuietly = 4 * time.Millisecond
	yieldAfter  = 400 * time.Microsecond
	restFor     = 50 * time.Microsecond
	restLook    = 16 // records
)

// maybe is called for each small record.
func (r *rest) maybe() {
	if r.n++; r.n%restLook == 0 {
		r.now()
	}
}

// now is called for each large one. Who is ready to run may go first soon; those
// whom the network brings wait for the pause.
func (r *rest) now() {
	now := time.Now()
	if now.Sub(r.yield) <= yieldAfter {
		return
	}
	after := restAfter
	if r.gate.quiet(now) {
		after = restQuietly
	}
	if now.Sub(r.work) > after {
		time.Sleep(restFor)
		r.work = time.Now()
		r.yield = r.work
		return
	}
	runtime.Gosched()
	r.yield = time.Now()
}
