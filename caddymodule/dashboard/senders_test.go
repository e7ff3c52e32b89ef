package dashboard

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// journalStub is a reader with a journal only, newest first.
type journalStub struct {
	capture.Reader
	entries []*capture.Entry
	read    int
}

func (s *journalStub) Journal(_ context.Context, q capture.JournalQuery, yield func(*capture.Entry) bool) error {
	for i := len(s.entries) - 1; i >= 0; i-- {
		if !q.Takes(s.entries[i]) {
			continue
		}
		s.read++
		if !yield(s.entries[i]) {
			return nil
		}
	}
	return nil
}

func (s *journalStub) add(route string, at time.Time) {
	s.entries = append(s.entries, &capture.Entry{Seq: uint64(len(s.entries) + 1), Time: at, Route: route, Outcome: capture.Recorded})
}

// every adds arrivals in steps over the days before noon, but not in the hours
// that quiet names.
func (s *journalStub) every(route string, step, until time.Duration, quiet func(time.Time) bool) {
	for at := noon.AddDate(0, 0, -habitDays).Add(time.Hour); at.Before(noon.Add(-until)); at = at.Add(step) {
		if quiet == nil || !quiet(at) {
			s.add(route, at)
		}
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	night := func(at time.Time) bool { return at.Hour() < 8 }
	outage := func(at time.Time) bool { return at.Day() == 12 }
	weekend := func(at time.Time) bool { return at.Weekday() == time.Saturday || at.Weekday() == time.Sunday }
	for name, c := range map[string]struct {
		step, until time.Duration
		quiet       func(time.Time) bool
		want        string
	}{
		"busy":                        {5 * time.Minute, 0, nil, "ok"},
		"busy, a short pause":         {5 * time.Minute, 20 * time.Minute, nil, "ok"},
		"busy, then nothing":          {5 * time.Minute, 2 * time.Hour, nil, "silent"},
		"quiet at night":              {20 * time.Minute, 7 * time.Hour, night, "ok"},
		"quiet longer than at night":  {20 * time.Minute, 15 * time.Hour, night, "silent"},
		"one outage excuses no other": {20 * time.Minute, 9 * time.Hour, outage, "silent"},
		"weekends":                    {time.Hour, 50 * time.Hour, weekend, "ok"},
		"once a day":                  {24 * time.Hour, 20 * time.Hour, nil, "ok"},
		"once a day, missed two":      {24 * time.Hour, 70 * time.Hour, nil, "silent"},
		"too few to tell":             {4 * 24 * time.Hour, 6 * 24 * time.Hour, nil, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stub journalStub
			stub.every("/a", c.step, c.until, c.quiet)
			var hs habits
			if err := hs.look(t.Context(), &stub, noon); err != nil {
				t.Fatal(err)
			}
			var s sender
			s.judge(hs.routes["/a"], noon, hs.from)
			if s.State != c.want {
				t.Errorf("it is %s, want %s: silent for %s, usual are %s", s.State, c.want, s.Silence, s.Usual)
			}
		})
	}
}

// TestHabitReading wants the journal to be read once, and later only what is
// new.
func TestHabitReading(t *testing.T) {
	t.Parallel()
	var stub journalStub
	stub.every("/a", time.Hour, 0, nil)
	stub.add("/a", noon.Add(-time.Minute))
	stub.entries[len(stub.entries)-1].Test = true // does not count
	var hs habits
	look := func(now time.Time) {
		t.Helper()
		stub.read = 0
		if err := hs.look(t.Context(), &stub, now); err != nil {
			t.Fatal(err)
		}
	}
	look(noon)
	if stub.read != len(stub.entries) || !hs.from.Equal(noon.AddDate(0, 0, -habitDays)) {
		t.Errorf("read %d of %d, known since %s", stub.read, len(stub.entries), hs.from)
	}
	if got := hs.routes["/a"].last; !got.Before(noon.Add(-time.Minute)) {
		t.Errorf("a test counts: %s", got)
	}
	stub.add("/b", noon.Add(time.Minute))
	look(noon.Add(2 * time.Minute))
	if stub.read != 2 || hs.routes["/b"] == nil {
		t.Errorf("read %d entries instead of the new one and the one before", stub.read)
	}
	if got := len(hs.routes["/a"].known(noon, hs.from)); got < 300 {
		t.Errorf("%d quarters are known", got)
	}

	// A journal too large for one look is known as far as it was read, and each
	// look goes on, so that a route that receives little is found.
	stub.entries = nil
	stub.add("/rare", noon.AddDate(0, 0, -5))
	const many = 2*habitEntries + 500
	for i := range many {
		stub.add("/c", noon.Add(time.Duration(i-many)*time.Second))
	}
	hs = habits{}
	begin := noon.AddDate(0, 0, -habitDays)
	look(noon)
	if want := noon.Add(-habitEntries * time.Second); hs.from.Before(want.Add(-time.Second)) || !hs.partial(begin) || stub.read > habitEntries+1 {
		t.Errorf("known since %s, want not before %s; read %d", hs.from, want, stub.read)
	}
	for looks := 0; hs.partial(begin); looks++ {
		before := hs.from
		if look(noon); !hs.from.Before(before) && hs.partial(begin) || looks > 1000 {
			t.Fatalf("it was not looked further back than %s", before)
		}
	}
	if hb := hs.routes["/rare"]; hb == nil || !hb.last.Equal(noon.AddDate(0, 0, -5)) || !hs.from.Equal(begin) {
		t.Errorf("the rare route is %+v, known since %s", hb, hs.from)
	}
	if look(noon); stub.read != 1 {
		t.Errorf("all is known, and %d entries were read", stub.read)
	}

	// What came while nobody looked may be too much, too.
	for i := range habitEntries + 10 {
		stub.add("/d", noon.Add(time.Duration(i)*time.Millisecond))
	}
	if look(noon.Add(time.Hour)); !hs.partial(begin) {
		t.Error("there is a gap that was not noticed")
	}
	for range 1000 {
		if look(noon.Add(time.Hour)); !hs.partial(begin) {
			return
		}
	}
	t.Error("the gap is never closed")
}

// TestUnseenSender wants no word about a route beyond what was looked at.
func TestUnseenSender(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	f.pages.habits = habits{
		routes: map[string]*habit{}, read: noon, newest: 1 << 40, oldest: 1 << 40, from: noon.Add(-3*time.Hour - 20*time.Second),
	}
	body := f.page("/")
	for _, want := range []string{`data-route="/quiet" data-sender="unseen"`, "not seen in the 3\u00a0h looked at"} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(body, "nothing in") {
		t.Error("it is said that nothing came")
	}
}

func TestSendersOnPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	body := f.page("/")
	for _, want := range []string{`data-route="/postback" data-sender="new"`, `data-route="/quiet" data-sender="quiet"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is missing", want)
		}
	}
}
