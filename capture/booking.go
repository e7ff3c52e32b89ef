package capture

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// Apply decides a batch inside a store's transaction: every store's Commit
// calls it, so all stores keep the same books. It is deterministic and sets
// the Result of each postback.
func Apply(tx Tx, b *Batch) error {
	s := make(sums)
	for _, block := range b.Blocks {
		if err := tx.PutBlock(block); err != nil {
			return err
		}
		for _, c := range block.Clicks {
			s.click(c)
		}
	}
	for _, p := range b.Postbacks {
		if err := book(tx, s, p); err != nil {
			return err
		}
	}
	for cell, c := range s {
		if c.IsZero() {
			continue
		}
		if err := tx.AddCounts(cell, *c); err != nil {
			return err
		}
	}
	return nil
}

// sums collects what a batch adds to each cell, so that a cell is written
// once a batch.
type sums map[Cell]*attribution.Counts

func (s sums) at(cell Cell) *attribution.Counts {
	c := s[cell]
	if c == nil {
		c = new(attribution.Counts)
		s[cell] = c
	}
	return c
}

func (s sums) click(c *Click) {
	if c.Flags&FlagTest != 0 {
		return
	}
	cell := Cell{Quarter: QuarterOf(c.Time), Campaign: c.Campaign, Source: c.Source, Destination: c.Destination}
	n := s.at(cell)
	if !c.Flags.Counted() {
		n.BotClicks++
		return
	}
	n.Clicks++
	n.Cost.Add(c.Cost)
}

func (s sums) move(old, now *Conversion) {
	if old != nil {
		if c := old.Counts(); !c.IsZero() {
			s.at(old.Cell()).Sub(c)
		}
	}
	if c := now.Counts(); !c.IsZero() {
		s.at(now.Cell()).Add(c)
	}
}

// book decides one postback and writes its journal entry.
func book(tx Tx, s sums, p *Postback) error {
	if p.Replays != 0 {
		return rebook(tx, s, p)
	}
	e, err := decide(tx, s, p, p.Seq)
	if err != nil {
		return err
	}
	if err := tx.PutEntry(e); err != nil || !e.Outcome.Booked() {
		return err
	}
	return bookRepeated(tx, s, p, e)
}

// maxRepeated and maxRepeatedBytes bound what one postback takes out of
// quarantine. Each entry is written anew with its raw request, and a batch
// must not become too large for the store.
const (
	maxRepeated      = 64
	maxRepeatedBytes = 256 << 10
)

// bookRepeated books what waits in quarantine and was repeated by p, which was
// just booked and became the entry e: as a replay would at this moment, since
// what can be read of one request can be read of the same request. So it keeps
// its place in the history, and waits no longer for an owner who would have
// nothing to mend.
func bookRepeated(tx Tx, s sums, p *Postback, e *Entry) error {
	limit := max(1, min(maxRepeated, maxRepeatedBytes/(len(e.Raw.URI)+len(e.Raw.Body)+1)))
	repeated, err := tx.Repeated(e, limit)
	if err != nil {
		return err
	}
	for _, w := range repeated {
		again := *p
		again.Replays, again.Claim.ReceivedAt = w.Seq, w.Claim.ReceivedAt
		if again.Claim.ReceivedAt.IsZero() {
			again.Claim.ReceivedAt = w.Time
		}
		before, err := decide(tx, s, &again, w.Seq)
		if err != nil {
			return err
		}
		if !before.Outcome.Booked() {
			continue
		}
		w.resolve(before)
		if err := tx.PutEntry(w); err != nil {
			return err
		}
		if now := again.Result.Conversion; now.ID == p.Result.Conversion.ID {
			p.Result.Conversion = now
			if p.Result.Outcome == Recorded {
				p.Result.Lag = now.Lag()
			}
		}
	}
	return nil
}

// resolve takes e out of quarantine, as it was booked by the entry by.
func (e *Entry) resolve(by *Entry) {
	e.Resolved, e.Conversion, e.Campaign = by.Seq, by.Conversion, by.Campaign
	e.name(by)
}

