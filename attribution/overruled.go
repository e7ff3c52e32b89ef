package attribution

import "fmt"

// instant is RFC 3339 to the millisecond, where there is a part of a second.
const instant = "2006-01-02T15:04:05.999Z07:00"

// Overruled says in a sentence why what the claim c says is not what the
// history comes to, although c is in it: because something final, or something
// newer, stands. It is empty where the state agrees with the claim.
func (h History) Overruled(c Claim) string {
	d := h.decide()
	if d.top < 0 || c.Refund {
		return ""
	}
	if i := h.keyed(&c); i >= 0 {
		c = h[i].Claim // a repeat counts from when it was first said
	}
	top := &h[d.top].Claim
	if c.Status != 0 && c.Status != top.Status {
		if top.Status.Final() && !c.Status.Final() {
			return fmt.Sprintf("the conversion is %s, which is final: %s does not change it", top.Status, c.Status)
		}
		return fmt.Sprintf("the conversion is %s %s", top.Status, top.stands(&c))
	}
	if c.Status != 0 && c.Event != top.Event {
		return fmt.Sprintf("the event of the conversion is %q %s", top.Event, top.stands(&c))
	}
	if c.payoutRank() < 2 {
		return "" // what is only implied yields to everything, as it is meant to
	}
	paid := &h[d.payout()].Claim
	switch {
	case paid.Payout.Equal(c.Payout):
		return ""
	case paid.weighs() && !c.weighs():
		return fmt.Sprintf("the payout is %s, which is final: that of a pending message does not change it", paid.Payout)
	}
	return fmt.Sprintf("the payout is %s %s", paid.Payout, paid.stands(&c))
}

// stands says why c, the greater claim, stands against o.
func (c *Claim) stands(o *Claim) string {
	at, than := c.effective(), o.effective()
	if at.Equal(than) {
		return "by another message of the same time, " + at.Format(instant)
	}
	return fmt.Sprintf("as of %s, which is newer than this of %s", at.Format(instant), than.Format(instant))
}
