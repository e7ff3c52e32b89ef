package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// dayQuarters is how many cells of time are added up at once.
const dayQuarters = uint32(24 * time.Hour / capture.CellSpan)

// sums collects what the records of one day come to.
type sums map[capture.Cell]*attribution.Counts

func (m sums) add(cell capture.Cell, c attribution.Counts) {
	sum := m[cell]
	if sum == nil {
		// Names may be parts of a whole block.
		cell.Campaign, cell.Source = strings.Clone(cell.Campaign), strings.Clone(cell.Source)
		cell.Destination, cell.Event = strings.Clone(cell.Destination), strings.Clone(cell.Event)
		sum = new(attribution.Counts)
		m[cell] = sum
	}
	sum.Add(c)
}

// days compares the sums with the records, day by day.
func (c *check) days() error {
	for next := uint32(0); ; {
		first, ok, err := c.nextDay(next)
		if err != nil || !ok {
			return err
		}
		last := first + min(dayQuarters-1, math.MaxUint32-first)
		if err := c.day(first, last); err != nil {
			return err
		}
		if next = last + 1; next == 0 {
			return nil
		}
	}
}

// nextDay returns the first quarter of the first day from a quarter on of
// which there is anything.
func (c *check) nextDay(from uint32) (first uint32, ok bool, err error) {
	for _, w := range []scan{
		{prefix: []byte{kindQuarter}, from: c.keys.quarter(from)},
		{prefix: []byte{kindPack}, from: bytes.Clone(c.keys.packsOf(from/dayQuarters, 0))},
		c.bookedFrom(from),
	} {
		err := c.s.scan(c.ctx, c.txn, w, func(item *record) (bool, error) {
			var q uint32
			switch item.Key()[0] {
			case kindBooked:
				q = capture.QuarterOf(indexTime(item.Key()))
			case kindPack:
				q = keyDay(item.Key()) * dayQuarters
			default:
				q = keyQuarter(item.Key())
			}
			q -= q % dayQuarters
			if !ok || q < first {
				first, ok = q, true
			}
			return false, nil
		})
		if err != nil {
			return 0, false, err
		}
	}
	for day := range c.loose {
		if q := day * dayQuarters; q >= from && (!ok || q < first) {
			first, ok = q, true
		}
	}
	return first, ok, nil
}

// bookedFrom walks the listing of conversions from a quarter on. All of what
// was before 1970 counts in the first one.
func (c *check) bookedFrom(quarter uint32) scan {
	w := scan{prefix: []byte{kindBooked}}
	if quarter > 0 {
		w.from = c.keys.index(kindBooked, capture.Cell{Quarter: quarter}.Time(), attribution.ConversionID{})
	}
	return w
}

// day adds up the records of the quarters from first to last and compares.
func (c *check) day(first, last uint32) error {
	m := make(sums)
	if err := c.sumClicks(m, first, last); err != nil {
		return err
	}
	err := c.eachFrom(c.bookedFrom(first), func(item *record) (bool, error) {
		if capture.QuarterOf(indexTime(item.Key())) > last {
			return false, nil
		}
		conv, err := c.follow(item.Key())
		if err != nil {
			return true, err
		}
		m.add(conv.Cell(), conv.Counts())
		return true, nil
	})
	if err != nil {
		return err
	}
	kept := make(sums)
	if err := c.sumPacks(kept, first/dayQuarters); err != nil {
		return err
	}
	for cell, counts := range c.loose[first/dayQuarters] {
		kept.add(cell, *counts)
	}
	for cell, counts := range kept {
		c.result.Sums++
		if m[cell] == nil {
			m[cell] = new(attribution.Counts)
		}
		if sameCounts(*counts, *m[cell]) {
			delete(m, cell)
		}
	}
	// What is left differs.
	for _, cell := range slices.SortedFunc(maps.Keys(m), func(a, b capture.Cell) int { return cmp.Compare(a.String(), b.String()) }) {
		var sum attribution.Counts
		if counts := kept[cell]; counts != nil {
			sum = *counts
		}
		c.compareSums(cell, sum, *m[cell])
	}
	return nil
}

