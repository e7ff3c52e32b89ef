package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
	"github.com/caddy-capture/caddy-capture/capture"
)

// recentEntries is how many entries the stream begins with.
const recentEntries = 25

// nowPage is what the template of the first page shows.
type nowPage struct {
	Day     time.Time
	Until   time.Time
	Figures []*figures
	Chart   *chart
	Recent  []*liveEntry
	Last    uint64 // the newest entry of the journal that the page knows
	Senders []sender
	Habit   habitNote
}

// figures are one kind of figure today, yesterday and a week ago.
type figures struct {
	Key, Title      string
	Today, Plain    string
	Yesterday, Week compared
}

// compared is an earlier figure and how today's differs from it.
type compared struct {
	Text, Plain string
	// Change is today's difference in words and signs, Trend up, down or same.
	Change, Trend string
}

func (h *Handler) nowPage(c *call) error {
	p := readParams(c.r.URL.Query(), c.now, "tz")
	c.zone(p.zone(), p.Loc)
	if err := p.refusal(); err != nil {
		return err
	}
	today, err := h.today(c)
	if err != nil {
		return err
	}
	n := &nowPage{
		Day: attribution.StartOfDayOf(today.at, c.loc), Until: today.at, Figures: today.figures, Chart: today.chart,
	}
	if n.Recent, n.Last, err = h.recent(c); err != nil {
		return err
	}
	if n.Senders, n.Habit, err = h.senders(c); err != nil {
		return err
	}
	return c.render(http.StatusOK, "now", "Now", n)
}

// keepFigures is how long the figures of the first page are good: each open page
// asks for them again whenever something comes in. It waits a little longer than
// this before it asks, so that what came in is counted.
const keepFigures = time.Second

// todays are the figures of the first page, kept for each time zone.
type todays struct {
	mu    sync.Mutex
	zones map[string]*today
}

// today are the figures of a zone at a moment. Nobody changes them.
type today struct {
	mu      sync.Mutex // held while they are made, so that they are made once
	made    bool
	at      time.Time
	figures []*figures
	chart   *chart
}

// today returns the figures that were made last, if they are good, or makes them.
func (h *Handler) today(c *call) (*today, error) {
	t := h.todays.of(c.loc.String(), c.now)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.made {
		return t, nil
	}
	if c.r.Context().Err() != nil {
		return nil, context.Cause(c.r.Context())
	}
	var days [3]attribution.Row
	for i, back := range []int{0, 1, 7} {
		row, err := h.dayUntilNow(c, t.at, back)
		if err != nil {
			return nil, err
		}
		days[i] = row
	}
	var err error
	if t.chart, err = h.todayChart(c, t.at); err != nil {
		return nil, err
	}
	t.figures, t.made = compareDays(&days), true
	return t, nil
}

// of returns where the figures of a zone are kept, and drops what is too old.
func (ts *todays) of(zone string, now time.Time) *today {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for name, t := range ts.zones {
		if age := now.Sub(t.at); age >= keepFigures || age < 0 {
			delete(ts.zones, name)
		}
	}
	t := ts.zones[zone]
	if t == nil {
		t = &today{at: now}
		if ts.zones == nil {
			ts.zones = make(map[string]*today)
		}
		ts.zones[zone] = t
	}
	return t
}

// dayUntilNow adds up a day from its beginning to the same time of day as now.
// The whole quarters of an hour come from the sums, the rest from the records,
// so that little is read.
func (h *Handler) dayUntilNow(c *call, now time.Time, back int) (attribution.Row, error) {
	begin, end := untilNow(now.In(c.loc), back)
	edge := end.Truncate(capture.CellSpan)
	if edge.Before(begin) {
		edge = begin
	}
	var row attribution.Row
	for _, part := range [][2]time.Time{{begin, edge}, {edge, end}} {
		if !part[1].After(part[0]) {
			continue
		}
		r, err := h.ask(c, attribution.Query{From: part[0], To: part[1], Location: c.loc, Rates: h.src.Rates(), Exact: true})
		if err != nil {
			return row, err
		}
		row.Counts.Add(r.Total)
		row.Extra.Merge(r.TotalExtra)
	}
	row.Round()
	return row, nil
}

// untilNow returns the beginning of a day and the second after the time of day
// of now. That of today is now itself: where an hour comes twice, the time of
// day alone does not say which is meant.
func untilNow(now time.Time, back int) (begin, end time.Time) {
	y, m, d := now.Date()
	begin = attribution.StartOfDay(y, m, d-back, now.Location())
	if back == 0 {
		return begin, now.Truncate(time.Second).Add(time.Second)
	}
	hh, mm, ss := now.Clock()
	return begin, time.Date(y, m, d-back, hh, mm, ss+1, 0, now.Location())
}

// nowKeys are the figures of the first page, beside those of money.
var nowKeys = []string{"clicks", "conversions", sheet.RateKey}

