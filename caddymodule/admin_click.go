package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// clickAnswer is the answer to GET /capture/clicks/<id>.
type clickAnswer struct {
	clickFields
	Conversions []conversionAnswer `json:"conversions"`
}

// clickFields is one click in answers.
type clickFields struct {
	ID   string    `json:"id"`
	Time timestamp `json:"time"`
	// Gone says that the click's own record is no longer kept; what is shown
	// is what its conversions know of it.
	Gone        bool               `json:"gone,omitempty"`
	Campaign    string             `json:"campaign"`
	Source      string             `json:"source"`
	Subs        map[string]string  `json:"subs"`
	Kept        map[string]string  `json:"kept"`
	Destination string             `json:"destination"`
	URL         string             `json:"url"`
	Cost        attribution.Totals `json:"cost"`
	Host        string             `json:"host"`
	Path        string             `json:"path"`
	UserAgent   string             `json:"user_agent"`
	Referer     string             `json:"referer"`
	Address     string             `json:"address"`
	Flags       []string           `json:"flags"`
	// Notes say what is wrong with the click, in sentences.
	Notes []string `json:"notes,omitempty"`
}

// adminClick answers GET /capture/clicks/<id>.
func adminClick(c *adminCall) error {
	if p := readParams(c.r, c.now); p.Err() != nil {
		return badRequest(p.Err())
	}
	ref, err := c.clickRef()
	if err != nil {
		return err
	}
	reader, err := c.lease.ledger.Reader()
	if err != nil {
		return err
	}
	click, err := reader.Click(c.r.Context(), ref)
	if err != nil && !errors.Is(err, capture.ErrNotFound) {
		return err
	}
	if click != nil && c.app.rules.ClickExpired(click.Time, c.now) {
		click = nil // it goes within a day, and counts as gone now
	}
	conversions, err := reader.ClickConversions(c.r.Context(), ref)
	if err != nil {
		return err
	}
	// As it was asked for, not encoded anew: since a change of the key that
	// would be another ID than the one that travelled.
	id := strings.ToLower(c.r.PathValue("id"))
	if click == nil && len(conversions) == 0 {
		return unknownClick(id, ref)
	}
	answer := clickAnswer{clickFields: clickFields{ID: id}, Conversions: []conversionAnswer{}}
	if click != nil {
		answer.fill(click)
	} else {
		answer.fillFrom(conversions[0])
	}
	for _, conv := range conversions {
		answer.Conversions = append(answer.Conversions, c.lease.showConversion(conv))
	}
	return c.answer(answer)
}

// clickRef reads the click ID of the path.
func (c *adminCall) clickRef() (clickid.Ref, error) {
	given := c.r.PathValue("id")
	ref, err := c.lease.codec().Decode(given)
	if err != nil && c.lease.ledger.Identity().StandIn {
		_, err = c.lease.ledger.Reader() // which says why nobody can tell
		return ref, err
	}
	if err != nil {
		return ref, badRequest(fmt.Errorf("reading the click ID %q: %w", given, err))
	}
	return ref, nil
}

func unknownClick(id string, ref clickid.Ref) error {
	return apiErrorf(http.StatusNotFound,
		"click %s is unknown: its ID is genuine, made at %s, but no click is stored under it (any more)",
		id, ref.Time().Format(time.RFC3339))
}

// eraseAnswer is the answer to DELETE /capture/clicks/<id>.
type eraseAnswer struct {
	Erased erasedAnswer `json:"erased"`
}

// erasedAnswer counts what was changed. Pending says that the disk still holds
// the old data until expired records are deleted the next time.
type erasedAnswer struct {
	Click       bool `json:"click"`
	Conversions int  `json:"conversions"`
	Entries     int  `json:"entries"`
	Pending     bool `json:"pending"`
}

// adminErase answers DELETE /capture/clicks/<id>.
func adminErase(c *adminCall) error {
	if p := readParams(c.r, c.now); p.Err() != nil {
		return badRequest(p.Err())
	}
	ref, err := c.clickRef()
	if err != nil {
		return err
	}
	unlimitRead(c.w)
	e, err := c.lease.ledger.Erase(c.r.Context(), ref)
	if errors.Is(err, capture.ErrNotFound) {
		return unknownClick(strings.ToLower(c.r.PathValue("id")), ref)
	}
	if err != nil {
		return err
	}
	return c.answer(eraseAnswer{erasedAnswer(e)})
}

func (a *clickFields) fill(click *capture.Click) {
	a.Time = timestamp{click.Time}
	a.Campaign, a.Source, a.Destination = click.Campaign, click.Source, click.Destination
	a.Subs, a.Kept = showParams(click.Subs), showParams(click.Kept)
	a.URL = click.URL
	if a.URL == "" {
		a.URL = click.Destination
	}
	a.URL = strings.ReplaceAll(a.URL, "{click_id}", a.ID)
	a.Cost.Add(click.Cost)
	a.Host, a.Path, a.UserAgent, a.Referer = click.Host, click.Path, click.UserAgent, click.Referer
	a.Address, a.Flags, a.Notes = click.Address, showFlags(click.Flags), click.Notes()
}

func (a *clickFields) fillFrom(c *capture.Conversion) {
	a.Gone, a.Time = true, timestamp{c.ClickTime}
	a.Campaign, a.Source, a.Destination = c.Campaign, c.Source, c.Destination
	a.Subs, a.Kept, a.Flags = showParams(c.Subs), map[string]string{}, showFlags(c.Flags)
}

func showFlags(f capture.ClickFlags) []string {
	if names := f.Names(); names != nil {
		return names
	}
	return []string{}
}

// showParams makes an object of parameters; of several of one name the first
// is the one that counts.
func showParams(params []capture.Param) map[string]string {
	m := make(map[string]string, len(params))
	for _, p := range params {
		if _, ok := m[p.Name]; !ok {
			m[p.Name] = p.Value
		}
	}
	return m
}
