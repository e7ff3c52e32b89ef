package attribution

import (
	"testing"
	"time"
)

func zoneOf(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestStartOfDay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, day, want string }{
		{"America/Santiago", "2026-09-06", "2026-09-06T01:00:00-03:00"}, // no midnight
		{"America/Santiago", "2026-09-07", "2026-09-07T00:00:00-03:00"},
		{"America/Santiago", "2026-04-05", "2026-04-05T00:00:00-04:00"}, // 23:00 comes twice
		{"Atlantic/Azores", "2026-03-29", "2026-03-29T01:00:00Z"},
		{"Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00Z"}, // midnight comes twice
		{"America/Havana", "2026-03-08", "2026-03-08T01:00:00-04:00"},
		{"America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00"}, // midnight comes twice
		{"America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00"},
		{"Asia/Beirut", "2026-03-29", "2026-03-29T01:00:00+03:00"},
		{"Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00"},
		{"Pacific/Apia", "2011-12-29", "2011-12-29T00:00:00-10:00"},
		{"Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00"}, // no such day
		{"America/Toronto", "1919-03-31", "1919-03-31T00:30:00-04:00"},
		{"UTC", "2026-02-28", "2026-02-28T00:00:00Z"},
	} {
		day, err := time.Parse(time.DateOnly, c.day)
		if err != nil {
			t.Fatal(err)
		}
		y, m, d := day.Date()
		if got := StartOfDay(y, m, d, zoneOf(t, c.zone)).Format(time.RFC3339); got != c.want {
			t.Errorf("%s begins at %s in %s, want %s", c.day, got, c.zone, c.want)
		}
	}
}

// TestDaysFollow wants the days of a zone to have no gap between them and to be
// named as the clocks name them.
func TestDaysFollow(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{
		"America/Santiago", "Atlantic/Azores", "America/Havana", "America/Sao_Paulo", "America/Asuncion", "Asia/Beirut",
		"Africa/Cairo", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Scoresbysund", "Asia/Kathmandu", "UTC",
	} {
		loc := zoneOf(t, zone)
		last := StartOfDay(2012, 1, 1, loc)
		for i := 2; i < 20*365; i++ {
			next := StartOfDay(2012, 1, i, loc)
			if span := next.Sub(last); span < 22*time.Hour || span > 26*time.Hour {
				t.Fatalf("%s: the day from %s to %s has %s", zone, last, next, span)
			}
			name := time.Date(2012, 1, i, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
			before := next.Add(-time.Second).Format(time.DateOnly)
			if got := next.Format(time.DateOnly); got != name || before >= name || !StartOfDayOf(next, loc).Equal(next) {
				t.Fatalf("%s: %s begins at %s, after %s", zone, name, next, before)
			}
			if got := AddDays(last, 1, loc); !got.Equal(next) {
				t.Fatalf("%s: a day after %s is %s, want %s", zone, last, got, next)
			}
			last = next
		}
	}
}

func TestAddDays(t *testing.T) {
	t.Parallel()
	loc := zoneOf(t, "America/Santiago")
	noon := time.Date(2026, 9, 6, 12, 30, 0, 0, loc)
	if got := AddDays(noon, -30, loc); !got.Equal(time.Date(2026, 8, 7, 12, 30, 0, 0, loc)) {
		t.Errorf("got %s", got)
	}
}

func TestParseWhenWithoutMidnight(t *testing.T) {
	t.Parallel()
	loc := zoneOf(t, "America/Santiago")
	now := time.Date(2026, 9, 6, 15, 0, 0, 0, loc)
	const begin, end = "2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00"
	for s, want := range map[string][2]string{
		"2026-09-06": {begin, end},
		"2026-09-05": {"2026-09-05T00:00:00-04:00", begin},
		"today":      {begin, end},
		"yesterday":  {"2026-09-05T00:00:00-04:00", begin},
		"1days":      {begin, end},
		"2days":      {"2026-09-05T00:00:00-04:00", end},
		"this-month": {"2026-09-01T00:00:00-04:00", "2026-10-01T00:00:00-03:00"},
	} {
		for i, isEnd := range []bool{false, true} {
			if got, err := ParseWhen(s, isEnd, now, loc); err != nil || got.In(loc).Format(time.RFC3339) != want[i] {
				t.Errorf("%s, end %v: got %s %v, want %s", s, isEnd, got.In(loc), err, want[i])
			}
		}
	}
}
