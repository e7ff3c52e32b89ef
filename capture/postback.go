package capture

import (
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Postback is one authentic postback on its way into the ledger.
type Postback struct {
	// Seq is its number in the journal, given by the committer.
	Seq   uint64
	Time  time.Time
	Route string
	// Rules are those of the configuration under which it arrived.
	Rules *Rules

	// Ref is the click that it names, if HasRef; ClickID as it arrived.
	Ref     clickid.Ref
	HasRef  bool
	ClickID string
	// Key is the tag of the key that signed the ID.
	Key uint16
	// OnlyCampaign, if not empty, is the one campaign that the route serves.
	OnlyCampaign string

	// Claim is what it says, as far as it could be read.
	Claim attribution.Claim
	// Problem is why it cannot be booked whatever the click; "" if nothing
	// was found.
	Problem       Reason
	ProblemDetail string

	Authentic string
	Sender    string
	Raw       Raw

	// Click is the click as the request's own goroutine read it ahead, or
	// nil. Clicks do not change, so the committer need not read it again.
	Click *Click

	// Replays is the number of the quarantined entry that is booked again, or
	// zero. Claim.ReceivedAt is then when that one arrived.
	Replays uint64
	// Correction, if set, is the conversion that a line of an import names
	// instead of a click. The ledger fills in Ref; the claim is about the
	// conversion's own event and transaction, whatever the rules say, and its
	// status is zero if it is to stay what it is.
	Correction *attribution.ConversionID

	// Result is filled in by the commit.
	Result Result
}

// Result is what became of a postback.
type Result struct {
	Outcome Outcome
	Reason  Reason
	Detail  string

	// Conversion is its state after the postback, if it was booked.
	Conversion *Conversion
	// Lag is the time from click to conversion of a newly recorded one.
	Lag  time.Duration
	Test bool
	// Entry is the postback's line in the journal.
	Entry *Entry
}
