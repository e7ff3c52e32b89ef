package spool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var (
	background = context.Background()
	noon       = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	booky      = &capture.Rules{
		Retain:    capture.Retention{Clicks: capture.DefaultRetainClicks, Journal: capture.DefaultRetainJournal},
		Campaigns: map[string]capture.CampaignRules{"acme": {Window: 30 * 24 * time.Hour}},
	}
)

// memQueue is a queue in memory that outlives its process.
type memQueue struct {
	mu    sync.Mutex
	heads map[uint64][]byte
	data  map[uint64][]byte
	aside map[string][]byte
	state []byte
	// fail, if set, is asked before each change.
	fail func(what string) error
	open bool
}

func newMemQueue() *memQueue {
	return &memQueue{heads: make(map[uint64][]byte), data: make(map[uint64][]byte), aside: make(map[string][]byte)}
}

func (q *memQueue) asked(what string) error {
	if q.fail == nil {
		return nil
	}
	return q.fail(what)
}

func (q *memQueue) State() ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state, nil
}

func (q *memQueue) SaveState(data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.asked("state"); err != nil {
		return err
	}
	q.state = slices.Clone(data)
	return nil
}

func (q *memQueue) Heads(yield func(uint64, []byte, int64) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	var keys []uint64
	for key := range q.heads {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := yield(key, q.heads[key], int64(len(q.data[key]))); err != nil {
			return err
		}
	}
	return nil
}

func (q *memQueue) Append(key uint64, head, data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.asked("append"); err != nil {
		return err
	}
	if q.heads[key] != nil && q.heads[key+1] != nil {
		return fmt.Errorf("batch %d is there already", key)
	}
	q.heads[key], q.data[key] = slices.Clone(head), slices.Clone(data)
	return nil
}

func (q *memQueue) Read(key uint64) ([]byte, []byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.heads[key] == nil {
		return nil, nil, capture.ErrNotFound
	}
	return q.heads[key], q.data[key], nil
}

func (q *memQueue) Remove(key uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.asked("remove"); err != nil {
		return err
	}
	delete(q.heads, key)
	delete(q.data, key)
	return nil
}

func (q *memQueue) Split(key uint64, headBefore, before, headAfter, after []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.asked("split"); err != nil {
		return err
	}
	if q.heads[key-1] != nil || q.heads[key] == nil {
		return fmt.Errorf("batch %d cannot be split", key)
	}
	q.heads[key-1], q.data[key-1] = slices.Clone(headBefore), slices.Clone(before)
	q.heads[key], q.data[key] = slices.Clone(headAfter), slices.Clone(after)
	return nil
}

func (q *memQueue) SetAside(name string, data []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.asked("aside"); err != nil {
		return err
	}
	q.aside[name] = slices.Clone(data)
	return nil
}

func (q *memQueue) Aside() (names []string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name := range q.aside {
		names = append(names, name)
	}
	return names, nil
}

func (q *memQueue) ReadAside(name string) ([]byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.aside[name] == nil {
		return nil, capture.ErrNotFound
	}
	return q.aside[name], nil
}

func (q *memQueue) RemoveAside(name string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.asked("unaside"); err != nil {
		return err
	}
	delete(q.aside, name)
	return nil
}

func (q *memQueue) AsideDir() string { return "/the/spool/refused" }

func (q *memQueue) Emptied() error               { return nil }
func (q *memQueue) Room() (int64, int64, error)  { return 1 << 30, 1 << 20, nil }
func (q *memQueue) length() int                  { q.mu.Lock(); defer q.mu.Unlock(); return len(q.heads) }
func (q *memQueue) setFail(f func(string) error) { q.mu.Lock(); defer q.mu.Unlock(); q.fail = f }
func (q *memQueue) Close() error                 { q.mu.Lock(); defer q.mu.Unlock(); q.open = false; return nil }
func (q *memQueue) opens(context.Context) (Queue, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open {
		return nil, capture.ErrLocked
	}
	q.open = true
	return q, nil
}

// rig is a node: a shared store in memory, a queue, and the ledger's counters.
type rig struct {
	t      *testing.T
	shared *memstore.Engine
	queue  *memQueue
	e      *Engine
	s      *Store
	batch  uint64
	block  uint64
	clicks []*capture.Click
	booked int
	later  []capture.Outcome
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, shared: memstore.New(), queue: newMemQueue()}
	r.e = &Engine{Shared: r.shared, OpenQueue: r.queue.opens, Now: time.Now, apart: true}
	return r
}

