package capture

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/s2"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// storedBatch is a batch that waits on disk to be decided.
type storedBatch struct {
	Now       time.Time        `cbor:"1,keyasint"`
	Lease     uint64           `cbor:"2,keyasint,omitempty"`
	Blocks    [][]byte         `cbor:"3,keyasint,omitempty"`
	Postbacks []storedPostback `cbor:"4,keyasint,omitempty"`
	// Rules are those of the postbacks, which share them.
	Rules []*Rules `cbor:"5,keyasint,omitempty"`
}

// storedPostback is a postback of which nothing is decided yet.
type storedPostback struct {
	// Entry has what an entry of the journal has as well.
	Entry        []byte          `cbor:"1,keyasint"`
	Rules        int             `cbor:"2,keyasint"` // counts from 1, 0 is none
	ClickID      cbor.ByteString `cbor:"3,keyasint,omitempty"`
	ByTxID       bool            `cbor:"4,keyasint,omitempty"`
	IndexTxID    bool            `cbor:"5,keyasint,omitempty"`
	OnlyCampaign string          `cbor:"6,keyasint,omitempty"`
	Ignored      cbor.ByteString `cbor:"7,keyasint,omitempty"`
	// Corrects says that the entry's conversion is the one that is corrected.
	Corrects bool `cbor:"8,keyasint,omitempty"`
}

const batchFormat = 1

var errBatch = errors.New("the stored batch is damaged")

// EncodeBatch encodes what a batch asks for, with all that [Apply] needs, but
// neither its number nor its results.
func EncodeBatch(b *Batch) ([]byte, error) {
	s := storedBatch{Now: b.Now, Lease: b.Lease}
	for _, block := range b.Blocks {
		s.Blocks = append(s.Blocks, EncodeBlock(block))
	}
	rules := rulesList{known: make(map[*Rules]int)}
	for _, p := range b.Postbacks {
		stored, err := p.stored()
		if err != nil {
			return nil, err
		}
		stored.Rules = rules.add(p.Rules)
		s.Postbacks = append(s.Postbacks, stored)
	}
	s.Rules = rules.list
	plain, err := recordEnc.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding a batch: %w", err)
	}
	out := make([]byte, 1, 1+s2.MaxEncodedLen(len(plain)))
	out[0] = batchFormat
	return append(out, s2.Encode(nil, plain)...), nil
}

// rulesList is each of some rules once. Those that were read from a batch are
// others than those that they were written from, and say the same.
type rulesList struct {
	list  []*Rules
	known map[*Rules]int
}

// add returns the place of r in the list, which counts from 1; 0 if there is none.
func (l *rulesList) add(r *Rules) int {
	if r == nil {
		return 0
	}
	n := l.known[r]
	if n == 0 {
		n = 1 + slices.IndexFunc(l.list, r.same)
	}
	if n == 0 {
		l.list = append(l.list, r)
		n = len(l.list)
	}
	l.known[r] = n
	return n
}

func (p *Postback) stored() (storedPostback, error) {
	e := &Entry{
		Seq: p.Seq, Time: p.Time, Route: p.Route, Reason: p.Problem, Detail: p.ProblemDetail,
		Click: p.Ref, HasClick: p.HasRef, Key: p.Key, Claim: p.Claim,
		Authentic: p.Authentic, Sender: p.Sender, Raw: p.Raw, Notes: p.Notes, Replays: p.Replays, Awaits: p.TxIDs,
	}
	if p.Correction != nil {
		e.Conversion = *p.Correction
	}
	data, err := EncodeRecord(e)
	return storedPostback{
		Entry: data, ClickID: cbor.ByteString(p.ClickID), ByTxID: p.ByTxID, IndexTxID: p.IndexTxID,
		OnlyCampaign: p.OnlyCampaign, Ignored: cbor.ByteString(p.Ignored), Corrects: p.Correction != nil,
	}, err
}

func (s *storedPostback) postback(rules []*Rules) (*Postback, error) {
	var e Entry
	if err := DecodeRecord(s.Entry, &e); err != nil {
		return nil, fmt.Errorf("%w: %w", errBatch, err)
	}
	if s.Rules < 0 || s.Rules > len(rules) {
		return nil, fmt.Errorf("%w: there are no rules %d", errBatch, s.Rules)
	}
	p := &Postback{
		Seq: e.Seq, Time: e.Time, Route: e.Route, Problem: e.Reason, ProblemDetail: e.Detail,
		Ref: e.Click, HasRef: e.HasClick, Key: e.Key, Claim: e.Claim,
		Authentic: e.Authentic, Sender: e.Sender, Raw: e.Raw, Notes: e.Notes, Replays: e.Replays, TxIDs: e.Awaits,
		ClickID: string(s.ClickID), ByTxID: s.ByTxID, IndexTxID: s.IndexTxID,
		OnlyCampaign: s.OnlyCampaign, Ignored: string(s.Ignored),
	}
	if s.Rules > 0 {
		p.Rules = rules[s.Rules-1]
	}
	if s.Corrects {
		var id attribution.ConversionID = e.Conversion
		p.Correction = &id
	}
	return p, nil
}

// maxBatchPlain bounds what a damaged batch may make us allocate.
const maxBatchPlain = 256 << 20

// batchDec takes as many postbacks and campaigns as there may be.
var batchDec = must(cbor.DecOptions{
	MaxNestedLevels: 16, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20,
	BinaryUnmarshaler: cbor.BinaryUnmarshalerByteString,
}.DecMode())

// DecodeBatch reads what EncodeBatch wrote. An error wraps what is wrong.
func DecodeBatch(data []byte) (*Batch, error) {
	if len(data) == 0 || data[0] != batchFormat {
		return nil, fmt.Errorf("%w: its format is not known", errBatch)
	}
	if n, err := s2.DecodedLen(data[1:]); err != nil || n > maxBatchPlain {
		return nil, fmt.Errorf("%w: it would be %d bytes: %w", errBatch, n, errors.Join(err, ErrTooLarge))
	}
	plain, err := s2.Decode(nil, data[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBatch, err)
	}
	var s storedBatch
	if err := batchDec.Unmarshal(plain, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", errBatch, err)
	}
	b := &Batch{Now: s.Now, Lease: s.Lease}
	exact(&b.Now)
	for _, packed := range s.Blocks {
		block, err := DecodeBlock(packed)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBatch, err)
		}
		b.Blocks = append(b.Blocks, block)
	}
	for i := range s.Postbacks {
		p, err := s.Postbacks[i].postback(s.Rules)
		if err != nil {
			return nil, err
		}
		b.Postbacks = append(b.Postbacks, p)
	}
	return b, nil
}
