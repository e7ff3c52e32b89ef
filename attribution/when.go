package attribution

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// WhenHelp says in one line what [ParseWhen] reads.
const WhenHelp = "a date like 2026-01-31, RFC 3339, how long ago like 7d or 12h, or one of today, yesterday, 7days (whole days, " +
	"today included), this-week, last-week, this-month, last-month, this-year, last-year"

// whenStep is what a time that is how long ago is rounded down to: the sums of
// reports have a boundary there, so that they can answer it.
const whenStep = 15 * time.Minute

// maxAgo bounds how long ago a time can be, far above every retention.
const maxAgo = 100 * 366 * 24 * time.Hour

// ParseWhen reads a point in time as people give it: RFC 3339, a date, a named
// period, or how long before now. Dates, and days, weeks (from Monday), months
// and years, are those of loc. Of a date or a period it returns the beginning,
// or the end if it is to end a range: to yesterday includes yesterday.
func ParseWhen(s string, end bool, now time.Time, loc *time.Location) (time.Time, error) {
	// An unescaped + of an offset arrives in a query as a blank.
	if t, err := time.Parse(time.RFC3339, strings.Replace(s, " ", "+", 1)); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		y, m, d := t.Date()
		if end {
			d++
		}
		return StartOfDay(y, m, d, loc), nil
	}
	if from, to, ok := namedPeriod(strings.ReplaceAll(strings.ToLower(s), " ", "-"), now.In(loc)); ok {
		if end {
			return to, nil
		}
		return from, nil
	}
	if d, ok := parseAgo(s); ok {
		return now.Add(-d).Truncate(whenStep), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: use %s", clip(s), WhenHelp)
}

// wholeDays is what names so many whole days, today included.
var wholeDays = regexp.MustCompile(`^([1-9][0-9]{0,3})days$`)

// namedPeriod returns the beginning and the end of a period around now.
func namedPeriod(name string, now time.Time) (from, to time.Time, ok bool) {
	y, m, d := now.Date()
	day := func(y int, m time.Month, d int) time.Time { return StartOfDay(y, m, d, now.Location()) }
	monday := d - (int(now.Weekday())+6)%7
	switch name {
	case "now":
		return now, now, true
	case "today":
		return day(y, m, d), day(y, m, d+1), true
	case "yesterday":
		return day(y, m, d-1), day(y, m, d), true
	case "this-week":
		return day(y, m, monday), day(y, m, monday+7), true
	case "last-week":
		return day(y, m, monday-7), day(y, m, monday), true
	case "this-month":
		return day(y, m, 1), day(y, m+1, 1), true
	case "last-month":
		return day(y, m-1, 1), day(y, m, 1), true
	case "this-year":
		return day(y, 1, 1), day(y+1, 1, 1), true
	case "last-year":
		return day(y-1, 1, 1), day(y, 1, 1), true
	}
	if part := wholeDays.FindStringSubmatch(name); part != nil {
		n, _ := strconv.Atoi(part[1])
		return day(y, m, d-n+1), day(y, m, d+1), true
	}
	return from, to, false
}

// agoDays are days in front of what time.ParseDuration reads, which has none.
var agoDays = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

func parseAgo(s string) (time.Duration, bool) {
	var d time.Duration
	if part := agoDays.FindStringSubmatch(s); part != nil {
		n, _ := strconv.Atoi(part[1])
		d = time.Duration(n) * 24 * time.Hour
		if s = part[2]; s == "" {
			return d, d <= maxAgo
		}
	}
	rest, err := time.ParseDuration(s)
	if err != nil || rest < 0 || rest > maxAgo || d > maxAgo {
		return 0, false
	}
	return d + rest, true
}
