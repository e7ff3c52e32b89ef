package memstore

import (
	"context"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Check compares the sums with the records, all at once.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (r capture.CheckResult, err error) {
	err = s.read(ctx, func() error {
		d := s.disk
		records := make(map[capture.Cell]*attribution.Counts)
		add := func(cell capture.Cell, c attribution.Counts) {
			if records[cell] == nil {
				records[cell] = new(attribution.Counts)
			}
			records[cell].Add(c)
		}
		home := s.engine.identity.Load().Epoch
		for at, b := range d.blocks {
			if at.epoch == home && at.number >= d.lease {
				r.Found("click block %d lies beyond the lease, which ends at %d", at.number, d.lease)
			}
			for _, c := range b.Clicks {
				r.Clicks++
				add(capture.Cell{
					Quarter: capture.QuarterOf(c.Time), Campaign: c.Campaign, Source: c.Source, Destination: c.Destination,
				}, c.Counts())
			}
		}
		for id, c := range d.conversions {
			r.Conversions++
			r.CheckConversion(c)
			n := 0
			for _, k := range d.known[c.Click] {
				if k == c.Known() {
					n++
				}
			}
			if n != 1 || c.ID != id {
				r.Found("conversion %s is %d times in the list of its click", id, n)
			}
			if c.State.Booked {
				add(c.Cell(), c.Counts())
			}
		}
		for ref, list := range d.known {
			for _, k := range list {
				if c := d.conversions[k.ID]; c == nil || c.Click != ref {
					r.Found("conversion %s is in the list of click %+v but not there", k.ID, ref)
				}
			}
		}
		for seq, e := range d.entries {
			r.Entries++
			if seq >= d.nextSeq || e.Seq != seq {
				r.Found("journal entry %d lies beyond the next number, which is %d", seq, d.nextSeq)
			}
		}
		for cell, sum := range d.cells {
			if sum.IsZero() {
				continue
			}
			r.Sums++
			if records[cell] == nil {
				records[cell] = new(attribution.Counts)
			}
		}
		for cell, c := range records {
			begin, end := cell.Time(), cell.Time().Add(capture.CellSpan)
			r.CompareSums(cell, d.cells[cell], *c, end.After(d.sweptClicks), !begin.Before(d.sweptConversions))
		}
		total := int64(len(d.blocks) + len(d.conversions) + len(d.entries) + len(d.cells))
		if progress != nil {
			progress(total, total)
		}
		return nil
	})
	return r, err
}
