package attribution

// What is said of a sale and what is said of its refunds can hide each other.
// Of refunds nothing shows before their sale is known, nor while it is rejected
// or reversed, or paid in another currency; and while all is refunded, it does
// not show whether the sale was approved or reversed. Each counts again as soon
// as the other changes. So whether a repeat is news is asked of the sale alone,
// or of the one refund alone: the last word about either is then the same in
// whatever order sale and refunds come.

// endsWithNews reports whether the last entry, which says what an earlier one
// said, is news all the same: because something else was said in between, or
// because it was said earlier than was known.
func (h History) endsWithNews() bool {
	earlier := h[:len(h)-1]
	was, is := earlier.decide(), h.decide()
	last := &h[len(h)-1].Claim
	if !last.Refund {
		before, after := earlier.sale(&was), h.sale(&is)
		return !after.alike(before) || !after.Time.Equal(before.Time)
	}
	id := last.refundID()
	if h[is.refunds[id]].taken().Cmp(h[was.refunds[id]].taken()) != 0 {
		return true
	}
	return is.top < 0 && is.firstRefund != was.firstRefund
}
