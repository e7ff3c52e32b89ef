package dashboard

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// Bounds of a plot.
const (
	maxSeries = 5
	// maxPoints ends a plot that nobody could read.
	maxPoints = 5000
)

// chart is one plot over time. The browser draws what the JSON says, which
// stands in a script element of type application/json, where html/template
// escapes what could end that; the same figures stand in a table.
type chart struct {
	Metric string `json:"metric"`
	Title  string `json:"title"`
	Unit   string `json:"unit"`
	// Step is hour, day or month.
	Step   string    `json:"step"`
	TZ     string    `json:"tz"`
	X      []int64   `json:"x"` // Unix seconds
	Labels []string  `json:"labels"`
	Series []*series `json:"series"`
	// More counts the series that are left out.
	More int `json:"more"`
}

// number is an exact decimal as JSON has it. What plots it may round; we do
// not.
type number = json.Number

// series is one line of a plot. A point is null where there is no figure.
type series struct {
	Label  string    `json:"label"`
	Points []*number `json:"points"`
	// Texts are the points for people.
	Texts []string `json:"texts"`
}

// reportChart plots a report over time: its own rows if it has a dimension of
// time, else a report of the same by the fitting one.
func (h *Handler) reportChart(c *call, v *view, r *attribution.Report) (*chart, error) {
	step := v.timeDimension()
	by := v.By
	if step == "" {
		step = stepFor(v.from, v.to)
		q := v.query(h.src.Rates())
		q.By = []string{step}
		by = q.By
		over, err := h.ask(c, q)
		if err != nil {
			return nil, err
		}
		r = &over
	}
	done, err := h.turn(c)
	if err != nil {
		return nil, err
	}
	defer done()
	return makeChart(c.r.Context(), r, by, step, chartMetric(v, r), v)
}

// stepFor is the step in which a range of time is best looked at.
func stepFor(from, to time.Time) string {
	switch span := to.Sub(from); {
	case span <= 3*24*time.Hour:
		return "hour"
	case span > 200*24*time.Hour:
		return "month"
	}
	return "day"
}

// chartMetric is the column to be plotted: the one asked for if it is there,
// else the one by which the table is sorted, else the clicks.
func chartMetric(v *view, r *attribution.Report) *sheet.Column {
	columns := columnsOf(r)
	for _, key := range []string{v.Metric, strings.TrimPrefix(v.Sort, "-")} {
		if i := slices.IndexFunc(columns, func(c *sheet.Column) bool { return c.Key == key }); i >= 0 {
			return columns[i]
		}
	}
	return columns[0]
}

// makeChart makes a plot of the rows of a report by the dimensions of which
// one is step. Each combination of the others is a series; those with the most
// are shown, and only those are laid out.
func makeChart(ctx context.Context, r *attribution.Report, by []string, step string, metric *sheet.Column, v *view) (*chart, error) {
	ch := &chart{Metric: metric.Key, Title: metric.Title, Step: step, TZ: v.loc.String(), Unit: unitOf(metric.Key)}
	at := slices.Index(by, step)
	index := make(map[string]int)
	for _, label := range steps(r, at, step, v) {
		t, ok := stepTime(step, label, v.loc)
		if ok && len(ch.X) < maxPoints {
			index[label] = len(ch.X)
			ch.X = append(ch.X, t.Unix())
			ch.Labels = append(ch.Labels, dimensionText(step, label))
		}
	}
	largest, more, err := largestSeries(ctx, r, at, metric, index)
	if err != nil {
		return nil, err
	}
	ch.More = more
	points := make(map[string]*series, len(largest))
	for _, key := range largest {
		points[key] = newSeries("", len(ch.X), metric.Key)
		ch.Series = append(ch.Series, points[key])
	}
	var key []byte
	for i := range r.Rows {
		row := &r.Rows[i]
		key = seriesKey(key[:0], row.Keys, at)
		s := points[string(key)]
		if s == nil {
			continue
		}
		s.Label = seriesLabel(slices.Delete(slices.Clone(row.Keys), at, at+1))
		n, known := index[row.Keys[at]]
		if f, ok := metric.Of(row); known && ok {
			number := number(f.Text)
			s.Points[n], s.Texts[n] = &number, grouped(f.Text)
		}
	}
	return ch, nil
}

// ctxRows is after how many rows a plot looks whether anybody waits for it.
const ctxRows = 4096

