package pgstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	booky = &capture.Rules{Retain: capture.Retention{Clicks: capture.DefaultRetainClicks, Journal: capture.DefaultRetainJournal}}
)

const (
	// patient is how long the tests' stores wait for a lock: a test beside that starts
	// a server has its files open for a moment.
	patient = 10 * time.Second
	// shortly is the same where somebody has it and keeps it.
	shortly = 300 * time.Millisecond
)

// node is an open store with the counters of a ledger.
type node struct {
	t     *testing.T
	e     *Engine
	s     *Store
	next  uint64
	batch uint64
}

// another returns an engine of the same store with a directory of its own.
func another(t *testing.T, e *Engine) *Engine {
	return &Engine{DSN: e.DSN, Schema: e.Schema, Dir: t.TempDir(), Logger: zap.NewNop(), patience: patient}
}

func open(t *testing.T, e *Engine) *node {
	t.Helper()
	s, err := e.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return opened(t, e, s)
}

func opened(t *testing.T, e *Engine, s capture.Store) *node {
	t.Cleanup(func() { _ = s.Close(0) })
	pos := s.Position()
	return &node{t: t, e: e, s: s.(*Store), next: pos.NextBlock, batch: pos.NextBatch}
}

// block returns a block of some clicks, all at noon.
func (n *node) block(clicks int) *capture.Block {
	b := &capture.Block{Number: n.next}
	n.next++
	for i := range clicks {
		b.Clicks = append(b.Clicks, &capture.Click{
			Ref:  clickid.Ref{Epoch: uint16(n.s.node), Block: b.Number, Slot: uint8(i), Second: uint32(noon.Unix())},
			Time: noon, Campaign: "acme", Source: "news", Destination: "https://acme.example/",
		})
	}
	return b
}

func sale(c *capture.Click, txid string) *capture.Postback {
	amount, err := attribution.ParseAmount("12.50")
	if err != nil {
		panic(err)
	}
	return &capture.Postback{
		Time: noon.Add(time.Hour), Route: "main", Rules: booky, Ref: c.Ref, HasRef: true,
		Claim: attribution.Claim{
			Event: "sale", TxID: txid, Status: attribution.Approved, HasPayout: true,
			Payout: attribution.Money{Amount: amount, Currency: "USD"},
		},
	}
}

// make returns the next batch, which counts as sent.
func (n *node) make(blocks []*capture.Block, posts ...*capture.Postback) *capture.Batch {
	b := &capture.Batch{Number: n.batch, Now: noon, Blocks: blocks, Postbacks: posts}
	n.batch++
	return b
}

// commit sends a batch as a ledger does.
func (n *node) commit(blocks []*capture.Block, posts ...*capture.Postback) error {
	return n.s.Commit(context.Background(), n.make(blocks, posts...))
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// totals are the counts of everything.
func (n *node) totals() attribution.Counts {
	n.t.Helper()
	r, err := n.s.Report(context.Background(), attribution.Query{From: noon.AddDate(-1, 0, 0), To: noon.AddDate(1, 0, 0)})
	n.must(err)
	return r.Total
}

func (n *node) healthy() {
	n.t.Helper()
	r, err := n.s.Check(context.Background(), nil)
	n.must(err)
	if r.Wrong > 0 {
		n.t.Errorf("the check found %d problems:\n%s", r.Wrong, strings.Join(r.Problems, "\n"))
	}
}

func outcomes(list ...*capture.Postback) string {
	var all []string
	for _, p := range list {
		all = append(all, fmt.Sprint(p.Result.Outcome))
	}
	return strings.Join(all, " ")
}
