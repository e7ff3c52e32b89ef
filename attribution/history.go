package attribution

import (
	"fmt"
	"slices"
	"time"
)

// MaxHistory bounds the entries of one conversion's history. A sender that
// keeps inventing payouts for one transaction must not grow one record without
// end; see [History.Add] for what is dropped.
const MaxHistory = 256

// Entry is a claim and how often it was made.
type Entry struct {
	Claim    `cbor:"1,keyasint"`
	Seen     int       `cbor:"2,keyasint"` // at least 1
	LastSeen time.Time `cbor:"3,keyasint"` // the latest arrival
}

// History is all that was claimed about one conversion, in order of arrival.
type History []Entry

// State is what a history comes to.
type State struct {
	// Booked is false as long as nothing arrived inside the window; the other
	// fields then say what would be booked. It is false without any claim, too,
	// and with refunds alone, where there is neither status nor payout.
	Booked    bool   `cbor:"1,keyasint,omitempty"`
	Event     string `cbor:"2,keyasint,omitempty"`
	TxID      string `cbor:"3,keyasint,omitempty"`
	Status    Status `cbor:"4,keyasint,omitempty"`
	Payout    Money  `cbor:"5,keyasint"`
	HasPayout bool   `cbor:"6,keyasint,omitempty"`
	// Time is when the conversion happened: the earliest of all claims but
	// refunds, unless there is nothing else.
	Time time.Time `cbor:"7,keyasint"`
}

// Equal reports whether both states say the same.
func (s State) Equal(o State) bool {
	return s.Booked == o.Booked && s.TxID == o.TxID && s.alike(o) && s.Time.Equal(o.Time)
}

// alike reports whether event, status and payout are the same.
func (s State) alike(o State) bool {
	return s.Event == o.Event && s.Status == o.Status && s.HasPayout == o.HasPayout && s.Payout.Equal(o.Payout)
}

// Change is what a claim did to a conversion.
type Change uint8

const (
	// Recorded is a new conversion.
	Recorded Change = iota + 1
	// Updated changed the status, payout or event of a known one.
	Updated
	// Duplicate changed none of these.
	Duplicate
	// OutsideWindow means that all claims so far came too late to count.
	OutsideWindow
	// RefundsOnly means that nothing is known so far but refunds. They count
	// as soon as it is known what of.
	RefundsOnly
	// TooManyRefunds means that the claim was not taken: there are MaxRefunds
	// of others.
	TooManyRefunds
)

// String returns "recorded", "updated", "duplicate", "outside_window",
// "refunds_only" or "too_many_refunds".
func (c Change) String() string {
	switch c {
	case Recorded:
		return "recorded"
	case Updated:
		return "updated"
	case Duplicate:
		return "duplicate"
	case OutsideWindow:
		return "outside_window"
	case RefundsOnly:
		return "refunds_only"
	case TooManyRefunds:
		return "too_many_refunds"
	}
	return fmt.Sprintf("change(%d)", uint8(c))
}

// State says what the history comes to. Deadline is the last instant at which a
// conversion of this click still counts; the zero time means no limit. Claims
// that all carry the sender's timestamp give the same state in every order and
// with any repetition.
//
// The claims other than refunds say what the conversion is and what it pays,
// before refunds. What was refunded is then taken off; see [Claim.Refund] and
// the comment of refund.go for how.
func (h History) State(deadline time.Time) State {
	d := h.decide()
	if d.top < 0 {
		return h.refundsOnly(&d)
	}
	s := h.sale(&d)
	s.Booked = deadline.IsZero() || !s.Time.After(deadline)
	h.takeOff(&s, &d)
	return s
}

// deciders are the indexes of the entries that alone make the state, -1 where
// there is none: of those that are no refunds the greatest claim of a status,
// the greatest with an explicit and with an implied payout, and the earliest.
type deciders struct {
	top, explicit, implied, first int
	// refunds are the greatest claims about each refund.
	refunds map[refundID]int
	// firstRefund is the earliest claim about any refund.
	firstRefund int
}

func (d *deciders) payout() int {
	if d.explicit >= 0 {
		return d.explicit
	}
	return d.implied
}

// has reports whether the state would be another without the entry at i.
func (d *deciders) has(i int, c *Claim) bool {
	if !c.Refund {
		return i == d.top || i == d.explicit || i == d.implied || i == d.first
	}
	return i == d.refunds[c.refundID()] || d.top < 0 && i == d.firstRefund
}

