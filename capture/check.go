package capture

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// String describes the cell for people.
func (c Cell) String() string {
	s := fmt.Sprintf("campaign %q, source %q, destination %q", c.Campaign, c.Source, c.Destination)
	if c.Event != "" {
		s += fmt.Sprintf(", event %q", c.Event)
	}
	return s + fmt.Sprintf(", the quarter of an hour of %s", c.Time().Format("2006-01-02T15:04Z07:00"))
}

// CompareSums notes where the sums of a cell are not what its records come to.
// Where not all clicks, or conversions, of the cell are kept any more, these
// are not compared.
func (r *CheckResult) CompareSums(cell Cell, sums, records attribution.Counts, clicks, conversions bool) {
	sums, records = part(sums, clicks, conversions), part(records, clicks, conversions)
	diff := sums.Clone()
	diff.Sub(records)
	if !diff.IsZero() {
		r.Found("the sums of %s are %s, but the records come to %s", cell, describe(sums), describe(records))
	}
}

// part leaves out what is not to be compared.
func part(c attribution.Counts, clicks, conversions bool) attribution.Counts {
	if !clicks {
		c.Clicks, c.BotClicks, c.Cost = 0, 0, nil
	}
	if !conversions {
		c = attribution.Counts{Clicks: c.Clicks, BotClicks: c.BotClicks, Cost: c.Cost}
	}
	return c
}

func describe(c attribution.Counts) string {
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprintf("%+v", c)
	}
	return string(text)
}

// CheckConversion notes what a conversion's record itself says wrong.
func (r *CheckResult) CheckConversion(c *Conversion) {
	state := c.History.State(time.Time{})
	state.Booked = c.State.Booked // that is decided by the window of its time
	if !state.Equal(c.State) {
		r.Found("conversion %s: its state is not what its history comes to", c.ID)
	}
}
