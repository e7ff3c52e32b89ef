package capture

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Several nodes may share a store, and one of them may keep clicks to itself for
// a while, as it cannot reach the store. A postback of such a click can come by
// way of another node. It is parked: it waits in quarantine, as of an unknown
// click, under the key of the click's block, and is booked with the batch that
// brings that block, whoever sends it. So on disk there is both or none.

// Parked is what it takes to book an entry without its route.
type Parked struct {
	Rules         *Rules   `cbor:"1,keyasint"`
	OnlyCampaign  string   `cbor:"2,keyasint,omitempty"`
	ByTxID        bool     `cbor:"3,keyasint,omitempty"`
	IndexTxID     bool     `cbor:"4,keyasint,omitempty"`
	TxIDs         []string `cbor:"5,keyasint,omitempty"`
	Problem       Reason   `cbor:"6,keyasint,omitempty"`
	ProblemDetail string   `cbor:"7,keyasint,omitempty"`
}

// newClickKey is the key under which postbacks wait for the clicks of a block. It
// is no transaction's: what is hashed for those begins with the length of a host.
func newClickKey(epoch uint16, block uint64) TxKey {
	b := binary.BigEndian.AppendUint16([]byte("\xffclicks of block "), epoch)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, block))
	return TxKey(sum[:16])
}

func clickKeyOf(ref clickid.Ref) TxKey { return newClickKey(ref.Epoch, ref.Block) }

// park returns what an entry needs to wait for its click.
func (p *Postback) park() *Parked {
	if p.Correction != nil || !p.HasRef || p.Ref.Slot == clickid.Unrecorded || p.Rules == nil {
		return nil // an unrecorded click never comes
	}
	return &Parked{
		Rules: p.Rules.only(p.OnlyCampaign), OnlyCampaign: p.OnlyCampaign, ByTxID: p.ByTxID, IndexTxID: p.IndexTxID, TxIDs: p.TxIDs,
		Problem: p.Problem, ProblemDetail: p.ProblemDetail,
	}
}

// unpark is the postback of a parked entry, to be booked in its own place.
func (e *Entry) unpark() *Postback {
	k := e.Parked
	p := &Postback{
		Seq: e.Seq, Time: e.Time, Route: e.Route, Rules: k.Rules, OnlyCampaign: k.OnlyCampaign,
		Ref: e.Click, HasRef: true, Key: e.Key, ByTxID: k.ByTxID, TxIDs: k.TxIDs, IndexTxID: k.IndexTxID,
		Claim: e.Claim, Problem: k.Problem, ProblemDetail: k.ProblemDetail, Notes: e.Notes,
		Authentic: e.Authentic, Sender: e.Sender, Raw: e.Raw, Replays: e.Seq,
	}
	if p.Claim.ReceivedAt.IsZero() {
		p.Claim.ReceivedAt = e.Time
	}
	return p
}

// maxParked and maxParkedBytes bound what one block takes out of quarantine, as a
// batch must not become too large for the store: several postbacks for each of its
// clicks. What is beyond that waits for its sender or its owner to say it again.
const (
	maxParked      = 1024
	maxParkedBytes = 1 << 20
)

// bookParked books what waits for the clicks of a block.
func bookParked(tx Tx, s sums, block *Block) error {
	if len(block.Clicks) == 0 {
		return nil
	}
	key := newClickKey(block.Clicks[0].Ref.Epoch, block.Number)
	bytes, tried := 0, make(map[uint64]bool)
	for {
		list, err := tx.Awaiting(key, maxRepeated)
		if err != nil {
			return err
		}
		before := len(tried)
		for _, w := range list {
			if tried[w.Seq] || w.Parked == nil {
				continue
			}
			bytes += len(w.Raw.URI) + len(w.Raw.Body)
			if n := len(tried); n == maxParked || n > 0 && bytes > maxParkedBytes {
				return nil
			}
			tried[w.Seq] = true
			if err := w.bookParked(tx, s); err != nil {
				return err
			}
		}
		if len(tried) == before { // those that were booked do not wait any more
			return nil
		}
	}
}

// bookParked books an entry whose block has come. It left quarantine by itself,
// unless there is another reason to wait, or the block has no such click.
func (e *Entry) bookParked(tx Tx, s sums) error {
	again := e.unpark()
	now, err := decide(tx, s, again, e.Seq)
	if err != nil {
		return err
	}
	if !now.Outcome.Booked() {
		now.Parked = nil
		return e.waitOn(tx, now)
	}
	e.resolve(now)
	if err := tx.PutEntry(e); err != nil {
		return err
	}
	return bookAwaiting(tx, s, again)
}
