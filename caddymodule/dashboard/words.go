package dashboard

import (
	"github.com/caddy-capture/caddy-capture/capture"
)

// outcomeWords says in plain words what became of a postback.
func outcomeWords(o capture.Outcome) string {
	switch o {
	case capture.Recorded:
		return "New conversion"
	case capture.Updated:
		return "Conversion changed"
	case capture.Duplicate:
		return "Known already, changes nothing"
	case capture.Quarantined:
		return "In quarantine"
	case capture.Ignored:
		return "Nothing to book"
	case capture.Rejected:
		return "Refused"
	case capture.Accepted:
		return "On disk, booked when the shared store is back"
	case capture.Unavailable:
		return "Store away, sender tries again"
	}
	return string(o)
}

// reasonWords says in plain words why a postback is in quarantine, and what to
// do about it.
func reasonWords(r capture.Reason) string {
	switch r {
	case capture.MissingClickID:
		return "It names no click: the sender has to put our click ID into its postback URL."
	case capture.UnresolvedMacro:
		return "The sender did not replace a macro: the macro is misspelled, or belongs to another sender."
	case capture.InvalidClickID:
		return "The click ID is not one of ours: mistyped, cut, or made up."
	case capture.UnknownClick:
		return "The click ID is genuine, but no click is stored under it."
	case capture.ExpiredClick:
		return "The click is older than clicks are kept: see retain { clicks }."
	case capture.WrongCampaign:
		return "The click belongs to a campaign that this route does not take."
	case capture.UnmappedStatus:
		return "The sender's word for the status is not known: add it to the statuses of the route."
	case capture.BadPayout:
		return "The payout is not an amount that can be read without guessing."
	case capture.BadCurrency:
		return "The currency is missing or unknown: set currency on the route."
	case capture.BadTime:
		return "The sender's time cannot be read."
	case capture.OutsideWindow:
		return "It came later after the click than the window allows: see window."
	}
	return string(r)
}
