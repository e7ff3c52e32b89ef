package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
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

// fieldValues are the values of a postback's fields.
type fieldValues [slotCount]struct {
	value string
	macro bool // it was a macro and has been noted as the problem
}

// fieldsOf takes the fields of a message of this kind from what was found.
func (rt *Route) fieldsOf(f *found, k *kind) (v fieldValues) {
	for s := range slotCount {
		v[s].value = rt.text(s, f.first(k.fieldOf(rt, s)))
	}
	return v
}

// txids are the transaction IDs of all parameters that can have one, best first:
// some senders give a payment several names.
func (rt *Route) txids(f *found, k *kind) (list []string) {
	for _, n := range k.fieldOf(rt, slotTxID) {
		value := f.values[n].value
		if value == "" || IsMacro(value) {
			continue
		}
		txid := shortTxID(rt.text(slotTxID, value))
		if len(list) < maxTxIDs && !slices.Contains(list, txid) {
			list = append(list, txid)
		}
	}
	return list
}

// text makes a value text. What names a conversion or a message keeps its bytes
// apart, spelled out, since two names must not become one.
func (rt *Route) text(s slot, value string) string {
	switch s {
	case slotTxID, slotEvent, slotMessageID:
		return rt.spell(value)
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}

// readClaim reads what the postback says. What cannot be read is left empty in
// the Claim, and the first such thing becomes the Problem.
func (rt *Route) readClaim(p *Postback, k *kind, v *fieldValues, f *found) {
	rt.noteMacros(p, k, v)
	c := &p.Claim
	c.ReceivedAt = p.Time.Truncate(time.Millisecond)
	c.Event = rt.event(p, k, v)
	c.TxID = shortTxID(v[slotTxID].value)
	c.Key = shortTxID(v[slotMessageID].value)
	rt.readStatus(p, k, v)
	rt.readMoney(p, k, v, f)
	if text := v[slotTime].value; text != "" {
		t, err := attribution.ReadTime(text)
		if err != nil {
			t, err = mended(p, FieldTime, text, attribution.ReadTime, err)
		}
		if err != nil {
			p.note(BadTime, because(FieldTime, text, err))
		} else {
			c.SentAt = t.Truncate(time.Millisecond)
		}
	}
}

// noteMacros takes out the values that are macros, except where the route
// does not look at the sender's value at all.
func (rt *Route) noteMacros(p *Postback, k *kind, v *fieldValues) {
	refund := k != nil && k.Refund
	for s := slotTxID; s < slotCount; s++ {
		fixed := false
		switch s {
		case slotEvent:
			fixed = rt.Event != "" || k != nil && k.Event != ""
		case slotStatus:
			fixed = k != nil && k.Status != 0
		case slotPayout, slotCurrency:
			fixed = rt.Payout.Currency != "" && !refund
		}
		if !fixed && IsMacro(v[s].value) {
			p.note(UnresolvedMacro, macroDetail(Fields[s], v[s].value))
			v[s].value, v[s].macro = "", true
		}
	}
}

func (rt *Route) event(p *Postback, k *kind, v *fieldValues) string {
	switch {
	case rt.Event != "":
		return rt.Event
	case k != nil && k.Event != "":
		return k.Event
	case v[slotEvent].macro:
		return ""
	case v[slotEvent].value != "":
		return cutString(plainEvent(p, v[slotEvent].value), maxEvent)
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

func (rt *Route) readStatus(p *Postback, k *kind, v *fieldValues) {
	word := v[slotStatus].value
	switch {
	case k != nil && k.Status != 0:
		p.Claim.Status = k.Status
		return
	case v[slotStatus].macro:
		return
	case word == "":
		p.Claim.Status = attribution.Approved
		return
	}
	words := rt.statuses
	if k != nil {
		words = k.statuses
	}
	read := func(word string) (attribution.Status, error) { return readStatusWord(words, word) }
	st, err := read(word)
	if err != nil {
		st, err = mended(p, FieldStatus, word, read, err)
	}
	if err == nil {
		p.Claim.Status = st
		return
	}
	shown := echo(word)
	arg := shown
	if strings.ContainsAny(arg, " \t\"`{}#") {
		arg = fmt.Sprintf("%q", arg)
	}
	p.note(UnmappedStatus, fmt.Sprintf(
		"status is %q, which this route does not know: map it, for example with statuses { approved %s }", shown, arg))
}
