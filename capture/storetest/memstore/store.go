package memstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Store is an open place.
type Store struct {
	engine   *Engine
	disk     *disk
	position capture.Position
	closed   atomic.Bool
}

// Position returns where the counters stood.
func (s *Store) Position() capture.Position { return s.position }

// read runs f while nothing is committed.
func (s *Store) read(ctx context.Context, f func() error) error {
	if s.closed.Load() {
		return capture.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.disk.mu.RLock()
	defer s.disk.mu.RUnlock()
	return f()
}

// Commit applies a batch, unless it was applied already.
func (s *Store) Commit(_ context.Context, b *capture.Batch) error {
	if s.closed.Load() {
		return capture.ErrClosed
	}
	hooks := s.engine.hooks.Load()
	if hooks.Before != nil {
		if err := hooks.Before(b); err != nil {
			return err
		}
	}
	if err := s.commit(b); err != nil {
		return err
	}
	if hooks.After != nil {
		return hooks.After(b)
	}
	return nil
}

func (s *Store) commit(b *capture.Batch) error {
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.closed.Load() {
		return capture.ErrClosed // it crashed meanwhile
	}
	if b.Number == d.nextBatch-1 && len(d.results) == len(b.Postbacks) {
		for i, p := range b.Postbacks {
			p.Result = d.results[i]
		}
		return nil
	}
	if b.Number != d.nextBatch {
		return fmt.Errorf("%w: batch %d came instead of %d", capture.ErrFatal, b.Number, d.nextBatch)
	}
	next := b.NumberEntries(d.nextSeq)
	t := &tx{base: &d.records, changed: newRecords(), erased: d.erased}
	if err := capture.Apply(t, b); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	t.apply()
	d.nextBatch++
	d.lease = max(d.lease, b.Lease)
	d.results, d.nextSeq = nil, next
	for _, p := range b.Postbacks {
		d.results = append(d.results, p.Result)
	}
	for _, block := range b.Blocks {
		d.lease = max(d.lease, block.Number+1)
	}
	return nil
}

// ClickToBook returns what booking wants of one click.
func (s *Store) ClickToBook(ctx context.Context, ref clickid.Ref) (*capture.Click, error) {
	c, err := s.Click(ctx, ref)
	return toBook(c), err
}

// Click returns one click.
func (s *Store) Click(ctx context.Context, ref clickid.Ref) (c *capture.Click, err error) {
	err = s.read(ctx, func() error {
		if c = clickOf(s.disk.blocks[blockPlace{ref.Epoch, ref.Block}], ref); c == nil {
			return capture.ErrNotFound
		}
		return nil
	})
	return c, err
}

// ClickConversions returns the booked conversions of one click.
func (s *Store) ClickConversions(ctx context.Context, ref clickid.Ref) (list []*capture.Conversion, err error) {
	err = s.read(ctx, func() error {
		for _, k := range s.disk.known[ref] {
			if c := s.disk.conversions[k.ID]; c.State.Booked {
				list = append(list, clone(c))
			}
		}
		return nil
	})
	slices.SortStableFunc(list, func(a, b *capture.Conversion) int { return a.State.Time.Compare(b.State.Time) })
	return list, err
}

// Conversion returns one conversion.
func (s *Store) Conversion(ctx context.Context, id attribution.ConversionID) (c *capture.Conversion, err error) {
	err = s.read(ctx, func() error {
		found := s.disk.conversions[id]
		if found == nil {
			return capture.ErrNotFound
		}
		c = clone(found)
		return nil
	})
	return c, err
}

// newest orders conversions from the newest on.
func newest(a, b capture.Cursor) int {
	return cmp.Or(b.Time.Compare(a.Time), bytes.Compare(b.ID[:], a.ID[:]))
}

// Conversions lists conversions from a copy.
func (s *Store) Conversions(ctx context.Context, q capture.ConversionQuery, yield func(*capture.Conversion) bool) error {
	var list []*capture.Conversion
	err := s.read(ctx, func() error {
		for _, c := range s.disk.conversions {
			if q.Takes(c) && (q.After.Time.IsZero() || newest(q.After, c.Cursor()) < 0) {
				list = append(list, clone(c))
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b *capture.Conversion) int { return newest(a.Cursor(), b.Cursor()) })
	for _, c := range list {
		if !yield(c) {
			break
		}
	}
	return err
}

// Journal lists entries from a copy.
func (s *Store) Journal(ctx context.Context, q capture.JournalQuery, yield func(*capture.Entry) bool) error {
	var list []*capture.Entry
	err := s.read(ctx, func() error {
		for _, e := range s.disk.entries {
			if q.Takes(e) {
				c := *e
				list = append(list, &c)
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b *capture.Entry) int { return cmp.Compare(b.Seq, a.Seq) })
	for _, e := range list {
		if !yield(e) {
			break
		}
	}
	return err
}

// Report adds up cells where they answer exactly, and records otherwise.
func (s *Store) Report(ctx context.Context, q attribution.Query) (r attribution.Report, err error) {
	if err := q.Validate(); err != nil {
		return r, err
	}
	err = s.read(ctx, func() error {
		b := attribution.NewBuilder(q)
		if q.Aligned(capture.CellSpan) && !q.NeedsSub() {
			for cell, c := range s.disk.cells {
				b.Add(cell.Dims(), cell.Time(), c)
			}
			s.addLags(b, q)
			r = b.Report()
			return b.Err()
		}
		for _, block := range s.disk.blocks {
			for _, c := range block.Clicks {
				b.Add(c.Dims(), c.Time, c.Counts())
			}
		}
		for _, c := range s.disk.conversions {
			b.Add(c.Dims(), c.State.Time, c.Counts())
		}
		s.addLags(b, q)
		r = b.Report()
		return b.Err()
	})
	return r, err
}

func (s *Store) addLags(b *attribution.Builder, q attribution.Query) {
	for _, c := range s.disk.conversions {
		if q.Lags && c.State.Booked && !c.Test {
			b.AddLag(c.Dims(), c.State.Time, c.Lag())
		}
	}
}

// Sweep deletes what is expired.
func (s *Store) Sweep(_ context.Context, now time.Time, keep capture.Retention) (n capture.SweepResult, err error) {
	if s.closed.Load() {
		return n, capture.ErrClosed
	}
	if hook := s.engine.hooks.Load().Sweep; hook != nil {
		hook(keep)
	}
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	expired := func(t time.Time, after time.Duration) bool { return after > 0 && now.Sub(t) > after }
	note := func(to *time.Time, after time.Duration) {
		if at := now.Add(-after); after > 0 && at.After(*to) {
			*to = at
		}
	}
	note(&d.sweptClicks, keep.Clicks)
	if keep.Clicks > 0 {
		note(&d.sweptConversions, keep.Conversions)
	}
	for number, b := range d.blocks {
		if !slices.ContainsFunc(b.Clicks, func(c *capture.Click) bool { return !expired(c.Time, keep.Clicks) }) {
			delete(d.blocks, number)
			n.Blocks++
		}
	}
	for seq, e := range d.entries {
		if expired(e.Time, keep.Journal) {
			delete(d.entries, seq)
			n.Entries++
		}
	}
	for id, c := range d.conversions {
		if keep.ConversionExpired(c, now) {
			delete(d.conversions, id)
			d.known[c.Click] = slices.DeleteFunc(slices.Clone(d.known[c.Click]),
				func(k capture.Known) bool { return k.ID == id })
			n.Conversions++
		}
	}
	return n, nil
}

// Status counts the quarantine.
func (s *Store) Status() capture.StoreStatus {
	d := s.disk
	d.mu.RLock()
	defer d.mu.RUnlock()
	st := capture.StoreStatus{Writable: !s.closed.Load(), Quarantine: make(map[capture.Reason]int64)}
	if !st.Writable {
		st.Why = capture.ErrClosed.Error()
	}
	for _, e := range d.entries {
		if e.Waiting() {
			st.Quarantine[e.Reason]++
		}
	}
	return st
}

// Close gives the place back.
func (s *Store) Close(next uint64) error {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	if s.closed.Swap(true) {
		return capture.ErrClosed
	}
	s.engine.open = nil
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if next > 0 {
		s.disk.lease = next
	}
	return nil
}
