package capture

import (
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// Postback is one authentic postback on its way into the ledger.
type Postback struct {
	// Seq is its number in the journal, given by the store when it commits; zero
	// until then.
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
	// ByTxID says that it names no click: its click is that of the conversion
	// of this route with its txid.
	ByTxID bool
	// TxIDs are, with ByTxID, other transaction IDs than the claim's by which
	// the sale may be known, best first: some senders give a payment several
	// names. At most 4 count, the claim's own among them. Once it is booked, all
	// of them lead to its conversion.
	TxIDs []string
	// IndexTxID says that its conversion is to be found by its txid by later
	// postbacks of the same route, with ByTxID. That costs disk, so routes ask
	// for it only if they need it.
	IndexTxID bool
	// OnlyCampaign, if not empty, is the one campaign that the route serves.
	OnlyCampaign string

	// Claim is what it says, as far as it could be read.
	Claim attribution.Claim
	// Problem is why it cannot be booked whatever the click; "" if nothing
	// was found.
	Problem       Reason
	ProblemDetail string
	// Ignored, if not empty, says why there is nothing to book: the postback
	// goes to the journal and needs no click.
	Ignored string
	// Notes say what was repaired or assumed, in sentences.
	Notes []string

	Authentic string
	Sender    string
	Raw       Raw

	// Click is the click as the request's own goroutine read it ahead, by
	// [Store.ClickToBook], or nil. Clicks do not change, so the committer need not read it again.
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

	// sold are the transactions that lead to the postback's conversion since
	// it was decided.
	sold []TxKey

	// parks: its click may still come.
	parks bool

	// What Booked remembers, and where.
	proofs []signature.Proof
	memory *signature.Memory
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
