package dashboard

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/asked"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// Bounds of a report's view.
const (
	maxDimensions = 6
	maxFilters    = 12
	// defaultRows is how many rows are shown unless asked for more, and
	// maxPageRows the most a page has; a CSV file can have them all.
	defaultRows = 500
	maxPageRows = 5000
	maxRows     = 10_000_000
)

// subDimension begins the name of a sub-ID as a dimension.
const subDimension = "sub."

// view is a whole report as its address says it: what is asked for and how it
// is shown. Whoever has the address sees the same.
type view struct {
	By []string
	// From and To are as they were given, for links that go on meaning
	// "today"; from and to are what they are now.
	From, To string
	from, to time.Time
	now      time.Time
	TZ       string
	loc      *time.Location
	// Filters maps a dimension to the one value that is wanted; "" is the
	// empty value.
	Filters map[string]string
	// Sort is the key of a column, with - in front for falling order.
	Sort   string
	Metric string
	Limit  uint64 // 0 is all
}

// filterNames are the dimensions with a filter, beside those of sub-IDs.
var filterNames = []string{"campaign", "source", "destination", "event"}

var reportParams = []string{
	"by", "from", "to", "tz", "campaign", "source", "destination", "event", subDimension, "none", "sort", "metric", "limit",
}

// normalise turns what the form sends into the parameters of a view. changed
// says that the address can be written better.
func normalise(given url.Values) (values url.Values, changed bool) {
	values = make(url.Values, len(given))
	for name, list := range given {
		if len(list) == 1 && list[0] == "" && name != "by" {
			changed = true
			continue
		}
		values[name] = list
		if len(list) > 1 && (name == "by" || name == "none") {
			values[name], changed = []string{strings.Join(list, ",")}, true
		}
	}
	take := func(name string) string {
		s := strings.TrimSpace(values.Get(name))
		if len(values[name]) == 1 {
			values.Del(name)
			changed = true
		}
		return s
	}
	by := func(name string) {
		if values.Has("by") {
			name = values.Get("by") + "," + name
		} else {
			name = "campaign," + name
		}
		values.Set("by", strings.Trim(name, ","))
	}
	if s := take("add"); s != "" && s != "sub" {
		by(s)
	}
	if s := take("addsub"); s != "" {
		by(subDimension + strings.TrimPrefix(s, subDimension))
	}
	where, sub, is := take("where"), take("wheresub"), take("is")
	if where == "sub" {
		where = subDimension + strings.TrimPrefix(sub, subDimension)
	}
	switch {
	case where == "" || where == subDimension:
	case is != "":
		values.Set(where, is)
	default:
		values.Del(where)
		values.Set("none", strings.Trim(values.Get("none")+","+where, ","))
	}
	return values, changed
}

// parseView reads the address of a report. better says that there is a shorter
// address that means the same.
func parseView(given url.Values, now time.Time) (v *view, better bool, err error) {
	values, better := normalise(given)
	v, err = readView(readParams(values, now, reportParams...))
	return v, better, err
}

func readView(p *params) (*view, error) {
	v := &view{
		TZ: p.zone(), From: p.Get("from"), To: p.Get("to"), Sort: p.Get("sort"), Metric: p.Get("metric"),
		Limit: defaultRows, now: p.Now,
	}
	v.loc = p.Loc
	if p.Get("limit") == "all" {
		v.Limit = 0
	} else {
		v.Limit = p.Number("limit", defaultRows, 1, maxRows)
	}
	v.readBy(p)
	v.readFilters(p)
	v.readRange(p)
	if err := p.refusal(); err != nil {
		return nil, err
	}
	if err := v.query(nil).Validate(); err != nil {
		return nil, badRequest(err.Error())
	}
	if err := v.checkColumns(); err != nil {
		return nil, err
	}
	return v, nil
}

// readBy reads the dimensions, separated by commas. An empty list asks for the
// total alone.
func (v *view) readBy(p *params) {
	v.By = []string{"campaign"}
	given, ok := p.Values["by"]
	if !ok {
		return
	}
	v.By = nil
	for name := range strings.SplitSeq(given[0], ",") {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(v.By, name) {
			v.By = append(v.By, name)
		}
	}
	if len(v.By) > maxDimensions {
		p.Fail("by names %d dimensions: use %d at most", len(v.By), maxDimensions)
	}
}

