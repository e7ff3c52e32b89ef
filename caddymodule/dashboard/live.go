package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sse"
	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// maxFollowers bounds the live streams.
	maxFollowers = 64
	// heartbeat is how often a stream says that it is still there, so that
	// proxies keep it and a follower that has gone is noticed.
	heartbeat = 15 * time.Second
	// maxLook is how many entries are read for the last few of the stream.
	maxLook = 2000
	// writeLimit is how long a follower may take for what it is sent: one that
	// does not read must not hold its place for ever.
	writeLimit = 30 * time.Second
	// retryAfter is when a browser connects again, in milliseconds.
	retryAfter = 3000
)

// liveEntry is one line of the stream. The browser sets its values as text,
// never as HTML.
type liveEntry struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Clock   string    `json:"clock"`
	Outcome string    `json:"outcome"`
	// Words say what happened, Detail why.
	Words    string `json:"words"`
	Detail   string `json:"detail,omitempty"`
	Route    string `json:"route"`
	Campaign string `json:"campaign,omitempty"`
	Event    string `json:"event,omitempty"`
	// Status is what was booked; what was not has in Said the status under which
	// it was sent, which must not read as if it were.
	Status string `json:"status,omitempty"`
	Said   string `json:"said,omitempty"`
	Payout string `json:"payout,omitempty"`
	Test   bool   `json:"test,omitempty"`
	// Path leads to the conversion or the entry, from the root of the pages.
	Path string `json:"path"`
}

// isLive tells whether an entry belongs into the stream: conversions that are
// new or changed, and what is in quarantine.
func isLive(e *capture.Entry) bool {
	return isBooked(e) || e.Outcome == capture.Quarantined
}

// isBooked tells whether what the sender said became a conversion, or changed
// one.
func isBooked(e *capture.Entry) bool {
	return e.Outcome == capture.Recorded || e.Outcome == capture.Updated
}

func (c *call) liveEntry(e *capture.Entry) *liveEntry {
	l := &liveEntry{
		Seq: e.Seq, Time: e.Time.UTC(), Clock: c.clock(e.Time), Outcome: string(e.Outcome),
		Words: outcomeWords(e.Outcome), Route: e.Route, Campaign: e.Campaign, Event: e.Claim.Event,
		Test: e.Test,
		Path: link("journal", query("entry", strconv.FormatUint(e.Seq, 10), "tz", c.tz)),
	}
	if e.Claim.HasPayout {
		l.Payout = moneyText(e.Claim.Payout)
	}
	if status := e.Claim.Status.String(); isBooked(e) {
		l.Status = status
	} else {
		l.Said = status
	}
	if e.Outcome == capture.Quarantined {
		l.Detail = reasonWords(e.Reason)
	} else if e.Conversion != (attribution.ConversionID{}) {
		l.Path = link("conversions/"+e.Conversion.String(), query("tz", c.tz))
	}
	return l
}

// clock is a time of today, or a day and a time.
func (c *call) clock(t time.Time) string {
	t = t.In(c.loc)
	if t.Format(time.DateOnly) == c.h.src.Now().In(c.loc).Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04")
}

// recent lists the last entries of the stream, newest first, and the newest
// number of the journal.
func (h *Handler) recent(c *call) (list []*liveEntry, newest uint64, err error) {
	reader, err := h.src.Reader()
	if err != nil {
		return nil, 0, unavailable(err)
	}
	seen := 0
	err = reader.Journal(c.r.Context(), capture.JournalQuery{}, func(e *capture.Entry) bool {
		newest = max(newest, e.Seq)
		if isLive(e) {
			list = append(list, c.liveEntry(e))
		}
		seen++
		return len(list) < recentEntries && seen < maxLook
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reading the journal: %w", err)
	}
	return list, newest, nil
}

// live answers /live with the conversions and quarantined postbacks as they
// come, as server-sent events.
func (h *Handler) live(c *call) error {
	p := readParams(c.r.URL.Query(), c.now, "tz", "after")
	tz := p.zone()
	after := p.Number("after", 0, 0, 1<<62)
	if err := p.refusal(); err != nil {
		return err
	}
	c.zone(tz, p.Loc)
	// A browser that connects again says what it has seen.
	if n, err := strconv.ParseUint(c.r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = max(after, n)
	}
	if h.followers.Add(1) > maxFollowers {
		h.followers.Add(-1)
		return &problem{http.StatusServiceUnavailable, "Too many follow already",
			fmt.Sprintf("There are %d live streams, which is the limit.", maxFollowers)}
	}
	defer h.followers.Add(-1)
	// Subscribing first leaves no gap between what is stored and what comes.
	entries, stop := h.src.Follow()
	defer stop()
	missed, err := h.missed(c, after)
	if err != nil {
		return err
	}
	hd := c.w.Header()
	hd.Set("Content-Type", "text/event-stream")
	hd.Set("X-Accel-Buffering", "no") // a proxy in front must not collect
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	// Whatever ends the stream, it has begun: there is nobody left to tell.
	if err := h.stream(c, missed, entries, after); err != nil {
		return &sentError{err}
	}
	return nil
}

// missed lists what came after an entry, oldest first, at most a page of it.
func (h *Handler) missed(c *call, after uint64) ([]*capture.Entry, error) {
	if after == 0 {
		return nil, nil
	}
	reader, err := h.src.Reader()
	if err != nil {
		return nil, unavailable(err)
	}
	var list []*capture.Entry
	seen := 0
	err = reader.Journal(c.r.Context(), capture.JournalQuery{}, func(e *capture.Entry) bool {
		if e.Seq <= after {
			return false
		}
		if isLive(e) {
			list = append(list, e)
		}
		seen++
		return len(list) < recentEntries && seen < maxLook
	})
	if err != nil {
		return nil, fmt.Errorf("reading the journal: %w", err)
	}
	slices.Reverse(list)
	return list, nil
}

func (h *Handler) stream(c *call, missed []*capture.Entry, live <-chan *capture.Entry, after uint64) error {
	event := func(e *capture.Entry) sse.Event {
		return sse.Event{Name: "entry", ID: strconv.FormatUint(e.Seq, 10), Data: c.liveEntry(e)}
	}
	s := &sse.Stream{
		W: c.w, Heartbeat: heartbeat, WriteLimit: writeLimit, Done: h.done, Greeting: fmt.Sprintf("retry: %d", retryAfter),
	}
	for _, e := range missed {
		s.Stored = append(s.Stored, event(e))
		after = max(after, e.Seq)
	}
	return sse.Follow(c.r.Context(), s, live, func(e *capture.Entry) (sse.Event, bool, error) {
		if e.Seq <= after || !isLive(e) {
			return sse.Event{}, false, nil
		}
		return event(e), true, nil
	})
}
