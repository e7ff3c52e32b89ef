package attribution

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Dims are the dimensions of what is counted.
type Dims struct {
	Campaign, Source, Destination, Event string
	// Sub returns the value of a sub-ID; nil if there are none.
	Sub func(name string) string
}

// Builder adds up a report. It is made for scans over millions of rows: for a
// row it knows already, Add allocates nothing but the money it adds.
type Builder struct {
	query Query
	loc   *time.Location
	dims  []dimension
	local bool // a dimension of time is asked for
	rows  map[string]*sum
	total sum    // used only without dimensions
	key   []byte // reused between calls
	vals  []string
	most  int // rows
	full  bool
}

// MaxRows is how many rows a report has at most. They are all made in memory,
// and a sub-ID may be another one for every click.
const MaxRows = 200_000

// ErrTooManyRows is what [Builder.Err] returns of a report with more rows than
// [MaxRows].
var ErrTooManyRows = fmt.Errorf("the report has too many combinations, more than %d rows: "+
	"narrow the time range or the filters, or ask for fewer dimensions", MaxRows)

// dimension is one column, prepared: what it is and, for time, its texts.
type dimension struct {
	kind  byte // first letter of the name; 'x' for sub-IDs
	sub   string
	texts map[period]string
}

// period is an hour or a day in local time since 1970. The offset tells the two
// hours apart that have the same name when the clock is set back.
type period struct {
	number int64
	offset int
}

const secondsPerDay = 24 * 3600

// NewBuilder prepares a report for a query that [Query.Validate] accepts.
func NewBuilder(q Query) *Builder {
	q.By, q.Filters = slices.Clone(q.By), slices.Clone(q.Filters)
	b := &Builder{query: q, loc: q.location(), rows: make(map[string]*sum), vals: make([]string, len(q.By)), most: MaxRows}
	for _, name := range q.By {
		d := dimension{kind: name[0]}
		if sub, ok := strings.CutPrefix(name, subPrefix); ok {
			d.kind, d.sub = 'x', sub
		}
		if timeDimension(name) {
			d.texts, b.local = make(map[period]string), true
		}
		b.dims = append(b.dims, d)
	}
	return b
}

// Add counts c at the instant t under the dimensions d. What lies outside the
// query's time or filters is ignored. Neither d nor c is kept.
func (b *Builder) Add(d Dims, t time.Time, c Counts) {
	if row := b.row(&d, t); row != nil {
		row.add(c, t, b.query.Rates)
	}
}

// AddLag notes how long after its click a conversion of the instant t came.
func (b *Builder) AddLag(d Dims, t time.Time, lag time.Duration) {
	if row := b.row(&d, t); row != nil {
		row.lags = append(row.lags, lag.Milliseconds())
	}
}

// Err returns [ErrTooManyRows] if there was no room for a row; the report is
// then not whole and must not be used.
func (b *Builder) Err() error {
	if b.full {
		return ErrTooManyRows
	}
	return nil
}

// row returns where d counts at t, or nil if it does not.
func (b *Builder) row(d *Dims, t time.Time) *sum {
	q := &b.query
	if t.Before(q.From) || !t.Before(q.To) ||
		q.Campaign != "" && d.Campaign != q.Campaign || q.Source != "" && d.Source != q.Source {
		return nil
	}
	for i := range q.Filters {
		if !q.Filters[i].takes(d) {
			return nil
		}
	}
	if len(b.dims) == 0 {
		return &b.total
	}
	b.values(d, t)
	key := b.key[:0]
	for _, v := range b.vals {
		key = append(binary.AppendUvarint(key, uint64(len(v))), v...)
	}
	b.key = key
	row := b.rows[string(key)]
	if row == nil {
		if len(b.rows) >= b.most {
			b.full = true
			return nil
		}
		row = new(sum)
		row.Keys = make([]string, len(b.vals))
		for i, v := range b.vals {
			row.Keys[i] = strings.Clone(v) // v may be part of a larger record
		}
		b.rows[string(key)] = row
	}
	return row
}

// values fills vals with the values of all columns.
func (b *Builder) values(d *Dims, t time.Time) {
	var local int64 // seconds since 1970 on the local clock
	var offset int
	if b.local {
		_, offset = t.In(b.loc).Zone()
		local = t.Unix() + int64(offset)
	}
	for i := range b.dims {
		dim := &b.dims[i]
		switch dim.kind {
		case 'c':
			b.vals[i] = d.Campaign
		case 's':
			b.vals[i] = d.Source
		case 'e':
			b.vals[i] = d.Event
		case 'x':
			b.vals[i] = ""
			if d.Sub != nil {
				b.vals[i] = d.Sub(dim.sub)
			}
		case 'h':
			b.vals[i] = dim.text(period{floorDiv(local, 3600), offset})
		case 'm':
			b.vals[i] = dim.text(period{floorDiv(local, secondsPerDay), 0})
		case 'd':
			if dim.texts == nil {
				b.vals[i] = d.Destination
			} else {
				b.vals[i] = dim.text(period{floorDiv(local, secondsPerDay), 0})
			}
		}
	}
}

// text writes an hour, a day or the month of a day, once for each.
func (d *dimension) text(p period) string {
	s, ok := d.texts[p]
	if ok {
		return s
	}
	switch d.kind {
	case 'h':
		zone := time.FixedZone("", p.offset)
		if p.offset == 0 {
			zone = time.UTC
		}
		s = time.Unix(p.number*3600-int64(p.offset), 0).In(zone).Format(time.RFC3339)
	case 'd':
		s = time.Unix(p.number*secondsPerDay, 0).UTC().Format(time.DateOnly)
	default:
		s = time.Unix(p.number*secondsPerDay, 0).UTC().Format("2006-01")
	}
	d.texts[p] = s
	return s
}

func floorDiv(a, b int64) int64 {
	n := a / b
	if a%b < 0 {
		n--
	}
	return n
}

// Report returns what has been added up so far, rows sorted by their keys and
// those without any count left out. Without dimensions there is only a total.
func (b *Builder) Report() Report {
	r := Report{From: b.query.From.In(b.loc), To: b.query.To.In(b.loc), By: slices.Clone(b.query.By)}
	total := sum{lags: slices.Clone(b.total.lags)}
	total.merge(&b.total)
	for _, row := range b.rows {
		total.merge(row)
		if !row.IsZero() || len(row.lags) > 0 {
			r.Rows = append(r.Rows, row.finish(&b.query))
			total.lags = append(total.lags, row.lags...)
		}
	}
	sumUp := total.finish(&b.query)
	r.Total, r.TotalExtra = sumUp.Counts, sumUp.Extra
	slices.SortFunc(r.Rows, func(x, y Row) int {
		for i, name := range r.By {
			if n := CompareKeys(name, x.Keys[i], y.Keys[i]); n != 0 {
				return n
			}
		}
		return 0
	})
	return r
}

// CompareKeys orders values of a dimension: hours as they passed, when the clock
// is set back too; all else as text.
func CompareKeys(dimension, x, y string) int {
	const clock = len("2006-01-02T15:04:05")
	if dimension == "hour" && len(x) > clock && len(y) > clock && x[clock:] != y[clock:] {
		a, errA := time.Parse(time.RFC3339, x)
		b, errB := time.Parse(time.RFC3339, y)
		if errA == nil && errB == nil {
			return a.Compare(b)
		}
	}
	return cmp.Compare(x, y)
}
