package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// timestamp is a time in answers: RFC 3339 in UTC.
type timestamp struct{ time.Time }

// MarshalJSON writes the time in UTC, whatever its location.
func (t timestamp) MarshalJSON() ([]byte, error) { return json.Marshal(t.UTC()) }

func optionalTime(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return &timestamp{t}
}

// claimAnswer is what a postback said, as answers show it.
type claimAnswer struct {
	Event    string `json:"event"`
	TxID     string `json:"txid"`
	Status   string `json:"status"`
	Payout   string `json:"payout,omitempty"`
	Currency string `json:"currency,omitempty"`
}

func showClaim(event, txid string, status attribution.Status, payout attribution.Money, has bool) claimAnswer {
	a := claimAnswer{Event: event, TxID: txid, Status: status.String()}
	if has {
		a.Payout, a.Currency = payout.Format(), string(payout.Currency)
	}
	return a
}

// conversionAnswer is one conversion in answers.
type conversionAnswer struct {
	ID          string            `json:"id"`
	ClickID     string            `json:"click_id"`
	ClickTime   timestamp         `json:"click_time"`
	Campaign    string            `json:"campaign"`
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Subs        map[string]string `json:"subs"`
	claimAnswer
	Time       timestamp       `json:"time"`
	LagSeconds int64           `json:"lag_seconds"`
	Dedup      string          `json:"dedup"`
	Test       bool            `json:"test,omitempty"`
	History    []historyAnswer `json:"history"`
}

// historyAnswer is one claim of a conversion's history.
type historyAnswer struct {
	claimAnswer
	// Refund says that the payout is taken off the conversion's.
	Refund bool `json:"refund,omitempty"`
	// MessageID is the sender's own name of the message.
	MessageID  string     `json:"message_id,omitempty"`
	SentAt     *timestamp `json:"sent_at,omitempty"`
	ReceivedAt timestamp  `json:"received_at"`
	// After is what a correction without a time follows, if anything: what was
	// known then, some of which can be of the future.
	After    *timestamp `json:"after,omitempty"`
	Journal  uint64     `json:"journal"`
	Seen     int        `json:"seen"`
	LastSeen timestamp  `json:"last_seen"`
}

func (l *lease) showConversion(c *capture.Conversion) conversionAnswer {
	s := &c.State
	a := conversionAnswer{
		ID: c.ID.String(), ClickID: l.codec().EncodeAs(c.Key, c.Click), ClickTime: timestamp{c.ClickTime},
		Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Subs: showParams(c.Subs),
		claimAnswer: showClaim(s.Event, s.TxID, s.Status, s.Payout, s.HasPayout),
		Time:        timestamp{s.Time}, LagSeconds: int64(c.Lag() / time.Second), Dedup: c.Dedup.String(), Test: c.Test,
		History: make([]historyAnswer, 0, len(c.History)),
	}
	for i := range c.History {
		e := &c.History[i]
		a.History = append(a.History, historyAnswer{
			claimAnswer: showClaim(e.Event, e.TxID, e.Status, e.Payout, e.HasPayout),
			Refund:      e.Refund, MessageID: e.Key,
			SentAt: optionalTime(e.SentAt), ReceivedAt: timestamp{e.ReceivedAt}, After: optionalTime(e.After),
			Journal: e.Seq, Seen: e.Seen, LastSeen: timestamp{e.LastSeen},
		})
	}
	return a
}

// conversionsAnswer is the answer to GET /capture/conversions.
type conversionsAnswer struct {
	Conversions []conversionAnswer `json:"conversions"`
	// Next is the cursor of the next page, empty if there is none.
	Next string `json:"next,omitempty"`
}

// adminConversions answers GET /capture/conversions, as a page or as a live
// stream.
func adminConversions(c *adminCall) error {
	p := readParams(c.r, c.now, "from", "to", "campaign", "source", "event", "status", "test", "tz", "limit", "after")
	p.Zone("tz")
	q := capture.ConversionQuery{
		Campaign: p.Get("campaign"), Source: p.Get("source"), Event: p.Get("event"), Status: p.Status("status"),
		Test: p.Flag("test"), After: p.cursor("after"),
	}
	q.From, q.To = p.Times()
	limit := p.limit()
	stream := wantsStream(c.r.Header.Values("Accept"))
	p.checkStream(stream)
	if p.Err() != nil {
		return badRequest(p.Err())
	}
	reader, err := c.lease.ledger.Reader()
	if err != nil {
		return err
	}
	if stream {
		return c.followConversions(reader, q, p.backlog(limit))
	}
	answer := conversionsAnswer{Conversions: []conversionAnswer{}}
	var last capture.Cursor
	err = reader.Conversions(c.r.Context(), q, func(conv *capture.Conversion) bool {
		if len(answer.Conversions) == limit {
			answer.Next = formatCursor(last)
			return false
		}
		last = conv.Cursor()
		answer.Conversions = append(answer.Conversions, c.lease.showConversion(conv))
		return true
	})
	if err != nil {
		return err
	}
	return c.answer(answer)
}

