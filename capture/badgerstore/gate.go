package badgerstore

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// gate counts what is under way, so that Badger is never closed under it
// (which would end the process), and knows which points in time are being
// read, so that compaction keeps them.
type gate struct {
	mu      sync.Mutex
	users   int
	durable uint64         // the timestamp that new readers get
	written time.Time      // when that became so
	writing bool           // something is on its way to the disk
	reading map[uint64]int // open readers by timestamp
	closed  bool
	closing chan struct{} // closed when the store is to close: long scans end
	idle    chan struct{} // closed when it is and nobody is left
}

func newGate(durable uint64) *gate {
	return &gate{
		durable: durable, reading: make(map[uint64]int),
		closing: make(chan struct{}), idle: make(chan struct{}),
	}
}

// enter admits one operation; leave ends it. It never waits, so an operation
// may be started from within another.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return capture.ErrClosed
	}
	g.users++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left()
}

func (g *gate) left() {
	g.users--
	if g.closed && g.users == 0 {
		close(g.idle)
	}
}

// read admits a reader at the newest durable timestamp; done ends it.
func (g *gate) read() (uint64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0, capture.ErrClosed
	}
	g.users++
	g.reading[g.durable]++
	return g.durable, nil
}

func (g *gate) done(ts uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.reading[ts]; n > 1 {
		g.reading[ts] = n - 1
	} else {
		delete(g.reading, ts)
	}
	g.left()
}

// quietAfter is for how long nothing must have been written for the store to be
// taken as quiet.
const quietAfter = 250 * time.Millisecond

// quiet tells whether nobody writes, as far as can be seen. What else Caddy does
// cannot.
func (g *gate) quiet(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.writing && now.Sub(g.written) > quietAfter
}

// write notes that something is on its way to the disk, until publish.
func (g *gate) write() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writing = true
}

// publish makes ts what new readers get.
func (g *gate) publish(ts uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.durable, g.written, g.writing = ts, time.Now(), false
}

// oldest is the oldest timestamp that anybody reads or will read. What was
// superseded at or before it may go: a reader sees the newest version up to
// its own timestamp, and that one is always kept.
func (g *gate) oldest() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := g.durable
	for ts := range g.reading {
		oldest = min(oldest, ts)
	}
	return oldest
}

// close admits nobody any more and waits until all have left. It returns false
// if it was called before.
func (g *gate) close() bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.closed = true
	close(g.closing)
	if g.users == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	<-g.idle
	return true
}

// pace lets a long scan end when its context does or the store is to close.
type pace struct {
	ctx     context.Context
	closing <-chan struct{}
	n       uint8
}

// step is called for each item and looks up every 256th time.
func (p *pace) step() error {
	p.n++
	if p.n != 0 {
		return nil
	}
	return p.now()
}

func (p *pace) now() error {
	select {
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	case <-p.closing:
		return capture.ErrClosed
	default:
		return nil
	}
}
