package attribution

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// subPrefix begins the dimension of a sub-ID: sub.<name>.
const subPrefix = "sub."

// Query is a question for a report.
type Query struct {
	// By are the dimensions: campaign, source, event, destination, hour, day,
	// month and sub.<name>. None asks for the total only.
	By       []string
	From, To time.Time // half-open: From counts, To does not
	// Campaign and Source narrow the report; "" takes all.
	Campaign, Source string
	// Filters narrow the report further; all of them have to fit.
	Filters []Filter
	// Location is whose hours, days and months are meant; nil is UTC.
	Location *time.Location
	// Rates, if set, add a converted total to every row.
	Rates *Rates
	// Exact leaves converted totals as they are instead of rounding them, for
	// who adds up several reports; see [Extra.Round].
	Exact bool
	// Lags asks for the time from click to conversion.
	Lags bool
}

// Filter takes only what has one value in a dimension. One for an event narrows
// the conversions and leaves the clicks, which have none, for comparison; with
// an empty value it takes the clicks alone.
type Filter struct {
	Dimension string // campaign, source, event, destination or sub.<name>
	Value     string
}

func (f *Filter) validate() error {
	name, sub := strings.CutPrefix(f.Dimension, subPrefix)
	switch {
	case sub && name != "":
		return nil
	case sub || !fixedDimension(f.Dimension) || timeDimension(f.Dimension):
		return fmt.Errorf("unknown filter %q: use campaign, source, event, destination or sub.<name>", clip(f.Dimension))
	}
	return nil
}

// takes tells whether d fits.
func (f *Filter) takes(d *Dims) bool {
	switch f.Dimension {
	case "campaign":
		return d.Campaign == f.Value
	case "source":
		return d.Source == f.Value
	case "destination":
		return d.Destination == f.Value
	case "event":
		return d.Event == f.Value || d.Event == ""
	}
	value := ""
	if d.Sub != nil {
		value = d.Sub(strings.TrimPrefix(f.Dimension, subPrefix))
	}
	return value == f.Value
}

// Validate refuses a query that has no answer and says what is allowed.
func (q Query) Validate() error {
	for i, d := range q.By {
		name, sub := strings.CutPrefix(d, subPrefix)
		switch {
		case sub && name == "":
			return fmt.Errorf("dimension %q names no sub-ID: write it like sub.creative", d)
		case !sub && !fixedDimension(d):
			return fmt.Errorf("unknown dimension %q: use campaign, source, event, destination, hour, day, month or sub.<name>", clip(d))
		case slices.Contains(q.By[:i], d):
			return fmt.Errorf("dimension %q is named twice: name it once", clip(d))
		}
	}
	for i := range q.Filters {
		if err := q.Filters[i].validate(); err != nil {
			return err
		}
	}
	if !q.To.After(q.From) {
		if q.From.IsZero() && q.To.IsZero() {
			return errors.New("the report has no time range: give from and to")
		}
		return fmt.Errorf("the report ends at %q, which is not after its beginning at %q",
			q.To.Format(time.RFC3339), q.From.Format(time.RFC3339))
	}
	return nil
}

func fixedDimension(d string) bool {
	switch d {
	case "campaign", "source", "event", "destination":
		return true
	}
	return timeDimension(d)
}

func timeDimension(d string) bool { return d == "hour" || d == "day" || d == "month" }

// NeedsSub reports whether a sub-ID is asked for, which sums kept without
// sub-IDs cannot answer.
func (q Query) NeedsSub() bool {
	return slices.ContainsFunc(q.By, isSub) ||
		slices.ContainsFunc(q.Filters, func(f Filter) bool { return isSub(f.Dimension) })
}

func isSub(d string) bool { return strings.HasPrefix(d, subPrefix) }

func (q Query) location() *time.Location {
	if q.Location == nil {
		return time.UTC
	}
	return q.Location
}

// Aligned reports whether sums kept per bucket of UTC time since 1970 answer
// the query exactly: From, To and every boundary of the hours, days and months
// asked for fall between two buckets. All offsets from UTC and changes of the
// clock since 2012 fall on 15 minutes; before, St. John's set its clocks at
// 00:01, and the local mean times of the 19th century fall on nothing.
func (q Query) Aligned(bucket time.Duration) bool {
	if bucket < time.Second || bucket%time.Second != 0 {
		return false
	}
	width := int64(bucket / time.Second)
	if !onBucket(q.From, width) || !onBucket(q.To, width) {
		return false
	}
	period := int64(0) // seconds between the finest boundaries
	for _, d := range q.By {
		switch {
		case d == "hour":
			period = 3600
		case timeDimension(d) && period == 0:
			period = 24 * 3600
		}
	}
	if period == 0 {
		return true
	}
	if period%width != 0 {
		return false
	}
	for t := q.From.In(q.location()); t.Before(q.To); {
		if _, offset := t.Zone(); int64(offset)%width != 0 {
			return false
		}
		// A change of the clock is a boundary, too: it begins a new hour, and
		// a new day where midnight does not exist.
		_, change := t.ZoneBounds()
		if change.IsZero() || !change.Before(q.To) {
			break
		}
		if !change.After(t) || !onBucket(change, width) {
			return false
		}
		t = change
	}
	return true
}

func onBucket(t time.Time, width int64) bool { return t.Nanosecond() == 0 && t.Unix()%width == 0 }
