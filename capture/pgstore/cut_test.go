package pgstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// How a proxy treats what asks for a commit.
const (
	passes     = iota
	cutsBefore // the server never hears of it
	cutsAfter  // the server commits, and nobody hears of that
	freezes    // neither hears of the other any more, nor that it is gone
)

// proxy is a socket in front of the server's, which cuts a connection once.
type proxy struct {
	dir  string
	word string // that asks for a commit
	mode atomic.Int32
	cut  atomic.Int32
	thaw chan struct{}
	wg   sync.WaitGroup
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	server := pgtest.Shared(t)
	p := &proxy{dir: t.TempDir(), word: "COMMIT", thaw: make(chan struct{})}
	l, err := net.Listen("unix", filepath.Join(p.dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", server.Socket())
			if err != nil {
				t.Error(err)
				_ = c.Close()
				continue
			}
			p.wg.Go(func() { p.serve(c, s) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(p.thaw)
		p.wg.Wait()
	})
	return p
}

func (p *proxy) dsn() string {
	return "host=" + p.dir + " port=5432 user=postgres dbname=postgres sslmode=disable"
}

func (p *proxy) serve(c, s net.Conn) {
	defer c.Close()
	defer s.Close()
	var deaf atomic.Bool
	p.wg.Go(func() {
		defer c.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			if n > 0 && deaf.Load() {
				return // this is the answer that nobody hears
			}
			if _, failed := c.Write(buf[:n]); err != nil || failed != nil {
				return
			}
		}
	})
	buf := make([]byte, 64<<10)
	var tail []byte
	for {
		n, err := c.Read(buf)
		seen := append(tail, buf[:n]...)
		if bytes.Contains(seen, []byte(p.word)) {
			if p.mode.CompareAndSwap(freezes, passes) {
				p.cut.Add(1)
				<-p.thaw
				return
			}
			if p.mode.CompareAndSwap(cutsBefore, passes) {
				p.cut.Add(1)
				return
			}
			if p.mode.CompareAndSwap(cutsAfter, passes) {
				p.cut.Add(1)
				deaf.Store(true)
			}
		}
		tail = bytes.Clone(seen[max(0, len(seen)-len(p.word)):])
		if _, failed := s.Write(buf[:n]); err != nil || failed != nil {
			if err != nil && !errors.Is(err, io.EOF) {
				return
			}
			if deaf.Load() {
				continue
			}
			return
		}
	}
}

// TestCutCommit: the connection is cut in the middle of a commit, and the ledger
// sends the batch again.
func TestCutCommit(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]int32{"before": cutsBefore, "after": cutsAfter} {
		for _, between := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := newProxy(t)
				direct := fresh(t)
				e := another(t, direct)
				e.DSN = p.dsn()
				n, other := open(t, e), open(t, direct)
				warm := n.block(2)
				n.must(n.commit([]*capture.Block{warm}, sale(warm.Clicks[0], "warm")))
				n.must(n.commit([]*capture.Block{n.block(1)}, sale(warm.Clicks[1], "warm")))

				click := n.block(1)
				post, repeat := sale(click.Clicks[0], "1"), sale(click.Clicks[0], "1")
				refused := sale(click.Clicks[0], "1")
				refused.Problem = capture.BadPayout
				b := n.make([]*capture.Block{click}, post, repeat, refused)
				p.mode.Store(mode)
				if err := n.s.Commit(context.Background(), b); !errors.Is(err, capture.ErrUnknown) {
					t.Fatalf("the commit that was cut: %v, want ErrUnknown", err)
				}
				if p.cut.Load() != 1 {
					t.Fatal("nothing was cut: the test proves nothing")
				}
				seqs := []uint64{post.Seq, repeat.Seq}
				want := "recorded duplicate quarantined"
				if between {
					// Another node books the same before the batch is sent again.
					late := sale(click.Clicks[0], "1")
					other.must(other.commit(nil, late))
					if mode == cutsAfter && late.Result.Outcome != capture.Duplicate ||
						mode == cutsBefore && late.Result.Reason != capture.UnknownClick {
						t.Errorf("on the other node it is %s %s", late.Result.Outcome, late.Result.Reason)
					}
				}
				n.must(n.s.Commit(context.Background(), b))
				if got := outcomes(post, repeat, refused); got != want {
					t.Errorf("sent again, the batch became %s, want %s", got, want)
				}
				if post.Seq != seqs[0] || repeat.Seq != seqs[1] || post.Result.Entry.Seq != post.Seq {
					t.Errorf("the numbers changed from %v to %d and %d", seqs, post.Seq, repeat.Seq)
				}
				if n := n.s.Status().Quarantine[capture.BadPayout]; n != 1 {
					t.Errorf("%d are in quarantine, want 1", n)
				}
				n.must(n.commit(nil, sale(click.Clicks[0], "2")))
				if got := n.totals(); got.Clicks != 4 || got.Conversions != 4 {
					t.Errorf("the report counts %+v", got)
				}
				n.healthy()
			})
		}
	}
}

// TestServerRestarts: a server that is killed takes nothing meanwhile, and goes
// on afterwards.
func TestServerRestarts(t *testing.T) {
	pgtest.Shared(t) // or skip
	server, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	e := fresh(t)
	e.DSN = server.DSN()
	n := open(t, e)
	for round := range 2 {
		click := n.block(2)
		n.must(n.commit([]*capture.Block{click}))
		n.must(server.Kill())
		b := n.make(nil, sale(click.Clicks[0], "1"))
		if err := n.s.Commit(context.Background(), b); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("without the server: %v, want ErrUnavailable", err)
		}
		if st := n.s.Status(); st.Writable || st.Failed {
			t.Errorf("without the server the status is %+v", st)
		}
		if _, err := n.s.Click(context.Background(), click.Clicks[0].Ref); !errors.Is(err, capture.ErrUnavailable) {
			t.Errorf("reading without the server: %v, want ErrUnavailable", err)
		}
		n.must(server.Restart())
		n.must(n.s.Commit(context.Background(), b))
		if got := outcomes(b.Postbacks...); got != "recorded" {
			t.Errorf("after that, the postback is %s", got)
		}
		if st := n.s.Status(); !st.Writable {
			t.Errorf("after that, the status is %+v", st)
		}
		// What it lost of its connections while idle costs nobody anything.
		n.must(server.Kill())
		n.must(server.Restart())
		n.must(n.commit(nil, sale(click.Clicks[1], "1")))
		if got := n.totals(); got.Conversions != int64(2*round+2) {
			t.Errorf("%d conversions are counted", got.Conversions)
		}
	}
	n.healthy()
}
