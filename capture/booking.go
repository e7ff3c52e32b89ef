package capture

import (
	"bytes"
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
	for _, block := range b.Blocks {
		if err := bookParked(tx, s, block); err != nil {
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

// book decides one postback and writes its journal entry, and books what waits
// for it.
func book(tx Tx, s sums, p *Postback) error {
	p.sold = nil
	decided := bookNew
	if p.Replays != 0 {
		decided = rebook
	}
	if err := decided(tx, s, p); err != nil {
		return err
	}
	return bookAwaiting(tx, s, p)
}

func bookNew(tx Tx, s sums, p *Postback) error {
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
		p.Result.follow(again.Result.Conversion)
	}
	return nil
}

// follow takes over a later state of the result's own conversion.
func (r *Result) follow(now *Conversion) {
	if r.Conversion == nil || now == nil || now.ID != r.Conversion.ID {
		return
	}
	r.Conversion = now
	if r.Outcome == Recorded {
		r.Lag = now.Lag()
	}
}

// resolve takes e out of quarantine, as it was booked by the entry by.
func (e *Entry) resolve(by *Entry) {
	e.Resolved, e.Conversion, e.Campaign = by.Seq, by.Conversion, by.Campaign
	e.Parked = nil
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
	if e.Outcome.Booked() || e.Outcome == Ignored {
		waiting.resolve(e)
		if err := tx.PutEntry(waiting); err != nil {
			return err
		}
		return tx.PutEntry(e)
	}
	p.Result.Entry = waiting
	return waiting.waitOn(tx, e)
}

// waitOn notes why e still waits, which was decided anew as by.
func (e *Entry) waitOn(tx Tx, by *Entry) error {
	named := e.HasClick || !by.HasClick
	claim := e.Claim
	if len(by.Awaits) > 0 {
		claim = by.Claim // as it can be read today, since nobody will read it again
	}
	if named && (e.Parked == nil) == (by.Parked == nil) && e.Reason == by.Reason && e.Detail == by.Detail && slices.Equal(e.Awaits, by.Awaits) && sameClaim(e.Claim, claim) {
		return nil
	}
	e.Reason, e.Detail, e.Campaign, e.Notes = by.Reason, by.Detail, by.Campaign, by.Notes
	e.Awaits, e.Claim, e.Parked = by.Awaits, claim, by.Parked
	e.name(by)
	return tx.PutEntry(e)
}

// sameClaim tells whether both are stored alike.
func sameClaim(a, b attribution.Claim) bool {
	x, err := recordEnc.Marshal(a)
	y, failed := recordEnc.Marshal(b)
	return err == nil && failed == nil && bytes.Equal(x, y)
}

// decide books one postback and returns its journal entry; claimed is the
// entry by whose number the history knows the claim.
func decide(tx Tx, s sums, p *Postback, claimed uint64) (*Entry, error) {
	p.Claim.Seq = claimed
	if p.Claim.ReceivedAt.IsZero() {
		p.Claim.ReceivedAt = p.Time.Truncate(time.Millisecond)
	}
	p.Result, p.parks = Result{}, false
	e := &Entry{
		Seq: p.Seq, Time: p.Time.Truncate(time.Millisecond), Route: p.Route, Click: p.Ref, HasClick: p.HasRef, Key: p.Key,
		Claim: p.Claim, Authentic: p.Authentic, Sender: p.Sender, Raw: p.Raw, Notes: p.Notes,
	}
	var err error
	switch {
	case p.Ignored != "":
		err = ignore(tx, p, e)
	case p.ByTxID:
		err = bookByTxID(tx, s, p, e)
	case !p.HasRef:
		p.quarantine(p.Problem, p.ProblemDetail)
	default:
		err = bookClick(tx, s, p, e, nil)
	}
	if err != nil {
		return nil, err
	}
	e.Outcome, e.Reason, e.Detail = p.Result.Outcome, p.Result.Reason, p.Result.Detail
	e.Test = p.Result.Test
	if p.parks {
		e.Parked = p.park()
	}
	p.Result.Entry = e
	if c := p.Result.Conversion; c != nil {
		e.Conversion = c.ID
	}
	return e, nil
}

func (p *Postback) quarantine(reason Reason, detail string) {
	p.Result.Outcome, p.Result.Reason, p.Result.Detail = Quarantined, reason, detail
}

// ignore notes a postback that there is nothing to book of.
func ignore(tx Tx, p *Postback, e *Entry) error {
	p.Result.Outcome, p.Result.Detail = Ignored, p.Ignored
	if !p.HasRef {
		return nil
	}
	sub, err := subjectOf(tx, p, nil)
	if sub != nil {
		e.Campaign, p.Result.Test = sub.conv.Campaign, sub.conv.Test
	}
	// Whether the click is known makes no difference.
	p.parks = false
	p.Result.Outcome, p.Result.Reason, p.Result.Detail = Ignored, "", p.Ignored
	return err
}
