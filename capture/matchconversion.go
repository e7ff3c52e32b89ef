package capture

import (
	"fmt"
	"slices"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// This file says of which conversion a postback speaks.

// subject is what a postback is about.
type subject struct {
	// conv has what the click says of itself, as every conversion of it does.
	conv *Conversion
	// clickGone: the click is no longer kept, but its conversions still can
	// change.
	clickGone bool
	// known: conv is the very conversion, whatever the postback calls it.
	known bool
	// corrects: and the owner named it.
	corrects bool
}

// subjectOf returns what the postback is about, or nil if it was quarantined
// as that is not known. Known is its conversion if another way led to it, or
// nil.
func subjectOf(tx Tx, p *Postback, known *Conversion) (*subject, error) {
	if known != nil {
		return &subject{conv: known, known: true}, nil
	}
	if p.Correction != nil {
		c, err := tx.Conversion(*p.Correction)
		if err == nil && c == nil {
			p.quarantine(UnknownClick, fmt.Sprintf("no conversion %s is known", *p.Correction))
		}
		if err != nil || c == nil {
			return nil, err
		}
		return &subject{conv: c, known: true, corrects: true}, nil
	}
	click := p.Click
	if click == nil {
		var err error
		if click, err = tx.Click(p.Ref); err != nil {
			return nil, err
		}
	}
	if click != nil {
		return &subject{conv: &Conversion{
			Click: click.Ref, Key: p.Key, ClickTime: click.Time, Campaign: click.Campaign, Source: click.Source,
			Destination: click.Destination, Subs: click.Subs, Flags: click.Flags, Test: click.Flags&FlagTest != 0,
		}}, nil
	}
	some, err := tx.Any(p.Ref)
	if err != nil {
		return nil, err
	}
	if some == nil {
		p.quarantineNoClick()
		return nil, nil
	}
	conv := *some
	return &subject{conv: &conv, clickGone: true}, nil
}

// correction completes what the owner says of a conversion: it is about the
// same event and transaction, and unless it names a time, it answers all that
// is known of the conversion at this moment. Where it says nothing of the
// status, it says nothing of it to those claims either that are still to come.
func correction(c attribution.Claim, conv *Conversion) attribution.Claim {
	c.Event, c.TxID = conv.State.Event, conv.State.TxID
	if c.SentAt.IsZero() {
		c.After = conv.History.Latest()
	}
	return c
}

// maxOthers bounds how many conversions beside the rule are looked through for
// each postback. No honest click has as many.
const maxOthers = 256

// match finds the conversion that the claim is about, or the ID for a new one.
//
// Under a rule that never changed the ID says it all. Conversions that were
// made under another rule, before the configuration changed, are still
// recognised, so that nothing is counted twice: first comes the one that knows
// this very transaction, whatever the rule; then, if the rule looks at the
// event alone, one that knows the event; then, if it looks at the click alone,
// any. Of several the one that the rule itself would make comes first, then the
// one with the lowest ID: not the oldest, for which that is may change as
// claims of earlier times arrive, and the order of arrival must not matter.
func match(tx Tx, p *Postback, claim *attribution.Claim, mode attribution.Dedup) (
	*Conversion, attribution.ConversionID, error,
) {
	id := attribution.NewConversionID(mode, p.Ref.Key(), p.Ref.Second, claim.Event, claim.TxID)
	own, err := tx.Conversion(id)
	if err != nil || own != nil && mode == attribution.DedupTxID {
		return own, id, err // it was made for this very transaction
	}
	others, err := tx.Others(p.Ref, mode, maxOthers)
	if err != nil || len(others) == 0 {
		return own, id, err
	}
	// This one is found even where there are more than are looked through.
	first := attribution.NewConversionID(attribution.DedupTxID, p.Ref.Key(), p.Ref.Second, claim.Event, claim.TxID)
	best, known := own, nearness(own, claim)
	for _, other := range slices.Concat([]attribution.ConversionID{first}, others) {
		if known == sameTransaction {
			break
		}
		c, err := tx.Conversion(other)
		if err != nil {
			return nil, id, err
		}
		if n := nearness(c, claim); n > known && n >= nearEnough[mode] {
			best, known = c, n
		}
	}
	if best == nil {
		return nil, id, nil
	}
	return best, best.ID, nil
}

// How near a claim is to a conversion of its click.
const (
	noConversion = iota
	sameClick
	sameEvent
	sameTransaction
)

// nearEnough is how near it has to be to speak of that conversion.
var nearEnough = [...]int{
	attribution.DedupTxID: sameTransaction, attribution.DedupEvent: sameEvent, attribution.DedupClick: sameClick,
}

// nearness looks through all that was ever said of the conversion. Where it is
// so much that some of it was dropped, the ID still tells for which transaction
// it was made.
func nearness(c *Conversion, claim *attribution.Claim) int {
	if c == nil {
		return noConversion
	}
	if c.Dedup == attribution.DedupTxID &&
		c.ID == attribution.NewConversionID(c.Dedup, c.Click.Key(), c.Click.Second, claim.Event, claim.TxID) {
		return sameTransaction
	}
	near := sameClick
	for i := range c.History {
		switch e := &c.History[i]; {
		case e.Event != claim.Event:
		case e.TxID == claim.TxID:
			return sameTransaction
		default:
			near = sameEvent
		}
	}
	return near
}
