package badgerstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// copySource is a store that is read record by record, in the order of
// [capture.CopyKey].
type copySource struct {
	*Store
	head *capture.CopyHead
}

// OpenSource opens the store, which must exist.
func (e *Engine) OpenSource(ctx context.Context) (capture.CopySource, error) {
	dir := canonical(e.Dir)
	for _, name := range []string{identityName, badger.ManifestFilename} {
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no store in the directory %q (it has no %s)", dir, name)
		}
	}
	opened, err := e.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := opened.(*Store) //nolint:forcetypeassert // our own
	// Where a table is damaged Badger's iterators end as if there were nothing
	// more.
	err = s.verifyNow(ctx)
	c := &copySource{Store: s}
	if err == nil {
		c.head, err = s.copyHead(ctx)
	}
	if err != nil {
		_ = s.Close(0)
		return nil, err
	}
	return c, nil
}

func (s *Store) copyHead(ctx context.Context) (h *capture.CopyHead, err error) {
	err = s.view(ctx, func(txn *transaction) error {
		data, err := getCopy(txn, keyIdentity)
		if err != nil {
			return err
		}
		id, err := parseIdentity(data, "the identity kept inside the store")
		if err != nil {
			return err
		}
		st, err := stateOf(txn)
		if err != nil {
			return err
		}
		w, err := sweptOf(txn)
		if err != nil {
			return err
		}
		h = &capture.CopyHead{
			Secret: id.ClickIDKey, Home: id.Epoch, NextSeq: st.seq, SweptClicks: w.clicks, SweptConversions: w.conversions,
		}
		others, err := nodesOf(txn)
		if err != nil {
			return err
		}
		if others != nil {
			h.Store, h.Nodes, h.Erased = others.Store, others.Nodes, others.Erased
		}
		own := h.Node(id.Epoch)
		if own == nil {
			h.Nodes = append(h.Nodes, capture.CopyNode{Epoch: id.Epoch})
			own = &h.Nodes[len(h.Nodes)-1]
		}
		own.Batch, own.Lease = st.batch, max(st.lease, readLease(s.home.dir))
		slices.SortFunc(h.Nodes, func(a, b capture.CopyNode) int { return cmp.Compare(a.Epoch, b.Epoch) })
		return nil
	})
	return h, err
}

// Head returns what there is besides records.
func (c *copySource) Head() *capture.CopyHead { return c.head }

// Unchanged cannot fail: the store is locked.
func (c *copySource) Unchanged(context.Context) error { return nil }

// Close leaves the store as it was.
func (c *copySource) Close() error { return c.Store.Close(0) }

// Count counts the records.
func (c *copySource) Count(ctx context.Context) (int64, error) { return c.countRecords(ctx) }

// Records reads them.
func (c *copySource) Records(ctx context.Context, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	return c.records(ctx, c.head, after, yield)
}

