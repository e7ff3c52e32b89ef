package badgerstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Report adds up the cells where they can answer, else the records themselves,
// all at one point in time.
func (s *Store) Report(ctx context.Context, q attribution.Query) (attribution.Report, error) {
	b := attribution.NewBuilder(q)
	err := s.view(ctx, func(txn *badger.Txn) error {
		if q.Aligned(capture.CellSpan) && !q.NeedsSub() {
			return s.reportSums(ctx, txn, q, b)
		}
		return s.reportRecords(ctx, txn, q, b)
	})
	if err != nil {
		return attribution.Report{}, err
	}
	return b.Report(), nil
}

// reportSums reads the sums, and the conversions only for how late they came.
func (s *Store) reportSums(ctx context.Context, txn *badger.Txn, q attribution.Query, b *attribution.Builder) error {
	if err := s.reportCells(ctx, txn, q, b); err != nil || !q.Lags {
		return err
	}
	return s.reportConversions(ctx, txn, q, func(c *capture.Conversion) {
		b.AddLag(c.Dims(), c.State.Time, c.Lag())
	})
}

// reportCells reads the sums of each quarter.
func (s *Store) reportCells(ctx context.Context, txn *badger.Txn, q attribution.Query, b *attribution.Builder) error {
	var k keys
	end := quarterAt(q.To)
	var r cellReader
	var counts attribution.Counts
	w := scan{prefix: []byte{kindCell}, from: k.cellsFrom(quarterAt(q.From), 0)}
	return s.scan(ctx, txn, w, func(item *badger.Item) (bool, error) {
		cell := capture.Cell{Quarter: keyQuarter(item.Key())}
		if cell.Quarter >= end {
			return false, nil
		}
		err := item.Value(func(v []byte) error {
			if !r.names(v, &cell) {
				return fmt.Errorf("%w: a cell of the sums", errDamaged)
			}
			if q.Campaign != "" && cell.Campaign != q.Campaign || q.Source != "" && cell.Source != q.Source {
				return nil
			}
			if err := r.counts(&counts); err != nil {
				return err
			}
			b.Add(cell.Dims(), cell.Time(), counts)
			return nil
		})
		return err == nil, err
	})
}

// reportRecords reads clicks and conversions one by one.
func (s *Store) reportRecords(ctx context.Context, txn *badger.Txn, q attribution.Query, b *attribution.Builder) error {
	spans, err := s.spansOf(ctx, txn, quarterAt(q.From), quarterAt(q.To.Add(-1)))
	if err != nil {
		return err
	}
	for _, sp := range spans {
		if err := s.reportClicks(ctx, txn, sp, q, b); err != nil {
			return err
		}
	}
	return s.reportConversions(ctx, txn, q, func(c *capture.Conversion) {
		b.Add(c.Dims(), c.State.Time, c.Counts())
		if q.Lags {
			b.AddLag(c.Dims(), c.State.Time, c.Lag())
		}
	})
}

// spansOf returns the spans of the quarters from first to last, joined and in
// order, so that no block is read twice.
func (s *Store) spansOf(ctx context.Context, txn *badger.Txn, first, last uint32) ([]span, error) {
	var k keys
	var spans []span
	w := scan{prefix: []byte{kindQuarter}, from: k.quarter(first)}
	err := s.scan(ctx, txn, w, func(item *badger.Item) (bool, error) {
		if keyQuarter(item.Key()) > last {
			return false, nil
		}
		return true, item.Value(func(v []byte) error {
			sp, err := decodeSpan(v)
			spans = append(spans, sp)
			return err
		})
	})
	return joinSpans(spans), err
}

// joinSpans sorts spans and joins those that touch.
func joinSpans(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	joined := spans[:0]
	for _, sp := range spans {
		if n := len(joined); n > 0 && (joined[n-1].last == math.MaxUint64 || sp.first <= joined[n-1].last+1) {
			joined[n-1].last = max(joined[n-1].last, sp.last)
			continue
		}
		joined = append(joined, sp)
	}
	return joined
}

func (s *Store) reportClicks(ctx context.Context, txn *badger.Txn, sp span, q attribution.Query, b *attribution.Builder) error {
	var k keys
	var r capture.BlockReader
	c := new(capture.Click)
	sub := c.Sub // of whatever is in c; made once, not per click
	one := func(v []byte) error {
		if err := r.Reset(v); err != nil {
			return err
		}
		for r.Next(c) {
			// What the builder would leave out, without making its counts.
			if c.Flags&capture.FlagTest != 0 || c.Time.Before(q.From) || !c.Time.Before(q.To) {
				continue
			}
			b.Add(attribution.Dims{
				Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Sub: sub,
			}, c.Time, c.Counts())
		}
		return r.Err()
	}
	w := scan{prefix: []byte{kindBlock}, from: k.number(kindBlock, sp.first)}
	return s.scan(ctx, txn, w, func(item *badger.Item) (bool, error) {
		if keyNumber(item.Key()) > sp.last {
			return false, nil
		}
		if err := item.Value(one); err != nil {
			return false, fmt.Errorf("%w: click block %d: %w", errDamaged, keyNumber(item.Key()), err)
		}
		return true, nil
	})
}

// reportConversions calls visit for each booked conversion in the query's time
// that is none of test data.
func (s *Store) reportConversions(ctx context.Context, txn *badger.Txn, q attribution.Query, visit func(*capture.Conversion)) error {
	var k keys
	w := scan{prefix: []byte{kindBooked}, from: k.index(kindBooked, q.From, attribution.ConversionID{})}
	end := q.To.Add(time.Millisecond)
	return s.scan(ctx, txn, w, func(item *badger.Item) (bool, error) {
		key := item.Key()
		if !indexTime(key).Before(end) {
			return false, nil
		}
		var k keys
		c, err := getRecord[capture.Conversion](txn, k.conversion(indexID(key)))
		if err != nil {
			return false, err
		}
		if c == nil {
			return false, missing("conversion", indexID(key))
		}
		visit(c)
		return true, nil
	})
}
