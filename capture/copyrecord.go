package capture

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// maxCopiedLease leaves half of all block numbers to those who give them out.
const maxCopiedLease = clickid.MaxBlock / 2

// CopyKind is the kind of a record, in the order in which they are copied.
type CopyKind uint8

// The kinds of records.
const (
	CopyBlock CopyKind = 1 + iota
	CopyConversion
	CopyEntry
	CopySum
)

// CopyKey names a record and says where in the order of all it is: that of its
// fields. The zero key is before all.
type CopyKey struct {
	Kind CopyKind
	// Epoch and Number are those of a block, Number alone that of an entry.
	Epoch  uint16
	Number uint64
	ID     attribution.ConversionID
	Cell   Cell
}

// Compare tells which key is the first: negative if k is.
func (k CopyKey) Compare(o CopyKey) int {
	return cmp.Or(
		cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Epoch, o.Epoch), cmp.Compare(k.Number, o.Number), k.ID.Compare(o.ID),
		k.Cell.Compare(o.Cell),
	)
}

// Compare orders cells by time, then by their names.
func (c Cell) Compare(o Cell) int {
	return cmp.Or(
		cmp.Compare(c.Quarter, o.Quarter), cmp.Compare(c.Campaign, o.Campaign), cmp.Compare(c.Source, o.Source),
		cmp.Compare(c.Destination, o.Destination), cmp.Compare(c.Event, o.Event),
	)
}

// String describes the record for people.
func (k CopyKey) String() string {
	switch k.Kind {
	case CopyBlock:
		return fmt.Sprintf("click block %d of epoch %d", k.Number, k.Epoch)
	case CopyConversion:
		return fmt.Sprintf("conversion %s", k.ID)
	case CopyEntry:
		return fmt.Sprintf("journal entry %d", k.Number)
	case CopySum:
		return fmt.Sprintf("the sum of %s", k.Cell)
	}
	return "nothing"
}

// copyKeyForm is how a key is written: names can be any bytes, which text in
// CBOR cannot.
type copyKeyForm struct {
	Kind   CopyKind                 `cbor:"1,keyasint"`
	Epoch  uint16                   `cbor:"2,keyasint,omitempty"`
	Number uint64                   `cbor:"3,keyasint,omitempty"`
	ID     attribution.ConversionID `cbor:"4,keyasint"`
	Cell   [4][]byte                `cbor:"5,keyasint"`
	At     uint32                   `cbor:"6,keyasint,omitempty"`
}

// Encode writes the key down.
func (k CopyKey) Encode() ([]byte, error) {
	c := &k.Cell
	data, err := recordEnc.Marshal(copyKeyForm{
		k.Kind, k.Epoch, k.Number, k.ID,
		[4][]byte{[]byte(c.Campaign), []byte(c.Source), []byte(c.Destination), []byte(c.Event)}, c.Quarter,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding how far a copy goes: %w", err)
	}
	return data, nil
}

// DecodeCopyKey reads what Encode wrote.
func DecodeCopyKey(data []byte) (CopyKey, error) {
	var f copyKeyForm
	if err := recordDec.Unmarshal(data, &f); err != nil {
		return CopyKey{}, fmt.Errorf("reading how far a copy goes: %w", err)
	}
	return CopyKey{f.Kind, f.Epoch, f.Number, f.ID, Cell{
		Quarter: f.At, Campaign: string(f.Cell[0]), Source: string(f.Cell[1]), Destination: string(f.Cell[2]), Event: string(f.Cell[3]),
	}}, nil
}

// CopyRecord is one record in the form that all stores have in common.
type CopyRecord struct {
	Key CopyKey
	// Data is that of EncodeBlock for a block, of EncodeRecord for a conversion
	// or an entry.
	Data []byte
	// Counts are those of a sum.
	Counts attribution.Counts
}

// clicks counts those of a block.
func (r *CopyRecord) clicks() int {
	var b BlockReader
	if b.ResetFront(r.Data) != nil {
		return 0 // which was said when it was compared
	}
	return b.Len()
}

// differs tells how two records of the same key differ, or "". The same record
// may have been written by different versions of the program, so what is not the
// same byte by byte is written anew.
func (r *CopyRecord) differs(o *CopyRecord) string {
	if r.Key.Kind == CopySum {
		diff := r.Counts.Clone()
		if diff.Sub(o.Counts); !diff.IsZero() {
			return fmt.Sprintf("%s in the source, %s in the copy", describe(r.Counts), describe(o.Counts))
		}
		return ""
	}
	if bytes.Equal(r.Data, o.Data) {
		return ""
	}
	a, err := r.anew()
	if err != nil {
		return "the source cannot be read: " + err.Error()
	}
	b, err := o.anew()
	if err != nil {
		return "the copy cannot be read: " + err.Error()
	}
	if !bytes.Equal(a, b) {
		return "what it says is not the same"
	}
	return ""
}

// anew writes a record as this version of the program does.
func (r *CopyRecord) anew() ([]byte, error) {
	var v any
	switch r.Key.Kind {
	case CopyBlock:
		b, err := DecodeBlock(r.Data)
		if err != nil {
			return nil, err
		}
		return EncodeBlock(b), nil
	case CopyConversion:
		v = new(Conversion)
	case CopyEntry:
		v = new(Entry)
	default:
		return nil, fmt.Errorf("a record of kind %d", r.Key.Kind)
	}
	if err := DecodeRecord(r.Data, v); err != nil {
		return nil, err
	}
	return EncodeRecord(v)
}

// recordStream reads records in the background, in pieces.
type recordStream struct {
	pieces chan []*CopyRecord
	err    error // good once pieces is closed
	cancel context.CancelCauseFunc
	ended  chan struct{}
	piece  []*CopyRecord // that peek reads
}

var errStreamStopped = errors.New("nobody reads on")

func readAhead(ctx context.Context, from CopyReader, after CopyKey) *recordStream {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &recordStream{pieces: make(chan []*CopyRecord, 2), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		defer close(s.pieces)
		s.err = s.run(ctx, from, after)
	}()
	return s
}

func (s *recordStream) run(ctx context.Context, from CopyReader, after CopyKey) error {
	var piece []*CopyRecord
	size := 0
	send := func() error {
		select {
		case s.pieces <- piece:
			piece, size = nil, 0
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	last := after
	err := from.Records(ctx, after, func(r *CopyRecord) error {
		if r.Key.Compare(last) <= 0 {
			return fmt.Errorf("%w: %s comes after %s", ErrDamaged, r.Key, last)
		}
		last = r.Key
		piece = append(piece, r)
		if size += len(r.Data) + 64; len(piece) >= copyPieceRecords || size >= copyPieceBytes {
			return send()
		}
		return nil
	})
	if err == nil && len(piece) > 0 {
		err = send()
	}
	return err
}

// next returns the next piece, or none at the end.
func (s *recordStream) next() ([]*CopyRecord, error) {
	piece, ok := <-s.pieces
	if !ok {
		return nil, s.err
	}
	return piece, nil
}

// peek returns the next record, or nil at the end. It stays the next one until
// drop.
func (s *recordStream) peek() (*CopyRecord, error) {
	if len(s.piece) == 0 {
		var err error
		if s.piece, err = s.next(); len(s.piece) == 0 {
			return nil, err
		}
	}
	return s.piece[0], nil
}

func (s *recordStream) drop() { s.piece = s.piece[1:] }

// stop ends the reading and waits for that.
func (s *recordStream) stop() {
	s.cancel(errStreamStopped)
	<-s.ended
}