// largestSeries returns the keys of the series with the most, which are few, and
// how many others there are.
func largestSeries(ctx context.Context, r *attribution.Report, at int, metric *sheet.Column, index map[string]int) (keys []string, more int, err error) {
	sums := make(map[string]attribution.Amount)
	var key []byte
	for i := range r.Rows {
		if i%ctxRows == 0 && ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		row := &r.Rows[i]
		key = seriesKey(key[:0], row.Keys, at)
		sum, seen := sums[string(key)]
		if !seen {
			keys = append(keys, string(key))
		}
		if _, known := index[row.Keys[at]]; known {
			if f, ok := metric.Of(row); ok {
				sum = sum.Add(f.Amount)
			}
		}
		sums[string(key)] = sum
	}
	slices.SortStableFunc(keys, func(a, b string) int { return sums[b].Cmp(sums[a]) })
	if len(keys) > maxSeries {
		keys, more = keys[:maxSeries], len(keys)-maxSeries
	}
	return keys, more, nil
}

// seriesKey appends all values of a row but the time. Visitors choose some of
// them, so nothing that stands between them could tell them apart: their lengths
// do.
func seriesKey(to []byte, values []string, at int) []byte {
	for i, v := range values {
		if i != at {
			to = append(binary.AppendUvarint(to, uint64(len(v))), v...)
		}
	}
	return to
}

func seriesLabel(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	names := slices.Clone(keys)
	for i, name := range names {
		if name == "" {
			names[i] = "(none)"
		}
	}
	return strings.Join(names, " / ")
}

// newSeries is a line at zero; a rate has no figure where nothing happened.
func newSeries(label string, n int, metric string) *series {
	s := &series{Label: label, Points: make([]*number, n), Texts: make([]string, n)}
	for i := range n {
		if metric == sheet.RateKey || strings.Contains(metric, "epc.") {
			s.Texts[i] = "\u2013"
			continue
		}
		zero := number("0")
		s.Points[i], s.Texts[i] = &zero, "0"
	}
	return s
}

// steps lists all hours, days or months of the report in order, those without
// any row too, and none that is still to come.
func steps(r *attribution.Report, at int, step string, v *view) []string {
	seen := make(map[string]bool)
	var list []string
	add := func(label string) {
		if !seen[label] {
			seen[label] = true
			list = append(list, label)
		}
	}
	end := v.to
	if v.now.Before(end) && v.now.After(v.from) {
		end = v.now
	}
	t := firstStep(r, at, step, v)
	for range maxPoints {
		if !t.Before(end) {
			break
		}
		add(stepLabel(step, t))
		t = nextStep(step, t)
	}
	for i := range r.Rows {
		add(r.Rows[i].Keys[at])
	}
	slices.SortStableFunc(list, func(a, b string) int { return attribution.CompareKeys(step, a, b) })
	return list
}

// maxEmpty is how many empty steps are plotted in front of the first row.
const maxEmpty = 400

// firstStep is where a plot begins: with the report, unless there is nothing
// for so long that what there is would not be seen.
func firstStep(r *attribution.Report, at int, step string, v *view) time.Time {
	var first time.Time
	for i := range r.Rows {
		if t, ok := stepTime(step, r.Rows[i].Keys[at], v.loc); ok && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	width := map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour, "month": 31 * 24 * time.Hour}[step]
	if first.Sub(v.from) > maxEmpty*width {
		return first.In(v.loc)
	}
	return v.from.In(v.loc)
}

// stepLabel is what a report calls the step of t.
func stepLabel(step string, t time.Time) string {
	switch step {
	case "hour":
		_, offset := t.Zone()
		local := t.Unix() + int64(offset)
		begin := time.Unix(local-((local%3600)+3600)%3600-int64(offset), 0)
		zone := time.UTC
		if offset != 0 {
			zone = time.FixedZone("", offset)
		}
		return begin.In(zone).Format(time.RFC3339)
	case "day":
		return t.Format(time.DateOnly)
	}
	return t.Format("2006-01")
}

// nextStep returns the beginning of the next step, always later than t.
func nextStep(step string, t time.Time) time.Time {
	y, m, d := t.Date()
	next := t.Add(time.Hour)
	switch step {
	case "day":
		next = attribution.StartOfDay(y, m, d+1, t.Location())
	case "month":
		next = attribution.StartOfDay(y, m+1, 1, t.Location())
	}
	if !next.After(t) {
		return t.Add(24 * time.Hour)
	}
	return next
}

func stepTime(step, label string, loc *time.Location) (time.Time, bool) {
	if step == "hour" {
		t, err := time.Parse(time.RFC3339, label)
		return t, err == nil
	}
	layout := map[string]string{"day": time.DateOnly, "month": "2006-01"}[step]
	t, err := time.Parse(layout, label)
	y, m, d := t.Date()
	return attribution.StartOfDay(y, m, d, loc), err == nil
}

// unitOf is what the figures of a column are in: a currency, percent, or
// nothing.
func unitOf(key string) string {
	if key == sheet.RateKey {
		return "%"
	}
	if _, currency, ok := strings.Cut(key, "."); ok {
		return currency
	}
	return ""
}
