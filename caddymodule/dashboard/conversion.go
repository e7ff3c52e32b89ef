package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// conversionPage is what the template of a conversion shows.
type conversionPage struct {
	*conversionRow
	ClickID                       string
	ClickTime                     time.Time
	ClickGone                     bool
	Campaign, Source, Destination string
	Subs                          []capture.Param
	Flags                         []string
	Dedup                         string
	DedupWords                    string
	Window                        time.Duration
	Story                         []*chapter
}

// chapter is one postback of a conversion's history, and what it did.
type chapter struct {
	attribution.Entry
	Payout string
	// Change says what it changed, Why why that is so.
	Change, Why string
	Moved       bool
	// Entry is the postback as it arrived; nil if the journal no longer has
	// it. Original is the entry that was booked again by it.
	Arrived  *entryView
	Original *entryView
}

// conversion answers /conversions/<id>.
func (h *Handler) conversion(c *call, given string) error {
	p := readParams(c.r.URL.Query(), c.now, "tz")
	c.zone(p.zone(), p.Loc)
	if err := p.refusal(); err != nil {
		return err
	}
	id, err := attribution.ParseConversionID(given)
	if err != nil {
		return &problem{http.StatusBadRequest, "This is no conversion ID", err.Error()}
	}
	reader, err := h.src.Reader()
	if err != nil {
		return unavailable(err)
	}
	conv, err := reader.Conversion(c.r.Context(), id)
	if errors.Is(err, capture.ErrNotFound) {
		return notFound("There is no such conversion", fmt.Sprintf(
			"No conversion is stored under %s: there never was one, or it is older than conversions are kept.", id))
	}
	if err != nil {
		return fmt.Errorf("reading the conversion: %w", err)
	}
	window := h.src.Rules().Campaign(conv.Campaign).Window
	v := &conversionPage{
		conversionRow: showRow(conv), ClickID: h.src.EncodeClick(conv.Key, conv.Click), ClickTime: conv.ClickTime,
		Campaign: conv.Campaign, Source: conv.Source, Destination: conv.Destination, Subs: conv.Subs,
		Flags: flagWords(conv.Flags), Dedup: conv.Dedup.String(), DedupWords: dedupWords(conv.Dedup), Window: window,
	}
	if _, err := reader.Click(c.r.Context(), conv.Click); errors.Is(err, capture.ErrNotFound) {
		v.ClickGone = true
	}
	var deadline time.Time
	if window > 0 {
		deadline = conv.ClickTime.Add(window)
	}
	v.Story = tell(conv.History, deadline)
	if err := h.arrivals(c, reader, v.Story); err != nil {
		return err
	}
	return c.render(http.StatusOK, "conversion", "Conversion "+v.ID, v)
}

// arrivals finds each postback as it arrived.
func (h *Handler) arrivals(c *call, reader capture.Reader, story []*chapter) error {
	find := func(seq uint64) (*entryView, error) {
		e, err := reader.Entry(c.r.Context(), seq)
		if errors.Is(err, capture.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading journal entry %d: %w", seq, err)
		}
		return h.entryView(e), nil
	}
	for _, ch := range story {
		if ch.Seq == 0 {
			continue
		}
		var err error
		if ch.Arrived, err = find(ch.Seq); err != nil {
			return err
		}
		if ch.Arrived == nil || ch.Arrived.Replays == 0 {
			continue
		}
		if ch.Original, err = find(ch.Arrived.Replays); err != nil {
			return err
		}
	}
	return nil
}

// tell goes through a history as it grew and says of each claim what it did.
func tell(history attribution.History, deadline time.Time) []*chapter {
	var h attribution.History
	story := make([]*chapter, 0, len(history))
	for i := range history {
		e := history[i]
		before := h.State(deadline)
		known := len(h) > 0
		change := h.Add(e.Claim, deadline)
		after := h.State(deadline)
		ch := &chapter{Entry: e}
		if e.HasPayout {
			ch.Payout = moneyText(e.Claim.Payout)
		}
		ch.Change, ch.Why = explain(&e.Claim, change, before, after, known)
		ch.Moved = change == attribution.Recorded || change == attribution.Updated
		story = append(story, ch)
	}
	return story
}

func dedupWords(d attribution.Dedup) string {
	switch d {
	case attribution.DedupClick:
		return "one conversion for each click"
	case attribution.DedupEvent:
		return "one conversion for each click and event"
	default:
		return "one conversion for each click, event and transaction ID"
	}
}
