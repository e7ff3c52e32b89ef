package memstore

import (
	"context"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Erase replaces the records of the click by blanked ones.
func (s *Store) Erase(ctx context.Context, ref clickid.Ref) (r capture.Erased, err error) {
	if s.closed.Load() {
		return r, capture.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	d := s.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	found := false
	if b := d.blocks[blockPlace{ref.Epoch, ref.Block}]; clickOf(b, ref) != nil {
		found = true
		c := *b.Clicks[ref.Slot]
		r.Click = c.Erase()
		clicks := slices.Clone(b.Clicks)
		clicks[ref.Slot] = &c
		d.blocks[placeOf(b)] = &capture.Block{Number: b.Number, Clicks: clicks}
	}
	var txids []capture.TxKey
	for _, k := range d.known[ref] {
		found = true
		c := clone(d.conversions[k.ID])
		txids = append(txids, c.TxKeys...)
		if c.Erase() {
			r.Conversions++
			d.conversions[k.ID] = c
		}
	}
	erase := func(e *capture.Entry) {
		changed := *e
		if changed.Erase() {
			r.Entries++
			d.entries[e.Seq] = &changed
		}
	}
	for _, e := range d.entries {
		known := slices.ContainsFunc(d.known[ref], func(k capture.Known) bool { return k.ID == e.Conversion })
		sold := e.About(func(key capture.TxKey) bool { return slices.Contains(txids, key) })
		if !known && !sold && !(e.HasClick && e.Click == ref) {
			continue
		}
		found = true
		erase(e)
		if replayed := d.entries[e.Replays]; replayed != nil {
			erase(replayed)
		}
	}
	d.erased[ref] = time.Now()
	if !found {
		return r, capture.ErrNotFound
	}
	return r, nil
}