// compareDays makes the figures of today, yesterday and a week ago.
func compareDays(days *[3]attribution.Row) []*figures {
	all := attribution.Report{TotalExtra: days[0].Extra}
	for i := range days {
		all.Rows = append(all.Rows, days[i])
	}
	var list []*figures
	for _, col := range columnsOf(&all) {
		if !slices.Contains(nowKeys, col.Key) && !isNowMoney(col.Key) {
			continue
		}
		f := &figures{Key: col.Key, Title: strings.TrimSuffix(col.Title, ", %")}
		today, ok := col.Of(&days[0])
		f.Today, f.Plain = figureText(col, today, ok)
		f.Yesterday = compare(col, &days[0], &days[1])
		f.Week = compare(col, &days[0], &days[2])
		list = append(list, f)
	}
	return list
}

func isNowMoney(key string) bool {
	name, _, _ := strings.Cut(key, ".")
	return name == "revenue" || name == "total_revenue"
}

func figureText(col *sheet.Column, f sheet.Figure, ok bool) (text, plain string) {
	if !ok {
		return "\u2013", ""
	}
	text = grouped(f.Text)
	if col.Key == sheet.RateKey {
		text += "\u00a0%"
	}
	return text, f.Text
}

// compare says how today's figure differs from an earlier one: in percent, and
// a rate in percentage points.
func compare(col *sheet.Column, today, then *attribution.Row) compared {
	a, okA := col.Of(today)
	b, okB := col.Of(then)
	var c compared
	c.Text, c.Plain = figureText(col, b, okB)
	if !okA || !okB {
		return c
	}
	switch a.Amount.Cmp(b.Amount) {
	case 1:
		c.Trend = "up"
	case -1:
		c.Trend = "down"
	default:
		c.Trend, c.Change = "same", "the same"
		return c
	}
	diff := a.Amount.Sub(b.Amount)
	if col.Key == sheet.RateKey {
		c.Change = signed(diff.Fixed(attribution.RateDigits())) + " points"
		return c
	}
	percent, ok := attribution.PercentChange(b.Amount, a.Amount)
	switch {
	case !ok:
	case percent.Cmp(tenfold) >= 0:
		c.Change = "over 10\u00a0×" // a percentage says nothing any more
	default:
		c.Change = changeText(percent)
	}
	return c
}

// changeText writes a change with as many digits as it needs not to be nothing.
func changeText(percent attribution.Amount) string {
	for digits := range 3 { // that is how exact it is
		if text := percent.Fixed(digits); strings.Trim(text, "-0.") != "" {
			return signed(text) + "\u00a0%"
		}
	}
	return "almost the same"
}

// tenfold is a growth to ten times as much, in percent.
var tenfold = attribution.AmountOf(900, 0)

func signed(s string) string {
	if s != "" && s[0] != '-' {
		return "+" + grouped(s)
	}
	return grouped(s)
}

// todayChart plots the clicks of today and yesterday by the hour.
func (h *Handler) todayChart(c *call, now time.Time) (*chart, error) {
	ch := &chart{Metric: "clicks", Title: "Clicks by the hour", Step: "hour", TZ: c.loc.String()}
	y, m, d := now.In(c.loc).Date()
	for i := range 24 {
		ch.X = append(ch.X, time.Date(y, m, d, i, 0, 0, 0, c.loc).Unix())
		ch.Labels = append(ch.Labels, fmt.Sprintf("%02d:00", i))
	}
	for back, label := range []string{"Today", "Yesterday"} {
		r, err := h.ask(c, attribution.Query{
			By: []string{"hour"}, Location: c.loc,
			From: attribution.StartOfDay(y, m, d-back, c.loc), To: attribution.StartOfDay(y, m, d-back+1, c.loc),
		})
		if err != nil {
			return nil, err
		}
		ch.Series = append(ch.Series, hours(&r, label, c.loc, back == 0, now))
	}
	return ch, nil
}

// hours makes a series of 24 hours by the clock; an hour that comes twice
// counts together, and one of today that is not over has no point.
func hours(r *attribution.Report, label string, loc *time.Location, today bool, now time.Time) *series {
	var clicks [24]int64
	for i := range r.Rows {
		if t, err := time.Parse(time.RFC3339, r.Rows[i].Keys[0]); err == nil {
			clicks[t.In(loc).Hour()] += r.Rows[i].Clicks
		}
	}
	s := &series{Label: label, Points: make([]*number, 24), Texts: make([]string, 24)}
	for i, n := range clicks {
		if today && i > now.In(loc).Hour() {
			s.Texts[i] = "\u2013"
			continue
		}
		text := strconv.FormatInt(n, 10)
		s.Texts[i] = grouped(text)
		if today && i == now.In(loc).Hour() {
			s.Texts[i] += " so far" // a point would look like a fall
			continue
		}
		point := number(text)
		s.Points[i] = &point
	}
	return s
}