// name makes e known for the click that by names, unless it names one itself:
// so that an erasure of the click finds it.
func (e *Entry) name(by *Entry) {
	if !e.HasClick {
		e.Click, e.Key, e.HasClick = by.Click, by.Key, by.HasClick
	}
}

// waitsNoLonger is what becomes of an entry that was to be booked again.
func waitsNoLonger(seq uint64) Result {
	return Result{Outcome: Duplicate, Detail: fmt.Sprintf("entry %d waits no longer", seq)}
}

// rebook books again what waits in quarantine: exactly once, since the entry
// that waits is marked in the same write. What still cannot be booked goes on
// waiting, with today's reason.
func rebook(tx Tx, s sums, p *Postback) error {
	waiting, err := tx.Entry(p.Replays)
	if err != nil {
		return err
	}
	if waiting == nil || !waiting.Waiting() {
		p.Result = waitsNoLonger(p.Replays)
		return nil
	}
	// In the history the claim is that of the entry that waited.
	e, err := decide(tx, s, p, p.Replays)
	if err != nil {
		return err
	}
	e.Replays = p.Replays
	if e.Outcome.Booked() {
		waiting.resolve(e)
		if err := tx.PutEntry(waiting); err != nil {
			return err
		}
		return tx.PutEntry(e)
	}
	p.Result.Entry = waiting
	if waiting.Reason == e.Reason && waiting.Detail == e.Detail && (waiting.HasClick || !e.HasClick) {
		return nil
	}
	waiting.Reason, waiting.Detail, waiting.Campaign = e.Reason, e.Detail, e.Campaign
	waiting.name(e)
	return tx.PutEntry(waiting)
}

// decide books one postback and returns its journal entry; claimed is the
// entry by whose number the history knows the claim.
func decide(tx Tx, s sums, p *Postback, claimed uint64) (*Entry, error) {
	p.Claim.Seq = claimed
	if p.Claim.ReceivedAt.IsZero() {
		p.Claim.ReceivedAt = p.Time
	}
	p.Result = Result{}
	e := &Entry{
		Seq: p.Seq, Time: p.Time.Truncate(time.Millisecond), Route: p.Route, Click: p.Ref, HasClick: p.HasRef, Key: p.Key,
		Claim: p.Claim, Authentic: p.Authentic, Sender: p.Sender, Raw: p.Raw,
	}
	if !p.HasRef {
		p.quarantine(p.Problem, p.ProblemDetail)
	} else if err := bookClick(tx, s, p, e); err != nil {
		return nil, err
	}
	e.Outcome, e.Reason, e.Detail = p.Result.Outcome, p.Result.Reason, p.Result.Detail
	e.Test = p.Result.Test
	p.Result.Entry = e
	if c := p.Result.Conversion; c != nil {
		e.Conversion = c.ID
	}
	return e, nil
}

func (p *Postback) quarantine(reason Reason, detail string) {
	p.Result.Outcome, p.Result.Reason, p.Result.Detail = Quarantined, reason, detail
}

