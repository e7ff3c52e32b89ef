package dashboard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// How a sender's habit is found: from the quarters of an hour of the last two
// weeks in which its route received anything. Its usual pause is the longest but
// one, so that one failure of the sender does not make the next look normal,
// while nights and weekends, which come at least twice, do.
const (
	habitDays    = 14
	habitQuarter = capture.CellSpan
	// habitSlots is a ring with room for the days and the quarter that has
	// begun.
	habitSlots = habitDays*24*4 + 1
	// leastArrivals and leastSpan are what has to be known of a sender before
	// its silence says anything.
	leastArrivals = 5
	leastSpan     = 2 * 24 * time.Hour
	// leastSilence is never worth a word.
	leastSilence = 30 * time.Minute

	// Bounds of one look into the journal. Pages wait for it, the first for
	// longer.
	habitEntries = 100_000
	habitReading = 2 * time.Second
	habitFurther = 300 * time.Millisecond
	habitEvery   = time.Minute
	// habitSoon is after how long it is looked further back.
	habitSoon = 3 * time.Second
)

// habits remembers when routes received postbacks. A look reads what came since
// the one before and then, until two weeks are known, further back, newest first
// and within bounds: routes that receive little must not be missed because
// others receive much. Nothing runs in between.
type habits struct {
	mu     sync.Mutex
	read   time.Time // when the journal was looked at
	newest uint64    // the last entry that is counted
	// All entries from oldest on are counted, and what is known reaches back to
	// from. Nothing is known yet if oldest is zero.
	oldest uint64
	from   time.Time
	routes map[string]*habit
}

// habit is when one route received anything: a bit for each quarter.
type habit struct {
	slots [habitSlots]int64 // the quarters since 1970 that have arrivals
	last  time.Time
}

// sender is one postback route on the page.
type sender struct {
	Route   string
	Network string
	Last    time.Time
	Silence time.Duration
	// Usual is the usual longest pause; zero if too little is known.
	Usual time.Duration
	// State is silent, quiet (nothing in all the days), unseen (nothing in the
	// time looked at, which is less), new (too little is known) or ok.
	State string
}

// habitNote says how far back the habits are known.
type habitNote struct {
	From    time.Time
	Partial bool
	Days    int
	// Looked is how long the time is that was looked at.
	Looked time.Duration
}

// senders tells of each configured route whether it has gone silent compared
// with its own habit.
func (h *Handler) senders(c *call) ([]sender, habitNote, error) {
	reader, err := h.src.Reader()
	if err != nil {
		return nil, habitNote{}, unavailable(err)
	}
	hs := &h.habits
	hs.mu.Lock()
	defer hs.mu.Unlock()
	begin := c.now.AddDate(0, 0, -habitDays)
	if age := c.now.Sub(hs.read); age >= habitEvery || age < 0 || age >= habitSoon && hs.partial(begin) {
		if err := hs.look(c.r.Context(), reader, c.now); err != nil {
			return nil, habitNote{}, fmt.Errorf("reading the journal: %w", err)
		}
	}
	note := habitNote{
		From: hs.from, Days: habitDays, Partial: hs.partial(begin), Looked: max(0, c.now.Sub(hs.from)).Truncate(time.Minute),
	}
	var list []sender
	for _, r := range h.src.Setup().Postbacks {
		if slices.ContainsFunc(list, func(s sender) bool { return s.Route == r.Name }) {
			continue // several of one name share their journal
		}
		s := sender{Route: r.Name, Network: r.Network, State: "quiet"}
		if note.Partial {
			s.State = "unseen"
		}
		if hb := hs.routes[r.Name]; hb != nil && hb.last.After(begin) {
			s.judge(hb, c.now, hs.from)
		}
		list = append(list, s)
	}
	return list, note, nil
}

// judge compares a sender's silence with its usual pause.
func (s *sender) judge(hb *habit, now, from time.Time) {
	s.Last, s.Silence = hb.last, max(0, now.Sub(hb.last))
	quarters := hb.known(now, from)
	s.State = "new"
	if len(quarters) < leastArrivals {
		return
	}
	if known := time.Duration(quarters[len(quarters)-1]-quarters[0]) * habitQuarter; known < leastSpan {
		return
	}
	s.Usual = usualPause(quarters)
	s.State = "ok"
	if s.Silence >= leastSilence && s.Silence > s.Usual+s.Usual/2 {
		s.State = "silent"
	}
}

