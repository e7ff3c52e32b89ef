package badgerstore

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

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
		{prefix: []byte{kindCell}, from: c.keys.cellsFrom(from, 0)},
		c.bookedFrom(from),
	} {
		err := c.s.scan(c.ctx, c.txn, w, func(item *badger.Item) (bool, error) {
			var q uint32
			if item.Key()[0] == kindBooked {
				q = capture.QuarterOf(indexTime(item.Key()))
			} else {
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
	err := c.eachFrom(c.bookedFrom(first), func(item *badger.Item) (bool, error) {
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
	w := scan{prefix: []byte{kindCell}, from: c.keys.cellsFrom(first, 0)}
	if err := c.eachFrom(w, func(item *badger.Item) (bool, error) {
		if keyQuarter(item.Key()) > last {
			return false, nil
		}
		c.result.Sums++
		return true, c.compare(item, m)
	}); err != nil {
		return err
	}
	// What is left has records and no sums.
	for _, cell := range slices.SortedFunc(maps.Keys(m), func(a, b capture.Cell) int { return cmp.Compare(a.String(), b.String()) }) {
		c.compareSums(cell, attribution.Counts{}, *m[cell])
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
	for _, sp := range spans {
		w := scan{prefix: []byte{kindBlock}, from: c.keys.number(kindBlock, sp.first)}
		if err := c.eachFrom(w, func(item *badger.Item) (bool, error) {
			if keyNumber(item.Key()) > sp.last {
				return false, nil
			}
			return true, item.Value(one)
		}); err != nil {
			return err
		}
	}
	return nil
}

// compare compares one cell with its records and takes it out of them.
func (c *check) compare(item *badger.Item, m sums) error {
	cell := capture.Cell{Quarter: keyQuarter(item.Key())}
	var kept attribution.Counts
	err := item.Value(func(v []byte) error {
		var r cellReader
		if !r.names(v, &cell) {
			return fmt.Errorf("%w: a cell of the sums", errDamaged)
		}
		return r.counts(&kept)
	})
	if err != nil {
		return fmt.Errorf("the sums of the quarter of an hour of %s: %w", stampOf(cell.Quarter), err)
	}
	if string(c.keys.cell(&cell, nil)) != string(item.Key()) {
		return fmt.Errorf("the sums of %s are under another name", cell)
	}
	var records attribution.Counts
	if sum := m[cell]; sum != nil {
		records = *sum
		delete(m, cell)
	}
	c.compareSums(cell, kept, records)
	return nil
}

func (c *check) compareSums(cell capture.Cell, kept, records attribution.Counts) {
	c.result.CompareSums(cell, kept, records, c.swept.clicksWhole(&cell), c.swept.conversionsWhole(&cell))
}
