package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/caddymodule/asked"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// clickPage is what the template of a click shows.
type clickPage struct {
	ID   string
	Time time.Time
	// Gone says that the click's own record is no longer kept; what is shown is
	// what its conversions know of it.
	Gone                          bool
	Campaign, Source, Destination string
	Subs, Kept                    []capture.Param
	Click                         *capture.Click // nil if gone
	SentTo                        string
	Flags                         []string
	Notes                         []string
	Conversions                   []*conversionRow
}

// conversionRow is one conversion in the list of a click.
type conversionRow struct {
	ID                  string
	Time                time.Time
	Event, TxID, Status string
	Payout              string
	Lag                 time.Duration
	Test                bool
}

// click answers /clicks/<id>.
func (h *Handler) click(c *call, given string) error {
	p := readParams(c.r.URL.Query(), c.now, "tz")
	c.zone(p.zone(), p.Loc)
	if err := p.refusal(); err != nil {
		return err
	}
	ref, err := h.src.DecodeClick(given)
	if err != nil {
		return &problem{http.StatusBadRequest, "This is no click ID of ours", fmt.Sprintf(
			"%q cannot be read: %v. A click ID has to be whole and unchanged.", asked.Clip(given), err)}
	}
	reader, err := h.src.Reader()
	if err != nil {
		return unavailable(err)
	}
	click, err := reader.Click(c.r.Context(), ref)
	if err != nil && !errors.Is(err, capture.ErrNotFound) {
		return fmt.Errorf("reading the click: %w", err)
	}
	if click != nil && h.src.Rules().ClickExpired(click.Time, c.now) {
		click = nil // it goes within a day, and counts as gone now
	}
	conversions, err := reader.ClickConversions(c.r.Context(), ref)
	if err != nil {
		return fmt.Errorf("reading the click's conversions: %w", err)
	}
	// As it was asked for: since a change of the key it would be encoded to
	// another ID than the one that travelled.
	id := strings.ToLower(given)
	if click == nil && len(conversions) == 0 {
		return unknownClick(id, ref)
	}
	v := &clickPage{ID: id}
	if click != nil {
		v.fill(click)
	} else {
		v.fillFrom(conversions[0])
	}
	for _, conv := range conversions {
		v.Conversions = append(v.Conversions, showRow(conv))
	}
	return c.render(http.StatusOK, "click", "Click "+id, v)
}

func unknownClick(id string, ref clickid.Ref) error {
	return notFound("No click is stored under this ID", fmt.Sprintf(
		"The ID %s is genuine and was made at %s, but nothing is stored under it: the click was never recorded, "+
			"or it is older than clicks are kept.", id, ref.Time().Format(time.RFC3339)))
}

func (v *clickPage) fill(click *capture.Click) {
	v.Click, v.Time = click, click.Time
	v.Campaign, v.Source, v.Destination = click.Campaign, click.Source, click.Destination
	v.Subs, v.Kept = click.Subs, click.Kept
	v.SentTo = click.URL
	if v.SentTo == "" {
		v.SentTo = click.Destination
	}
	v.SentTo = strings.ReplaceAll(v.SentTo, "{click_id}", v.ID)
	v.Flags, v.Notes = flagWords(click.Flags), click.Notes()
}

func (v *clickPage) fillFrom(c *capture.Conversion) {
	v.Gone, v.Time = true, c.ClickTime
	v.Campaign, v.Source, v.Destination = c.Campaign, c.Source, c.Destination
	v.Subs, v.Flags = c.Subs, flagWords(c.Flags)
}

func flagWords(f capture.ClickFlags) []string {
	names := f.Names()
	for i, name := range names {
		names[i] = strings.ReplaceAll(name, "_", " ")
	}
	return names
}

func showRow(c *capture.Conversion) *conversionRow {
	r := &conversionRow{
		ID: c.ID.String(), Time: c.State.Time, Event: c.State.Event, TxID: c.State.TxID,
		Status: c.State.Status.String(), Lag: c.Lag(), Test: c.Test,
	}
	if c.State.HasPayout {
		r.Payout = moneyText(c.State.Payout)
	}
	return r
}
