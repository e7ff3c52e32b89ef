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

// This file counts conversions by their columns: most of a record is a history
// that no report asks for.

// ledgerQuery is a statement over booked conversions. It groups by the
// dimensions that are asked for or filtered by, and by as much of the time as is
// needed; what the conditions leave over, the builder sorts out.
type ledgerQuery struct {
	where
	names   []string // of the dimensions, as queries have them
	columns []string
	at      string // expression for the time, or "": it does not matter
	quarter bool   // at is a quarter of an hour

	values []string // of the dimensions of a row
}

func newLedgerQuery(q *attribution.Query) *ledgerQuery {
	var l ledgerQuery
	l.conds = []string{"NOT test", "booked"}
	l.span("at", q.From, q.To)
	timed := q.Rates != nil // which are those of days
	if q.Campaign != "" {
		l.cond(l.dimension("campaign"), q.Campaign)
	}
	if q.Source != "" {
		l.cond(l.dimension("source"), q.Source)
	}
	for i := range q.Filters {
		if f := &q.Filters[i]; f.Dimension == "event" {
			l.dimension("event") // a filter for one means more than that
		} else {
			l.cond(l.dimension(f.Dimension), f.Value)
		}
	}
	for _, name := range q.By {
		switch name {
		case "hour", "day", "month":
			timed = true
		default:
			l.dimension(name)
		}
	}
	if timed {
		l.at = "at"
		if wide := widened(q); wide.Aligned(capture.CellSpan) {
			l.at, l.quarter = fmt.Sprintf("floor(extract(epoch FROM at) / %d)::bigint", int(capture.CellSpan/time.Second)), true
		}
	}
	l.values = make([]string, len(l.names))
	return &l
}

// widened is the query from the quarter of an hour on in which it begins to the
// end of the one in which it ends.
func widened(q *attribution.Query) attribution.Query {
	w := *q
	w.From, w.To = q.From.Truncate(capture.CellSpan), q.To.Truncate(capture.CellSpan).Add(capture.CellSpan)
	return w
}

// dimension returns the expression for a dimension, and sees to it that it is
// grouped by.
func (l *ledgerQuery) dimension(name string) string {
	if i := slices.Index(l.names, name); i >= 0 {
		return l.columns[i]
	}
	column := name
	if sub, ok := strings.CutPrefix(name, "sub."); ok {
		l.args = append(l.args, escape(sub))
		column = fmt.Sprintf("coalesce(subs->>$%d::text, '')", len(l.args))
	}
	l.names, l.columns = append(l.names, name), append(l.columns, column)
	return column
}

func (l *ledgerQuery) cond(column, value string) {
	l.args = append(l.args, escape(value))
	l.conds = append(l.conds, fmt.Sprintf("%s = $%d", column, len(l.args)))
}

// dims returns the dimensions of the row that was read last.
func (l *ledgerQuery) dims() attribution.Dims {
	value := func(name string) string {
		if i := slices.Index(l.names, name); i >= 0 {
			return unescape(l.values[i])
		}
		return ""
	}
	return attribution.Dims{
		Campaign: value("campaign"), Source: value("source"), Destination: value("destination"), Event: value("event"),
		Sub: func(name string) string { return value("sub." + name) },
	}
}

// run reads the rows of a statement that begins with the dimensions, scan being
// what comes after them.
func (l *ledgerQuery) run(ctx context.Context, s *Store, tx pgx.Tx, columns []string, grouped bool, scan []any, row func() error) error {
	all := slices.Concat(l.columns, columns)
	sql := "SELECT " + strings.Join(all, ", ") + " FROM {s}.ledger WHERE " + strings.Join(l.conds, " AND ")
	var into []any
	for i := range l.values {
		into = append(into, &l.values[i])
	}
	if grouped { // by the dimensions, and by what comes before what is counted
		keys := len(l.columns) + 1
		if l.at != "" {
			keys++
		}
		var list []string
		for i := range keys {
			list = append(list, fmt.Sprint(i+1))
		}
		sql += " GROUP BY " + strings.Join(list, ", ")
	}
	rows, err := tx.Query(ctx, s.q(sql), l.args...)
	if err == nil {
		_, err = pgx.ForEachRow(rows, append(into, scan...), row)
	}
	return err
}

// ledgerCounts are what is counted of a group of conversions.
const ledgerCounts = `count(*), count(*) FILTER (WHERE status = 1), count(*) FILTER (WHERE status = 2), count(*) FILTER (WHERE status = 3),
count(*) FILTER (WHERE status = 4), coalesce(sum(payout) FILTER (WHERE status = 2), 0)::text`

// reportConversions counts the booked conversions of the query's time that are
// none of test data.
func (s *Store) reportConversions(ctx context.Context, tx pgx.Tx, q *attribution.Query, b *attribution.Builder) error {
	l := newLedgerQuery(q)
	var n [5]int64
	var currency, revenue string
	var quarter int64
	at := q.From
	columns, scan := []string{"currency"}, []any{&currency}
	switch {
	case l.quarter:
		columns, scan = append(columns, l.at), append(scan, &quarter)
	case l.at != "":
		columns, scan = append(columns, l.at), append(scan, &at)
	}
	columns, scan = append(columns, ledgerCounts), append(scan, &n[0], &n[1], &n[2], &n[3], &n[4], &revenue)
	return l.run(ctx, s, tx, columns, true, scan, func() error {
		c := attribution.Counts{Conversions: n[0], Pending: n[1], Approved: n[2], Rejected: n[3], Reversed: n[4]}
		m := attribution.Money{Currency: attribution.Currency(unescape(currency))}
		if err := m.Amount.UnmarshalText([]byte(revenue)); err != nil {
			return fmt.Errorf("%w: a sum of money: %w", errDamaged, err)
		}
		c.Revenue.Add(m)
		if l.quarter {
			at = time.Unix(quarter*int64(capture.CellSpan/time.Second), 0)
			if at.Before(q.From) {
				at = q.From
			}
		}
		b.Add(l.dims(), at, c)
		return b.Err()
	})
}

// reportLags notes how late conversions came.
func (s *Store) reportLags(ctx context.Context, tx pgx.Tx, q *attribution.Query, b *attribution.Builder) error {
	l := newLedgerQuery(q)
	var c capture.Conversion
	return l.run(ctx, s, tx, []string{"at", "click_at"}, false, []any{&c.State.Time, &c.ClickTime}, func() error {
		b.AddLag(l.dims(), c.State.Time, c.Lag())
		return b.Err()
	})
}
