package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// reading turns the end of a caller's or the store's time, and errors of the
// database, into what callers know.
func reading(ctx context.Context, what string, err error) error {
	switch {
	case err == nil, errors.Is(err, capture.ErrNotFound), errors.Is(err, attribution.ErrTooManyRows), errors.Is(err, capture.ErrTrialTooLarge):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return away(what, err)
}

// snapshot runs f in a transaction that sees the store as of one moment.
func (s *Store) snapshot(ctx context.Context, pool *pgxpool.Pool, what string, f func(ctx context.Context, tx pgx.Tx) error) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	err = with(ctx, pool, func(conn *pgxpool.Conn) error {
		return pgx.BeginTxFunc(ctx, conn, readerOptions, func(tx pgx.Tx) error { return f(ctx, tx) })
	})
	return reading(ctx, what, err)
}

// query asks for one row or some, which scan reads.
func (s *Store) query(ctx context.Context, what string, f func(ctx context.Context, q querier) error) error {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	asked, cancel := context.WithTimeout(ctx, cmp.Or(s.e.lookupFor, lookupTimeout))
	defer cancel()
	err = with(asked, s.read, func(conn *pgxpool.Conn) error { return f(asked, conn) })
	return reading(ctx, what, err)
}

// record returns the bytes of one record.
func (s schema) record(ctx context.Context, q querier, sql string, args ...any) (data []byte, err error) {
	err = q.QueryRow(ctx, s.q(sql), args...).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		err = capture.ErrNotFound
	}
	return data, err
}

// block returns the record of the block that a click is in.
func (s schema) block(ctx context.Context, q querier, ref clickid.Ref) ([]byte, error) {
	day := dayOf(ref.Time())
	data, err := s.record(ctx, q, `SELECT data FROM {s}.blocks WHERE day = ANY($1::date[]) AND node = $2 AND number = $3`,
		[]time.Time{day.AddDate(0, 0, -1), day}, int32(ref.Epoch), int64(ref.Block)) //nolint:gosec // at most clickid.MaxBlock
	if errors.Is(err, capture.ErrNotFound) {
		data, err = s.record(ctx, q, `SELECT data FROM {s}.blocks WHERE node = $1 AND number = $2`, int32(ref.Epoch), int64(ref.Block)) //nolint:gosec // as above
	}
	return data, err
}

// ClickToBook returns what booking wants of one click.
func (s *Store) ClickToBook(ctx context.Context, ref clickid.Ref) (c *capture.Click, err error) {
	err = s.query(ctx, "reading a click", func(ctx context.Context, q querier) error {
		data, err := s.block(ctx, q, ref)
		if err == nil {
			c, err = capture.LookupClick(data, ref)
		}
		if err == nil && c == nil {
			err = capture.ErrNotFound
		}
		return err
	})
	return c, err
}

// Click returns one click.
func (s *Store) Click(ctx context.Context, ref clickid.Ref) (c *capture.Click, err error) {
	err = s.query(ctx, "reading a click", func(ctx context.Context, q querier) error {
		data, err := s.block(ctx, q, ref)
		if err != nil {
			return err
		}
		c, err = clickIn(data, ref)
		if err == nil && c == nil {
			err = capture.ErrNotFound
		}
		return err
	})
	return c, err
}

func clickIn(data []byte, ref clickid.Ref) (*capture.Click, error) {
	b, err := capture.DecodeBlock(data)
	if err != nil {
		return nil, fmt.Errorf("%w: block %d of node %d: %w", errDamaged, ref.Block, ref.Epoch, err)
	}
	for _, c := range b.Clicks {
		if c.Ref == ref {
			return c, nil
		}
	}
	return nil, nil
}

// ClickConversions returns the booked conversions of one click.
func (s *Store) ClickConversions(ctx context.Context, ref clickid.Ref) (list []*capture.Conversion, err error) {
	key := ref.Key()
	err = s.query(ctx, "reading a click's conversions", func(ctx context.Context, q querier) error {
		rows, err := q.Query(ctx, s.q(`SELECT data FROM {s}.ledger WHERE click = $1 AND booked ORDER BY at, id`), key[:])
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, rowToConversion)
		return err
	})
	return list, err
}

