package attribution

import (
	"strings"
	"testing"
	"time"
)

func TestParseWhen(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	// A Sunday, half past midnight in Berlin and still Saturday in UTC.
	now := time.Date(2026, 11, 21, 23, 37, 12, 0, time.UTC)
	for s, want := range map[string][2]string{
		"2026-11-01":                {"2026-11-01T00:00:00+01:00", "2026-11-02T00:00:00+01:00"},
		"2026-03-29":                {"2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		"2026-11-01T10:00:00Z":      {"2026-11-01T11:00:00+01:00", "2026-11-01T11:00:00+01:00"},
		"2026-11-01T10:00:00 02:00": {"2026-11-01T09:00:00+01:00", "2026-11-01T09:00:00+01:00"},
		"today":                     {"2026-11-22T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		"Yesterday":                 {"2026-11-21T00:00:00+01:00", "2026-11-22T00:00:00+01:00"},
		"1days":                     {"2026-11-22T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		"7days":                     {"2026-11-16T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		"this-week":                 {"2026-11-16T00:00:00+01:00", "2026-11-23T00:00:00+01:00"},
		"last-week":                 {"2026-11-09T00:00:00+01:00", "2026-11-16T00:00:00+01:00"},
		"this-month":                {"2026-11-01T00:00:00+01:00", "2026-12-01T00:00:00+01:00"},
		"last-month":                {"2026-10-01T00:00:00+02:00", "2026-11-01T00:00:00+01:00"},
		"this-year":                 {"2026-01-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"},
		"last-year":                 {"2025-01-01T00:00:00+01:00", "2026-01-01T00:00:00+01:00"},
		"now":                       {"2026-11-22T00:37:12+01:00", "2026-11-22T00:37:12+01:00"},
		"7d":                        {"2026-11-15T00:30:00+01:00", "2026-11-15T00:30:00+01:00"},
		"1d12h":                     {"2026-11-20T12:30:00+01:00", "2026-11-20T12:30:00+01:00"},
		"90m":                       {"2026-11-21T23:00:00+01:00", "2026-11-21T23:00:00+01:00"},
		"0d":                        {"2026-11-22T00:30:00+01:00", "2026-11-22T00:30:00+01:00"},
	} {
		for i, end := range []bool{false, true} {
			got, err := ParseWhen(s, end, now, berlin)
			if err != nil || got.In(berlin).Format(time.RFC3339) != want[i] {
				t.Errorf("%q, end %v: got %s %v, want %s", s, end, got.In(berlin).Format(time.RFC3339), err, want[i])
			}
		}
	}
	for _, s := range []string{"", "soon", "-7d", "7", "d", "2026-13-01", "0days", "99999d", "1d-2h", "9999999h", "2026-11-01T10:00", "7 d"} {
		if got, err := ParseWhen(s, false, now, berlin); err == nil || !strings.Contains(err.Error(), "use a date like") {
			t.Errorf("%q: got %s %v", s, got, err)
		}
	}
}

func TestParseWhenInJanuary(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 3, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]string{"last-month": "2025-12-01", "last-week": "2025-12-22", "this-week": "2025-12-29", "7days": "2025-12-28"} {
		if got, err := ParseWhen(s, false, now, time.UTC); err != nil || got.Format(time.DateOnly) != want {
			t.Errorf("%s: got %s %v, want %s", s, got, err, want)
		}
	}
}

func FuzzParseWhen(f *testing.F) {
	for _, seed := range []string{"7d", "today", "2026-01-31", "2026-01-31T00:00:00Z", "1d12h30m", "99999d99h", "7days", "last-month"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 20, 12, 7, 30, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		from, err := ParseWhen(s, false, now, time.UTC)
		to, errTo := ParseWhen(s, true, now, time.UTC)
		if (err == nil) != (errTo == nil) {
			t.Fatalf("%v and %v", err, errTo)
		}
		if err == nil && to.Before(from) {
			t.Fatalf("it ends at %s, before it begins at %s", to, from)
		}
	})
}