func (v *view) readFilters(p *params) {
	v.Filters = make(map[string]string)
	for name, values := range p.Values {
		if (slices.Contains(filterNames, name) || strings.HasPrefix(name, subDimension)) && values[0] != "" {
			v.Filters[name] = values[0]
		}
	}
	for name := range strings.SplitSeq(p.Get("none"), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !slices.Contains(filterNames, name) && !strings.HasPrefix(name, subDimension) {
			p.Fail("none names %q: use campaign, source, destination, event or sub.<name>", asked.Clip(name))
			continue
		}
		if _, twice := v.Filters[name]; twice {
			p.Fail("%s is given and none says that it is empty: leave one out", asked.Clip(name))
		}
		v.Filters[name] = ""
	}
	if len(v.Filters) > maxFilters {
		p.Fail("there are %d filters: use %d at most", len(v.Filters), maxFilters)
	}
}

func (v *view) readRange(p *params) {
	v.from, v.to = p.ReportRange(p.time("from", false), p.time("to", true))
}

// checkColumns refuses a sort or a metric of a column that cannot be there.
func (v *view) checkColumns() error {
	if key := strings.TrimPrefix(v.Sort, "-"); v.Sort != "" && !slices.Contains(v.By, key) && !isFigure(key) {
		return badRequest(fmt.Sprintf("sort is %q, which is no column of this report", asked.Clip(v.Sort)))
	}
	if v.Metric != "" && !isFigure(v.Metric) {
		return badRequest(fmt.Sprintf("metric is %q, which is no figure of a report: use one like clicks, conversions, "+
			"rate or revenue.USD", asked.Clip(v.Metric)))
	}
	return nil
}

// isFigure tells whether key can be a column of figures; those of money end
// with the currency.
func isFigure(key string) bool {
	name, currency, money := strings.Cut(key, ".")
	if !money {
		return name == sheet.RateKey || slices.ContainsFunc(sheet.Counts, func(c *sheet.Column) bool { return c.Key == name })
	}
	if len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return false
	}
	return slices.Contains(sheet.MoneyKeys, name)
}

// query is what the view asks of the store.
func (v *view) query(rates *attribution.Rates) attribution.Query {
	q := attribution.Query{By: v.By, From: v.from, To: v.to, Location: v.loc, Rates: rates}
	for _, name := range slices.Sorted(maps.Keys(v.Filters)) {
		switch value := v.Filters[name]; {
		// Stores leave these out early.
		case name == "campaign" && value != "":
			q.Campaign = value
		case name == "source" && value != "":
			q.Source = value
		default:
			q.Filters = append(q.Filters, attribution.Filter{Dimension: name, Value: value})
		}
	}
	return q
}

// values is the query of the view's address, the shortest that means it.
func (v *view) values() url.Values {
	q := query("from", v.From, "to", v.To, "tz", v.TZ, "sort", v.Sort, "metric", v.Metric)
	if !slices.Equal(v.By, []string{"campaign"}) {
		q.Set("by", strings.Join(v.By, ","))
	}
	var none []string
	for _, name := range slices.Sorted(maps.Keys(v.Filters)) {
		if value := v.Filters[name]; value != "" {
			q.Set(name, value)
		} else {
			none = append(none, name)
		}
	}
	if none != nil {
		q.Set("none", strings.Join(none, ","))
	}
	switch v.Limit {
	case defaultRows:
	case 0:
		q.Set("limit", "all")
	default:
		q.Set("limit", fmt.Sprint(v.Limit))
	}
	return q
}

// with returns the address of a view that differs from this one.
func (v *view) with(change func(*view)) string {
	c := *v
	c.By, c.Filters = slices.Clone(v.By), maps.Clone(v.Filters)
	change(&c)
	return link("report", c.values())
}

// timeDimension returns the first dimension of time, or "".
func (v *view) timeDimension() string {
	for _, d := range v.By {
		if d == "hour" || d == "day" || d == "month" {
			return d
		}
	}
	return ""
}
