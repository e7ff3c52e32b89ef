// Package memstore is a store in memory for tests. It is written to be
// obviously right rather than fast, and it fails on demand.
package memstore

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Hooks let a test take part. Each may be nil; each may block.
type Hooks struct {
	// Open is asked before the store is opened; an error makes that fail.
	Open func() error
	// Identity may change what the engine answers, or make it fail.
	Identity func(*capture.Identity) error
	// Before is asked before a batch is applied: with an error it is not.
	Before func(*capture.Batch) error
	// After is asked after a batch was applied; an error is returned all the
	// same.
	After func(*capture.Batch) error
	// Copied is asked before more is added to a copy, which has so many records;
	// with an error it is not.
	Copied func(n int64) error
	// Sweep is told the retention of each sweep.
	Sweep func(capture.Retention)
}

// Engine is a place in memory that keeps what its stores committed.
type Engine struct {
	name     string
	identity atomic.Pointer[capture.Identity]
	hooks    atomic.Pointer[Hooks]

	mu   sync.Mutex
	open *Store
	disk *disk
	// copying is how far the place is a copy that is not complete.
	copying *copyState
}

var (
	_ capture.Engine = (*Engine)(nil)
	_ capture.Store  = (*Store)(nil)
	_ capture.Tx     = (*tx)(nil)
)

var engines atomic.Uint32

// New returns an empty place.
func New() *Engine {
	n := engines.Add(1)
	e := &Engine{
		name: fmt.Sprintf("memory:%d", n),
		disk: newDisk(),
	}
	e.identity.Store(&capture.Identity{
		Epoch:  uint16(n & clickid.MaxEpoch), //nolint:gosec // masked
		Secret: fmt.Appendf(nil, "secret of the store in memory %d", n),
	})
	e.hooks.Store(new(Hooks))
	return e
}

// SetHooks replaces the hooks.
func (e *Engine) SetHooks(h Hooks) { e.hooks.Store(&h) }

// Key names the place.
func (e *Engine) Key() string { return e.name }

// Identity returns the identity that New made, or Restore.
func (e *Engine) Identity() (capture.Identity, error) {
	id := *e.identity.Load()
	if hook := e.hooks.Load().Identity; hook != nil {
		if err := hook(&id); err != nil {
			return capture.Identity{}, err
		}
	}
	return id, nil
}

// Open opens the place, which only one store can have at a time.
func (e *Engine) Open(context.Context) (capture.Store, error) {
	if hook := e.hooks.Load().Open; hook != nil {
		if err := hook(); err != nil {
			return nil, err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open != nil {
		return nil, capture.ErrLocked
	}
	if e.copying != nil {
		return nil, capture.ErrUnfinished
	}
	e.disk.mu.RLock()
	defer e.disk.mu.RUnlock()
	e.open = &Store{engine: e, disk: e.disk, position: capture.Position{
		NextBlock: e.disk.lease, NextSeq: e.disk.nextSeq, NextBatch: e.disk.nextBatch,
	}}
	return e.open, nil
}

// Crash leaves the open store behind, as if its process had died. The place
// can then be opened again with what was committed.
func (e *Engine) Crash() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open != nil {
		e.open.closed.Store(true)
		e.open = nil
	}
}

// disk is what outlives an open store. Records in it are never changed, only
// replaced.
type disk struct {
	mu sync.RWMutex
	records

	lease, nextSeq, nextBatch uint64
	// results are those of the last batch, in case it is sent again.
	results []capture.Result
	// sweptClicks and sweptConversions are up to when records were deleted.
	sweptClicks, sweptConversions time.Time
	// sharedAs, nodes and erasedThere are what a copied store said of who gave out
	// click IDs, and of what was erased.
	sharedAs    string
	nodes       []capture.CopyNode
	erasedThere []capture.CopyErased
	// erased are the clicks erased, and when: a postback may have read one before.
	erased map[clickid.Ref]time.Time
}

// blockPlace names a block. A copy of a shared store has blocks of several nodes.
type blockPlace struct {
	epoch  uint16
	number uint64
}

func placeOf(b *capture.Block) blockPlace {
	if len(b.Clicks) == 0 {
		return blockPlace{number: b.Number}
	}
	return blockPlace{b.Clicks[0].Ref.Epoch, b.Number}
}

func (at blockPlace) compare(o blockPlace) int {
	return cmp.Or(cmp.Compare(at.number, o.number), cmp.Compare(at.epoch, o.epoch))
}

type records struct {
	blocks      map[blockPlace]*capture.Block
	conversions map[attribution.ConversionID]*capture.Conversion
	known       map[clickid.Ref][]capture.Known
	entries     map[uint64]*capture.Entry
	cells       map[capture.Cell]attribution.Counts
}

func newRecords() records {
	return records{
		blocks:      make(map[blockPlace]*capture.Block),
		conversions: make(map[attribution.ConversionID]*capture.Conversion),
		known:       make(map[clickid.Ref][]capture.Known),
		entries:     make(map[uint64]*capture.Entry),
		cells:       make(map[capture.Cell]attribution.Counts),
	}
}

// newDisk begins with 1 where 0 means none.
func newDisk() *disk {
	return &disk{records: newRecords(), lease: 1, nextSeq: 1, nextBatch: 1, erased: make(map[clickid.Ref]time.Time)}
}
