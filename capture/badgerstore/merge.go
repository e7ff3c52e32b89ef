package badgerstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A site with some clicks a second has a block for nearly every click: a key
// each, and texts that are the same in all of them. So what has come to rest is
// merged: the blocks whose numbers differ only in the last bits are a group, and
// become one record, in which each click keeps its place. A block is either there
// by itself or in its group's record, and who looks for one tries both.
//
// Only a sweep merges, group after group in the order of their numbers, and notes
// how far it came. What arrives late below that stays by itself, as do blocks
// that are full enough.
const (
	// mergeAfter is how old the clicks of a group are, when nothing is to be
	// expected of it any more: a click is rarely recorded long after it got its
	// number.
	mergeAfter = time.Hour
	// mergeStep bounds the blocks that one transaction merges, groupBytes the
	// size of those of one group: what are large clicks gains little, and is
	// unpacked for each look-up.
	mergeStep  = 4 * groupBlocks
	groupBytes = 128 << 10
	// mergeLook is how many groups are looked at in one transaction.
	mergeLook = 4096

	groupBits   = 6
	groupBlocks = 1 << groupBits
)

// Each group has to fit into one record.
var _ [capture.MergedBlocks - groupBlocks]struct{}

// groupOf names the group of a block.
func groupOf(block uint64) uint64 { return block >> groupBits }

// groupSpans returns the groups of the blocks of spans, which are in order.
func groupSpans(spans []span) []span {
	groups := make([]span, 0, len(spans))
	for _, sp := range spans {
		groups = append(groups, span{groupOf(sp.first), groupOf(sp.last)})
	}
	return joinSpans(groups)
}

// merging is how far blocks are merged, and the rules of it. It belongs to the
// sweep.
type merging struct {
	next  uint64 // all groups before it were looked at
	after time.Duration
	least int  // blocks that make a record
	step  int  // blocks in one transaction
	eager bool // also groups of which blocks may still come; tests do that
}

func encodeMerged(next uint64) []byte {
	return binary.AppendUvarint([]byte{recordFormat}, next)
}

func decodeMerged(data []byte) (next uint64, err error) {
	err = decodeUvarints(data, "note of merging", &next)
	return next, err
}

func mergedOf(txn *transaction) (next uint64, err error) {
	data, err := getCopy(txn, keyMerged)
	if err != nil || data == nil {
		return 0, err
	}
	return decodeMerged(data)
}

// mergeBlocks merges what came to rest since the last time.
func (s *Store) mergeBlocks(ctx context.Context, now time.Time) error {
	for {
		if err := s.guard.check(); err != nil {
			return err
		}
		m := merger{merging: s.merging, s: s, ctx: ctx, now: now}
		if err := s.view(ctx, m.find); err != nil {
			return err
		}
		if len(m.found) == 0 && m.next == s.merging.next {
			return nil
		}
		if err := s.erase(ctx, m.write); err != nil {
			return err
		}
		s.merging.next = m.next
		if !m.more {
			return nil
		}
		if err := s.standBack(ctx); err != nil { // there may be millions
			return err
		}
	}
}

// merger finds groups and merges them. That is done outside of the transaction
// that writes, for which commits wait: none but a sweep or an erasure, which
// exclude each other, changes a block.
type merger struct {
	merging
	s   *Store
	ctx context.Context
	now time.Time

	keys  keys
	found []mergedGroup
	more  bool // there may be others
}

// mergedGroup is a group that is to become one record.
type mergedGroup struct {
	number uint64
	blocks []uint64 // those that were by themselves
	bytes  int64    // what they took
	record []byte
}

// find fills found.
func (m *merger) find(txn *transaction) error {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{kindBlock}, false
	it := txn.NewIterator(o)
	defer it.Close()
	p := pace{ctx: m.ctx, closing: m.s.gate.closing}
	blocks, size := 0, 0
	it.Seek(m.keys.number(kindBlock, m.next<<groupBits))
	skipGuests(it)
	for looked := 0; it.Valid(); looked++ {
		if m.more = blocks >= m.step || size > rewriteBytes || looked == mergeLook; m.more {
			return nil
		}
		if err := p.now(); err != nil {
			return err
		}
		g := looseGroup{number: groupOf(keyNumber(it.Item().Key()))}
		if err := g.read(it, &m.keys); err != nil {
			return err
		}
		whole := it.Valid() // there are later ones
		if !whole && !m.eager {
			return nil
		}
		record, young, err := m.merge(txn, &g)
		if err != nil || young {
			return err
		}
		if record != nil {
			m.found = append(m.found, mergedGroup{g.number, g.blocks, g.bytes, record})
			blocks += len(g.blocks)
			size += len(record)
		}
		if whole {
			m.next = g.number + 1
		}
	}
	return nil
}

// looseGroup is the blocks of a group that are by themselves.
type looseGroup struct {
	number  uint64
	blocks  []uint64
	records [][]byte
	clicks  int
	bytes   int64
	full    bool // it is good as it is
}

// read reads the group at which the iterator is, and moves it behind.
func (g *looseGroup) read(it *iterator, k *keys) error {
	var r capture.BlockReader
	for size := 0; it.Valid(); nextOwn(it) {
		item := it.Item()
		number := keyNumber(item.Key())
		if groupOf(number) != g.number {
			return nil
		}
		record, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("%w: reading click block %d: %w", errDamaged, number, err)
		}
		// Who wants a block that cannot be read is told so. Here it stays as it
		// is, and with it the group.
		damaged := r.ResetFront(record) != nil
		g.clicks += r.Len()
		size += len(record)
		if g.full = damaged || g.clicks > capture.MergedClicks || size > groupBytes; g.full {
			it.Seek(k.number(kindBlock, (g.number+1)<<groupBits))
			skipGuests(it)
			return nil
		}
		g.blocks, g.records = append(g.blocks, number), append(g.records, record)
		g.bytes += item.EstimatedSize()
	}
	return nil
}

// merge makes one record of a group, or nil if it is to stay as it is; young
// tells that it has to wait.
func (m *merger) merge(txn *transaction, g *looseGroup) (record []byte, young bool, err error) {
	if g.full || len(g.blocks) < m.least {
		return nil, false, nil
	}
	records := g.records
	// Late blocks have one already, should they be asked for.
	there, err := getCopy(txn, m.keys.number(kindMerged, g.number))
	if err != nil {
		return nil, false, err
	}
	if there != nil {
		records = append(records, there)
	}
	var blocks []*capture.Block
	for _, data := range records {
		list, err := capture.DecodeBlocks(data)
		if err != nil {
			return nil, false, nil //nolint:nilerr // as above
		}
		blocks = append(blocks, list...)
	}
	for _, b := range blocks {
		for _, c := range b.Clicks {
			// The clock may have been set back since, by years.
			if age := m.now.Sub(c.Time).Abs(); age < m.after {
				return nil, true, nil
			}
		}
	}
	slices.SortFunc(blocks, func(a, b *capture.Block) int { return cmp.Compare(a.Number, b.Number) })
	return capture.EncodeBlocks(blocks), false, nil
}

// write puts the records in the place of the blocks.
func (m *merger) write(d *eraser) error {
	for _, g := range m.found {
		d.merged += g.bytes
		if err := d.txn.Set(d.keys.number(kindMerged, g.number), g.record); err != nil {
			return tooLarge(err)
		}
		for _, number := range g.blocks {
			if err := d.txn.Delete(d.keys.number(kindBlock, number)); err != nil {
				return tooLarge(err)
			}
		}
	}
	return d.txn.Set(keyMerged, encodeMerged(m.next))
}
