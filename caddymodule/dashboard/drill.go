package dashboard

import (
	"slices"
	"strings"
	"time"
)

// drillOrder is what is looked at next when the last dimension was narrowed
// down to one value.
var drillOrder = []string{"campaign", "source", "destination", "event", "day"}

// drill returns the address of the report on one value of a column.
func (v *view) drill(dimension, value string) string {
	return v.with(func(c *view) {
		c.Limit = defaultRows
		from, to, when := span(dimension, value, v.loc)
		next := ""
		switch {
		case when:
			c.From, c.To = from, to
			next = map[string]string{"month": "day", "day": "hour"}[dimension]
		default:
			c.Filters[dimension] = value
		}
		c.By = slices.DeleteFunc(c.By, func(d string) bool { return d == dimension })
		if strings.TrimPrefix(c.Sort, "-") == dimension {
			c.Sort = ""
		}
		for _, name := range drillOrder {
			if _, narrowed := c.Filters[name]; next == "" && !narrowed && name != dimension {
				next = name
			}
		}
		if len(c.By) == 0 && next != "" {
			c.By = []string{next}
		}
	})
}

// span returns the range of a value of a dimension of time, as parameters. A
// range ends with the day that it includes, so that addresses stay readable.
func span(dimension, value string, loc *time.Location) (from, to string, ok bool) {
	switch dimension {
	case "day":
		return value, value, true
	case "month":
		t, err := time.Parse("2006-01", value)
		return value + "-01", t.AddDate(0, 1, -1).Format(time.DateOnly), err == nil
	case "hour":
		t, err := time.Parse(time.RFC3339, value)
		// A new hour begins where the clock is changed, so it can be shorter.
		end := t.Add(time.Hour)
		if _, change := t.In(loc).ZoneBounds(); !change.IsZero() && change.Before(end) && change.After(t) {
			end = change
		}
		return value, end.In(t.Location()).Format(time.RFC3339), err == nil
	}
	return "", "", false
}
