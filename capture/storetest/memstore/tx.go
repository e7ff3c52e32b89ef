package memstore

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// tx collects what a batch changes beside the records it reads from.
type tx struct {
	base    *records
	changed records
	erased  map[clickid.Ref]time.Time
}

// get looks a key up in the changes, then in the base.
func get[K comparable, V any](changed, base map[K]V, key K) (V, bool) {
	v, ok := changed[key]
	if !ok {
		v, ok = base[key]
	}
	return v, ok
}

func (t *tx) Click(ref clickid.Ref) (*capture.Click, error) {
	b, _ := get(t.changed.blocks, t.base.blocks, blockPlace{ref.Epoch, ref.Block})
	return toBook(clickOf(b, ref)), nil
}

// toBook leaves of a click no more than a store has to tell for booking.
func toBook(c *capture.Click) *capture.Click {
	if c == nil {
		return nil
	}
	return &capture.Click{
		Ref: c.Ref, Time: c.Time, Flags: c.Flags, Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Subs: c.Subs,
	}
}

func clickOf(b *capture.Block, ref clickid.Ref) *capture.Click {
	if b == nil || int(ref.Slot) >= len(b.Clicks) || b.Clicks[ref.Slot].Ref != ref {
		return nil
	}
	return b.Clicks[ref.Slot]
}

func (t *tx) PutBlock(b *capture.Block) error {
	t.changed.blocks[placeOf(b)] = b
	return nil
}

func (t *tx) Any(ref clickid.Ref) (*capture.Conversion, error) {
	known, _ := get(t.changed.known, t.base.known, ref)
	if len(known) == 0 {
		return nil, nil
	}
	return t.Conversion(known[0].ID)
}

func (t *tx) Others(ref clickid.Ref, dedup attribution.Dedup, limit int) (ids []attribution.ConversionID, err error) {
	known, _ := get(t.changed.known, t.base.known, ref)
	for _, k := range known {
		if k.Beside(dedup) {
			ids = append(ids, k.ID)
		}
	}
	slices.SortFunc(ids, attribution.ConversionID.Compare)
	return ids[:min(limit, len(ids))], nil
}

// ByTxID looks at all conversions: there is no index that could be wrong.
func (t *tx) ByTxID(key capture.TxKey, limit int) (ids []attribution.ConversionID, err error) {
	add := func(id attribution.ConversionID, c *capture.Conversion) {
		if slices.Contains(c.TxKeys, key) && len(ids) < limit {
			ids = append(ids, id)
		}
	}
	for id, c := range t.changed.conversions {
		add(id, c)
	}
	for id, c := range t.base.conversions {
		if _, changed := t.changed.conversions[id]; !changed {
			add(id, c)
		}
	}
	return ids, nil
}

func (t *tx) Conversion(id attribution.ConversionID) (*capture.Conversion, error) {
	c, ok := get(t.changed.conversions, t.base.conversions, id)
	if !ok {
		return nil, nil
	}
	return clone(c), nil
}

func (t *tx) PutConversion(c, _ *capture.Conversion) error {
	if !t.erased[c.Click].IsZero() {
		c.Erase() // whoever read the click read it before
	}
	t.changed.conversions[c.ID] = clone(c)
	known, _ := get(t.changed.known, t.base.known, c.Click)
	known = slices.Clone(known)
	if i := slices.IndexFunc(known, func(k capture.Known) bool { return k.ID == c.ID }); i >= 0 {
		known[i] = c.Known()
	} else {
		known = append(known, c.Known())
	}
	t.changed.known[c.Click] = known
	return nil
}

func (t *tx) AddCounts(cell capture.Cell, c attribution.Counts) error {
	sum, _ := get(t.changed.cells, t.base.cells, cell)
	sum = sum.Clone()
	sum.Add(c)
	t.changed.cells[cell] = sum
	return nil
}

func (t *tx) Entry(seq uint64) (*capture.Entry, error) {
	e, ok := get(t.changed.entries, t.base.entries, seq)
	if !ok {
		return nil, nil
	}
	c := *e
	return &c, nil
}

// Repeated looks through all entries.
func (t *tx) Repeated(e *capture.Entry, limit int) (list []*capture.Entry, err error) {
	if _, ok := e.Fingerprint(); !ok {
		return nil, nil
	}
	add := func(w *capture.Entry) {
		if e.Repeats(w) {
			c := *w
			list = append(list, &c)
		}
	}
	for _, w := range t.changed.entries {
		add(w)
	}
	for seq, w := range t.base.entries {
		if t.changed.entries[seq] == nil {
			add(w)
		}
	}
	slices.SortFunc(list, func(a, b *capture.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return list[:min(limit, len(list))], nil
}

// Awaiting looks through all entries.
func (t *tx) Awaiting(key capture.TxKey, limit int) (list []*capture.Entry, err error) {
	add := func(w *capture.Entry) {
		if slices.Contains(w.AwaitedKeys(), key) {
			c := *w
			list = append(list, &c)
		}
	}
	for _, w := range t.changed.entries {
		add(w)
	}
	for seq, w := range t.base.entries {
		if t.changed.entries[seq] == nil {
			add(w)
		}
	}
	slices.SortFunc(list, func(a, b *capture.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return list[:min(limit, len(list))], nil
}

func (t *tx) PutEntry(e *capture.Entry) error {
	if e.HasClick {
		e.ErasedAt(t.erased[e.Click])
	}
	c := *e
	t.changed.entries[e.Seq] = &c
	return nil
}

func (t *tx) apply() {
	maps.Copy(t.base.blocks, t.changed.blocks)
	maps.Copy(t.base.conversions, t.changed.conversions)
	maps.Copy(t.base.known, t.changed.known)
	maps.Copy(t.base.entries, t.changed.entries)
	maps.Copy(t.base.cells, t.changed.cells)
}

// clone copies what the booking of a later postback may change.
func clone(c *capture.Conversion) *capture.Conversion {
	d := *c
	d.History = slices.Clone(c.History)
	d.Parked, d.TxKeys = slices.Clone(c.Parked), slices.Clone(c.TxKeys)
	return &d
}
