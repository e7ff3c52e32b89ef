package dashboard

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Bounds of a page of the journal: an entry can have half a megabyte.
const (
	journalRows    = 50
	maxJournalRows = 200
	maxJournalSize = 4 << 20
)

// journalPage is what the template of journal and quarantine shows.
type journalPage struct {
	Quarantine bool
	Filter     journalFilter
	Entries    []*entryView
	Outcomes   []choice
	Reasons    []choice
	Routes     []string
	Older      string
	Newest     string
	All        string // without filters
	Filtered   bool
	Single     bool
	// Replay is the command that books again what the filter takes.
	Replay  string
	Waiting []choice // reasons with how much waits
}

// journalFilter is the filter as its address says it.
type journalFilter struct {
	Outcome         capture.Outcome
	Reason          capture.Reason
	Route, Campaign string
	From, To, TZ    string
	before, limit   uint64
}

func (f *journalFilter) values() url.Values {
	return query("outcome", string(f.Outcome), "reason", string(f.Reason), "route", f.Route, "campaign", f.Campaign,
		"from", f.From, "to", f.To, "tz", f.TZ)
}

// journal answers /journal and /quarantine.
func (h *Handler) journal(c *call, quarantine bool) error {
	allowed := []string{"reason", "route", "campaign", "from", "to", "tz", "before", "limit"}
	if !quarantine {
		allowed = append(allowed, "outcome", "entry")
	}
	p := readParams(c.r.URL.Query(), c.now, allowed...)
	f := journalFilter{
		TZ: p.zone(), Outcome: p.Outcome("outcome"), Reason: p.Reason("reason"), Route: p.Get("route"), Campaign: p.Get("campaign"),
		From: p.Get("from"), To: p.Get("to"),
		before: p.Number("before", 0, 1, math.MaxInt64), limit: p.Number("limit", journalRows, 1, maxJournalRows),
	}
	c.zone(f.TZ, p.Loc)
	q := capture.JournalQuery{
		Outcome: f.Outcome, Reason: f.Reason, Route: f.Route, Campaign: f.Campaign, Open: quarantine, Before: f.before,
		From: p.time("from", false), To: p.time("to", true),
	}
	entry := p.Number("entry", 0, 1, math.MaxInt64)
	if err := p.refusal(); err != nil {
		return err
	}
	j := &journalPage{Quarantine: quarantine, Filter: f, Single: entry > 0}
	var err error
	if j.Single {
		j.Entries, err = h.oneEntry(c, entry)
	} else {
		err = h.readJournal(c, j, q)
	}
	if err != nil {
		return err
	}
	j.choices(h)
	title := "Journal"
	if quarantine {
		title = "Quarantine"
		j.Replay = replayCommand(&f, q.From, q.To)
	}
	if j.Single {
		title = fmt.Sprintf("Journal entry %d", entry)
	}
	return c.render(http.StatusOK, "journal", title, j)
}

func (h *Handler) oneEntry(c *call, seq uint64) ([]*entryView, error) {
	reader, err := h.src.Reader()
	if err != nil {
		return nil, unavailable(err)
	}
	e, err := reader.Entry(c.r.Context(), seq)
	if errors.Is(err, capture.ErrNotFound) {
		return nil, notFound("There is no such entry", fmt.Sprintf(
			"The journal has no entry %d: it never had, or it is older than the journal is kept.", seq))
	}
	if err != nil {
		return nil, fmt.Errorf("reading journal entry %d: %w", seq, err)
	}
	return []*entryView{h.entryView(e)}, nil
}

// readJournal fills in one page of entries.
func (h *Handler) readJournal(c *call, j *journalPage, q capture.JournalQuery) error {
	reader, err := h.src.Reader()
	if err != nil {
		return unavailable(err)
	}
	path := "journal"
	if j.Quarantine {
		path = "quarantine"
	}
	page := func(before uint64) string {
		v := j.Filter.values()
		if before > 0 {
			v.Set("before", strconv.FormatUint(before, 10))
		}
		if j.Filter.limit != journalRows {
			v.Set("limit", strconv.FormatUint(j.Filter.limit, 10))
		}
		return link(path, v)
	}
	size := 0
	var last uint64
	err = reader.Journal(c.r.Context(), q, func(e *capture.Entry) bool {
		if uint64(len(j.Entries)) == j.Filter.limit || size > maxJournalSize {
			j.Older = page(last)
			return false
		}
		size += len(e.Raw.URI) + len(e.Raw.Body)
		last = e.Seq
		j.Entries = append(j.Entries, h.entryView(e))
		return true
	})
	if err != nil {
		return fmt.Errorf("reading the journal: %w", err)
	}
	if j.Filter.before > 0 {
		j.Newest = page(0)
	}
	without := journalFilter{TZ: j.Filter.TZ}
	j.All = link(path, without.values())
	j.Filtered = len(j.Filter.values()) > len(without.values())
	return nil
}

