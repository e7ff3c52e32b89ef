package pgstore

import (
	"cmp"
	"slices"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// tx is one pass over a batch: what it changes, beside what was read. Another
// pass begins with a new one.
type tx struct {
	*reader
	blocks  []*capture.Block
	inBatch map[clickid.Ref]*capture.Click
	changed map[attribution.ConversionID]*capture.Conversion
	// had are the transactions that led to those that were changed.
	had     map[attribution.ConversionID][]capture.TxKey
	known   map[clickid.Ref][]capture.Known
	journal map[uint64]*capture.Entry
	cells   map[capture.Cell]attribution.Counts
	// What the pass itself lets be found.
	ofTxID  map[capture.TxKey][]attribution.ConversionID
	ofPrint map[uint64][]uint64
	awaited map[capture.TxKey][]uint64
}

func newTx(r *reader) *tx {
	return &tx{
		reader: r, inBatch: make(map[clickid.Ref]*capture.Click),
		changed: make(map[attribution.ConversionID]*capture.Conversion), had: make(map[attribution.ConversionID][]capture.TxKey),
		known: make(map[clickid.Ref][]capture.Known), journal: make(map[uint64]*capture.Entry),
		cells:  make(map[capture.Cell]attribution.Counts),
		ofTxID: make(map[capture.TxKey][]attribution.ConversionID), ofPrint: make(map[uint64][]uint64),
		awaited: make(map[capture.TxKey][]uint64),
	}
}

// PutBlock keeps the block for the writing. Some of its clicks may have been erased
// while it waited on the disk of its node.
func (t *tx) PutBlock(b *capture.Block) error {
	if len(b.Clicks) > 0 {
		erased, _, err := find(t.reader, &t.erasedOf, blockOf(b.Clicks[0].Ref))
		if err != nil {
			return err
		}
		b = without(b, erased)
	}
	t.blocks = append(t.blocks, b)
	for _, c := range b.Clicks {
		t.inBatch[c.Ref] = c
	}
	return nil
}

// without returns the block with some of its clicks erased.
func without(b *capture.Block, erased []clickid.Ref) *capture.Block {
	if len(erased) == 0 {
		return b
	}
	whole := &capture.Block{Number: b.Number, Clicks: slices.Clone(b.Clicks)}
	for i, c := range whole.Clicks {
		if slices.Contains(erased, c.Ref) {
			blank := *c
			blank.Erase()
			whole.Clicks[i] = &blank
		}
	}
	return whole
}

// Click returns the click, or nil. One that is still to be read is taken to be
// there, as it mostly is: what is asked next is then asked along with it.
func (t *tx) Click(ref clickid.Ref) (*capture.Click, error) {
	if c := t.inBatch[ref]; c != nil {
		return &capture.Click{
			Ref: c.Ref, Time: c.Time, Flags: c.Flags, Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Subs: c.Subs,
		}, nil
	}
	c, known, err := find(t.reader, &t.clicks, ref)
	switch {
	case err != nil || c != nil:
		return c, err
	case !known:
		return &capture.Click{Ref: ref, Time: ref.Time()}, nil
	}
	c, _, err = find(t.reader, &t.far, ref)
	return c, err
}

// Any returns one conversion of a click, or nil.
func (t *tx) Any(ref clickid.Ref) (*capture.Conversion, error) {
	if known := t.known[ref]; len(known) > 0 {
		return t.Conversion(known[0].ID)
	}
	c, _, err := find(t.reader, &t.some, ref)
	if c == nil || err != nil {
		return nil, err
	}
	return clone(c), nil
}

// Others lists the conversions of a click that are beside a rule.
func (t *tx) Others(ref clickid.Ref, dedup attribution.Dedup, limit int) ([]attribution.ConversionID, error) {
	stored, _, err := find(t.reader, &t.others, othersOf{ref, dedup, limit})
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(stored)
	for _, k := range t.known[ref] {
		i := slices.Index(ids, k.ID)
		switch {
		case k.Beside(dedup) && i < 0:
			ids = append(ids, k.ID)
		case !k.Beside(dedup) && i >= 0:
			ids = slices.Delete(ids, i, i+1)
		}
	}
	slices.SortFunc(ids, attribution.ConversionID.Compare)
	return ids[:min(limit, len(ids))], nil
}

// ByTxID lists the conversions that a transaction leads to.
func (t *tx) ByTxID(key capture.TxKey, limit int) ([]attribution.ConversionID, error) {
	stored, _, err := find(t.reader, &t.byTxID, byTxID{key, limit})
	if err != nil {
		return nil, err
	}
	ids := slices.Clone(stored)
	for _, id := range t.ofTxID[key] {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, attribution.ConversionID.Compare)
	return ids[:min(limit, len(ids))], nil
}

// Conversion returns one conversion, or nil.
func (t *tx) Conversion(id attribution.ConversionID) (*capture.Conversion, error) {
	c := t.changed[id]
	if c == nil {
		var err error
		if c, _, err = find(t.reader, &t.convs, id); c == nil || err != nil {
			return nil, err
		}
	}
	return clone(c), nil
}

// clone copies what the booking of a later postback may change.
func clone(c *capture.Conversion) *capture.Conversion {
	d := *c
	d.History = slices.Clone(c.History)
	d.Parked, d.TxKeys = slices.Clone(c.Parked), slices.Clone(c.TxKeys)
	return &d
}

// PutConversion keeps c for the writing.
func (t *tx) PutConversion(c, old *capture.Conversion) error {
	if c.Flags&capture.FlagErased == 0 || len(c.Subs) > 0 {
		erased, _, err := find(t.reader, &t.erased, c.Click)
		if err != nil {
			return err
		}
		if !erased.IsZero() {
			c.Erase() // whoever read the click read it before
		}
	}
	if _, again := t.changed[c.ID]; !again && old != nil {
		t.had[c.ID] = old.TxKeys
	}
	t.changed[c.ID] = clone(c)
	for _, key := range c.TxKeys {
		if !slices.Contains(t.ofTxID[key], c.ID) {
			t.ofTxID[key] = append(t.ofTxID[key], c.ID)
		}
	}
	known := t.known[c.Click]
	if i := slices.IndexFunc(known, func(k capture.Known) bool { return k.ID == c.ID }); i >= 0 {
		known[i] = c.Known()
	} else {
		t.known[c.Click] = append(known, c.Known())
	}
	return nil
}

// AddCounts keeps what is to be added.
func (t *tx) AddCounts(cell capture.Cell, c attribution.Counts) error {
	sum := t.cells[cell].Clone()
	sum.Add(c)
	t.cells[cell] = sum
	return nil
}

// Entry returns one journal entry, or nil.
func (t *tx) Entry(seq uint64) (*capture.Entry, error) {
	e := t.journal[seq]
	if e == nil {
		var err error
		if e, _, err = find(t.reader, &t.entries, seq); e == nil || err != nil {
			return nil, err
		}
	}
	c := *e
	return &c, nil
}

// PutEntry keeps e for the writing. It may have waited on the disk of its node while
// its click was erased by way of another one, whose clock may be behind.
func (t *tx) PutEntry(e *capture.Entry) error {
	if e.HasClick {
		erased, _, err := find(t.reader, &t.erased, e.Click)
		if err != nil {
			return err
		}
		if !erased.IsZero() {
			e.ErasedAt(erased.Add(clockTolerance))
		}
	}
	c := *e
	t.journal[e.Seq] = &c
	if !c.Waiting() {
		return nil
	}
	if fp, ok := c.Fingerprint(); ok {
		t.ofPrint[fp] = append(t.ofPrint[fp], c.Seq)
	}
	for _, key := range c.AwaitedKeys() {
		t.awaited[key] = append(t.awaited[key], c.Seq)
	}
	return nil
}

// Repeated returns the entries in quarantine that e repeats.
func (t *tx) Repeated(e *capture.Entry, limit int) ([]*capture.Entry, error) {
	fp, ok := e.Fingerprint()
	if !ok {
		return nil, nil
	}
	return t.enough(limit, t.ofPrint[fp], e.Repeats, func(n int) ([]uint64, bool, error) {
		return find(t.reader, &t.repeated, repeats{fp, n})
	})
}

// Awaiting returns the entries in quarantine that await the transaction.
func (t *tx) Awaiting(key capture.TxKey, limit int) ([]*capture.Entry, error) {
	fits := func(w *capture.Entry) bool { return slices.Contains(w.AwaitedKeys(), key) }
	return t.enough(limit, t.awaited[key], fits, func(n int) ([]uint64, bool, error) {
		return find(t.reader, &t.awaiting, byTxID{key, n})
	})
}

// enough asks for more until there are as many that fit as are wanted: some of
// those that are stored may not wait any more since the pass began.
func (t *tx) enough(limit int, put []uint64, fits func(*capture.Entry) bool, stored func(n int) ([]uint64, bool, error)) ([]*capture.Entry, error) {
	for n := limit; ; n *= 2 {
		seqs, known, err := stored(n)
		if err != nil {
			return nil, err
		}
		list := t.waiting(slices.Concat(seqs, put), limit, fits)
		if !known || len(list) == limit || len(seqs) < n {
			return list, nil
		}
	}
}

// waiting returns of some entries those that still fit, oldest first.
func (t *tx) waiting(seqs []uint64, limit int, fits func(*capture.Entry) bool) (list []*capture.Entry) {
	slices.Sort(seqs)
	for _, seq := range slices.Compact(seqs) {
		e := cmp.Or(t.journal[seq], t.entries.got[seq])
		if e != nil && len(list) < limit && fits(e) {
			c := *e
			list = append(list, &c)
		}
	}
	return list
}
