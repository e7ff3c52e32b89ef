package capture

import (
	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// TxReader is the reading half of a [Tx].
type TxReader interface {
	Click(ref clickid.Ref) (*Click, error)
	Any(ref clickid.Ref) (*Conversion, error)
	Others(ref clickid.Ref, dedup attribution.Dedup, limit int) ([]attribution.ConversionID, error)
	Conversion(id attribution.ConversionID) (*Conversion, error)
	Entry(seq uint64) (*Entry, error)
}

// Try decides the postbacks of a batch as [Apply] would on what r reads, and
// keeps what they would write to itself: every store's Try calls it. next is
// the number that the next journal entry would get; the entries of the results
// have no number, for there are none.
func Try(r TxReader, b *Batch, next uint64) error {
	t := &trial{
		TxReader:    r,
		added:       make(map[clickid.Ref][]*Conversion),
		conversions: make(map[attribution.ConversionID]*Conversion),
		entries:     make(map[uint64]*Entry),
	}
	for i, p := range b.Postbacks {
		seq := p.Seq
		p.Seq = next + uint64(i)
		err := book(t, make(sums), p)
		if e := p.Result.Entry; e != nil && e.Seq == p.Seq {
			unnumbered := *e
			unnumbered.Seq = 0
			p.Result.Entry = &unnumbered
		}
		p.Seq = seq
		if err != nil {
			return err
		}
	}
	return nil
}

// trial is a Tx that remembers what was put, and loses it.
type trial struct {
	TxReader
	added       map[clickid.Ref][]*Conversion
	conversions map[attribution.ConversionID]*Conversion
	entries     map[uint64]*Entry
}

var _ Tx = (*trial)(nil)

func (*trial) PutBlock(*Block) error { return nil }

func (t *trial) Any(ref clickid.Ref) (*Conversion, error) {
	if added := t.added[ref]; len(added) > 0 {
		return t.conversions[added[0].ID], nil
	}
	return t.TxReader.Any(ref)
}

func (t *trial) Others(ref clickid.Ref, dedup attribution.Dedup, limit int) ([]attribution.ConversionID, error) {
	others, err := t.TxReader.Others(ref, dedup, limit)
	for _, c := range t.added[ref] {
		if c.Dedup != dedup && len(others) < limit {
			others = append(others, c.ID)
		}
	}
	return others, err
}

func (t *trial) Conversion(id attribution.ConversionID) (*Conversion, error) {
	if c := t.conversions[id]; c != nil {
		return c, nil
	}
	return t.TxReader.Conversion(id)
}

func (t *trial) PutConversion(c, old *Conversion) error {
	t.conversions[c.ID] = c
	if old == nil {
		t.added[c.Click] = append(t.added[c.Click], c)
	}
	return nil
}

func (*trial) AddCounts(Cell, attribution.Counts) error { return nil }

func (t *trial) Entry(seq uint64) (*Entry, error) {
	e := t.entries[seq]
	if e == nil {
		return t.TxReader.Entry(seq)
	}
	again := *e // it may be changed before it is put
	return &again, nil
}

func (t *trial) PutEntry(e *Entry) error {
	t.entries[e.Seq] = e
	return nil
}
