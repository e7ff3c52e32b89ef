package attribution

import (
	"testing"
	"time"
)

func TestReadTime(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for in, plus := range map[string]time.Duration{
		"1767323045": 0, "1767323045123": 123 * time.Millisecond, "1767323045123456": 123456 * time.Microsecond,
		"2026-01-02T03:04:05Z": 0, "2026-01-02T05:04:05+02:00": 0, "2026-01-02T03:04:05.5Z": 500 * time.Millisecond,
		"2026-01-02 03:04:05": 0, " 2026-01-02T03:04:05 ": 0,
	} {
		if got, err := ReadTime(in); err != nil || !got.Equal(want.Add(plus)) {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "now", "-1", "176732304", "17673230451", "99999999999999999999", "2026-01-02", "2026-13-02T03:04:05Z",
		"2026-01-02T05:04:05 02:00", "1767323045.5", "1e9", "{time}",
		"0001-01-01T00:00:00Z", "0001-01-01 00:00:00", "0001-01-01T00:00:00.0001Z", "0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
	} {
		if got, err := ReadTime(in); err == nil {
			t.Errorf("%q: accepted as %v", in, got)
		}
	}
}

func FuzzReadTime(f *testing.F) {
	for _, s := range []string{"1767323045", "1767323045123", "2026-01-02T03:04:05Z", "2026-01-02 03:04:05", "2026-01-02T05:04:05 02:00", "x", "0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ReadTime(s)
		if err != nil {
			return
		}
		if a.Location() != time.UTC {
			t.Fatalf("%q: read as %v", s, a)
		}
		if b, err := ReadTime(a.Format(time.RFC3339Nano)); err != nil || !a.Equal(b) {
			t.Fatalf("%q: %v came back as %v, %v", s, a, b, err)
		}
	})
}

func TestCheckTime(t *testing.T) {
	t.Parallel()
	click, now, day := noon, noon.Add(time.Hour), 24*time.Hour
	for _, c := range []struct {
		t  time.Time
		ok bool
	}{
		{click, true}, {now, true}, {now.Add(day), true}, {now.Add(day + 1), false}, {click.Add(-day), true},
		{click.Add(-day - 1), false}, {time.Unix(0, 0), false}, {time.Time{}, false},
	} {
		if err := CheckTime(c.t, click, now); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.t, err)
		}
	}
	if err := CheckTime(time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), time.Time{}, now); err == nil {
		t.Error("1999: accepted")
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	if got := Deadline(noon, 0); !got.IsZero() {
		t.Errorf("no window: got %v", got)
	}
	if got := Deadline(noon, time.Hour); !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("got %v", got)
	}
}
