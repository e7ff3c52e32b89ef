package attribution

import "time"

// StartOfDay returns the first instant of a day on the clocks of loc; a day
// outside its month is counted on, as [time.Date] does. Where the clocks skip
// midnight the day begins later, and where they show it twice, with the first.
// A day that was skipped whole begins with the next.
func StartOfDay(year int, month time.Month, day int, loc *time.Location) time.Time {
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() // as if loc were UTC
	number := floorDiv(midnight, secondsPerDay)
	t := time.Date(year, month, day, 0, 0, 0, 0, loc)
	begin, end := t.ZoneBounds()
	switch local := localSeconds(t); {
	case floorDiv(local, secondsPerDay) < number && !end.IsZero():
		return end // midnight was skipped, and t is by the clocks of the day before
	case local != midnight && !begin.IsZero() && floorDiv(localSeconds(begin), secondsPerDay) == number:
		return begin // it was skipped, and t is by the clocks of the day
	case begin.IsZero():
		return t
	}
	_, offset := begin.Add(-time.Second).Zone()
	if first := time.Unix(midnight-int64(offset), 0).In(loc); first.Before(begin) && first.Before(t) &&
		localSeconds(first) == midnight {
		return first
	}
	return t
}

// StartOfDayOf returns the first instant of the day of t in loc.
func StartOfDayOf(t time.Time, loc *time.Location) time.Time {
	y, m, d := t.In(loc).Date()
	return StartOfDay(y, m, d, loc)
}

// AddDays returns the same time of day so many days later in loc. What begins a
// day begins the other, whatever the clocks show.
func AddDays(t time.Time, days int, loc *time.Location) time.Time {
	t = t.In(loc)
	if y, m, d := t.Date(); t.Equal(StartOfDay(y, m, d, loc)) {
		return StartOfDay(y, m, d+days, loc)
	}
	return t.AddDate(0, 0, days)
}

// localSeconds is what the clocks show, in seconds since 1970.
func localSeconds(t time.Time) int64 {
	_, offset := t.Zone()
	return t.Unix() + int64(offset)
}
