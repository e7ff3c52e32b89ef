package badgerstore

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// tally adds up what a report reads by the millions before it hands it to the
// builder: under fewer dimensions, as numbers instead of maps. What it hands
// over counts in the same rows as its parts would.
type tally struct {
	to   *sharedBuilder
	dims [4]bool  // of names, those that the query looks at
	subs []string // the sub-IDs that it looks at
	time periods

	index map[string]int32 // of the row, by all that tells it from others
	key   []byte
	sums  []tallySum // apart from the rest, so that the processor's caches hold them
	rows  []tallyRow
	vals  []string // of subs
}

// tallySum is what counts in one row. Clicks and what they cost are nearly all
// that there is to add up; anything else is in more.
type tallySum struct {
	clicks, bots int64
	micros       int64 // of the currency; see cost
	currency     string
	more         *figures
}

// cost adds what a click cost, n / 10^places.
func (s *tallySum) cost(currency string, n int64, places uint8) {
	const digits, most = 6, 1 << 40
	if s.currency == "" {
		s.currency = strings.Clone(currency)
	}
	if currency != s.currency || places > digits || n > most || n < -most || s.micros > 1<<62 || s.micros < -1<<62 {
		s.other().addMoney(currency, true, n, places)
		return
	}
	s.micros += n * powersOfTen[digits-places]
}

var powersOfTen = [...]int64{1, 10, 100, 1e3, 1e4, 1e5, 1e6}

func (s *tallySum) other() *figures {
	if s.more == nil {
		s.more = new(figures)
	}
	return s.more
}

// add adds o.
func (s *tallySum) add(o *tallySum) {
	s.clicks += o.clicks
	s.bots += o.bots
	switch {
	case o.micros == 0:
	case s.currency == "" || s.currency == o.currency && s.micros|o.micros < 1<<61 && s.micros >= 0 && o.micros >= 0:
		s.currency = o.currency
		s.micros += o.micros
	default:
		s.other().addMoney(o.currency, true, o.micros, 6)
	}
	if o.more != nil {
		s.other().add(o.more)
	}
}

// figures returns the sum.
func (s *tallySum) figures() *figures {
	var f figures
	f.n[0], f.n[1] = s.clicks, s.bots
	if s.micros != 0 {
		f.addMoney(s.currency, true, s.micros, 6)
	}
	if s.more != nil {
		f.add(s.more)
	}
	return &f
}

// tallyRow is what has the same names and values in the same period.
type tallyRow struct {
	at    time.Time // one instant of the period
	names names
	vals  []string

	period period
}

// tallyMax bounds the rows of a tally, some 30 MiB: a sub-ID may be another one
// for every click.
const tallyMax = 1 << 17

// sharedBuilder is a builder that several goroutines hand over to.
type sharedBuilder struct {
	mu sync.Mutex
	*attribution.Builder
	done *tally // what those who are done have
	// refuse ends the reading: the report has too many rows.
	refuse context.CancelCauseFunc
	// joining is held by who adds to it, which may hand over; it is taken
	// before mu.
	joining sync.Mutex
}

func newTally(q *attribution.Query, to *sharedBuilder) *tally {
	t := &tally{
		to: to, time: newPeriods(q), index: make(map[string]int32),
	}
	look := func(dimension string) {
		if sub, ok := strings.CutPrefix(dimension, "sub."); ok {
			t.subs = append(t.subs, sub)
		}
		for i, name := range [...]string{"campaign", "source", "destination", "event"} {
			t.dims[i] = t.dims[i] || dimension == name
		}
	}
	for _, d := range q.By {
		look(d)
	}
	for _, f := range q.Filters {
		look(f.Dimension)
	}
	t.dims[0] = t.dims[0] || q.Campaign != ""
	t.dims[1] = t.dims[1] || q.Source != ""
	// Clicks have no event, which a filter may ask for, and a report may show;
	// but nothing else is to be told by it.
	t.vals = make([]string, len(t.subs))
	return t
}

// row returns where something of these names, and of the values in vals, at
// this instant counts. It is good until the next call.
func (t *tally) row(n *names, p period, at func() time.Time) *tallySum {
	key := t.key[:0]
	if t.time.width != 0 || t.time.rates {
		key = binary.AppendVarint(key, p.number)
		key = binary.AppendVarint(key, p.offset)
		key = binary.AppendVarint(key, p.day)
	}
	for i, s := range n {
		if t.dims[i] {
			key = append(binary.AppendUvarint(key, uint64(len(s))), s...)
		}
	}
	for _, s := range t.vals {
		key = append(binary.AppendUvarint(key, uint64(len(s))), s...)
	}
	t.key = key
	if i, ok := t.index[string(key)]; ok {
		return &t.sums[i]
	}
	if len(t.rows) >= tallyMax {
		t.flush()
	}
	row := tallyRow{at: at(), period: p}
	for i, s := range n {
		if t.dims[i] {
			row.names[i] = strings.Clone(s) // it may be part of a larger record
		}
	}
	for _, s := range t.vals {
		row.vals = append(row.vals, strings.Clone(s))
	}
	t.index[string(key)] = int32(len(t.rows)) //nolint:gosec // below tallyMax
	t.rows, t.sums = append(t.rows, row), append(t.sums, tallySum{})
	return &t.sums[len(t.sums)-1]
}

