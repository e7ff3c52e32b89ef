package capture

import (
	"fmt"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// readMoney reads what is paid, or paid back.
func (rt *Route) readMoney(p *Postback, k *kind, v *fieldValues, f *found) {
	c := &p.Claim
	if k != nil && k.Refund {
		rt.readRefund(p, k, v, f)
		return
	}
	fixed := rt.Payout.Currency != ""
	sender := p
	if fixed {
		c.Payout, c.HasPayout = rt.Payout, true
		// Only whether all was paid back still depends on the sender's
		// amounts; that they cannot be read is no problem then.
		sender = new(Postback)
	}
	less := k != nil && len(k.less) > 0
	if fixed && !less {
		return
	}
	m, ok := rt.sentMoney(sender, k.minorOf(rt, f), v)
	if !ok {
		return
	}
	if less {
		left, ok := rt.takeOff(sender, k, f, m)
		if !ok {
			return
		}
		if left.Amount.Cmp(m.Amount) < 0 && left.Amount.Sign() <= 0 {
			// A conversion that is taken back keeps the payout that it had.
			if c.Status == attribution.Approved || c.Status == attribution.Pending {
				c.Status = attribution.Reversed
			}
		} else {
			m = left
		}
	}
	if !fixed {
		c.Payout, c.HasPayout = m, true
	}
}

// sentMoney reads payout and currency as they were sent; neither counts
// without the other.
func (rt *Route) sentMoney(p *Postback, minor bool, v *fieldValues) (m attribution.Money, ok bool) {
	text, code := v[slotPayout].value, v[slotCurrency].value
	readable := text != ""
	if readable {
		if m, text, ok = readAmount(p, text); !ok {
			readable = false
		}
	}
	named, ok := rt.namedCurrency(p, code)
	if !ok || !readable || v[slotCurrency].macro {
		return m, false
	}
	inText := m.Currency != ""
	if !inText {
		m.Currency = named
	}
	if m.Currency == "" {
		m.Currency = rt.Currency
	}
	switch {
	case m.Currency == "":
		p.note(BadCurrency, fmt.Sprintf("payout is %q without a currency: have the sender name one, "+
			"or set it for this route, for example with currency USD", echo(text)))
	case named != "" && named != m.Currency:
		p.note(BadCurrency, fmt.Sprintf("payout is %q, but the currency sent with it is %s: have the sender send one of them", echo(text), named))
	case !inText && !agrees(text, m.Currency):
		p.note(BadCurrency, fmt.Sprintf("payout is %q, which cannot be in %s: is the currency the right one, here or at the sender?", echo(text), m.Currency))
	case minor:
		return fromMinor(p, m)
	default:
		return m, true
	}
	return m, false
}

// readAmount reads an amount, and returns the text in which it found it.
func readAmount(p *Postback, text string) (m attribution.Money, plain string, ok bool) {
	read := func(s string) (attribution.Money, error) {
		plain = s
		return readMoneyText(s)
	}
	m, err := read(text)
	if err != nil {
		m, err = mended(p, FieldPayout, text, read, err)
	}
	if err != nil {
		p.note(BadPayout, because(FieldPayout, text, err))
	}
	return m, plain, err == nil
}

func (rt *Route) namedCurrency(p *Postback, code string) (attribution.Currency, bool) {
	if code == "" {
		return "", true
	}
	c, err := attribution.ParseCurrency(code)
	if err != nil {
		c, err = mended(p, FieldCurrency, code, attribution.ParseCurrency, err)
	}
	if err != nil {
		p.note(BadCurrency, fmt.Sprintf("currency is %q, which is no currency: have the sender send its three letters (ISO 4217), "+
			"like USD or EUR", echo(code)))
	}
	return c, err == nil
}

func fromMinor(p *Postback, m attribution.Money) (attribution.Money, bool) {
	major, err := attribution.FromMinor(m)
	if err != nil {
		p.note(BadPayout, err.Error())
	}
	return major, err == nil
}

// takeOff takes off a payout what the message names as paid back.
func (rt *Route) takeOff(p *Postback, k *kind, f *found, m attribution.Money) (attribution.Money, bool) {
	for _, n := range k.less {
		for _, text := range f.all[n] {
			off, err := readMoneyText(text)
			if err == nil && off.Currency != "" && off.Currency != m.Currency {
				p.note(BadCurrency, fmt.Sprintf("%s is %q, but the payout is in %s", echo(rt.match.params[n].text), echo(text), m.Currency))
				return m, false
			}
			if off.Currency = m.Currency; err == nil && k.minor {
				off, err = attribution.FromMinor(off)
			}
			if err != nil {
				p.note(BadPayout, fmt.Sprintf("%s: %v", echo(rt.match.params[n].text), err))
				return m, false
			}
			m.Amount = m.Amount.Sub(magnitude(off.Amount))
		}
	}
	return m, true
}

func magnitude(a attribution.Amount) attribution.Amount {
	if a.Sign() < 0 {
		return a.Neg()
	}
	return a
}

// readRefund reads what one refund paid back, in as many parts as it names.
// The route's fixed payout is none of it.
func (rt *Route) readRefund(p *Postback, k *kind, v *fieldValues, f *found) {
	c := &p.Claim
	c.Refund = true
	if c.Key == "" && !v[slotMessageID].macro {
		p.note(BadPayout, "this refund has no ID by which it would be known again when it is sent twice: the ID is looked for in the parameters "+
			rt.match.texts(k.fieldOf(rt, slotMessageID)))
	}
	parts := []string{v[slotPayout].value}
	for _, n := range k.fieldOf(rt, slotPayout) {
		if all := f.all[n]; len(all) > 0 {
			parts = all
			break
		}
	}
	var sum attribution.Money
	for _, text := range parts {
		one := *v
		one[slotPayout].value = text
		m, ok := rt.sentMoney(p, k.minorOf(rt, f), &one)
		switch {
		case !ok && p.Problem == "":
			p.note(BadPayout, "this refund names no amount: it is looked for in the parameters "+rt.match.texts(k.fieldOf(rt, slotPayout)))
			return
		case !ok:
			return
		case sum.Currency != "" && m.Currency != sum.Currency:
			p.note(BadCurrency, fmt.Sprintf("this refund is in %s and in %s: it can only be in one currency", sum.Currency, m.Currency))
			return
		}
		sum.Currency, sum.Amount = m.Currency, sum.Amount.Add(magnitude(m.Amount))
	}
	c.Payout, c.HasPayout = sum, true
}

// agrees tells whether a sign beside the number that names no currency by
// itself, such as $, can mean this one.
func agrees(text string, c attribution.Currency) bool {
	if strings.Trim(text, "0123456789.,-+") == "" {
		return true
	}
	_, _, err := attribution.ParsePayout(text + " " + string(c))
	return err == nil
}
