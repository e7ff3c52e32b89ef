package capture

import "strings"

// Outcome is what became of a postback.
type Outcome string

// The outcomes of the contract with senders.
const (
	// Recorded: a new conversion is on disk.
	Recorded Outcome = "recorded"
	// Updated: a known conversion changed status or payout, on disk.
	Updated Outcome = "updated"
	// Duplicate: it was booked before and changes nothing.
	Duplicate Outcome = "duplicate"
	// Quarantined: authentic and on disk, but not booked; see its Reason.
	Quarantined Outcome = "quarantined"
	// Ignored: authentic and in the journal, and there is nothing to book.
	Ignored Outcome = "ignored"
	// Rejected: refused; nothing is on disk.
	Rejected Outcome = "rejected"
	// Accepted: on this machine's disk, to be decided when the shared store is
	// back.
	Accepted Outcome = "accepted"
	// Unavailable: the store cannot take it now; the sender is to try again.
	Unavailable Outcome = "unavailable"
)

// Outcomes lists all outcomes, for filters and messages.
var Outcomes = []Outcome{Recorded, Updated, Duplicate, Quarantined, Ignored, Rejected, Accepted, Unavailable}

// Booked tells whether the postback is in the ledger.
func (o Outcome) Booked() bool { return o == Recorded || o == Updated || o == Duplicate }

// Reason says why a postback was quarantined or rejected.
type Reason string

// The reasons of the contract with senders, in the order in which they are
// asked.
const (
	MissingClickID  Reason = "missing_click_id"
	UnresolvedMacro Reason = "unresolved_macro"
	InvalidClickID  Reason = "invalid_click_id"
	UnknownClick    Reason = "unknown_click"
	ExpiredClick    Reason = "expired_click"
	WrongCampaign   Reason = "wrong_campaign"
	UnmappedStatus  Reason = "unmapped_status"
	BadPayout       Reason = "bad_payout"
	BadCurrency     Reason = "bad_currency"
	BadTime         Reason = "bad_time"
	OutsideWindow   Reason = "outside_window"

	MalformedRequest  Reason = "malformed_request"
	BadToken          Reason = "bad_token"
	BadSignature      Reason = "bad_signature"
	StaleTimestamp    Reason = "stale_timestamp"
	ReplayedMessage   Reason = "replayed"
	AddressNotAllowed Reason = "address_not_allowed"
	InsecureTransport Reason = "insecure_transport"
	MethodNotAllowed  Reason = "method_not_allowed"
	BodyTooLarge      Reason = "body_too_large"
	EarlyData         Reason = "early_data"
)

// QuarantineReasons lists the reasons for which a postback can be quarantined.
var QuarantineReasons = []Reason{
	MissingClickID, UnresolvedMacro, InvalidClickID, UnknownClick, ExpiredClick, OutsideWindow,
	WrongCampaign, UnmappedStatus, BadPayout, BadCurrency, BadTime,
}

// ParseOutcome reads an outcome's name; ok is false for anything else.
func ParseOutcome(s string) (o Outcome, ok bool) {
	for _, o := range Outcomes {
		if strings.EqualFold(string(o), s) {
			return o, true
		}
	}
	return "", false
}

// ParseQuarantineReason reads the name of a reason for quarantine; ok is false
// for anything else.
func ParseQuarantineReason(s string) (r Reason, ok bool) {
	for _, r := range QuarantineReasons {
		if strings.EqualFold(string(r), s) {
			return r, true
		}
	}
	return "", false
}