// finish joins the tally with those that are done already.
func (t *tally) finish() {
	t.to.mu.Lock()
	done := t.to.done
	if done == nil {
		t.to.done = t
	}
	t.to.mu.Unlock()
	if done == nil {
		return
	}
	t.to.joining.Lock()
	defer t.to.joining.Unlock()
	for i := range t.rows {
		row := &t.rows[i]
		copy(done.vals, row.vals)
		done.row(&row.names, row.period, func() time.Time { return row.at }).add(&t.sums[i])
	}
}

// flush hands over. If those are more rows than a report may have, nothing more
// needs to be read.
func (t *tally) flush() {
	t.to.mu.Lock()
	defer t.to.mu.Unlock()
	var row *tallyRow
	sub := func(name string) string {
		for i, s := range t.subs {
			if s == name {
				return row.vals[i]
			}
		}
		return ""
	}
	for i := range t.rows {
		row = &t.rows[i]
		t.to.Add(attribution.Dims{
			Campaign: row.names[0], Source: row.names[1], Destination: row.names[2], Event: row.names[3], Sub: sub,
		}, row.at, t.sums[i].figures().counts())
	}
	if err := t.to.Err(); err != nil {
		t.to.refuse(err)
	}
	clear(t.index)
	clear(t.rows)
	t.rows, t.sums = t.rows[:0], t.sums[:0]
}

// period tells instants apart that a report may tell apart: by number, the hour
// or day on the local clock; by offset, the two hours of the same name when the
// clock is set back; and by the day in UTC, of which there are rates.
type period struct{ number, offset, day int64 }

const secondsPerDay = 24 * 3600

// periods finds the period of an instant. The next instant is mostly not far
// from the one before, so it remembers the zone's offset.
type periods struct {
	from, to time.Time
	width    int64 // seconds; 0 if the query asks for no time
	rates    bool
	loc      *time.Location

	offset      int64
	first, last int64 // Unix seconds between which it is good
}

func newPeriods(q *attribution.Query) periods {
	p := periods{from: q.From, to: q.To, rates: q.Rates != nil, loc: q.Location, first: 1}
	if p.loc == nil {
		p.loc = time.UTC
	}
	for _, d := range q.By {
		switch {
		case d == "hour":
			p.width = 3600
		case p.width == 0 && (d == "day" || d == "month"):
			p.width = secondsPerDay
		}
	}
	return p
}

// of returns the period of an instant, given in Unix seconds.
func (p *periods) of(unix int64) (of period) {
	if p.rates {
		of.day = floorDiv(unix, secondsPerDay)
	}
	if p.width == 0 {
		return of
	}
	if unix < p.first || unix > p.last {
		p.look(unix)
	}
	of.number = floorDiv(unix+p.offset, p.width)
	if p.width == 3600 {
		of.offset = p.offset
	}
	return of
}

func (p *periods) look(unix int64) {
	t := time.Unix(unix, 0).In(p.loc)
	_, offset := t.Zone()
	p.offset, p.first, p.last = int64(offset), unix, unix
	begin, end := t.ZoneBounds()
	if p.first = -1 << 62; !begin.IsZero() {
		p.first = begin.Unix()
	}
	if p.last = 1 << 62; !end.IsZero() {
		p.last = end.Unix() - 1
	}
}

func floorDiv(a, b int64) int64 {
	n := a / b
	if a%b < 0 {
		n--
	}
	return n
}

// quarters are the quarters of a day as a report sees them.
type quarters struct {
	first  uint32
	period [dayQuarters]period
	counts [dayQuarters]bool // it is in the report's time
	whole  bool              // all are, and are of the same period
}

func (p *periods) quarters(day uint32) *quarters {
	q := &quarters{first: day * dayQuarters, whole: true}
	for i := range q.period {
		at := quarterTime(q.first + uint32(i)) //nolint:gosec // below 96
		q.period[i] = p.of(at.Unix())
		q.counts[i] = !at.Before(p.from) && at.Before(p.to)
		q.whole = q.whole && q.counts[i] && q.period[i] == q.period[0]
	}
	return q
}

func quarterTime(quarter uint32) time.Time { return capture.Cell{Quarter: quarter}.Time() }

// addPack adds what a pack has of one day.
func (t *tally) addPack(r *packReader, day *quarters, q *attribution.Query) error {
	for r.next() {
		if q.Campaign != "" && r.names[0] != q.Campaign || q.Source != "" && r.names[1] != q.Source {
			continue
		}
		if day.whole {
			row := t.row(&r.names, day.period[0], func() time.Time { return quarterTime(day.first) })
			r.day(row.other())
			continue
		}
		var row *tallySum
		var of period
		var skip figures
		for r.nextQuarter() {
			i := r.quarter
			if !day.counts[i] {
				r.figures(&skip)
				continue
			}
			if row == nil || day.period[i] != of {
				of = day.period[i]
				row = t.row(&r.names, of, func() time.Time { return quarterTime(day.first + uint32(i)) })
			}
			r.figures(row.other())
		}
	}
	return r.err()
}
