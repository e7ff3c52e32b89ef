package capture

import (
	"cmp"
	"errors"
	"slices"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// TxReader is the reading half of a [Tx].
type TxReader interface {
	Click(ref clickid.Ref) (*Click, error)
	Any(ref clickid.Ref) (*Conversion, error)
	Others(ref clickid.Ref, dedup attribution.Dedup, limit int) ([]attribution.ConversionID, error)
	ByTxID(key TxKey, limit int) ([]attribution.ConversionID, error)
	Conversion(id attribution.ConversionID) (*Conversion, error)
	Entry(seq uint64) (*Entry, error)
	Repeated(e *Entry, limit int) ([]*Entry, error)
	Awaiting(key TxKey, limit int) ([]*Entry, error)
}

// MaxTrial bounds what a [Trial] remembers, in bytes.
const MaxTrial = 64 << 20

// trialOverhead stands for the maps that an item is in.
const trialOverhead = 256

// ErrTrialTooLarge says that a [Trial] has decided as much as it can remember.
var ErrTrialTooLarge = errors.New("a dry run of so much does not fit into memory: try a part of it at a time, " +
	"for example a shorter span of time")

// Trial is what postbacks would have written that were only tried, so that
// those that are tried later are decided as if it had been. The zero Trial has
// tried nothing. What it remembers is bounded by [MaxTrial], which is some
// hundred thousand conversions: then it fails, rather than answer wrong numbers.
type Trial struct {
	next uint64 // the number that the next journal entry would get
	size int
	max  int // instead of MaxTrial, if not 0

	conversions map[attribution.ConversionID][]byte // encoded: that takes a third
	ofClick     map[clickid.Ref][]Known
	ofTxID      map[TxKey][]attribution.ConversionID
	waiting     map[uint64]*Entry  // what would wait in quarantine
	fresh       []uint64           // of these, the ones that the store does not have
	gone        map[uint64]uint64  // what would wait no longer, and what booked it
	awaiting    map[TxKey][]uint64 // what would wait for a transaction, or has before
}

// Try decides the postbacks of a batch as [Apply] would on what r reads and t
// remembers, and adds to t what they would write: every store's Try calls it.
// next is the number that the store would give to the next journal entry; the
// entries of the results have no number, for there are none.
func Try(r TxReader, b *Batch, next uint64, t *Trial) error {
	if t.conversions == nil {
		t.conversions = make(map[attribution.ConversionID][]byte)
		t.ofClick, t.ofTxID = make(map[clickid.Ref][]Known), make(map[TxKey][]attribution.ConversionID)
		t.waiting, t.gone = make(map[uint64]*Entry), make(map[uint64]uint64)
		t.awaiting = make(map[TxKey][]uint64)
	}
	t.next = max(t.next, next)
	tx := trialTx{TxReader: r, t: t}
	for _, p := range b.Postbacks {
		seq := p.Seq
		p.Seq = t.next
		t.next++
		err := book(tx, make(sums), p)
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

// grow notes that the trial remembers more.
func (t *Trial) grow(bytes int) error {
	t.size += bytes
	if limit := cmp.Or(t.max, MaxTrial); t.size > limit {
		return ErrTrialTooLarge
	}
	return nil
}

// trialTx is a Tx that reads what the trial remembers before what the store
// has, and writes to the trial.
type trialTx struct {
	TxReader
	t *Trial
}

var _ Tx = trialTx{}

func (trialTx) PutBlock(*Block) error { return nil }

func (x trialTx) Any(ref clickid.Ref) (*Conversion, error) {
	if known := x.t.ofClick[ref]; len(known) > 0 {
		return x.Conversion(known[0].ID)
	}
	return x.TxReader.Any(ref)
}

func (x trialTx) Others(ref clickid.Ref, dedup attribution.Dedup, limit int) ([]attribution.ConversionID, error) {
	others, err := x.TxReader.Others(ref, dedup, limit)
	for _, k := range x.t.ofClick[ref] {
		if k.Beside(dedup) && !slices.Contains(others, k.ID) {
			others = append(others, k.ID)
		}
	}
	slices.SortFunc(others, attribution.ConversionID.Compare)
	return others[:min(limit, len(others))], err
}

func (x trialTx) ByTxID(key TxKey, limit int) ([]attribution.ConversionID, error) {
	ids, err := x.TxReader.ByTxID(key, limit)
	for _, id := range x.t.ofTxID[key] {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, attribution.ConversionID.Compare)
	return ids[:min(limit, len(ids))], err
}

func (x trialTx) Conversion(id attribution.ConversionID) (*Conversion, error) {
	data := x.t.conversions[id]
	if data == nil {
		return x.TxReader.Conversion(id)
	}
	c := new(Conversion)
	return c, DecodeRecord(data, c)
}

func (x trialTx) PutConversion(c, _ *Conversion) error {
	data, err := EncodeRecord(c)
	if err != nil {
		return err
	}
	was, tried := x.t.conversions[c.ID]
	x.t.conversions[c.ID] = data
	known := x.t.ofClick[c.Click]
	if i := slices.IndexFunc(known, func(k Known) bool { return k.ID == c.ID }); i >= 0 {
		known[i] = c.Known()
	} else {
		x.t.ofClick[c.Click] = append(known, c.Known())
	}
	for _, key := range c.TxKeys {
		if !slices.Contains(x.t.ofTxID[key], c.ID) {
			x.t.ofTxID[key] = append(x.t.ofTxID[key], c.ID)
			if err := x.t.grow(trialOverhead); err != nil {
				return err
			}
		}
	}
	if tried {
		return x.t.grow(len(data) - len(was))
	}
	return x.t.grow(len(data) + trialOverhead)
}

func (trialTx) AddCounts(Cell, attribution.Counts) error { return nil }

func (x trialTx) Entry(seq uint64) (*Entry, error) {
	e, err := x.TxReader.Entry(seq)
	if err != nil {
		return nil, err
	}
	return x.t.entry(seq, e), nil
}

// entry returns what the entry would be of which the store has e, or nil.
func (t *Trial) entry(seq uint64, e *Entry) *Entry {
	if by, gone := t.gone[seq]; gone {
		if e == nil {
			e = &Entry{Seq: seq}
		}
		e.Resolved = by
		return e
	}
	w := t.waiting[seq]
	if w == nil {
		return e
	}
	again := *w // it may be changed before it is put
	if e != nil {
		again.Raw = e.Raw
	}
	return &again
}

func (x trialTx) Repeated(e *Entry, limit int) (list []*Entry, err error) {
	stored, err := x.TxReader.Repeated(e, limit)
	for _, w := range stored {
		if w = x.t.entry(w.Seq, w); e.Repeats(w) {
			list = append(list, w)
		}
	}
	for _, seq := range x.t.fresh {
		if w := x.t.entry(seq, nil); w != nil && e.Repeats(w) {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return list[:min(limit, len(list))], err
}

// Awaiting asks the store for so many more as may have been booked meanwhile.
func (x trialTx) Awaiting(key TxKey, limit int) (list []*Entry, err error) {
	stored, err := x.TxReader.Awaiting(key, limit+len(x.t.gone))
	if err != nil {
		return nil, err
	}
	seqs := slices.Clone(x.t.awaiting[key])
	for _, w := range stored {
		seqs = append(seqs, w.Seq)
	}
	slices.Sort(seqs)
	for _, seq := range slices.Compact(seqs) {
		w, err := x.Entry(seq)
		if err != nil {
			return nil, err
		}
		if w != nil && len(list) < limit && slices.Contains(w.AwaitedKeys(), key) {
			list = append(list, w)
		}
	}
	return list, nil
}

// PutEntry keeps of an entry what is needed to decide others.
func (x trialTx) PutEntry(e *Entry) error {
	if !e.Waiting() {
		delete(x.t.waiting, e.Seq)
		x.t.gone[e.Seq] = cmp.Or(e.Resolved, e.Seq)
		return x.t.grow(trialOverhead)
	}
	for _, key := range e.AwaitedKeys() {
		if !slices.Contains(x.t.awaiting[key], e.Seq) {
			x.t.awaiting[key] = append(x.t.awaiting[key], e.Seq)
			if err := x.t.grow(trialOverhead); err != nil {
				return err
			}
		}
	}
	kept := *e
	stored, err := x.TxReader.Entry(e.Seq)
	if err != nil {
		return err
	}
	if stored != nil {
		kept.Raw = Raw{} // the store has it
	} else if x.t.waiting[e.Seq] == nil {
		x.t.fresh = append(x.t.fresh, e.Seq)
	}
	x.t.waiting[e.Seq] = &kept
	return x.t.grow(4*trialOverhead + len(kept.Raw.URI) + len(kept.Raw.Body) + len(kept.Detail))
}