// entryAnswer is one journal entry in answers.
type entryAnswer struct {
	Seq     uint64          `json:"seq"`
	Time    timestamp       `json:"time"`
	Route   string          `json:"route"`
	Outcome capture.Outcome `json:"outcome"`
	Reason  capture.Reason  `json:"reason,omitempty"`
	Detail  string          `json:"detail,omitempty"`
	// Notes say what was repaired or assumed.
	Notes        []string `json:"notes,omitempty"`
	ClickID      string   `json:"click_id,omitempty"`
	ConversionID string   `json:"conversion_id,omitempty"`
	Campaign     string   `json:"campaign,omitempty"`
	claimAnswer
	SentAt    *timestamp `json:"sent_at,omitempty"`
	Authentic string     `json:"authentic"`
	Sender    string     `json:"sender"`
	// Resolved is the entry by which this one left quarantine.
	Resolved uint64 `json:"resolved,omitempty"`
	// Replays is the entry that was booked again by this one.
	Replays uint64    `json:"replays,omitempty"`
	Test    bool      `json:"test,omitempty"`
	Raw     rawAnswer `json:"raw"`
}

func (l *lease) showEntry(e *capture.Entry) entryAnswer {
	cl := &e.Claim
	a := entryAnswer{
		Seq: e.Seq, Time: timestamp{e.Time}, Route: e.Route, Outcome: e.Outcome, Reason: e.Reason, Detail: e.Detail, Notes: e.Notes,
		Campaign: e.Campaign, claimAnswer: showClaim(cl.Event, cl.TxID, cl.Status, cl.Payout, cl.HasPayout),
		SentAt: optionalTime(cl.SentAt), Authentic: e.Authentic, Sender: e.Sender, Resolved: e.Resolved, Replays: e.Replays, Test: e.Test,
		Raw: showRaw(e.Raw.Masked(l.secrets()...)),
	}
	if e.HasClick {
		a.ClickID = l.codec().EncodeAs(e.Key, e.Click)
	}
	if e.Conversion != (attribution.ConversionID{}) {
		a.ConversionID = e.Conversion.String()
	}
	return a
}

// journalAnswer is the answer to GET /capture/journal.
type journalAnswer struct {
	Entries []entryAnswer `json:"entries"`
	// Next is the cursor of the next page, zero if there is none.
	Next uint64 `json:"next,omitempty"`
}

// adminJournal answers GET /capture/journal, as a page or as a live stream.
func adminJournal(c *adminCall) error {
	p := readParams(c.r, c.now,
		"outcome", "reason", "route", "campaign", "from", "to", "open", "tz", "limit", "after")
	p.Zone("tz")
	q := capture.JournalQuery{
		Outcome: p.Outcome("outcome"), Reason: p.Reason("reason"), Route: p.Get("route"), Campaign: p.Get("campaign"),
		Open: p.Flag("open"), Before: p.seq("after"),
	}
	q.From, q.To = p.Times()
	limit := p.limit()
	stream := wantsStream(c.r.Header.Values("Accept"))
	p.checkStream(stream)
	if p.Err() != nil {
		return badRequest(p.Err())
	}
	reader, err := c.lease.ledger.Reader()
	if err != nil {
		return err
	}
	if stream {
		return c.followJournal(reader, q, p.backlog(limit))
	}
	answer := journalAnswer{Entries: []entryAnswer{}}
	size := 0
	err = reader.Journal(c.r.Context(), q, func(e *capture.Entry) bool {
		if n := len(answer.Entries); n == limit || size > maxPageBytes {
			answer.Next = answer.Entries[n-1].Seq
			return false
		}
		size += rawSize(e)
		answer.Entries = append(answer.Entries, c.lease.showEntry(e))
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	return c.answer(answer)
}

// maxPageBytes ends a page of the journal before its limit where entries are
// large: an entry can have half a megabyte, and a page a thousand entries.
var maxPageBytes = 8 << 20

func rawSize(e *capture.Entry) int { return len(e.Raw.URI) + len(e.Raw.Body) }

// checkStream refuses what has no meaning for a live stream.
func (p *params) checkStream(stream bool) {
	if stream && p.Get("after") != "" {
		p.Fail("after has no meaning for a live stream: leave it out")
	}
}

// backlog is how much of what is stored a live stream begins with.
func (p *params) backlog(limit int) int {
	if p.Get("limit") == "" {
		return 0
	}
	return limit
}

func wantsStream(accept []string) bool {
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			media, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(media), "text/event-stream") {
				return true
			}
		}
	}
	return false
}
