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
	b := blockCheck{check: c, spans: make(map[markerOf]span)}
	var err error
	if b.all, err = c.s.spansByEpoch(c.ctx, c.txn); err != nil {
		return err
	}
	if err := c.each(kindBlock, func(item *record) error {
		number := keyNumber(item.Key())
		if b.guest = keyGuest(item.Key()); b.guest == 0 {
			b.numbered(number)
		}
		if err := item.Value(func(v []byte) error { return b.one(number, v) }); err != nil {
			return fmt.Errorf("click block %s: %w", blockName(item.Key()), err)
		}
		return nil
	}); err != nil {
		return err
	}
	b.guest = 0
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
	all    map[uint16][]span // of all markers, joined
	spans  map[markerOf]span // markers read last
	guest  uint16            // the epoch of the block that is looked at, if not our own
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
		if b.guest != 0 && b.click.Ref.Epoch != b.guest {
			return fmt.Errorf("its clicks are of epoch %d", b.click.Ref.Epoch)
		}
		if err := b.marked(b.click.Ref.Block, capture.QuarterOf(b.click.Time)); err != nil {
			return err
		}
	}
	return b.reader.Err()
}

// found checks that a marker leads to a block.
func (b *blockCheck) found(number uint64) error {
	all := b.all[b.guest]
	i := sort.Search(len(all), func(i int) bool { return all[i].last >= number })
	if i == len(all) || all[i].first > number {
		return errors.New("it is in no marker, so no report finds it and no sweep deletes it")
	}
	return nil
}

// marked checks that the marker of a quarter covers a block.
func (b *blockCheck) marked(number uint64, quarter uint32) error {
	m := markerOf{quarter, b.guest}
	sp, ok := b.spans[m]
	if !ok {
		if len(b.spans) > spansMax {
			clear(b.spans)
		}
		data, err := getCopy(b.txn, b.keys.marker(m))
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
		b.spans[m] = sp
	}
	if number < sp.first || number > sp.last {
		return fmt.Errorf("the marker of %s, of which it has clicks, covers only blocks %d to %d",
			stampOf(quarter), sp.first, sp.last)
	}
	return nil
}
