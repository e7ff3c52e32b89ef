package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

var ctx = context.Background()

// day is where the tests' time begins.
var day = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// shortly is how long a lock is waited for that somebody has and keeps.
const shortly = 500 * time.Millisecond

func newEngine(t testing.TB) *Engine {
	t.Helper()
	e := New(filepath.Join(t.TempDir(), "store"), zap.NewNop())
	e.patience = 10 * time.Second // a process that a test beside starts has the lock open for a moment
	return e
}

func openStore(t testing.TB, e *Engine) *Store {
	t.Helper()
	if _, err := e.Identity(); err != nil {
		t.Fatal(err)
	}
	st, err := e.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s := st.(*Store)
	t.Cleanup(func() {
		if err := s.Close(0); err != nil && !errors.Is(err, capture.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func closeStore(t testing.TB, s *Store, next uint64) {
	t.Helper()
	if err := s.Close(next); err != nil {
		t.Fatal(err)
	}
}

// writer makes batches in order.
type writer struct {
	t     testing.TB
	s     *Store
	epoch uint16
	next  capture.Position
}

func newWriter(t testing.TB, s *Store) *writer {
	return &writer{t: t, s: s, epoch: 7, next: s.Position()}
}

func (w *writer) block(clicks ...*capture.Click) *capture.Block {
	b := &capture.Block{Number: w.next.NextBlock, Clicks: clicks}
	w.next.NextBlock++
	for i, c := range clicks {
		c.Time = c.Time.Truncate(time.Millisecond).UTC()
		c.Ref = clickid.Ref{Epoch: w.epoch, Block: b.Number, Slot: uint8(i), Second: uint32(c.Time.Unix())}
	}
	return b
}

func (w *writer) batch(blocks []*capture.Block, postbacks []*capture.Postback) *capture.Batch {
	b := &capture.Batch{Number: w.next.NextBatch, Now: day, Blocks: blocks, Postbacks: postbacks}
	w.next.NextBatch++
	for _, p := range postbacks {
		p.Seq = w.next.NextSeq
		w.next.NextSeq++
	}
	return b
}

func (w *writer) commit(blocks []*capture.Block, postbacks []*capture.Postback) *capture.Batch {
	w.t.Helper()
	b := w.batch(blocks, postbacks)
	if err := w.s.Commit(ctx, b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// clicks commits clicks, in blocks as full as can be, and returns them.
func (w *writer) clicks(clicks ...*capture.Click) []*capture.Click {
	w.t.Helper()
	var blocks []*capture.Block
	for rest := clicks; len(rest) > 0; {
		n := min(len(rest), capture.BlockClicks)
		blocks = append(blocks, w.block(rest[:n]...))
		rest = rest[n:]
	}
	w.commit(blocks, nil)
	return clicks
}

func click(at time.Time, campaign string) *capture.Click {
	return &capture.Click{
		Time: at, Campaign: campaign, Source: "ads", Destination: "https://example.com/offer",
		Subs: []capture.Param{{Name: "creative", Value: "blue"}}, Host: "track.example.com", Path: "/go/" + campaign,
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64)", Address: "192.0.2.0",
	}
}

var testRules = &capture.Rules{}

func money(s string) attribution.Money {
	a, err := attribution.ParseAmount(s)
	if err != nil {
		panic(err)
	}
	return attribution.Money{Amount: a, Currency: "USD"}
}

func postback(c *capture.Click, txid string, at time.Time) *capture.Postback {
	return &capture.Postback{
		Time: at, Route: "postback", Rules: testRules, Ref: c.Ref, HasRef: true, Authentic: "token",
		Claim: attribution.Claim{
			Event: "sale", TxID: txid, Status: attribution.Approved, Payout: money("12.50"), HasPayout: true, ReceivedAt: at,
		},
		Raw: capture.Raw{Method: "GET", Host: "track.example.com", URI: "/postback?click_id=x&txid=" + txid},
	}
}

// unknownPostback is one that stays in quarantine.
func unknownPostback(block uint64, at time.Time) *capture.Postback {
	return postback(&capture.Click{
		Ref: clickid.Ref{Epoch: 7, Block: block, Second: uint32(at.Unix())},
	}, "none", at)
}

func journal(t testing.TB, s *Store, q capture.JournalQuery) (seqs []uint64) {
	t.Helper()
	err := s.Journal(ctx, q, func(e *capture.Entry) bool {
		seqs = append(seqs, e.Seq)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return seqs
}

func conversions(t testing.TB, s *Store, q capture.ConversionQuery) (list []*capture.Conversion) {
	t.Helper()
	err := s.Conversions(ctx, q, func(c *capture.Conversion) bool {
		list = append(list, c)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func report(t testing.TB, s *Store, q attribution.Query) attribution.Report {
	t.Helper()
	r, err := s.Report(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// diskSize is what the tables and logs of a store take.
func diskSize(t testing.TB, dir string, patterns ...string) (sum int64) {
	t.Helper()
	for _, p := range patterns {
		names, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil {
				sum += diskUsed(info)
			}
		}
	}
	return sum
}

func mustErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("the error is %v; want one that wraps %q", err, want)
	}
}

func txid(n int) string { return fmt.Sprintf("tx%06d", n) }
