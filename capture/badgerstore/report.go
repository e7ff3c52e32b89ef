package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Report adds up the cells where they can answer, else clicks and conversions,
// all at one point in time.
func (s *Store) Report(ctx context.Context, q attribution.Query) (attribution.Report, error) {
	b := attribution.NewBuilder(q)
	err := s.view(ctx, func(txn *transaction) error {
		if q.Aligned(capture.CellSpan) && !q.NeedsSub() {
			return s.reportSums(ctx, txn, q, b)
		}
		return s.reportRecords(ctx, txn, q, b)
	})
	if err == nil {
		err = b.Err()
	}
	if err != nil {
		return attribution.Report{}, err
	}
	return b.Report(), nil
}

// reportSums reads the sums, and the conversions only for how late they came.
func (s *Store) reportSums(ctx context.Context, txn *transaction, q attribution.Query, b *attribution.Builder) error {
	if err := s.reportCells(ctx, txn, q, b); err != nil || !q.Lags {
		return err
	}
	return s.reportConversions(ctx, txn, q, func(c *capture.Conversion) error {
		b.AddLag(c.Dims(), c.State.Time, c.Lag())
		return b.Err()
	})
}

// reportCells reads the packs of each day, and the cells that are in none yet.
func (s *Store) reportCells(ctx context.Context, txn *transaction, q attribution.Query, b *attribution.Builder) error {
	first, end := quarterAt(q.From), quarterAt(q.To)
	if first >= end {
		return nil
	}
	days := cutSpans([]span{{uint64(first / dayQuarters), uint64((end - 1) / dayQuarters)}}, 1)
	// Where the report's days are those of the packs it is done soon, and half
	// of the processors are left to who writes; else each quarter is read.
	n := runtime.GOMAXPROCS(0)
	if p := newPeriods(&q); !s.gate.quiet(time.Now()) && p.quarters(min(first/dayQuarters+1, (end-1)/dayQuarters)).whole {
		n /= 2
	}
	return inParallel(ctx, min(readers, n), len(days)+1, &q, &sharedBuilder{Builder: b}, func(ctx context.Context, t *tally) func(int) error {
		return func(i int) error {
			if i == 0 {
				return s.reportLoose(ctx, txn, first, end, t)
			}
			return s.reportPacks(ctx, txn, days[i-1], &q, t)
		}
	})
}

// reportPacks reads the packs of some days.
func (s *Store) reportPacks(ctx context.Context, txn *transaction, days span, q *attribution.Query, t *tally) error {
	var k keys
	var r packReader
	pause := rest{gate: s.gate}
	var day *quarters
	w := scan{prefix: []byte{kindPack}, from: k.packsOf(uint32(days.first), 0)} //nolint:gosec // a day
	return s.scan(ctx, txn, w, func(item *record) (bool, error) {
		d := keyDay(item.Key())
		if uint64(d) > days.last {
			return false, nil
		}
		if day == nil || day.first != d*dayQuarters {
			day = t.time.quarters(d)
		}
		err := item.Value(func(v []byte) error {
			if err := r.reset(v); err != nil {
				return err
			}
			return t.addPack(&r, day, q)
		})
		pause.now()
		return err == nil, err
	})
}

// reportLoose reads the cells that are in no pack yet.
func (s *Store) reportLoose(ctx context.Context, txn *transaction, first, end uint32, t *tally) error {
	f, err := foldOf(txn)
	if err != nil {
		return err
	}
	var r cellReader
	var counts attribution.Counts
	return s.scan(ctx, txn, scan{prefix: []byte{kindCell}, from: f.from}, func(item *record) (bool, error) {
		cell := capture.Cell{Quarter: cellQuarter(item.Key())}
		if cell.Quarter < first || cell.Quarter >= end {
			return true, nil
		}
		err := item.Value(func(v []byte) error { return r.all(v, &cell, &counts) })
		if err == nil {
			n := namesOf(&cell)
			t.row(&n, t.time.of(cell.Time().Unix()), cell.Time).other().addCounts(&counts)
		}
		return err == nil, err
	})
}

// reportRecords reads the records of clicks and the listing of conversions.
func (s *Store) reportRecords(ctx context.Context, txn *transaction, q attribution.Query, b *attribution.Builder) error {
	spans, err := s.spansOf(ctx, txn, quarterAt(q.From), quarterAt(q.To.Add(-1)))
	if err != nil {
		return err
	}
	return s.reportAll(ctx, txn, spans, &q, &sharedBuilder{Builder: b})
}

// spansOf returns the spans of the quarters from first to last, joined and in
// order, so that no block is read twice.
func (s *Store) spansOf(ctx context.Context, txn *transaction, first, last uint32) ([]span, error) {
	var k keys
	var spans []span
	w := scan{prefix: []byte{kindQuarter}, from: k.quarter(first)}
	err := s.scan(ctx, txn, w, func(item *record) (bool, error) {
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

// conversionsAtOnce is how many conversions are looked up together.
const conversionsAtOnce = 1 << 14

// reportConversions calls visit, in no order, for each booked conversion in the
// query's time that is none of test data, until it returns an error. The
// conversion is only good during the call.
func (s *Store) reportConversions(ctx context.Context, txn *transaction, q attribution.Query, visit func(*capture.Conversion) error) error {
	var k keys
	var ids []attribution.ConversionID // of those of which the listing says nothing
	var c capture.Conversion
	pause := rest{gate: s.gate}
	w := scan{prefix: []byte{kindBooked}, from: k.index(kindBooked, q.From, attribution.ConversionID{})}
	end := q.To.Add(time.Millisecond)
	err := s.scan(ctx, txn, w, func(item *record) (bool, error) {
		key := item.Key()
		if !indexTime(key).Before(end) {
			return false, nil
		}
		pause.maybe()
		var err error
		if item.ValueSize() > 0 {
			err = item.Value(func(v []byte) error { return decodeBooked(key, v, &c) })
			if err == nil {
				err = visit(&c)
			}
		} else if ids = append(ids, indexID(key)); len(ids) == conversionsAtOnce {
			err = s.visitConversions(ctx, txn, ids, visit)
			ids = ids[:0]
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return s.visitConversions(ctx, txn, ids, visit)
}

// visitConversions looks the conversions up, in the order of their IDs, in which
// those of a day are stored: several are then in the same block of a table, which is read
// once.
func (s *Store) visitConversions(ctx context.Context, txn *transaction, ids []attribution.ConversionID, visit func(*capture.Conversion) error) error {
	slices.SortFunc(ids, func(a, b attribution.ConversionID) int { return bytes.Compare(a[:], b[:]) })
	p := pace{ctx: ctx, closing: s.gate.closing}
	pause := rest{gate: s.gate}
	var k keys
	for _, id := range ids {
		if err := p.step(); err != nil {
			return err
		}
		pause.maybe()
		k.arena = k.arena[:0]
		c, err := getRecord[capture.Conversion](txn, k.conversion(id))
		if err != nil {
			return err
		}
		if c == nil {
			return missing("conversion", id)
		}
		if err := visit(c); err != nil {
			return err
		}
	}
	return nil
}
