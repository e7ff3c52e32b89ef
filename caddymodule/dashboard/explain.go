package dashboard

import (
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// explain says what one claim did to a conversion, and why.
func explain(c *attribution.Claim, change attribution.Change, before, after attribution.State, known bool) (what, why string) {
	switch change {
	case attribution.Recorded:
		return "Booked as " + stateWords(&after), recordedWhy(c, known)
	case attribution.Updated:
		return differences(&before, &after), updatedWhy(c, &after)
	case attribution.OutsideWindow:
		return "Not booked", "It happened later after the click than the window allows. If an earlier one becomes known, it counts."
	case attribution.RefundsOnly:
		return "Kept, not booked", "It is about a refund, and nothing is known yet of what was refunded."
	case attribution.TooManyRefunds:
		return "Not taken", "There are as many refunds of this conversion as are kept."
	}
	return "Changed nothing", unchangedWhy(c, &before)
}

func stateWords(s *attribution.State) string {
	if s.HasPayout {
		return s.Status.String() + ", " + moneyText(s.Payout)
	}
	return s.Status.String() + ", without a payout"
}

func recordedWhy(c *attribution.Claim, known bool) string {
	switch {
	case known:
		return "With it, what came before counts as well."
	case c.Implied:
		return "It was the first about this conversion. It carried no payout, so the campaign's payout holds."
	}
	return "It was the first about this conversion."
}

func differences(before, after *attribution.State) string {
	var parts []string
	if before.Status != after.Status {
		parts = append(parts, "Status from "+before.Status.String()+" to "+after.Status.String())
	}
	payout := func(s *attribution.State) string {
		if s.HasPayout {
			return moneyText(s.Payout)
		}
		return "none"
	}
	if before.HasPayout != after.HasPayout || !before.Payout.Equal(after.Payout) {
		parts = append(parts, "payout from "+payout(before)+" to "+payout(after))
	}
	if before.Event != after.Event {
		parts = append(parts, "event from "+before.Event+" to "+after.Event)
	}
	text := strings.Join(parts, ", ")
	if text == "" {
		return "Changed"
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func updatedWhy(c *attribution.Claim, after *attribution.State) string {
	switch {
	case c.Refund && after.Status == attribution.Reversed:
		return "The refunds come to all that it paid, so it is reversed."
	case c.Refund:
		return "It is about a refund, which is taken off what was paid."
	case !c.SentAt.IsZero():
		return "By the sender's own time it is the newest word, whatever the order of arrival."
	case c.Status == attribution.Pending:
		return "It is the latest word on a conversion that is not decided yet."
	}
	return "The sender gave no time, so the latest final word holds."
}

func unchangedWhy(c *attribution.Claim, before *attribution.State) string {
	switch {
	case !before.Booked:
		return "It adds nothing to what was known."
	case c.Status == attribution.Pending && before.Status.Final():
		return "Pending never overrides a final status, and this one was " + before.Status.String() + " already."
	case c.Refund:
		return "The refund was known, or has not been paid out."
	case !c.SentAt.IsZero() && c.Status != before.Status:
		return "By the sender's own time it is older than what was known."
	}
	return "It says what was known already."
}
