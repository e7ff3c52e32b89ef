package e2e

import (
	"sync"
	"time"
)

// connections are as many keep-alive connections as requests are under way at once: as few as can
// be, and more when the server is slow. Those that were needed only for a while are closed.
type connections struct {
	addr string

	mu   sync.Mutex
	idle []idleConnection // the last one used is the first one used again
	open int
}

type idleConnection struct {
	c     *client
	since time.Time
}

const (
	// idleAtMost is when a connection that is not needed is closed.
	idleAtMost = 3 * time.Second
	// fewConnections are kept however idle they are.
	fewConnections = 8
)

func newConnections(addr string) *connections { return &connections{addr: addr} }

func (p *connections) take() *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1].c
		p.idle = p.idle[:n-1]
		return c
	}
	return &client{addr: p.addr}
}

// drop accounts for a connection that is not given back.
func (p *connections) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
}

func (p *connections) give(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if c.conn == nil { // the server has closed it
		return
	}
	now := time.Now()
	p.idle = append(p.idle, idleConnection{c, now})
	for len(p.idle) > fewConnections && now.Sub(p.idle[0].since) > idleAtMost {
		p.idle[0].c.close()
		p.idle = p.idle[1:]
	}
}

// count is how many there are.
func (p *connections) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open + len(p.idle)
}

func (p *connections) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.idle {
		i.c.close()
	}
	p.idle = nil
}