// choices fills in what can be chosen in the form.
func (j *journalPage) choices(h *Handler) {
	f := &j.Filter
	for _, o := range []capture.Outcome{
		capture.Recorded, capture.Updated, capture.Duplicate, capture.Quarantined, capture.Ignored,
	} {
		j.Outcomes = append(j.Outcomes, choice{Text: outcomeWords(o), Value: string(o), Current: o == f.Outcome})
	}
	waiting := h.src.Health().Store.Quarantine
	for _, r := range capture.QuarantineReasons {
		j.Reasons = append(j.Reasons, choice{Text: string(r), Value: string(r), Current: r == f.Reason})
		if n := waiting[r]; n > 0 {
			narrowed := *f
			narrowed.Reason, narrowed.Outcome = r, ""
			j.Waiting = append(j.Waiting, choice{
				Text: string(r), Value: grouped(strconv.FormatInt(n, 10)), Current: r == f.Reason,
				Link: link("quarantine", narrowed.values()),
			})
		}
	}
	seen := make(map[string]bool)
	for _, r := range h.src.Setup().Postbacks {
		if !seen[r.Name] {
			seen[r.Name] = true
			j.Routes = append(j.Routes, r.Name)
		}
	}
}

// replayCommand is the command that books again what the filter of a page
// takes, with times that mean the same everywhere. Values are quoted for a
// shell: senders choose some of them.
func replayCommand(f *journalFilter, from, to time.Time) string {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	words := []string{"caddy capture replay"}
	for _, option := range [][2]string{
		{"--reason", string(f.Reason)},
		{"--route", f.Route},
		{"--campaign", f.Campaign},
		{"--from", at(from)},
		{"--to", at(to)},
	} {
		if option[1] != "" {
			words = append(words, option[0], shellQuote(option[1]))
		}
	}
	return strings.Join(words, " ")
}

// shellQuote writes a value so that a POSIX shell takes it for itself alone.
func shellQuote(s string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.:,+-@"
	clean := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1 // a terminal would take it for its own
		}
		return r
	}, s)
	if clean != "" && strings.Trim(clean, plain) == "" && clean[0] != '-' {
		return clean
	}
	return "'" + strings.ReplaceAll(clean, "'", `'\''`) + "'"
}

// entryView is one entry of the journal for people.
type entryView struct {
	*capture.Entry
	ClickID, ConversionID string
	Raw                   rawView
}

// rawView is a request as it arrived, its secrets masked.
type rawView struct {
	Line    string
	Headers [][2]string
	Body    string
	// Binary says that the body is shown in hexadecimal, Cut that not all of
	// it is shown.
	Binary, Cut bool
}

// maxShownBody is how much of a body is shown of one entry.
const maxShownBody = 16 << 10

func (h *Handler) entryView(e *capture.Entry) *entryView {
	v := &entryView{Entry: e, Raw: showRaw(h.src.Mask(e))}
	if e.HasClick {
		v.ClickID = h.src.EncodeClick(e.Key, e.Click)
	}
	if e.Conversion != noConversion {
		v.ConversionID = e.Conversion.String()
	}
	return v
}

// Claimed tells whether anything of what the postback said could be read.
func (v *entryView) Claimed() bool {
	c := &v.Claim
	return c.Event != "" || c.TxID != "" || c.Status != 0 || c.HasPayout || !c.SentAt.IsZero()
}

// Booked tells whether what it said became a conversion, or changed one.
func (v *entryView) Booked() bool { return isBooked(v.Entry) }

// When is the time of the entry.
func (v *entryView) When() time.Time { return v.Entry.Time }