// countRecords counts a sum for each of the packs that it is in.
func (s *Store) countRecords(ctx context.Context) (n int64, err error) {
	var blocks capture.BlockReader
	err = s.view(ctx, func(txn *transaction) error {
		for kind, count := range map[byte]func(value []byte) error{
			kindBlock: nil, kindConversion: nil, kindEntry: nil, kindCell: nil, kindPack: func(v []byte) error { return countPack(v, &n) },
			kindMerged: func(v []byte) error {
				err := blocks.ResetFront(v)
				for range blocks.Blocks() {
					n++
				}
				return err
			},
		} {
			w := scan{prefix: []byte{kind}}
			if kind == kindCell {
				f, err := foldOf(txn)
				if err != nil {
					return err
				}
				w.from = f.from
			}
			if err := s.scan(ctx, txn, w, func(item *record) (bool, error) {
				if count != nil {
					return true, item.Value(count)
				}
				n++
				return true, nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

func countPack(pack []byte, n *int64) error {
	var r packReader
	if err := r.reset(pack); err != nil {
		return err
	}
	for r.next() {
		if len(r.whole) == 0 {
			*n++
			continue
		}
		for r.nextQuarter() {
			r.figures(new(figures))
			*n++
		}
	}
	return r.err()
}

// records reads all records after a key.
func (s *Store) records(ctx context.Context, head *capture.CopyHead, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	return s.view(ctx, func(txn *transaction) error {
		r := copyReader{s: s, ctx: ctx, txn: txn, after: after, yield: yield}
		for _, part := range []struct {
			kind capture.CopyKind
			read func() error
		}{
			{capture.CopyBlock, func() error { return r.blocks(head) }},
			{capture.CopyConversion, r.conversions},
			{capture.CopyEntry, r.entries},
			{capture.CopySum, r.sums},
		} {
			if after.Kind > part.kind {
				continue
			}
			if err := part.read(); err != nil {
				return err
			}
		}
		return nil
	})
}

// copyReader reads the records of one snapshot.
type copyReader struct {
	s     *Store
	ctx   context.Context
	txn   *transaction
	keys  keys
	after capture.CopyKey
	yield func(*capture.CopyRecord) error
}

// give hands over what is after the key.
func (r *copyReader) give(key capture.CopyKey, data []byte) error {
	if key.Compare(r.after) <= 0 {
		return nil
	}
	return r.yield(&capture.CopyRecord{Key: key, Data: data})
}

// blocks reads them epoch by epoch.
func (r *copyReader) blocks(head *capture.CopyHead) error {
	for _, node := range head.Nodes {
		from := uint64(0)
		if r.after.Kind == capture.CopyBlock {
			if node.Epoch < r.after.Epoch {
				continue
			}
			if node.Epoch == r.after.Epoch {
				from = r.after.Number
			}
		}
		read := r.guests
		if node.Epoch == head.Home {
			read = r.own
		}
		if err := read(node.Epoch, from); err != nil {
			return err
		}
	}
	return nil
}

func (r *copyReader) guests(epoch uint16, from uint64) error {
	w := scan{prefix: []byte{kindBlock}, from: r.keys.number(kindBlock, from)}
	return r.s.scan(r.ctx, r.txn, w, func(item *record) (bool, error) {
		if keyGuest(item.Key()) != epoch {
			return true, nil
		}
		data, err := item.ValueCopy(nil)
		if err != nil {
			return false, damagedClicks(item.Key(), err)
		}
		return true, r.give(capture.CopyKey{Kind: capture.CopyBlock, Epoch: epoch, Number: keyNumber(item.Key())}, data)
	})
}

// own reads the blocks of the store's epoch, group by group: some of a group may
// be merged and others not.
func (r *copyReader) own(epoch uint16, from uint64) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte{kindMerged}
	merged := r.txn.NewIterator(o)
	defer merged.Close()
	o.Prefix = []byte{kindBlock}
	single := r.txn.NewIterator(o)
	defer single.Close()
	merged.Seek(r.keys.number(kindMerged, groupOf(from)))
	single.Seek(r.keys.number(kindBlock, groupOf(from)<<groupBits))
	skipGuests(single)
	p := pace{ctx: r.ctx, closing: r.s.gate.closing}
	for {
		if err := p.now(); err != nil {
			return err
		}
		group, any := uint64(0), false
		if single.Valid() {
			group, any = groupOf(keyNumber(single.Item().Key())), true
		}
		if merged.Valid() {
			if g := keyNumber(merged.Item().Key()); !any || g < group {
				group, any = g, true
			}
		}
		if !any {
			return nil
		}
		if err := r.group(epoch, group, merged, single); err != nil {
			return err
		}
	}
}

// group reads the blocks of a group and moves the iterators behind it.
func (r *copyReader) group(epoch uint16, group uint64, merged, single *iterator) error {
	var list []*capture.CopyRecord
	add := func(number uint64, data []byte) {
		list = append(list, &capture.CopyRecord{Key: capture.CopyKey{Kind: capture.CopyBlock, Epoch: epoch, Number: number}, Data: data})
	}
	if merged.Valid() && keyNumber(merged.Item().Key()) == group {
		item := merged.Item()
		err := item.Value(func(v []byte) error {
			blocks, err := capture.DecodeBlocks(v)
			for _, b := range blocks {
				add(b.Number, capture.EncodeBlock(b))
			}
			return err
		})
		if err != nil {
			return damagedClicks(item.Key(), err)
		}
		merged.Next()
	}
	var reader capture.BlockReader
	for ; single.Valid() && groupOf(keyNumber(single.Item().Key())) == group; nextOwn(single) {
		item := single.Item()
		data, err := item.ValueCopy(nil)
		if err == nil {
			err = reader.ResetFront(data)
		}
		if err != nil {
			return damagedClicks(item.Key(), err)
		}
		if reader.Len() > 0 { // an empty block says nothing
			add(keyNumber(item.Key()), data)
		}
	}
	slices.SortFunc(list, func(a, b *capture.CopyRecord) int { return a.Key.Compare(b.Key) })
	for _, rec := range list {
		if err := r.give(rec.Key, rec.Data); err != nil {
			return err
		}
	}
	return nil
}

func (r *copyReader) conversions() error {
	w := scan{prefix: []byte{kindConversion}}
	if r.after.Kind == capture.CopyConversion {
		w.from = r.keys.conversion(r.after.ID)
	}
	return r.s.scan(r.ctx, r.txn, w, func(item *record) (bool, error) {
		id := attribution.ConversionID(item.Key()[1:17])
		data, err := item.ValueCopy(nil)
		if err != nil {
			return false, fmt.Errorf("%w: conversion %s: %w", errDamaged, id, err)
		}
		return true, r.give(capture.CopyKey{Kind: capture.CopyConversion, ID: id}, data)
	})
}

func (r *copyReader) entries() error {
	w := scan{prefix: []byte{kindEntry}}
	if r.after.Kind == capture.CopyEntry {
		w.from = r.keys.number(kindEntry, r.after.Number)
	}
	return r.s.scan(r.ctx, r.txn, w, func(item *record) (bool, error) {
		seq := keyNumber(item.Key())
		data, err := item.ValueCopy(nil)
		if err != nil {
			return false, fmt.Errorf("%w: journal entry %d: %w", errDamaged, seq, err)
		}
		return true, r.give(capture.CopyKey{Kind: capture.CopyEntry, Number: seq}, data)
	})
}

// sums reads them day by day: some are in packs, some not yet.
func (r *copyReader) sums() error {
	c := &check{s: r.s, ctx: r.ctx, txn: r.txn}
	if err := c.looseCells(); err != nil {
		return err
	}
	next := uint32(0)
	if r.after.Kind == capture.CopySum {
		next = r.after.Cell.Quarter - r.after.Cell.Quarter%dayQuarters
	}
	for {
		first, ok, err := c.nextDay(next)
		if err != nil || !ok {
			return err
		}
		kept := make(sums)
		if err := c.sumPacks(kept, first/dayQuarters); err != nil {
			return err
		}
		for cell, counts := range c.loose[first/dayQuarters] {
			kept.add(cell, *counts)
		}
		if c.result.Wrong > 0 {
			return fmt.Errorf("%w: %s", errDamaged, c.result.Problems[0])
		}
		cells := make([]capture.Cell, 0, len(kept))
		for cell, counts := range kept {
			if !counts.IsZero() {
				cells = append(cells, cell)
			}
		}
		slices.SortFunc(cells, capture.Cell.Compare)
		for _, cell := range cells {
			key := capture.CopyKey{Kind: capture.CopySum, Cell: cell}
			if key.Compare(r.after) <= 0 {
				continue
			}
			if err := r.yield(&capture.CopyRecord{Key: key, Counts: *kept[cell]}); err != nil {
				return err
			}
		}
		if next = first + dayQuarters; next < first {
			return nil
		}
	}
}

var _ capture.CopyEngine = (*Engine)(nil)
