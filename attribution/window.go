package attribution

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// clockSlack is how far a sender's clock, or a local time sent as UTC, may be
// off before its timestamp is refused.
const clockSlack = 24 * time.Hour

// earliestTime catches timestamps in the wrong unit and empty database dates.
var earliestTime = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// Deadline returns the last instant at which a conversion of a click still
// counts. A window of 0 is no limit, and so is the zero time it returns.
func Deadline(click time.Time, window time.Duration) time.Time {
	if window <= 0 {
		return time.Time{}
	}
	return click.Add(window)
}

// ReadTime reads a sender's timestamp: Unix time in seconds (10 digits),
// milliseconds (13) or microseconds (16), RFC 3339, or a date and time without
// zone ("2006-01-02 15:04:05", also with a T), which is UTC. A year that cannot
// be written in four digits is refused, for such a time has no text in JSON,
// and year 1, which empty dates have and the zero time.
func ReadTime(s string) (time.Time, error) {
	t, err := readTime(strings.TrimSpace(s))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading time %q: %w", clip(s), err)
	}
	return t, nil
}

func readTime(v string) (time.Time, error) {
	switch {
	case v == "":
		return time.Time{}, errors.New("it is empty")
	case digits(v):
		return readUnix(v)
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02T15:04:05"} {
		t, err := time.Parse(layout, v)
		if err != nil {
			continue
		}
		if t = t.UTC(); t.Year() <= 1 || t.Year() > 9999 {
			return time.Time{}, errors.New("no conversion was in that year: send no time where there is none")
		}
		return t, nil
	}
	// A plus sign in a query string arrives as a blank unless it is escaped.
	if i := strings.LastIndexByte(v, ' '); i > 0 {
		if _, err := time.Parse(time.RFC3339, v[:i]+"+"+v[i+1:]); err == nil {
			return time.Time{}, errors.New("the time zone lost its plus sign: send it as %2B")
		}
	}
	return time.Time{}, errors.New("it is in no form that is understood: send Unix time in seconds, like 1767225600, " +
		"or a date and time, like 2026-01-31T15:04:05Z")
}

func readUnix(v string) (time.Time, error) {
	var n int64
	if len(v) <= 16 {
		for _, c := range []byte(v) {
			n = n*10 + int64(c-'0')
		}
	}
	switch len(v) {
	case 10:
		return time.Unix(n, 0).UTC(), nil
	case 13:
		return time.UnixMilli(n).UTC(), nil
	case 16:
		return time.UnixMicro(n).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("it has %d digits, and Unix time has 10 in seconds, 13 in milliseconds or 16 in microseconds", len(v))
}

// CheckTime refuses a sender's time that cannot be true: more than 24 hours
// after now, more than 24 hours before the click, or before the year 2000.
func CheckTime(t, click, now time.Time) error {
	stamp := t.UTC().Format(time.RFC3339)
	switch {
	case t.Before(earliestTime):
		return fmt.Errorf("the postback says that the conversion was at %s, before the year 2000: does the sender send seconds as milliseconds?", stamp)
	case t.After(now.Add(clockSlack)):
		return fmt.Errorf("the postback says that the conversion was at %s, more than 24 hours from now: "+
			"is the sender's clock wrong, or does it send milliseconds as seconds?", stamp)
	case t.Before(click.Add(-clockSlack)):
		return fmt.Errorf("the postback says that the conversion was at %s, more than 24 hours before its click of %s: "+
			"is the sender's clock wrong, or does it send the time of something else?",
			stamp, click.UTC().Format(time.RFC3339))
	}
	return nil
}