// usualPause is the longest but one of the pauses between quarters, which are
// in order and at least three.
func usualPause(quarters []int64) time.Duration {
	var longest, next int64
	for i := 1; i < len(quarters); i++ {
		pause := quarters[i] - quarters[i-1]
		if pause > longest {
			longest, next = pause, longest
		} else if pause > next {
			next = pause
		}
	}
	return time.Duration(next) * habitQuarter
}

// known lists the quarters with arrivals since from, in order.
func (hb *habit) known(now, from time.Time) []int64 {
	first, latest := quarterOf(from), quarterOf(now)
	var list []int64
	for _, q := range hb.slots {
		if q >= first && q <= latest {
			list = append(list, q)
		}
	}
	slices.Sort(list)
	return list
}

func quarterOf(t time.Time) int64 { return t.Unix() / int64(habitQuarter/time.Second) }

// partial tells whether less is known than what came since begin.
func (hs *habits) partial(begin time.Time) bool { return hs.from.After(begin.Add(time.Hour)) }

// look reads what came since it was looked last, and goes on where the looks
// before were cut short.
func (hs *habits) look(ctx context.Context, reader capture.Reader, now time.Time) error {
	begin, reading := now.AddDate(0, 0, -habitDays), habitFurther
	if hs.routes == nil {
		hs.routes, hs.from, reading = make(map[string]*habit), now, habitReading
	}
	limited, cancel := context.WithTimeout(ctx, reading)
	defer cancel()
	l := &habitLook{habits: hs, reader: reader, begin: begin, left: habitEntries}
	newest := hs.newest
	end, err := l.back(limited, newest, 0)
	switch {
	case err != nil:
		return err
	case end == atKnown:
	case end == atBegin:
		hs.from, hs.oldest = begin, l.oldest
	case l.oldest > 0: // there is a gap behind it; what is in front is read again
		hs.from, hs.oldest = l.time, l.oldest
	}
	hs.newest = max(newest, l.newest)
	if end == atKnown && hs.partial(begin) {
		if end, err = l.back(limited, 0, hs.oldest); err != nil {
			return err
		}
		if hs.oldest = l.oldest; end == atBegin {
			hs.from = begin
		} else {
			hs.from = l.time
		}
	}
	if hs.from.Before(begin) {
		hs.from = begin
	}
	hs.read = now
	return nil
}

// lookEnd is where reading the journal back ended.
type lookEnd int

const (
	cutShort lookEnd = iota // by the bounds
	atKnown                 // at an entry that is counted already
	atBegin                 // at the beginning of the days, or of the journal
)

// habitLook is one look.
type habitLook struct {
	*habits
	reader capture.Reader
	begin  time.Time
	left   int // entries
	// The first and the last entry that were read, by their numbers, and the
	// time of the first.
	oldest, newest uint64
	time           time.Time
}

// back reads the journal back until it comes to known; before, if it is not
// zero, it begins in front of that entry.
func (l *habitLook) back(ctx context.Context, known, before uint64) (lookEnd, error) {
	l.oldest, l.time = before, l.from
	end := atBegin
	err := l.reader.Journal(ctx, capture.JournalQuery{From: l.begin, Before: before}, func(e *capture.Entry) bool {
		switch {
		case e.Seq <= known:
			end = atKnown
			return false
		case l.left <= 0 || ctx.Err() != nil:
			end = cutShort
			return false
		}
		l.left--
		l.newest, l.oldest, l.time = max(l.newest, e.Seq), e.Seq, e.Time
		if !e.Test && e.Replays == 0 {
			l.note(e)
		}
		return true
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return cutShort, nil // enough for one look
	}
	return end, err
}

// note remembers one arrival.
func (hs *habits) note(e *capture.Entry) {
	hb := hs.routes[e.Route]
	if hb == nil {
		hb = new(habit)
		hs.routes[e.Route] = hb
	}
	q := quarterOf(e.Time)
	if at := ((q % habitSlots) + habitSlots) % habitSlots; q > hb.slots[at] {
		hb.slots[at] = q
	}
	if e.Time.After(hb.last) {
		hb.last = e.Time
	}
}
