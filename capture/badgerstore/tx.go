package badgerstore

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// tx is one batch on its way to the disk. What it changes in the store's
// memory is kept here until the batch is durable.
type tx struct {
	s    *Store
	txn  *transaction
	keys keys
	buf  []byte // scratch

	state   state
	cells   map[capture.Cell]attribution.Counts
	spans   map[markerOf]span
	waiting map[capture.Reason]int64 // change of the quarantine
	// txids are the conversions that the batch itself lets transactions lead to.
	txids map[capture.TxKey][]attribution.ConversionID
	loose int // cells that are new
	// fresh: no entry from this number on exists yet, also not in this batch.
	fresh uint64
}

func newTx(s *Store) *tx {
	return &tx{
		s: s, txn: s.transaction(s.ts, true), state: s.state, fresh: s.state.seq,
		cells: make(map[capture.Cell]attribution.Counts), spans: make(map[markerOf]span),
	}
}

// apply decides the batch and puts all of it into the transaction.
func (t *tx) apply(b *capture.Batch) error {
	if err := capture.Apply(t, b); err != nil {
		return err
	}
	t.state.batch = b.Number
	t.state.seq = b.NumberEntries(t.state.seq) // also those that made no entry
	t.state.lease = max(t.state.lease, b.Lease)
	return t.putState()
}

// putState puts what moves with every batch.
func (t *tx) putState() error {
	for m, sp := range t.spans {
		if sp != t.s.spans[m] {
			if err := t.set(t.keys.marker(m), sp.encode()); err != nil {
				return err
			}
		}
	}
	return t.set(keyState, t.state.encode())
}

// spansMax bounds the memory for markers; a batch touches one or two.
const spansMax = 256

// done takes over into the store's memory what is durable now.
func (t *tx) done() {
	s := t.s
	s.state = t.state
	for cell, c := range t.cells {
		s.cells.put(cell, c)
	}
	s.loosened(t.loose)
	if len(s.spans) > spansMax {
		clear(s.spans)
	}
	for m, sp := range t.spans {
		s.spans[m] = sp
	}
	s.countWaiting(t.waiting)
}

// countWaiting changes the counts of the quarantine.
func (s *Store) countWaiting(change map[capture.Reason]int64) {
	if len(change) == 0 {
		return
	}
	s.quarantineMu.Lock()
	defer s.quarantineMu.Unlock()
	for reason, n := range change {
		if s.quarantine[reason] += n; s.quarantine[reason] == 0 {
			delete(s.quarantine, reason)
		}
	}
}

func (t *tx) set(key, value []byte) error {
	if len(value) > maxValue {
		return fmt.Errorf("%w: a record of kind %q has %d bytes", capture.ErrTooLarge, key[0], len(value))
	}
	return tooLarge(t.txn.Set(key, value))
}

func (t *tx) delete(key []byte) error { return tooLarge(t.txn.Delete(key)) }

func tooLarge(err error) error {
	if errors.Is(err, badger.ErrTxnTooBig) {
		return fmt.Errorf("%w: %w", capture.ErrTooLarge, err)
	}
	return err
}

// PutBlock stores the clicks of one block and notes the quarters they are of.
func (t *tx) PutBlock(b *capture.Block) error {
	t.state.lease = max(t.state.lease, b.Number+1)
	for _, c := range b.Clicks {
		if err := t.mark(markerOf{quarter: capture.QuarterOf(c.Time)}, b.Number); err != nil {
			return err
		}
	}
	return t.set(t.keys.number(kindBlock, b.Number), capture.EncodeBlock(b))
}

// mark makes a marker's span include the block.
func (t *tx) mark(m markerOf, block uint64) error {
	sp, ok := t.spans[m]
	if !ok {
		sp, ok = t.s.spans[m]
	}
	if !ok {
		data, err := t.get(t.keys.marker(m))
		if err != nil {
			return err
		}
		sp = span{first: block}
		if data != nil {
			if sp, err = decodeSpan(data); err != nil {
				return err
			}
		}
	}
	sp.first = min(sp.first, block)
	if block > sp.last || sp.last == 0 {
		sp.last = block | (spanRound - 1)
	}
	t.spans[m] = sp
	return nil
}

// Click returns the click, or nil.
func (t *tx) Click(ref clickid.Ref) (*capture.Click, error) {
	return getClick(t.txn, &t.keys, ref, capture.LookupClick)
}

// Any returns one conversion of a click, or nil.
func (t *tx) Any(ref clickid.Ref) (c *capture.Conversion, err error) {
	var id *attribution.ConversionID
	err = eachKnown(t.txn, &t.keys, ref, func(k capture.Known) bool {
		id = &k.ID
		return false
	})
	if err != nil || id == nil {
		return nil, err
	}
	return t.Conversion(*id)
}

// Others lists the conversions of a click that are beside a rule. Most stores
// know but one rule, and then there is nothing to look for.
func (t *tx) Others(ref clickid.Ref, dedup attribution.Dedup, limit int) (ids []attribution.ConversionID, err error) {
	if t.state.modes&^(1<<dedup) == 0 {
		return nil, nil
	}
	looked := 0
	err = eachKnown(t.txn, &t.keys, ref, func(k capture.Known) bool {
		looked++
		if k.Beside(dedup) {
			ids = append(ids, k.ID)
		}
		return len(ids) < limit && looked < 8*limit
	})
	return ids, err
}

// Conversion returns one conversion, or nil.
func (t *tx) Conversion(id attribution.ConversionID) (*capture.Conversion, error) {
	return getRecord[capture.Conversion](t.txn, t.keys.conversion(id))
}

