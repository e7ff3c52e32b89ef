package capture

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// bookClick decides a postback that names a click with a genuine ID, or whose
// conversion is known for another reason.
func bookClick(tx Tx, s sums, p *Postback, e *Entry, known *Conversion) error {
	sub, err := subjectOf(tx, p, known)
	if err != nil || sub == nil {
		return err
	}
	conv := sub.conv
	e.Campaign = conv.Campaign
	e.Notes = append(slices.Clip(e.Notes), macroNotes(conv.Flags, conv.Source, conv.Subs, nil)...)
	p.Result.Test = conv.Test
	if reason, detail := p.unfit(conv); reason != "" {
		p.quarantine(reason, detail)
		return nil
	}
	claim := e.Claim
	if sub.corrects {
		claim = correction(claim, conv)
		e.Claim = claim
	}
	rules := p.Rules.Campaign(conv.Campaign)
	if !claim.HasPayout && !claim.Refund && rules.Payout.Currency != "" {
		claim.Payout, claim.HasPayout, claim.Implied = rules.Payout, true, true
	}
	b := booking{p: p, rules: rules, template: conv}
	if sub.known {
		b.old, b.id, claim.Event = conv, conv.ID, conv.State.Event
	} else if b.old, b.id, err = match(tx, p, &claim, rules.Dedup); err != nil {
		return err
	}
	if sold := b.old != nil && b.old.History.HasSale(); !sold &&
		(sub.clickGone || p.Rules.ClickExpired(conv.ClickTime, p.Claim.ReceivedAt)) {
		p.quarantineExpired(conv.ClickTime)
		return nil
	}
	if reason, detail := unfitRefund(&claim, b.old); reason != "" {
		p.quarantine(reason, detail)
		return nil
	}
	return b.add(tx, s, claim)
}

// unfit says why the postback cannot be booked for a click, whatever
// conversion it is about.
func (p *Postback) unfit(click *Conversion) (Reason, string) {
	if p.OnlyCampaign != "" && click.Campaign != p.OnlyCampaign {
		return WrongCampaign, fmt.Sprintf("the click belongs to campaign %q, and this route takes only %q; have the sender call the route of its campaign",
			click.Campaign, p.OnlyCampaign)
	}
	if p.Problem != "" {
		return p.Problem, p.ProblemDetail
	}
	if !p.Claim.SentAt.IsZero() {
		if err := attribution.CheckTime(p.Claim.SentAt, click.ClickTime, p.Claim.ReceivedAt); err != nil {
			return BadTime, err.Error()
		}
	}
	return "", ""
}

// booking is a claim on its way into its conversion.
type booking struct {
	p     *Postback
	rules CampaignRules
	// template has what is known of the click.
	template *Conversion
	// old is the conversion as it was, nil if it is new, and id its ID.
	old *Conversion
	id  attribution.ConversionID
	// said: this very message is in the history already.
	said bool
}

// start returns the conversion to be changed.
func (b *booking) start() *Conversion {
	if b.old != nil {
		conv := *b.old
		conv.History = slices.Clone(b.old.History)
		return &conv
	}
	conv := *b.template
	conv.ID, conv.Dedup = b.id, b.rules.Dedup
	conv.History, conv.State, conv.Parked, conv.TxKeys = nil, attribution.State{}, nil, nil
	return &conv
}

