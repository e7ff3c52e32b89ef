package pgstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A listing is read in pages, all of one snapshot, so that whoever has enough of
// it does not make the database send all the rest.
const (
	firstPageRows = 100
	pageRows      = 1000
)

// page reads one page; the rows are in the last columns.
func (s *Store) page(ctx context.Context, tx pgx.Tx, columns, from, order string, w where, limit int, scan []any, row func() error) (int, error) {
	sql := "SELECT " + columns + " FROM {s}." + from
	if len(w.conds) > 0 {
		sql += " WHERE " + strings.Join(w.conds, " AND ")
	}
	rows, err := tx.Query(ctx, s.q(fmt.Sprintf("%s ORDER BY %s LIMIT %d", sql, order, limit)), w.args...)
	if err != nil {
		return 0, err
	}
	n := 0
	_, err = pgx.ForEachRow(rows, scan, func() error { n++; return row() })
	return n, err
}

// Conversions lists conversions from the newest on.
func (s *Store) Conversions(ctx context.Context, q capture.ConversionQuery, yield func(*capture.Conversion) bool) error {
	var w where
	w.add("test = $%d", q.Test)
	w.add("booked = $%d", true)
	w.span("at", q.From, q.To)
	w.text("campaign", q.Campaign)
	w.text("source", q.Source)
	w.text("event", q.Event)
	if q.Status != 0 {
		w.add("status = $%d", int16(q.Status)) //nolint:gosec // one of a few
	}
	return s.snapshot(ctx, s.bulk, "listing conversions", func(ctx context.Context, tx pgx.Tx) error {
		after, limit := q.After, firstPageRows
		for {
			own := w.clone()
			if !after.Time.IsZero() {
				own.args = append(own.args, after.Time.UTC(), after.ID[:])
				own.conds = append(own.conds, fmt.Sprintf("(at, id) < ($%d, $%d)", len(own.args)-1, len(own.args)))
			}
			var data []byte
			var list []*capture.Conversion
			n, err := s.page(ctx, tx, "data", "ledger", "at DESC, id DESC", own, limit, []any{&data}, func() error {
				c, err := decodeConversion(data)
				list = append(list, c)
				return err
			})
			if err != nil {
				return err
			}
			for _, c := range list {
				after = c.Cursor()
				if q.Takes(c) && !yield(c) {
					return nil
				}
			}
			if n < limit {
				return nil
			}
			limit = pageRows
		}
	})
}

// Journal lists entries from the newest on.
func (s *Store) Journal(ctx context.Context, q capture.JournalQuery, yield func(*capture.Entry) bool) error {
	var w where
	w.span("at", q.From, q.To)
	w.text("outcome", string(q.Outcome))
	w.text("reason", string(q.Reason))
	w.text("route", q.Route)
	w.text("campaign", q.Campaign)
	if q.Open {
		w.conds = append(w.conds, "waits")
	}
	return s.snapshot(ctx, s.bulk, "listing the journal", func(ctx context.Context, tx pgx.Tx) error {
		before, limit := q.Before, firstPageRows
		for {
			own := w.clone()
			if before > 0 {
				own.add("seq < $%d", int64(min(before, 1<<62))) //nolint:gosec // bounded
			}
			var data []byte
			var list []*capture.Entry
			n, err := s.page(ctx, tx, "data", "journal", "seq DESC", own, limit, []any{&data}, func() error {
				e, err := decodeEntry(data)
				list = append(list, e)
				return err
			})
			if err != nil {
				return err
			}
			for _, e := range list {
				before = e.Seq
				if q.Takes(e) && !yield(e) {
					return nil
				}
			}
			if n < limit {
				return nil
			}
			limit = pageRows / 4 // each may have a large request
		}
	})
}

// Clicks lists clicks from the oldest on: day by day, the blocks of all nodes by
// their first click.
func (s *Store) Clicks(ctx context.Context, q capture.ClickQuery, yield func(*capture.Click) bool) error {
	return s.snapshot(ctx, s.bulk, "listing clicks", func(ctx context.Context, tx pgx.Tx) error {
		days, err := s.daysUntil(ctx, tx, q.To)
		if err != nil {
			return err
		}
		var w where
		if !q.From.IsZero() {
			w.add("last_ms >= $%d", ceil(q.From).UnixMilli())
		}
		if !q.To.IsZero() {
			w.add("first_ms < $%d", ceil(q.To).UnixMilli())
		}
		for _, day := range days {
			more, err := s.clicksOfDay(ctx, tx, day, w.clone(), func(c *capture.Click) bool { return !q.Takes(c) || yield(c) })
			if err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// daysUntil lists the days that have a partition, up to that of a time unless it
// is zero.
func (s *Store) daysUntil(ctx context.Context, q querier, to time.Time) ([]time.Time, error) {
	sql, args := `SELECT day FROM {s}.days`, []any{}
	if !to.IsZero() {
		sql, args = sql+` WHERE day <= $1`, []any{dayOf(to)}
	}
	rows, err := q.Query(ctx, s.q(sql+` ORDER BY day`), args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[time.Time])
}

func (s *Store) clicksOfDay(ctx context.Context, tx pgx.Tx, day time.Time, w where, yield func(*capture.Click) bool) (more bool, err error) {
	w.add("day = $%d", day)
	limit := firstPageRows
	var first, number int64
	var node int32
	for begun := false; ; begun = true {
		own := w.clone()
		if begun {
			own.args = append(own.args, first, node, number)
			n := len(own.args)
			own.conds = append(own.conds, fmt.Sprintf("(first_ms, node, number) > ($%d, $%d, $%d)", n-2, n-1, n))
		}
		var data []byte
		var list [][]byte
		n, err := s.page(ctx, tx, "first_ms, node, number, data", "blocks", "first_ms, node, number", own, limit,
			[]any{&first, &node, &number, &data}, func() error {
				list = append(list, append([]byte(nil), data...))
				return nil
			})
		if err != nil {
			return false, err
		}
		var r capture.BlockReader
		var c capture.Click
		for _, record := range list {
			if err := r.Reset(record); err != nil {
				return false, fmt.Errorf("%w: %w", errDamaged, err)
			}
			for r.Next(&c) {
				if !yield(&c) {
					return false, nil
				}
			}
			if err := r.Err(); err != nil {
				return false, fmt.Errorf("%w: %w", errDamaged, err)
			}
		}
		if n < limit {
			return true, nil
		}
		limit = pageRows
	}
}