// PutConversion stores c and keeps the listings in step.
func (t *tx) PutConversion(c, old *capture.Conversion) error {
	if _, erased := t.s.erased[c.Click]; erased && c.Erase() { // whoever read the click read it before
		if err := t.noteRewritten(old); err != nil {
			return err
		}
	}
	data, err := capture.EncodeRecord(c)
	if err != nil {
		return err
	}
	if err := t.set(t.keys.conversion(c.ID), data); err != nil {
		return err
	}
	if err := t.putKnown(c, old); err != nil {
		return err
	}
	if err := t.putTxIDs(c, old); err != nil {
		return err
	}
	return t.putListed(c, old)
}

// noteRewritten notes that what was on disk of a conversion has to go: its
// erasure, which is under way, will find nothing to change.
func (t *tx) noteRewritten(old *capture.Conversion) error {
	if old == nil {
		return nil
	}
	for _, key := range [][]byte{t.keys.conversion(old.ID), t.keys.indexOf(old)} {
		if err := t.set(append([]byte{kindRewritten}, key...), nil); err != nil {
			return err
		}
	}
	return nil
}

// putListed keeps the listing by time in step.
func (t *tx) putListed(c, old *capture.Conversion) error {
	index, listed := t.keys.indexOf(c), listedOf(c)
	if old != nil {
		was := t.keys.indexOf(old)
		if bytes.Equal(was, index) && bytes.Equal(listedOf(old), listed) {
			return nil
		}
		if !bytes.Equal(was, index) {
			if err := t.delete(was); err != nil {
				return err
			}
		}
	}
	return t.set(index, listed)
}

// putKnown keeps in step what the click knows of the conversion.
func (t *tx) putKnown(c, old *capture.Conversion) error {
	known := c.Known()
	if old != nil && old.Known() == known {
		return nil
	}
	t.state.modes |= 1 << c.Dedup
	if known.Mixed {
		t.state.modes |= modeMixed
	}
	return t.set(t.keys.known(c.Click, c.ID), encodeKnown(known))
}

// AddCounts adds to the sums of one cell.
func (t *tx) AddCounts(cell capture.Cell, c attribution.Counts) error {
	t.buf = t.buf[:0]
	key := t.keys.cell(t.s.fold.generation, &cell, t.buf)
	sum, ok := t.cells[cell]
	if !ok {
		sum, ok = t.s.cells[cell]
	}
	if !ok {
		data, err := t.get(key)
		if err != nil {
			return err
		}
		if data != nil {
			if sum, err = decodeCell(data, &cell); err != nil {
				return err
			}
		} else {
			t.loose++
		}
	} else {
		sum = sum.Clone() // the batch may come to nothing
	}
	sum.Add(c)
	t.cells[cell] = sum
	if sum.IsZero() {
		return t.delete(key)
	}
	data, err := encodeCell(&cell, &sum)
	if err != nil {
		return err
	}
	return t.set(key, data)
}

// Entry returns one journal entry, or nil.
func (t *tx) Entry(seq uint64) (*capture.Entry, error) {
	return getRecord[capture.Entry](t.txn, t.keys.number(kindEntry, seq))
}

// PutEntry stores a journal entry and keeps its indexes and the quarantine in
// step.
func (t *tx) PutEntry(e *capture.Entry) error {
	erased := e.HasClick && e.ErasedAt(t.s.erased[e.Click])
	var was *capture.Entry
	if e.Seq < t.fresh {
		var err error
		if was, err = t.waits(e.Seq); err != nil {
			return err
		}
		if erased { // what is on disk has to go
			if err := t.set(append([]byte{kindRewritten}, t.keys.number(kindEntry, e.Seq)...), nil); err != nil {
				return err
			}
		}
	} else {
		if err := t.txn.arrived(e.Seq, e.Time); err != nil {
			return tooLarge(err)
		}
		t.fresh = e.Seq + 1
		t.state.seq = max(t.state.seq, e.Seq+1)
	}
	data, err := capture.EncodeRecord(e)
	if err != nil {
		return err
	}
	if err := t.set(t.keys.number(kindEntry, e.Seq), data); err != nil {
		return err
	}
	if e.HasClick {
		if err := t.set(t.keys.ofClick(e.Click, e.Seq), nil); err != nil {
			return err
		}
	}
	if was != nil {
		t.wait(was.Reason, -1)
	}
	if err := t.putWaiting(e, was); err != nil {
		return err
	}
	key := t.keys.number(kindWaiting, e.Seq)
	switch {
	case e.Waiting():
		t.wait(e.Reason, 1)
		return t.set(key, []byte(e.Reason))
	case was != nil:
		return t.delete(key)
	}
	return nil
}

// waits returns the entry if it waits in quarantine, else nil.
func (t *tx) waits(seq uint64) (*capture.Entry, error) {
	listed, err := t.get(t.keys.number(kindWaiting, seq))
	if err != nil || listed == nil {
		return nil, err
	}
	e, err := t.Entry(seq)
	if err == nil && e == nil {
		err = missing("journal entry", seq)
	}
	return e, err
}

func (t *tx) wait(reason capture.Reason, n int64) {
	if t.waiting == nil {
		t.waiting = make(map[capture.Reason]int64)
	}
	t.waiting[reason] += n
}

func (t *tx) get(key []byte) ([]byte, error) { return getCopy(t.txn, key) }

var _ capture.Tx = (*tx)(nil)
