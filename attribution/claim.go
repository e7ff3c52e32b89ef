package attribution

import (
	"cmp"
	"time"
)

// Claim is what one authentic postback says, in canonical words.
type Claim struct {
	Event string `cbor:"1,keyasint,omitempty"`
	TxID  string `cbor:"2,keyasint,omitempty"`
	// Status is zero where the claim says nothing of it: a correction of the
	// payout alone. The status is then what the other claims make it, also
	// those that are still to come.
	Status Status `cbor:"3,keyasint,omitempty"`
	// Payout is valid only if HasPayout is set.
	Payout    Money `cbor:"4,keyasint"`
	HasPayout bool  `cbor:"5,keyasint,omitempty"`
	// Implied says that the payout is the campaign's default and not the
	// sender's word; any payout a sender names outweighs it.
	Implied bool `cbor:"6,keyasint,omitempty"`
	// SentAt is the sender's timestamp, zero if it gave none.
	SentAt     time.Time `cbor:"7,keyasint"`
	ReceivedAt time.Time `cbor:"8,keyasint"`
	// Seq is the journal number; it breaks ties of arrival.
	Seq uint64 `cbor:"9,keyasint,omitempty"`
	// Key, if not empty, names this very message: a delivery ID of the sender
	// or a line of an import. A claim whose key the history knows is a repeat,
	// whatever happened since. Of a refund it is the sender's ID of the refund.
	Key string `cbor:"10,keyasint,omitempty"`
	// After, if set, makes a claim without SentAt follow all that was effective
	// up to then, were it in the future: an owner's correction, which answers
	// what is known and must not be outweighed by it. What is sent later with a
	// later time still is newer.
	After time.Time `cbor:"11,keyasint,omitzero"`
	// Refund says that the claim is about one refund, which Key names and must
	// not be empty: Payout is its amount, whatever its sign, and Status how far
	// it has got. See [History.State] for what it does.
	Refund bool `cbor:"12,keyasint,omitempty"`
}

// canonical makes equal claims look alike: milliseconds in UTC, no payout where
// there is none, and a refund without a sign.
func (c Claim) canonical() Claim {
	c.SentAt, c.ReceivedAt, c.After = millis(c.SentAt), millis(c.ReceivedAt), millis(c.After)
	if !c.HasPayout {
		c.Payout, c.Implied = Money{}, false
	}
	if c.Refund {
		c.Implied = false
		if c.Payout.Amount.Sign() < 0 {
			c.Payout.Amount = c.Payout.Amount.Neg()
		}
	}
	return c
}

func millis(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.Truncate(time.Millisecond).UTC()
}

// effective is when the claim says something happened: the sender's time if it
// gave one, else that of arrival, or right after the time that it is to follow.
func (c *Claim) effective() time.Time {
	if !c.SentAt.IsZero() {
		return millis(c.SentAt)
	}
	t := millis(c.ReceivedAt)
	if !c.After.IsZero() && !t.After(millis(c.After)) {
		return millis(c.After).Add(time.Millisecond)
	}
	return t
}

// weighs tells whether the claim outweighs those that are pending: it has a
// final status, or speaks of the payout whatever the status.
func (c *Claim) weighs() bool { return c.Status == 0 || c.Status.Final() }

// same reports whether both claims say the same. When a claim arrived is not
// part of what it says; when it was sent is.
func (c *Claim) same(o *Claim) bool {
	return c.Key == o.Key && c.Refund == o.Refund && c.Event == o.Event && c.TxID == o.TxID && c.Status == o.Status &&
		c.payoutRank() == o.payoutRank() && (!c.HasPayout || c.Payout.Equal(o.Payout)) &&
		millis(c.SentAt).Equal(millis(o.SentAt))
}

// payoutRank is 0 without payout, 1 for an implied and 2 for an explicit one.
func (c *Claim) payoutRank() int {
	switch {
	case !c.HasPayout:
		return 0
	case c.Implied:
		return 1
	}
	return 2
}

// compare is the total order of claims; the greatest of a history decides. A
// final status outweighs pending, then the later claim wins. All that follows
// breaks ties: by arrival where only arrival is known, and otherwise by content
// alone, so that timestamped claims decide the same in every order of arrival.
func (c *Claim) compare(o *Claim) int {
	if n := cmp.Or(compareBool(c.weighs(), o.weighs()), c.effective().Compare(o.effective()),
		compareBool(!c.SentAt.IsZero(), !o.SentAt.IsZero())); n != 0 {
		return n
	}
	if c.SentAt.IsZero() {
		if n := cmp.Compare(c.Seq, o.Seq); n != 0 {
			return n
		}
	}
	if n := cmp.Or(cmp.Compare(c.Status, o.Status), cmp.Compare(c.payoutRank(), o.payoutRank())); n != 0 {
		return n
	}
	if c.HasPayout {
		if n := cmp.Or(cmp.Compare(c.Payout.Currency, o.Payout.Currency), c.Payout.Amount.Cmp(o.Payout.Amount)); n != 0 {
			return n
		}
	}
	return cmp.Or(cmp.Compare(c.Event, o.Event), cmp.Compare(c.TxID, o.TxID), cmp.Compare(c.Key, o.Key),
		compareBool(c.Refund, o.Refund))
}

// decides is the order of claims as to the status: compare, but those that say
// nothing of it come first.
func (c *Claim) decides(o *Claim) int {
	return cmp.Or(compareBool(c.Status != 0, o.Status != 0), c.compare(o))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
