package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

const (
	// maxEvent bounds events because they are a dimension of reports.
	maxEvent = 128
	// maxTxID bounds transaction IDs because every look-up carries them.
	maxTxID = 256
	// cutTxID is how much of a longer one is kept in front of its hash.
	cutTxID = 200
)

// readClaim reads what the postback says. What cannot be read is left empty in
// the Claim, and the first such thing becomes the Problem.
func (rt *Route) readClaim(p *Postback, f *found) {
	rt.noteMacros(p, f)
	c := &p.Claim
	c.ReceivedAt = p.Time
	c.Event = rt.event(f)
	c.TxID = shortTxID(rt.spell(f[slotTxID].value))
	rt.readStatus(p, f)
	rt.readPayout(p, f)
	if v := f[slotTime].value; v != "" {
		t, err := attribution.ReadTime(v)
		if err != nil {
			p.note(BadTime, err.Error())
		} else {
			c.SentAt = t.Truncate(time.Millisecond)
		}
	}
}

// noteMacros takes out the values that are macros, except where the route
// does not look at the sender's value at all.
func (rt *Route) noteMacros(p *Postback, f *found) {
	for s := slotTxID; s <= slotTime; s++ {
		v := &f[s]
		fixed := s == slotEvent && rt.Event != "" ||
			(s == slotPayout || s == slotCurrency) && rt.Payout.Currency != ""
		if !fixed && isMacro(v.value) {
			p.note(UnresolvedMacro, macroDetail(Fields[s], v.value))
			v.value, v.macro = "", true
		}
	}
}

func (rt *Route) event(f *found) string {
	switch {
	case rt.Event != "":
		return rt.Event
	case f[slotEvent].macro:
		return ""
	case f[slotEvent].value != "":
		return cutString(rt.spell(f[slotEvent].value), maxEvent)
	}
	return DefaultEvent
}

// spell makes text of part of a conversion's name. The owner, whose lines are
// imported, knows such names as the journal has them.
func (rt *Route) spell(v string) string {
	if rt.written {
		return respell(v)
	}
	return spell(v)
}

// shortTxID keeps long IDs apart by their hash: two that begin alike must not
// become one conversion.
func shortTxID(v string) string {
	if len(v) <= maxTxID {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return cutString(v, cutTxID) + hex.EncodeToString(sum[:])[:maxTxID-cutTxID]
}

func (rt *Route) readStatus(p *Postback, f *found) {
	word := f[slotStatus].value
	if f[slotStatus].macro {
		return
	}
	if word == "" {
		p.Claim.Status = attribution.Approved
		return
	}
	if len(word) <= maxStatusWord {
		if st, ok := rt.statuses[strings.ToLower(word)]; ok {
			p.Claim.Status = st
			return
		}
		if st, err := attribution.ParseStatus(word); err == nil {
			p.Claim.Status = st
			return
		}
	}
	shown := echo(word)
	arg := shown
	if strings.ContainsAny(arg, " \t\"`{}#") {
		arg = fmt.Sprintf("%q", arg)
	}
	p.note(UnmappedStatus, fmt.Sprintf(
		"status is %q, which this route does not know: map it, for example with statuses { approved %s }", shown, arg))
}

// readPayout reads payout and currency; neither is booked without the other.
func (rt *Route) readPayout(p *Postback, f *found) {
	c := &p.Claim
	if rt.Payout.Currency != "" {
		c.Payout, c.HasPayout = rt.Payout, true
		return
	}
	text, code := f[slotPayout].value, f[slotCurrency].value
	var amount attribution.Amount
	var currency, named attribution.Currency
	readable := text != ""
	if readable {
		var err error
		if amount, currency, err = attribution.ParsePayout(text); err != nil {
			p.note(BadPayout, err.Error())
			readable = false
		}
	}
	if code != "" {
		var err error
		if named, err = attribution.ParseCurrency(code); err != nil {
			p.note(BadCurrency, err.Error())
			readable = false
		}
	}
	if !readable || f[slotCurrency].macro {
		return
	}
	inText := currency != ""
	if !inText {
		currency = named
	}
	if currency == "" {
		currency = rt.Currency
	}
	switch {
	case currency == "":
		p.note(BadCurrency, fmt.Sprintf("payout is %q without a currency: have the sender name one, "+
			"or set it for this route, for example with currency USD", echo(text)))
	case named != "" && named != currency:
		p.note(BadCurrency, fmt.Sprintf("payout is %q, but the currency sent with it is %s", echo(text), named))
	case !inText && !agrees(text, currency):
		p.note(BadCurrency, fmt.Sprintf("payout is %q, which cannot be in %s", echo(text), currency))
	default:
		c.Payout, c.HasPayout = attribution.Money{Amount: amount, Currency: currency}, true
	}
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