// sumClicks adds up the clicks of some quarters, from the blocks of their
// markers.
func (c *check) sumClicks(m sums, first, last uint32) error {
	spans, err := c.s.spansOf(c.ctx, c.txn, first, last)
	if err != nil {
		return err
	}
	var r capture.BlockReader
	click := new(capture.Click)
	one := func(v []byte) error {
		if r.Reset(v) != nil {
			return nil // noted before
		}
		for r.Next(click) {
			cell := capture.Cell{
				Quarter: capture.QuarterOf(click.Time), Campaign: click.Campaign, Source: click.Source, Destination: click.Destination,
			}
			if cell.Quarter >= first && cell.Quarter <= last {
				m.add(cell, click.Counts())
			}
		}
		return nil
	}
	for kind, spans := range map[byte][]span{kindMerged: groupSpans(spans), kindBlock: spans} {
		for _, sp := range spans {
			w := scan{prefix: []byte{kind}, from: c.keys.number(kind, sp.first)}
			if err := c.eachFrom(w, func(item *record) (bool, error) {
				if keyNumber(item.Key()) > sp.last {
					return false, nil
				}
				return true, item.Value(one)
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// sumPacks adds up the packs of a day.
func (c *check) sumPacks(kept sums, day uint32) error {
	var r packReader
	var scratch keys
	w := scan{prefix: []byte{kindPack}, from: bytes.Clone(c.keys.packsOf(day, 0))}
	return c.eachFrom(w, func(item *record) (bool, error) {
		key := item.Key()
		if keyDay(key) != day {
			return false, nil
		}
		if n := binary.BigEndian.Uint64(key[6:]); n >= c.fold.pack {
			c.result.Found("a pack of sums has the number %d, and the next one is %d: it could be used again", n, c.fold.pack)
		}
		pack, err := item.ValueCopy(nil)
		if err == nil {
			err = r.reset(pack)
		}
		for err == nil && r.next() {
			scratch.arena = scratch.arena[:0]
			cell := r.names.cell(day * dayQuarters)
			if partOf(cellHash(scratch.cell(0, &cell, nil))) != keyPart(key) {
				c.result.Found("the sums of %s are in the pack of others", cell)
			}
			var whole, sum figures
			r.day(&whole)
			several := len(r.whole) > 0
			for r.nextQuarter() {
				var f figures
				r.figures(&f)
				sum.add(&f)
				cell.Quarter = day*dayQuarters + uint32(r.quarter)
				kept.add(cell, f.counts())
			}
			if !several {
				cell.Quarter = day*dayQuarters + uint32(r.quarter)
				kept.add(cell, whole.counts())
			} else if a, b := whole.counts(), sum.counts(); !sameCounts(a, b) {
				c.result.Found("the sums of the day of %s are %+v, and those of its quarters %+v", cell, a, b)
			}
		}
		if err == nil {
			err = r.err()
		}
		if err != nil {
			err = fmt.Errorf("the sums of %s: %w", stampOf(day*dayQuarters), err)
		}
		return true, err
	})
}

func sameCounts(a, b attribution.Counts) bool {
	diff := a.Clone()
	diff.Sub(b)
	return diff.IsZero()
}

// looseCells reads the cells that are in no pack yet.
func (c *check) looseCells() (err error) {
	if c.fold, err = foldOf(c.txn); err != nil {
		return err
	}
	c.loose = make(map[uint32]sums)
	return c.eachFrom(scan{prefix: []byte{kindCell}, from: c.fold.from}, func(item *record) (bool, error) {
		key := item.Key()
		if len(key) != cellKeySize {
			return true, fmt.Errorf("%w: a cell's key of %d bytes", errDamaged, len(key))
		}
		cell := capture.Cell{Quarter: cellQuarter(key)}
		var kept attribution.Counts
		err := item.Value(func(v []byte) error {
			var r cellReader
			return r.all(v, &cell, &kept)
		})
		if err != nil {
			return true, fmt.Errorf("the sums of the quarter of an hour of %s: %w", stampOf(cell.Quarter), err)
		}
		if string(c.keys.cell(cellGeneration(key), &cell, nil)) != string(key) {
			return true, fmt.Errorf("the sums of %s are under another name", cell)
		}
		day := cell.Quarter / dayQuarters
		if c.loose[day] == nil {
			c.loose[day] = make(sums)
		}
		c.loose[day].add(cell, kept)
		return true, nil
	})
}

func (c *check) compareSums(cell capture.Cell, kept, records attribution.Counts) {
	c.result.CompareSums(cell, kept, records, c.swept.clicksWhole(&cell), c.swept.conversionsWhole(&cell))
}
