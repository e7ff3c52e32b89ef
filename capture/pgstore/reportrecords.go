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

// reportRecords counts clicks and conversions. Of blocks only the front is sent,
// and it is taken apart here: the database takes longer for the columns that it
// has of them, and sends no less if there are many combinations.
func (s *Store) reportRecords(ctx context.Context, tx pgx.Tx, q *attribution.Query, b *attribution.Builder) error {
	from, to := ceil(q.From).UnixMilli(), ceil(q.To).UnixMilli()
	rows, err := tx.Query(ctx, s.q(`SELECT substring(data FROM 1 FOR front) FROM {s}.blocks
WHERE day <= $1 AND last_ms >= $2 AND first_ms < $3`), dayOf(q.To), from, to)
	if err != nil {
		return err
	}
	clicks := newClickCounter(q, b, from, to)
	var data []byte
	if _, err := pgx.ForEachRow(rows, []any{&data}, func() error { return clicks.block(data) }); err != nil {
		return err
	}
	if err := s.reportConversions(ctx, tx, q, b); err != nil || !q.Lags {
		return err
	}
	return s.reportLags(ctx, tx, q, b)
}

// clickCounter counts the clicks of blocks.
type clickCounter struct {
	b        *attribution.Builder
	from, to int64
	subs     []string
	reader   capture.BlockReader
	front    capture.ClickFront
}

func newClickCounter(q *attribution.Query, b *attribution.Builder, from, to int64) *clickCounter {
	c := &clickCounter{b: b, from: from, to: to}
	names := slices.Clone(q.By)
	for i := range q.Filters {
		names = append(names, q.Filters[i].Dimension)
	}
	for _, name := range names {
		if sub, ok := strings.CutPrefix(name, "sub."); ok && !slices.Contains(c.subs, sub) {
			c.subs = append(c.subs, sub)
		}
	}
	c.reader.Want(capture.FrontFields{Campaign: true, Source: true, Destination: true, Subs: c.subs})
	return c
}

func (c *clickCounter) block(data []byte) error {
	if err := c.reader.ResetFront(data); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	f := &c.front
	sub := func(name string) string { return f.Subs[slices.Index(c.subs, name)] }
	for c.reader.NextFront(f) {
		if f.Flags&capture.FlagTest != 0 || f.Millis < c.from || f.Millis >= c.to {
			continue
		}
		n := attribution.Counts{BotClicks: 1}
		if f.Flags.Counted() {
			n = attribution.Counts{Clicks: 1}
			if f.Currency != "" {
				m := attribution.Money{Amount: attribution.AmountOf(f.Cost, f.Places), Currency: attribution.Currency(strings.Clone(string(f.Currency)))}
				if f.More != "" {
					if err := m.Amount.UnmarshalText([]byte(f.More)); err != nil {
						return fmt.Errorf("%w: %w", errDamaged, err)
					}
				}
				n.Cost.Add(m)
			}
		}
		c.b.Add(attribution.Dims{Campaign: f.Campaign, Source: f.Source, Destination: f.Destination, Sub: sub}, time.UnixMilli(f.Millis), n)
	}
	if err := c.reader.Err(); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return c.b.Err()
}