func (r *rig) open() {
	r.t.Helper()
	s, err := r.e.Open(background)
	if err != nil {
		r.t.Fatal(err)
	}
	r.s = s.(*Store)
	pos := r.s.Position()
	if pos.NextBlock < r.block {
		r.t.Fatalf("block numbers begin at %d again, %d were in use", pos.NextBlock, r.block)
	}
	r.batch, r.block = pos.NextBatch, pos.NextBlock
	r.s.Later(func(list []*capture.Postback) {
		for _, p := range list {
			r.later = append(r.later, p.Result.Outcome)
		}
	})
}

// crash ends the process as kill -9 does: nothing is written any more.
func (r *rig) crash() { die(r.s, r.shared, r.queue) }

func die(s *Store, shared *memstore.Engine, q *memQueue) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	shared.Crash()
	s.work.Wait()
	s.abandon()
	_ = q.Close()
}

func (r *rig) newBlock() *capture.Block {
	b := &capture.Block{Number: r.block}
	id, _ := r.shared.Identity()
	b.Clicks = []*capture.Click{{
		Ref:  clickid.Ref{Epoch: id.Epoch, Block: b.Number, Second: uint32(noon.Unix())},
		Time: noon, Campaign: "acme", Source: "news", Destination: "https://acme.example/",
	}}
	r.block++
	r.clicks = append(r.clicks, b.Clicks[0])
	return b
}

func sale(c *capture.Click, txid string) *capture.Postback {
	amount, err := attribution.ParseAmount("12.50")
	if err != nil {
		panic(err)
	}
	return &capture.Postback{
		Time: noon.Add(time.Hour), Route: "main", Rules: booky, Ref: c.Ref, HasRef: true, ClickID: "x",
		Raw: capture.Raw{Method: "GET", Host: "a.example", URI: "/pb?\xff"},
		Claim: attribution.Claim{
			Event: "sale", TxID: txid, Status: attribution.Approved, HasPayout: true,
			Payout: attribution.Money{Amount: amount, Currency: "USD"},
		},
	}
}

// next is a batch of a new click and a sale of the one before.
func (r *rig) next() *capture.Batch {
	b := &capture.Batch{Number: r.batch, Now: noon, Lease: r.block + 10}
	if n := len(r.clicks); n > 0 {
		b.Postbacks = append(b.Postbacks, sale(r.clicks[n-1], "1"))
	}
	b.Blocks = append(b.Blocks, r.newBlock())
	return b
}

// commit sends a batch as the ledger's committer does.
func (r *rig) commit(b *capture.Batch) {
	r.t.Helper()
	unknown := false
	for range 1000 {
		err := r.s.Commit(background, b)
		if err == nil {
			r.batch++
			r.booked += len(b.Postbacks)
			return
		}
		unknown = unknown || errors.Is(err, capture.ErrUnknown)
		if !unknown && !errors.Is(err, capture.ErrUnavailable) && !errors.Is(err, capture.ErrNoSpace) {
			r.t.Fatal(err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	r.t.Fatal("the batch is never taken")
}

func (r *rig) drained() {
	r.t.Helper()
	for range 10000 {
		if st := r.s.Status(); st.Spool.State == capture.SpoolShared {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("it is never drained: %+v", r.s.Status().Spool)
}

// exactly checks that all that was acknowledged is there once.
func (r *rig) exactly() {
	r.t.Helper()
	r.drained()
	report, err := r.s.Report(background, attribution.Query{From: noon.AddDate(-1, 0, 0), To: noon.AddDate(1, 0, 0)})
	if err != nil {
		r.t.Fatal(err)
	}
	entries := 0
	if err := r.s.Journal(background, capture.JournalQuery{}, func(e *capture.Entry) bool {
		entries++
		if e.Outcome != capture.Recorded || e.Raw.URI != "/pb?\xff" {
			r.t.Errorf("entry %+v", e)
		}
		return true
	}); err != nil {
		r.t.Fatal(err)
	}
	if int(report.Total.Clicks) != len(r.clicks) || int(report.Total.Conversions) != r.booked || entries != r.booked {
		r.t.Errorf("%d clicks, %d conversions and %d entries; acknowledged were %d and %d",
			report.Total.Clicks, report.Total.Conversions, entries, len(r.clicks), r.booked)
	}
	check, err := r.s.Check(background, nil)
	if err != nil || check.Wrong > 0 {
		r.t.Errorf("the check says %v, %v", check.Problems, err)
	}
	if n := r.queue.length(); n > 0 {
		r.t.Errorf("%d batches are left", n)
	}
	if st := r.s.Status().Spool; st.Clicks != 0 || st.Postbacks != 0 || st.Bytes != 0 || !st.Oldest.IsZero() {
		r.t.Errorf("the status is %+v", st)
	}
}
