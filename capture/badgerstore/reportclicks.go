package badgerstore

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// readers is how many goroutines read the records of a report.
const readers = 2

// inParallel calls what work returns for 0 to pieces-1, on several goroutines
// with a tally each, and hands all of it over. It ends as soon as the builder
// has no room for another row.
func inParallel(ctx context.Context, readers, pieces int, q *attribution.Query, to *sharedBuilder,
	work func(ctx context.Context, t *tally) func(piece int) error,
) error {
	n := max(1, min(readers, pieces))
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	to.refuse = stop
	var next atomic.Int64
	var workers sync.WaitGroup
	failed := make(chan error, n)
	for range n {
		workers.Go(func() {
			t := newTally(q, to)
			one := work(ctx, t)
			for i := int(next.Add(1)) - 1; i < pieces; i = int(next.Add(1)) - 1 {
				if err := one(i); err != nil {
					failed <- err
					stop(err) // the others need not go on
					return
				}
			}
			t.finish()
		})
	}
	workers.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	to.done.flush()
	return to.Err()
}

// reportAll adds up the clicks of some spans and the conversions.
func (s *Store) reportAll(ctx context.Context, txn *transaction, spans []span, q *attribution.Query, to *sharedBuilder) error {
	// A record of merged blocks is read once, whatever spans it has a part in:
	// all that is counted of it is of the query's time, and so of these spans.
	merged := cutSpans(groupSpans(spans), leastBlocks/groupBlocks)
	single := cutSpans(spans, leastBlocks)
	return inParallel(ctx, min(readers, runtime.GOMAXPROCS(0)), 1+len(merged)+len(single), q, to, func(ctx context.Context, t *tally) func(int) error {
		c := newClickCounter(s.gate, t, q)
		return func(i int) error {
			if i == 0 {
				return s.countConversions(ctx, txn, q, t)
			}
			if i--; i < len(merged) {
				return s.countClicks(ctx, txn, kindMerged, merged[i], c)
			}
			return s.countClicks(ctx, txn, kindBlock, single[i-len(merged)], c)
		}
	})
}

// countConversions reads all conversions.
func (s *Store) countConversions(ctx context.Context, txn *transaction, q *attribution.Query, t *tally) error {
	return s.reportConversions(ctx, txn, *q, func(c *capture.Conversion) error {
		at := c.State.Time
		if at.Before(q.From) || !at.Before(q.To) || q.Campaign != "" && c.Campaign != q.Campaign || q.Source != "" && c.Source != q.Source {
			return nil
		}
		dims := c.Dims()
		for i, name := range t.subs {
			t.vals[i] = dims.Sub(name)
		}
		counts := c.Counts()
		n := names{c.Campaign, c.Source, c.Destination, c.State.Event}
		t.row(&n, t.time.of(at.Unix()), func() time.Time { return at }).other().addCounts(&counts)
		if !q.Lags {
			return nil
		}
		t.to.mu.Lock()
		defer t.to.mu.Unlock()
		t.to.AddLag(dims, at, c.Lag())
		return t.to.Err()
	})
}

// leastBlocks is how many blocks at least one piece has.
const leastBlocks = 1024

// cutSpans makes pieces of about the same length, some for each reader: they do
// not take equally long.
func cutSpans(spans []span, least uint64) (pieces []span) {
	total := uint64(0)
	for _, sp := range spans {
		total += sp.last - sp.first + 1
	}
	most := max(total/(8*readers), least)
	for _, sp := range spans {
		for sp.last-sp.first >= most {
			pieces = append(pieces, span{sp.first, sp.first + most - 1})
			sp.first += most
		}
		pieces = append(pieces, sp)
	}
	return pieces
}

// countClicks reads the records of one span, of blocks or of groups of them.
func (s *Store) countClicks(ctx context.Context, txn *transaction, kind byte, sp span, c *clickCounter) error {
	var k keys
	w := scan{prefix: []byte{kind}, from: k.number(kind, sp.first)}
	return s.scan(ctx, txn, w, func(item *record) (bool, error) {
		if keyNumber(item.Key()) > sp.last {
			return false, nil
		}
		if err := item.Value(c.block); err != nil {
			return false, damagedClicks(item.Key(), err)
		}
		if kind == kindMerged {
			c.rest.now()
		} else {
			c.rest.maybe()
		}
		return true, nil
	})
}

// damagedClicks tells which record of clicks cannot be read.
func damagedClicks(key []byte, err error) error {
	what := "click block"
	if key[0] == kindMerged {
		what = "group of click blocks"
	}
	return fmt.Errorf("%w: %s %s: %w", errDamaged, what, blockName(key), err)
}

// clickCounter counts the clicks of blocks.
type clickCounter struct {
	t                *tally
	from, to         int64 // ms
	campaign, source string
	reader           capture.BlockReader
	click            capture.ClickFront
	rest             rest
}

func newClickCounter(g *gate, t *tally, q *attribution.Query) *clickCounter {
	c := &clickCounter{
		t: t, from: millisFrom(q.From), to: millisFrom(q.To), campaign: q.Campaign, source: q.Source, rest: rest{gate: g},
	}
	c.reader.Want(capture.FrontFields{Campaign: t.dims[0], Source: t.dims[1], Destination: t.dims[2], Subs: t.subs})
	return c
}

// millisFrom is the first whole millisecond that is not before t.
func millisFrom(t time.Time) int64 {
	ms := t.UnixMilli()
	if t.Nanosecond()%int(time.Millisecond) > 0 {
		ms++
	}
	return ms
}

func (c *clickCounter) block(v []byte) error {
	if err := c.reader.ResetFront(v); err != nil {
		return err
	}
	f, t := &c.click, c.t
	for c.reader.NextFront(f) {
		if f.Flags&capture.FlagTest != 0 || f.Millis < c.from || f.Millis >= c.to ||
			c.campaign != "" && f.Campaign != c.campaign || c.source != "" && f.Source != c.source {
			continue
		}
		copy(t.vals, f.Subs)
		n := names{f.Campaign, f.Source, f.Destination}
		row := t.row(&n, t.time.of(floorDiv(f.Millis, 1000)), func() time.Time { return time.UnixMilli(f.Millis) })
		if !f.Flags.Counted() {
			row.bots++
			continue
		}
		row.clicks++
		switch {
		case f.Currency == "":
		case f.More == "":
			row.cost(string(f.Currency), f.Cost, f.Places)
		default:
			var a attribution.Amount
			if err := a.UnmarshalText([]byte(f.More)); err != nil {
				return err
			}
			row.other().addAmount(string(f.Currency), true, a)
		}
	}
	return c.reader.Err()
}