func (h History) decide() deciders {
	d := deciders{top: -1, explicit: -1, implied: -1, first: -1, firstRefund: -1}
	greater := func(i, than int) bool { return than < 0 || h[i].compare(&h[than].Claim) > 0 }
	earlier := func(i, than int) bool { return than < 0 || h[i].effective().Before(h[than].effective()) }
	for i := range h {
		if h[i].Refund {
			if earlier(i, d.firstRefund) {
				d.firstRefund = i
			}
			d.refund(h, i)
			continue
		}
		if d.top < 0 || h[i].decides(&h[d.top].Claim) > 0 {
			d.top = i
		}
		switch rank := h[i].payoutRank(); {
		case rank == 2 && greater(i, d.explicit):
			d.explicit = i
		case rank == 1 && greater(i, d.implied):
			d.implied = i
		}
		if earlier(i, d.first) {
			d.first = i
		}
	}
	return d
}

// Add takes a claim into the history and says what it did.
//
// A claim that was made before is counted at its entry. It is known by its Key;
// one without a key, or about a refund, by its content: with a timestamp if the
// timestamp is the same, without one if it would change nothing. (The second
// "approved" after a "rejected" is news, of a sale and of a refund; see
// news.go.) Every other claim gets an entry.
//
// The state's time can move to an earlier instant, and its transaction ID can
// change, with any outcome: compare the states before and after to keep sums.
//
// Beyond MaxHistory entries the least of those that decide nothing is dropped.
// As each part of the state is a greatest or an earliest claim, neither this
// state nor a later one can miss it. Each refund decides, so there is a limit to
// them: what is beyond MaxRefunds is not taken.
func (h *History) Add(c Claim, deadline time.Time) Change {
	c = c.canonical()
	before := h.State(deadline)
	known := h.find(&c)
	switch i := h.keyed(&c); {
	case i >= 0:
		h.again(i, c.ReceivedAt)
		return h.outcome(before, before)
	case known >= 0 && !c.SentAt.IsZero():
		h.again(known, c.ReceivedAt)
		return h.outcome(before, before)
	case known < 0 && !h.roomFor(&c):
		return TooManyRefunds
	}
	longer := append(*h, Entry{Claim: c, Seen: 1, LastSeen: c.ReceivedAt})
	if known >= 0 && !longer.endsWithNews() {
		h.again(known, c.ReceivedAt)
		return h.outcome(before, before)
	}
	after := longer.State(deadline)
	longer.trim()
	*h = longer
	return h.outcome(before, after)
}

// Holds tells whether an entry stands for the claim of that journal number.
func (h History) Holds(seq uint64) bool {
	return slices.ContainsFunc(h, func(e Entry) bool { return e.Seq == seq })
}

// find returns the index of the greatest entry that says the same, or -1.
func (h History) find(c *Claim) int {
	found := -1
	for i := range h {
		if h[i].same(c) && (found < 0 || h[i].compare(&h[found].Claim) > 0) {
			found = i
		}
	}
	return found
}

// Latest returns the latest time at which anything in the history is
// effective.
func (h History) Latest() time.Time {
	var latest time.Time
	for i := range h {
		if t := h[i].effective(); t.After(latest) {
			latest = t
		}
	}
	return latest
}

// Knows tells whether the very message of that key is in the history.
func (h History) Knows(key string) bool { return h.keyed(&Claim{Key: key}) >= 0 }

// keyed returns the index of the entry of the same message, or -1. The key of a
// refund names no message: there can be several about one refund.
func (h History) keyed(c *Claim) int {
	if c.Key == "" || c.Refund {
		return -1
	}
	return slices.IndexFunc(h, func(e Entry) bool { return e.Key == c.Key && !e.Refund })
}

// again counts one more arrival of the claim at index i.
func (h History) again(i int, received time.Time) {
	h[i].Seen++
	if received.After(h[i].LastSeen) {
		h[i].LastSeen = received
	}
}

// trim drops the least entries that decide nothing down to MaxHistory.
func (h *History) trim() {
	for len(*h) > MaxHistory {
		d, least := h.decide(), -1
		for i := range *h {
			if d.has(i, &(*h)[i].Claim) {
				continue
			}
			if least < 0 || (*h)[i].compare(&(*h)[least].Claim) < 0 {
				least = i
			}
		}
		*h = slices.Delete(*h, least, least+1)
	}
}

func (h History) outcome(before, after State) Change {
	switch {
	case !h.HasSale():
		return RefundsOnly
	case !after.Booked:
		return OutsideWindow
	case !before.Booked:
		return Recorded
	case !after.alike(before):
		return Updated
	}
	return Duplicate
}
