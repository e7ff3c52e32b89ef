package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// reportPage is what the template of a report shows.
type reportPage struct {
	View         *view
	Heading      string
	From, Until  time.Time // Until is the last instant
	Presets      []choice
	Dimensions   []chip
	Addable      []choice
	Filters      []chip
	Hidden       [][2]string // parameters that the form keeps
	Table        *table
	CSV, AllCSV  string
	More         string
	WithoutRates []attribution.Currency
	Chart        *chart
	Metrics      []choice
	Zones        []string
}

// choice is one of several links or options.
type choice struct {
	Text, Link string
	Value      string
	Current    bool
}

// chip is something that can be taken away again.
type chip struct {
	Name, Value string
	Empty       bool
	Remove      string
}

// report answers /report and /report.csv.
func (h *Handler) report(c *call) error {
	v, better, err := parseView(c.r.URL.Query(), c.now)
	if err != nil {
		return err
	}
	if c.badQuery != nil {
		return c.badQuery
	}
	csv := c.r.URL.Path == "/report.csv"
	if better && !csv {
		return c.redirect(v.with(func(*view) {}))
	}
	c.zone(v.TZ, v.loc)
	r, err := h.ask(c, v.query(h.src.Rates()))
	if err != nil {
		return err
	}
	if csv {
		return c.csv(v, &r, "capture-report.csv")
	}
	most := v.Limit
	if most == 0 || most > maxPageRows {
		most = maxPageRows
	}
	p := &reportPage{
		View: v, From: v.from, Until: v.to.Add(-time.Second), Heading: heading(v),
		Table: makeTable(v, &r, most), Zones: commonZones,
	}
	if p.Chart, err = h.reportChart(c, v, &r); err != nil {
		return err
	}
	if total := r.TotalExtra.Converted; total != nil {
		p.WithoutRates = total.WithoutRate
	}
	p.links(v)
	p.metrics(v, &r)
	return c.render(http.StatusOK, "report", "Report", p)
}

// ask asks the store for a report. Only so many are made at a time: a page must
// not take the machine away from the visitors.
func (h *Handler) ask(c *call, q attribution.Query) (attribution.Report, error) {
	reader, err := h.src.Reader()
	if err != nil {
		return attribution.Report{}, unavailable(err)
	}
	done, err := h.turn(c)
	if err != nil {
		return attribution.Report{}, err
	}
	defer done()
	r, err := reader.Report(c.r.Context(), q)
	switch {
	case errors.Is(err, attribution.ErrTooManyRows):
		return r, &problem{http.StatusBadRequest, "This report is too large", sentence(err.Error())}
	case err != nil:
		return r, fmt.Errorf("making the report: %w", err)
	}
	return r, nil
}

// turn waits until one more report may be made; done has to be called after it.
func (h *Handler) turn(c *call) (done func(), err error) {
	ctx := c.r.Context()
	select {
	case h.reports <- struct{}{}:
		return func() { <-h.reports }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

func heading(v *view) string {
	if len(v.By) == 0 {
		return "Total"
	}
	names := make([]string, len(v.By))
	for i, d := range v.By {
		names[i] = dimensionTitle(d)
	}
	return strings.Join(names, ", ")
}

// dimensionTitle is the name of a dimension for people.
func dimensionTitle(d string) string {
	if name, ok := strings.CutPrefix(d, subDimension); ok {
		return "Sub-ID " + name
	}
	return strings.ToUpper(d[:1]) + d[1:]
}

// presets are the ranges of time that are one click away.
var presets = []struct{ text, from, to string }{
	{"Today", "today", "today"},
	{"Yesterday", "yesterday", "yesterday"},
	{"7 days", "7days", ""},
	{"30 days", "", ""},
	{"This month", "this-month", ""},
	{"Last month", "last-month", "last-month"},
}

// commonZones are suggested; every zone of the IANA database is taken.
var commonZones = []string{
	"UTC", "Europe/London", "Europe/Berlin", "Europe/Moscow", "Asia/Dubai", "Asia/Kolkata", "Asia/Singapore",
	"Asia/Tokyo", "Australia/Sydney", "America/Sao_Paulo", "America/New_York", "America/Chicago", "America/Denver",
	"America/Los_Angeles",
}

func (p *reportPage) links(v *view) {
	for _, pre := range presets {
		p.Presets = append(p.Presets, choice{
			Text: pre.text, Current: v.From == pre.from && v.To == pre.to,
			Link: v.with(func(c *view) { c.From, c.To = pre.from, pre.to }),
		})
	}
	for i, d := range v.By {
		p.Dimensions = append(p.Dimensions, chip{Name: dimensionTitle(d), Value: d, Remove: v.with(func(c *view) {
			c.By = slices.Delete(c.By, i, i+1)
			if strings.TrimPrefix(c.Sort, "-") == d {
				c.Sort = ""
			}
		})})
	}
	for _, d := range []string{"campaign", "source", "destination", "event", "hour", "day", "month"} {
		if !slices.Contains(v.By, d) {
			p.Addable = append(p.Addable, choice{Text: dimensionTitle(d), Value: d})
		}
	}
	for _, f := range v.filterList() {
		p.Filters = append(p.Filters, chip{
			Name: dimensionTitle(f[0]), Value: f[1], Empty: f[1] == "",
			Remove: v.with(func(c *view) { delete(c.Filters, f[0]) }),
		})
	}
	kept := v.values()
	for _, name := range []string{"from", "to", "tz"} { // the form's own fields
		kept.Del(name)
	}
	kept.Set("by", strings.Join(v.By, ","))
	for name, values := range kept {
		p.Hidden = append(p.Hidden, [2]string{name, values[0]})
	}
	slices.SortFunc(p.Hidden, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	p.CSV = link("report.csv", v.values())
	if p.Table.Left > 0 {
		p.AllCSV = strings.Replace(v.with(func(c *view) { c.Limit = 0 }), "report?", "report.csv?", 1)
		if v.Limit != 0 && v.Limit < maxPageRows {
			p.More = v.with(func(c *view) { c.Limit = maxPageRows })
		}
	}
}

// metrics lists what can be plotted.
func (p *reportPage) metrics(v *view, r *attribution.Report) {
	for _, col := range columnsOf(r) {
		p.Metrics = append(p.Metrics, choice{
			Text: col.Title, Value: col.Key, Current: p.Chart != nil && p.Chart.Metric == col.Key,
			Link: v.with(func(c *view) { c.Metric = col.Key }),
		})
	}
}