// add adds the claim to its conversion, which may be new.
func (b *booking) add(tx Tx, s sums, claim attribution.Claim) error {
	p, old, conv := b.p, b.old, b.start()
	deadline := attribution.Deadline(conv.ClickTime, b.rules.Window)
	if old != nil && old.State.Booked {
		deadline = time.Time{} // what is booked stays so, also under a shorter window
	}
	b.said = conv.History.Knows(claim.Key)
	parked := conv.Parked
	waiting := slices.Contains(parked, claim.Seq)
	add := conv.History.Add
	if p.Replays != 0 && (waiting || conv.History.Holds(claim.Seq)) {
		add = conv.History.AddAgain
	}
	change := add(claim, deadline)
	if change == attribution.TooManyRefunds {
		p.quarantine(BadPayout, fmt.Sprintf("%d refunds of this conversion are known already, and more are not taken",
			attribution.MaxRefunds))
		return nil
	}
	conv.State = conv.History.State(deadline)
	if p.IndexTxID {
		p.sold = p.names(claim.TxID)
		for _, key := range p.sold {
			conv.index(key)
		}
	}
	switch {
	case !conv.State.Booked && !waiting && len(parked) < attribution.MaxHistory:
		conv.Parked = append(slices.Clone(parked), claim.Seq)
	case conv.State.Booked && (old == nil || !old.State.Booked):
		// Also where the claim says nothing new, but the window is longer now.
		change, conv.Parked = attribution.Recorded, nil
	}
	if err := tx.PutConversion(conv, old); err != nil {
		return err
	}
	s.move(old, conv)
	if b.report(change, conv, claim) && change == attribution.Recorded {
		return release(tx, conv, parked, p.Seq)
	}
	return nil
}

// report puts into the result what became of the postback, and tells whether
// it was booked.
func (b *booking) report(change attribution.Change, conv *Conversion, claim attribution.Claim) bool {
	p, r := b.p, &b.p.Result
	switch change {
	case attribution.OutsideWindow:
		p.quarantine(OutsideWindow, fmt.Sprintf("the conversion of %s is more than %s after its click of %s; if it is to count, make the window longer",
			stamp(conv.State.Time), Days(b.rules.Window), stamp(conv.ClickTime)))
		return false
	case attribution.RefundsOnly:
		p.quarantine(UnknownClick, "the click is known, but not yet the sale that this is a refund of: "+
			"it is taken off when that comes in")
		return false
	case attribution.Recorded:
		r.Outcome, r.Lag = Recorded, conv.Lag()
	case attribution.Updated:
		r.Outcome = Updated
	default:
		r.Outcome, r.Detail = Duplicate, conv.History.Overruled(claim)
		if r.Detail != "" && b.said && p.Authentic == authenticImport {
			r.Detail += "; the same line was imported before: to say it again, give it the time from which it is to hold"
		}
	}
	r.Conversion = conv
	return true
}

// release takes out of quarantine what waited there because nothing of the
// conversion was inside the window, or nothing known but refunds, now that it
// is booked.
func release(tx Tx, conv *Conversion, parked []uint64, by uint64) error {
	for _, seq := range parked {
		e, err := tx.Entry(seq)
		if err != nil {
			return err
		}
		if e == nil || !e.Waiting() || e.Reason != OutsideWindow && (e.Reason != UnknownClick || !e.Claim.Refund) {
			continue
		}
		if reason, detail := unfitRefund(&e.Claim, conv); reason != "" {
			e.Reason, e.Detail = reason, detail // it counts for nothing, so it waits on
		} else {
			e.Resolved, e.Conversion = by, conv.ID
		}
		if err := tx.PutEntry(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *Postback) quarantineNoClick() {
	minted := p.Ref.Time()
	if p.Rules.ClickExpired(minted, p.Claim.ReceivedAt) {
		p.quarantineExpired(minted)
		return
	}
	p.parks = true
	p.quarantine(UnknownClick, fmt.Sprintf(
		"the click ID is genuine, made at %s, but no click is stored under it; was the store replaced or restored since, "+
			"or could the click not be stored (the log of that time says so)?", stamp(minted)))
}

func (p *Postback) quarantineExpired(click time.Time) {
	p.quarantine(ExpiredClick, fmt.Sprintf(
		"the click is of %s, and clicks are kept for %s; where conversions take longer, retain clicks for longer", stamp(click), Days(p.Rules.Retain.Clicks)))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