func rowToConversion(row pgx.CollectableRow) (*capture.Conversion, error) {
	var data []byte
	if err := row.Scan(&data); err != nil {
		return nil, err
	}
	return decodeConversion(data)
}

// Conversion returns one conversion.
func (s *Store) Conversion(ctx context.Context, id attribution.ConversionID) (c *capture.Conversion, err error) {
	err = s.query(ctx, "reading a conversion", func(ctx context.Context, q querier) (err error) {
		c, err = s.conversion(ctx, q, id)
		return err
	})
	return c, err
}

func (s schema) conversion(ctx context.Context, q querier, id attribution.ConversionID) (*capture.Conversion, error) {
	data, err := s.record(ctx, q, `SELECT data FROM {s}.ledger WHERE id = $1`, id[:])
	if err != nil {
		return nil, err
	}
	return decodeConversion(data)
}

// Entry returns one journal entry.
func (s *Store) Entry(ctx context.Context, seq uint64) (e *capture.Entry, err error) {
	err = s.query(ctx, "reading a journal entry", func(ctx context.Context, q querier) (err error) {
		e, err = s.entry(ctx, q, seq)
		return err
	})
	return e, err
}

func (s schema) entry(ctx context.Context, q querier, seq uint64) (*capture.Entry, error) {
	data, err := s.record(ctx, q, `SELECT data FROM {s}.journal WHERE seq = $1`, int64(seq)) //nolint:gosec // others are not there
	if err != nil {
		return nil, err
	}
	return decodeEntry(data)
}

// Try decides postbacks and writes nothing.
func (s *Store) Try(ctx context.Context, b *capture.Batch, trial *capture.Trial) error {
	return s.snapshot(ctx, s.read, "trying postbacks", func(ctx context.Context, q pgx.Tx) error {
		r := &reader{s: s}
		r.now = func(batch *pgx.Batch) error { return q.SendBatch(ctx, batch).Close() }
		var one int
		if err := q.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil { // from here on nothing changes
			return err
		}
		last, err := s.lastSeq(ctx, q)
		if err != nil {
			return err
		}
		if err := r.ahead(ctx, q, b); err != nil {
			return err
		}
		return capture.Try(newTx(r), b, last+1, trial)
	})
}

// ahead reads, a round trip at a time, what the postbacks would ask if nothing
// had been tried before, so that the trial has little left to ask by itself.
func (r *reader) ahead(ctx context.Context, q pgx.Tx, b *capture.Batch) error {
	copied := capture.Batch{Number: b.Number, Now: b.Now}
	for i, p := range b.Postbacks {
		own := *p
		own.Seq = firstPass + uint64(i) //nolint:gosec // not negative
		copied.Postbacks = append(copied.Postbacks, &own)
	}
	now := r.now
	r.now = nil
	defer func() { r.now = now }()
	for {
		if err := capture.Apply(newTx(r), &copied); err != nil {
			return err
		}
		var more pgx.Batch
		if !r.ask(&more) {
			return nil
		}
		if err := q.SendBatch(ctx, &more).Close(); err != nil {
			return err
		}
		r.settle()
	}
}

// ceil is the first whole millisecond that is not before t: what is stored is of
// whole milliseconds.
func ceil(t time.Time) time.Time {
	if c := t.Truncate(time.Millisecond); c.Before(t) {
		return c.Add(time.Millisecond).UTC()
	}
	return t.UTC()
}

// where collects conditions and their arguments.
type where struct {
	conds []string
	args  []any
}

func (w *where) add(cond string, arg any) {
	w.args = append(w.args, arg)
	w.conds = append(w.conds, fmt.Sprintf(cond, len(w.args)))
}

func (w *where) text(column, value string) {
	if value != "" {
		w.add(column+" = $%d", escape(value))
	}
}

func (w *where) span(column string, from, to time.Time) {
	if !from.IsZero() {
		w.add(column+" >= $%d", ceil(from))
	}
	if !to.IsZero() {
		w.add(column+" < $%d", ceil(to))
	}
}

func (w *where) clone() where { return where{slices.Clone(w.conds), slices.Clone(w.args)} }
