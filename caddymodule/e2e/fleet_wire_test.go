package e2e

import (
	"net"
	"sync"
	"testing"
	"time"
)

// How a wire treats what goes over it.
const (
	wireGood  = iota
	wireSlow  // each piece of an answer takes a while
	wireStuck // nothing arrives any more, and nobody is told
	wireCut   // there is no connection, and none can be made
	wireTorn  // connections end in the middle of an answer, again and again
)

// A wire is the network between nodes and their database.
type wire struct {
	t      testing.TB
	socket string // the database's
	l      net.Listener
	work   sync.WaitGroup

	mu    sync.Mutex
	state int
	delay time.Duration
	// changed is closed when the state is another.
	changed chan struct{}
	answers int // since the state is this
	conns   map[*net.TCPConn]bool
}

// newWire lays one, which is good at first.
func newWire(t testing.TB, socket string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, socket: socket, l: l, changed: make(chan struct{}), conns: make(map[*net.TCPConn]bool)}
	w.work.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close()
		w.is(wireCut, 0)
		w.work.Wait()
	})
	return w
}

// dsn is how to reach the database over the wire.
func (w *wire) dsn() string {
	host, port, _ := net.SplitHostPort(w.l.Addr().String())
	return "host=" + host + " port=" + port + " user=postgres dbname=postgres sslmode=disable"
}

// is changes how the wire is. Where it is cut or stuck, what is connected stays so for ever or is reset.
func (w *wire) is(state int, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state, w.delay, w.answers = state, delay, 0
	close(w.changed)
	w.changed = make(chan struct{})
	if state == wireCut {
		for c := range w.conns {
			reset(c)
		}
	}
}

// reset ends a connection without a word.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func (w *wire) accept() {
	for {
		c, err := w.l.Accept()
		if err != nil {
			return
		}
		w.work.Go(func() { w.serve(c.(*net.TCPConn)) })
	}
}

func (w *wire) serve(c *net.TCPConn) {
	defer c.Close()
	if !w.connects(c) {
		reset(c)
		return
	}
	defer w.leaves(c)
	s, err := net.Dial("unix", w.socket)
	if err != nil {
		reset(c)
		return
	}
	defer s.Close()
	var both sync.WaitGroup
	both.Go(func() { w.carry(s, c, false); _ = s.Close() })
	both.Go(func() { w.carry(c, s, true); reset(c); _ = s.Close() })
	both.Wait()
}

// connects notes a connection, unless there can be none.
func (w *wire) connects(c *net.TCPConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state == wireCut {
		return false
	}
	w.conns[c] = true
	return true
}

func (w *wire) leaves(c *net.TCPConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

// carry takes what one end says to the other, answers or questions.
func (w *wire) carry(to, from net.Conn, answers bool) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			n, ends := w.pass(n, answers)
			if _, failed := to.Write(buf[:n]); failed != nil || ends {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// tornEvery is after how many pieces of answers a torn wire ends a connection.
const tornEvery = 40

// pass waits until a piece may go on, and says how much of it, and whether nothing does after it.
func (w *wire) pass(n int, answers bool) (carried int, ends bool) {
	for {
		w.mu.Lock()
		state, delay, changed := w.state, w.delay, w.changed
		if answers {
			w.answers++
		}
		count := w.answers
		w.mu.Unlock()
		switch {
		case state == wireSlow && answers:
			time.Sleep(delay)
		case state == wireCut:
			return 0, true
		case state == wireStuck:
			<-changed
			continue
		case state == wireTorn && answers && count%tornEvery == 0:
			return n / 2, true
		}
		return n, false
	}
}
