package attribution

import "slices"

// There are two ways to say that money went back. A claim can say what is left:
// a lower payout, or the status reversed. Or it can say what one refund took
// (Claim.Refund), which is all that some senders know. The first kind says what
// the payout is before refunds of the second kind: a sender that uses both for
// the same money has it taken off twice, so use one way for each sender.
//
// Of the claims about one refund the greatest counts, as everywhere; so an
// amount can be corrected, and repeats do nothing. A refund that is still
// pending, or rejected, takes nothing off. All others do, off the payout in
// their currency; what is in another currency than the payout is left aside,
// for it cannot be said what would be left.
//
// While something is left, the conversion goes on with the rest as its payout.
// When nothing is, it is reversed, and keeps the payout that it had, as every
// reversed conversion does. One that was rejected or reversed already stays as
// it is. The payout may be the campaign's default: it is taken for the price of
// the whole, so that revenue is never overstated.

// MaxRefunds bounds the refunds of one conversion. All of them count for ever,
// so, unlike other claims, none could be dropped for another; and half of
// MaxHistory is left for the rest.
const MaxRefunds = MaxHistory / 2

// refundID tells refunds apart. The currency is part of it because the payout
// may come to be in another one: each needs its greatest claim.
type refundID struct {
	key      string
	currency Currency
}

func (c *Claim) refundID() refundID { return refundID{c.Key, c.Payout.Currency} }

// taken is what the refund takes off: nothing unless it has been made.
func (c *Claim) taken() Amount {
	if !c.HasPayout || c.Status == Pending || c.Status == Rejected {
		return Amount{}
	}
	return c.Payout.Amount
}

// HasSale reports whether there is any claim that is no refund.
func (h History) HasSale() bool {
	return slices.ContainsFunc(h, func(e Entry) bool { return !e.Refund })
}

// roomFor reports whether there is room for the claim, if it is about a refund
// that is not known yet.
func (h History) roomFor(c *Claim) bool {
	if !c.Refund || len(h) < MaxRefunds {
		return true
	}
	d := h.decide()
	_, known := d.refunds[c.refundID()]
	return known || len(d.refunds) < MaxRefunds
}

// refund takes the entry at i into account, which is about a refund.
func (d *deciders) refund(h History, i int) {
	if d.refunds == nil {
		d.refunds = make(map[refundID]int)
	}
	id := h[i].refundID()
	if j, known := d.refunds[id]; !known || h[i].compare(&h[j].Claim) > 0 {
		d.refunds[id] = i
	}
}

// sale is the state before refunds, on which none of it depends.
func (h History) sale(d *deciders) State {
	top := &h[d.top].Claim
	s := State{Event: top.Event, TxID: top.TxID, Status: top.Status, Time: h[d.first].effective()}
	if i := d.payout(); i >= 0 {
		s.Payout, s.HasPayout = h[i].Payout, true
	}
	return s
}

// takeOff takes what was refunded off the payout of s.
func (h History) takeOff(s *State, d *deciders) {
	if !s.HasPayout || s.Status != Pending && s.Status != Approved {
		return
	}
	var back Amount
	for id, i := range d.refunds {
		if id.currency == s.Payout.Currency {
			back = back.Add(h[i].taken())
		}
	}
	if back.Sign() <= 0 {
		return
	}
	if rest := s.Payout.Amount.Sub(back); rest.Sign() > 0 {
		s.Payout.Amount = rest
	} else {
		s.Status = Reversed
	}
}

// refundsOnly is the state as long as nothing else is known: enough to find the
// record by, and to know its age.
func (h History) refundsOnly(d *deciders) State {
	if d.firstRefund < 0 {
		return State{}
	}
	last := d.firstRefund
	for _, i := range d.refunds {
		if h[i].compare(&h[last].Claim) > 0 {
			last = i
		}
	}
	return State{Event: h[last].Event, TxID: h[last].TxID, Time: h[d.firstRefund].effective()}
}
