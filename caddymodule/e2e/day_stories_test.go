package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// A conversation is what a network has to say about one click.
type conversation struct {
	network *network
	click   *seenClick // nil if what it says names none
	lane    int
	first   []step
	late    []step
}

// A step is one postback of it.
type step struct {
	sentPostback
	status string // what the sender's word means
}

// posted is how the rules see a step.
func (s *conversation) posted(p step, at time.Time) posted {
	n := s.network
	v := posted{
		click: s.click, id: p.clickID, authenticated: n.token != "", goodToken: p.token == n.token,
		status: p.status, payout: p.payout, currency: p.currency, event: p.event, txid: p.txid, at: at,
	}
	if n.fixedEvent != "" {
		v.event = n.fixedEvent
	}
	if n.currency == "" {
		v.currency = n.fixedCurrency
	}
	return v
}

// newConversation makes up what becomes of a click: mostly a sale, rarely nonsense.
func newConversation(r *rand.Rand, click *seenClick) *conversation {
	s := &conversation{network: pick(r, networks), click: click}
	if r.IntN(7) == 0 {
		s.first = append(s.first, s.wrong(r))
		return s
	}
	base := s.sale(r)
	switch n := s.network; {
	case n.words != nil && r.IntN(2) == 0:
		s.statusStory(r, base)
	case r.IntN(4) == 0: // the network asks itself whether we got it
		s.first = append(s.first, base, base)
		s.late = append(s.late, base)
	case r.IntN(8) == 0: // a correction
		s.first = append(s.first, base)
		base.payout = payout(r)
		s.late = append(s.late, base, base)
	case r.IntN(8) == 0 && n.event != "": // a lead that became a sale
		lead := base
		lead.event, lead.payout = "signup", ""
		s.first = append(s.first, lead, base)
	case r.IntN(8) == 0: // a second order
		second := base
		second.txid, second.payout = second.txid+"-2", payout(r)
		s.first = append(s.first, base)
		s.late = append(s.late, second, base)
	default:
		s.first = append(s.first, base)
	}
	return s
}

// sale is a postback with nothing wrong.
func (s *conversation) sale(r *rand.Rand) step {
	n := s.network
	p := step{status: ""}
	p.clickID, p.token, p.payout = s.click.id, n.token, payout(r)
	if r.IntN(10) == 0 {
		p.clickID = strings.ToUpper(p.clickID)
	}
	if r.IntN(10) > 0 {
		p.txid = fmt.Sprintf("%s-%08x", n.name, r.Uint32())
	}
	if n.currency != "" {
		p.currency = pick(r, []string{"USD", "EUR", "GBP", "eur"})
	}
	if n.event != "" && r.IntN(3) > 0 {
		p.event = pick(r, []string{"sale", "deposit"})
	}
	if n.words != nil {
		p = s.say(r, p, "approved")
	}
	return p
}

func (s *conversation) say(r *rand.Rand, p step, status string) step {
	p.status, p.word = status, pick(r, s.network.words[status])
	return p
}

// statusStory is a conversion that waits, and is decided later.
func (s *conversation) statusStory(r *rand.Rand, base step) {
	last := "rejected"
	if s.network.words[last] == nil {
		last = "reversed"
	}
	pending, approved, lost := s.say(r, base, "pending"), s.say(r, base, "approved"), s.say(r, base, last)
	switch r.IntN(6) {
	case 0:
		s.first, s.late = []step{pending}, []step{approved}
	case 1:
		s.first, s.late = []step{pending, pending}, []step{lost}
	case 2:
		s.first, s.late = []step{approved}, []step{lost, lost}
	case 3: // overtaken on the way
		s.first, s.late = []step{approved}, []step{pending}
	case 4:
		s.first, s.late = []step{pending, lost}, []step{approved, pending}
	case 5:
		s.first = []step{pending}
	}
}

// wrong is a postback with one thing wrong.
func (s *conversation) wrong(r *rand.Rand) step {
	p := s.sale(r)
	noClick := func(id string) step {
		s.click, p.clickID = nil, id
		return p
	}
	for {
		switch r.IntN(9) {
		case 0:
			return noClick(randomID(r))
		case 1:
			return noClick(p.clickID[:len(p.clickID)-1-r.IntN(20)])
		case 2:
			return noClick(s.network.macro)
		case 3:
			return noClick("")
		case 4:
			return noClick(mistype(r, p.clickID))
		case 5:
			if s.network.token != "" {
				p.token = pick(r, []string{"", "guess", s.network.token + "x", s.network.token[1:]})
				return p
			}
		case 6:
			p.payout = pick(r, []string{"ten", "12.3.4", "NaN", "0x10", "--", "{payout}"})
			return p
		case 7:
			if s.network.words != nil {
				return s.say(r, p, "?")
			}
		case 8:
			if s.network.currency != "" {
				p.currency = pick(r, []string{"", "DOLLARS", "E", "U$D"})
				return p
			}
		}
	}
}

func randomID(r *rand.Rand) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	var b strings.Builder
	for range 26 {
		b.WriteByte(letters[r.IntN(len(letters))])
	}
	return b.String()
}

// mistype changes one character.
func mistype(r *rand.Rand, id string) string {
	i := r.IntN(len(id))
	c := byte('a')
	if id[i]|0x20 == c {
		c = 'b'
	}
	return id[:i] + string(c) + id[i+1:]
}

func payout(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0:
		return fmt.Sprintf("0.%04d", 1+r.IntN(9999))
	case 1:
		return fmt.Sprint(1 + r.IntN(200))
	case 2:
		return fmt.Sprintf("%d.%d", 1000000+r.IntN(1000000), r.IntN(10))
	}
	return fmt.Sprintf("%d.%02d", r.IntN(90), 1+r.IntN(99))
}
