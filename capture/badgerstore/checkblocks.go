package badgerstore

import (
	"errors"
	"fmt"
	"math"
	"sort"

	"github.com/caddy-capture/caddy-capture/capture"
)

// blocks checks that every block can be read, lies below the lease, and is in
// the marker of each quarter that it has clicks of. Where these were swept
// already, it has at least to be in that of another one, with which it goes.
func (c *check) blocks() error {
	all, err := c.s.spansOf(c.ctx, c.txn, 0, math.MaxUint32)
	if err != nil {
		return err
	}
	b := blockCheck{check: c, all: all, spans: make(map[uint32]span)}
	if err := c.each(kindBlock, func(item *record) error {
		number := keyNumber(item.Key())
		b.numbered(number)
		if err := item.Value(func(v []byte) error { return b.one(number, v) }); err != nil {
			return fmt.Errorf("click block %d: %w", number, err)
		}
		return nil
	}); err != nil {
		return err
	}
	return c.each(kindMerged, func(item *record) error {
		group := keyNumber(item.Key())
		if err := item.Value(func(v []byte) error { return b.group(group, v) }); err != nil {
			return fmt.Errorf("the record of group %d of click blocks: %w", group, err)
		}
		return nil
	})
}

type blockCheck struct {
	*check
	reader capture.BlockReader
	click  capture.Click
	all    []span          // of all markers, joined
	spans  map[uint32]span // markers read last
}

// numbered checks the number of a block.
func (b *blockCheck) numbered(number uint64) {
	if number >= b.state.lease {
		b.result.Found("click block %d lies beyond the lease, which ends at %d: its number could be used again",
			number, b.state.lease)
	}
}

// one checks a block that is by itself.
func (b *blockCheck) one(number uint64, block []byte) error {
	if err := b.reader.Reset(block); err != nil {
		return err
	}
	for is := range b.reader.Blocks() {
		if is != number {
			return fmt.Errorf("it says that it is block %d", is)
		}
	}
	if err := b.clicks(); err != nil {
		return err
	}
	return b.found(number)
}

// group checks a record of merged blocks.
func (b *blockCheck) group(group uint64, record []byte) error {
	if err := b.reader.Reset(record); err != nil {
		return err
	}
	for number := range b.reader.Blocks() {
		b.numbered(number)
		if groupOf(number) != group {
			return fmt.Errorf("block %d in it is of group %d", number, groupOf(number))
		}
		if single, err := get(b.txn, b.keys.number(kindBlock, number), func([]byte) error { return nil }); err != nil {
			return err
		} else if single {
			b.result.Found("click block %d is there by itself and merged with others: its clicks count twice", number)
		}
		if err := b.found(number); err != nil {
			return fmt.Errorf("block %d: %w", number, err)
		}
	}
	return b.clicks()
}

// clicks checks the clicks of what the reader reads.
func (b *blockCheck) clicks() error {
	for b.reader.Next(&b.click) {
		b.result.Clicks++
		if err := b.marked(b.click.Ref.Block, capture.QuarterOf(b.click.Time)); err != nil {
			return err
		}
	}
	return b.reader.Err()
}

// found checks that a marker leads to a block.
func (b *blockCheck) found(number uint64) error {
	i := sort.Search(len(b.all), func(i int) bool { return b.all[i].last >= number })
	if i == len(b.all) || b.all[i].first > number {
		return errors.New("it is in no marker, so no report finds it and no sweep deletes it")
	}
	return nil
}

// marked checks that the marker of a quarter covers a block.
func (b *blockCheck) marked(number uint64, quarter uint32) error {
	sp, ok := b.spans[quarter]
	if !ok {
		if len(b.spans) > spansMax {
			clear(b.spans)
		}
		data, err := getCopy(b.txn, b.keys.quarter(quarter))
		switch {
		case err != nil:
			return err
		case !b.swept.clicksWhole(&capture.Cell{Quarter: quarter}):
			sp = span{0, math.MaxUint64} // it was deleted, and may be there anew
		case data == nil:
			return fmt.Errorf("there is no marker of %s, of which it has clicks", stampOf(quarter))
		default:
			if sp, err = decodeSpan(data); err != nil {
				return err
			}
		}
		b.spans[quarter] = sp
	}
	if number < sp.first || number > sp.last {
		return fmt.Errorf("the marker of %s, of which it has clicks, covers only blocks %d to %d",
			stampOf(quarter), sp.first, sp.last)
	}
	return nil
}