// bookClick decides a postback that names a click with a genuine ID.
func bookClick(tx Tx, s sums, p *Postback, e *Entry) error {
	sub, err := subjectOf(tx, p)
	if err != nil || sub == nil {
		return err
	}
	conv := sub.conv
	e.Campaign = conv.Campaign
	p.Result.Test = conv.Test

	if p.OnlyCampaign != "" && conv.Campaign != p.OnlyCampaign {
		p.quarantine(WrongCampaign, fmt.Sprintf("the click belongs to campaign %q, and this route takes only %q",
			conv.Campaign, p.OnlyCampaign))
		return nil
	}
	if p.Problem != "" {
		p.quarantine(p.Problem, p.ProblemDetail)
		return nil
	}
	if !p.Claim.SentAt.IsZero() {
		if err := attribution.CheckTime(p.Claim.SentAt, conv.ClickTime, p.Claim.ReceivedAt); err != nil {
			p.quarantine(BadTime, err.Error())
			return nil
		}
	}
	claim := p.Claim
	if sub.corrects {
		claim = correction(claim, sub.conv)
		e.Claim = claim
	}
	rules := p.Rules.Campaign(conv.Campaign)
	if !claim.HasPayout && rules.Payout.Currency != "" {
		claim.Payout, claim.HasPayout, claim.Implied = rules.Payout, true, true
	}
	old, id := sub.conv, sub.conv.ID
	if !sub.corrects {
		if old, id, err = match(tx, p, &claim, rules.Dedup); err != nil {
			return err
		}
	}
	if old == nil && (sub.clickGone || p.Rules.ClickExpired(conv.ClickTime, p.Claim.ReceivedAt)) {
		p.quarantineExpired(conv.ClickTime)
		return nil
	}
	return p.add(tx, s, conv, old, id, claim, rules)
}

// add adds the claim to its conversion, which may be new.
func (p *Postback) add(tx Tx, s sums, conv, old *Conversion, id attribution.ConversionID,
	claim attribution.Claim, rules CampaignRules,
) error {
	conv = renewed(conv, old, id, rules.Dedup)
	deadline := attribution.Deadline(conv.ClickTime, rules.Window)
	if old != nil && old.State.Booked {
		deadline = time.Time{} // what is booked stays so, also under a shorter window
	}
	said := conv.History.Knows(claim.Key)
	parked := conv.Parked
	waiting := slices.Contains(parked, claim.Seq)
	add := conv.History.Add
	if p.Replays != 0 && (waiting || conv.History.Holds(claim.Seq)) {
		add = conv.History.AddAgain
	}
	change := add(claim, deadline)
	conv.State = conv.History.State(deadline)
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

	r := &p.Result
	switch change {
	case attribution.OutsideWindow:
		p.quarantine(OutsideWindow, fmt.Sprintf("the conversion of %s is more than %s after its click of %s",
			stamp(conv.State.Time), days(rules.Window), stamp(conv.ClickTime)))
		return nil
	case attribution.Recorded:
		r.Outcome, r.Lag = Recorded, conv.Lag()
		if err := release(tx, conv.ID, parked, p.Seq); err != nil {
			return err
		}
	case attribution.Updated:
		r.Outcome = Updated
	default:
		r.Outcome, r.Detail = Duplicate, conv.History.Overruled(claim)
		if r.Detail != "" && said && p.Authentic == authenticImport {
			r.Detail += "; the same line was imported before: to say it again, give it the time from which it is to hold"
		}
	}
	r.Conversion = conv
	return nil
}

// renewed returns the conversion as it was, to be changed, or a new one of the
// same click.
func renewed(click, old *Conversion, id attribution.ConversionID, mode attribution.Dedup) *Conversion {
	if old == nil {
		c := *click
		c.ID, c.Dedup = id, mode
		c.History, c.State, c.Parked = nil, attribution.State{}, nil
		return &c
	}
	c := *old
	c.History = slices.Clone(old.History)
	return &c
}

// release takes out of quarantine what waited there because it was outside
// the window, now that the conversion turns out to have been inside.
func release(tx Tx, id attribution.ConversionID, parked []uint64, by uint64) error {
	for _, seq := range parked {
		e, err := tx.Entry(seq)
		if err != nil {
			return err
		}
		if e == nil || !e.Waiting() || e.Reason != OutsideWindow {
			continue
		}
		e.Resolved, e.Conversion = by, id
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
	p.quarantine(UnknownClick, fmt.Sprintf(
		"the click ID is genuine, made at %s, but no click is stored under it", stamp(minted)))
}

func (p *Postback) quarantineExpired(click time.Time) {
	p.quarantine(ExpiredClick, fmt.Sprintf(
		"the click is of %s, and clicks are kept for %s", stamp(click), days(p.Rules.Retain.Clicks)))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// days writes a duration as people write windows: "30d", else as Go does.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
