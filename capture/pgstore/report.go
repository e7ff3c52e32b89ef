package pgstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// Report adds up the sums in the database where they can answer, else clicks
// here and conversions there, all as of one moment.
func (s *Store) Report(ctx context.Context, q attribution.Query) (attribution.Report, error) {
	if err := q.Validate(); err != nil {
		return attribution.Report{}, err
	}
	b := attribution.NewBuilder(q)
	err := s.limited(ctx, func() error {
		return s.snapshot(ctx, s.read, "making a report", func(ctx context.Context, tx pgx.Tx) error {
			if q.Aligned(capture.CellSpan) && !q.NeedsSub() {
				return s.reportSums(ctx, tx, &q, b)
			}
			return s.reportRecords(ctx, tx, &q, b)
		})
	})
	if err == nil {
		err = b.Err()
	}
	if err != nil {
		return attribution.Report{}, err
	}
	return b.Report(), nil
}

// limited runs f when not too many reports are under way.
func (s *Store) limited(ctx context.Context, f func() error) error {
	select {
	case s.reports <- struct{}{}:
		defer func() { <-s.reports }()
		return f()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.closing.Done():
		return capture.ErrClosed
	}
}

// sumsQuery is the statement for a report: it groups by the dimensions that are
// asked for or filtered by, and by as much of the time as is needed.
type sumsQuery struct {
	where
	dims   []string // columns
	bucket int64    // quarters of an hour; 0: the time does not matter
}

func newSumsQuery(q *attribution.Query) *sumsQuery {
	var s sumsQuery
	s.add("quarter >= $%d", int32(capture.QuarterOf(q.From))) //nolint:gosec // good until the year 61,000
	s.add("quarter < $%d", int32(capture.QuarterOf(q.To)))    //nolint:gosec // as above
	s.text("campaign", q.Campaign)
	s.text("source", q.Source)
	dim := func(name string) {
		if !slices.Contains(s.dims, name) {
			s.dims = append(s.dims, name)
		}
	}
	if q.Campaign != "" {
		dim("campaign")
	}
	if q.Source != "" {
		dim("source")
	}
	for _, name := range q.By {
		switch name {
		case "hour":
			s.bucket = 1
		case "day", "month":
			s.bucket = max(s.bucket, 96)
		default:
			dim(name)
		}
	}
	if slices.Contains(q.By, "hour") || s.bucket > 0 && q.Location != nil && q.Location != time.UTC {
		s.bucket = 1
	} else if s.bucket == 0 && q.Rates != nil {
		s.bucket = 96 // rates are those of days, UTC
	}
	for i := range q.Filters {
		f := &q.Filters[i]
		dim(f.Dimension)
		s.args = append(s.args, escape(f.Value))
		cond := fmt.Sprintf("%s = $%d", f.Dimension, len(s.args))
		if f.Dimension == "event" {
			cond = "(" + cond + " OR event = '')"
		}
		s.conds = append(s.conds, cond)
	}
	return &s
}

const sumColumns = `sum(clicks)::bigint, sum(bot_clicks)::bigint, sum(conversions)::bigint, sum(pending)::bigint,
sum(approved)::bigint, sum(rejected)::bigint, sum(reversed)::bigint, sum(revenue)::text, sum(cost)::text`

func (s *sumsQuery) sql() string {
	columns := slices.Concat(s.dims, []string{"currency"})
	if s.bucket > 0 {
		columns = append(columns, fmt.Sprintf("quarter / %d", s.bucket))
	}
	list := strings.Join(columns, ", ")
	return "SELECT " + list + ", " + sumColumns + " FROM {s}.sums WHERE " + strings.Join(s.conds, " AND ") + " GROUP BY " + list
}

// sumRow is one row of sums as it is read.
type sumRow struct {
	campaign, source, destination, event, currency string
	bucket                                         int32
	n                                              [7]int64
	revenue, cost                                  string
}

func (r *sumRow) counts() (c attribution.Counts, err error) {
	c = attribution.Counts{
		Clicks: r.n[0], BotClicks: r.n[1], Conversions: r.n[2], Pending: r.n[3], Approved: r.n[4], Rejected: r.n[5], Reversed: r.n[6],
	}
	if r.currency == "" {
		return c, nil
	}
	for to, text := range map[*attribution.Totals]string{&c.Revenue: r.revenue, &c.Cost: r.cost} {
		m := attribution.Money{Currency: attribution.Currency(unescape(r.currency))}
		if err := m.Amount.UnmarshalText([]byte(text)); err != nil {
			return c, fmt.Errorf("%w: a sum of money: %w", errDamaged, err)
		}
		to.Add(m)
	}
	return c, nil
}

func (r *sumRow) numbers() []any {
	var list []any
	for i := range r.n {
		list = append(list, &r.n[i])
	}
	return append(list, &r.revenue, &r.cost)
}

func (r *sumRow) cell() capture.Cell {
	return capture.Cell{
		Campaign: unescape(r.campaign), Source: unescape(r.source), Destination: unescape(r.destination), Event: unescape(r.event),
	}
}

func (s *Store) reportSums(ctx context.Context, tx pgx.Tx, q *attribution.Query, b *attribution.Builder) error {
	sums := newSumsQuery(q)
	var row sumRow
	var scan []any
	for _, name := range sums.dims {
		scan = append(scan, map[string]*string{
			"campaign": &row.campaign, "source": &row.source, "destination": &row.destination, "event": &row.event,
		}[name])
	}
	scan = append(scan, &row.currency)
	if sums.bucket > 0 {
		scan = append(scan, &row.bucket)
	}
	rows, err := tx.Query(ctx, s.q(sums.sql()), sums.args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, append(scan, row.numbers()...), func() error {
		at := q.From
		if sums.bucket > 0 {
			if t := time.Unix(int64(row.bucket)*sums.bucket*int64(capture.CellSpan/time.Second), 0).UTC(); t.After(at) {
				at = t
			}
		}
		c, err := row.counts()
		if err == nil {
			b.Add(row.cell().Dims(), at, c)
			err = b.Err()
		}
		return err
	})
	if err != nil || !q.Lags {
		return err
	}
	return s.reportLags(ctx, tx, q, b)
}
