package pgstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// checker compares what one snapshot of the store says in several places.
type checker struct {
	s           *Store
	tx          pgx.Tx
	r           *capture.CheckResult
	progress    func(done, total int64)
	done, total int64
	records     map[capture.Cell]*attribution.Counts
	sums        map[capture.Cell]*attribution.Counts
	leases      map[int32]int64
}

// Check compares the sums with the records, and the columns and tables by which
// records are found with the records themselves.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (r capture.CheckResult, err error) {
	err = s.snapshot(ctx, s.bulk, "checking the store", func(ctx context.Context, tx pgx.Tx) error {
		c := checker{
			s: s, tx: tx, r: &r, progress: progress, leases: make(map[int32]int64),
			records: make(map[capture.Cell]*attribution.Counts), sums: make(map[capture.Cell]*attribution.Counts),
		}
		err := tx.QueryRow(ctx, s.q(`SELECT (SELECT count(*) FROM {s}.blocks) + (SELECT count(*) FROM {s}.ledger)
+ (SELECT count(*) FROM {s}.journal) + (SELECT count(*) FROM {s}.sums)`)).Scan(&c.total)
		for _, part := range []func(context.Context) error{c.clicks, c.conversions, c.transactions, c.journal, c.cells} {
			if err == nil {
				err = part(ctx)
			}
		}
		if err == nil && progress != nil {
			progress(c.total, c.total)
		}
		return err
	})
	return r, err
}

func (c *checker) step() {
	if c.done++; c.progress != nil && c.done%1000 == 0 && c.done < c.total {
		c.progress(c.done, c.total)
	}
}

func add(to map[capture.Cell]*attribution.Counts, cell capture.Cell, n attribution.Counts) {
	if n.IsZero() {
		return
	}
	if to[cell] == nil {
		to[cell] = new(attribution.Counts)
	}
	to[cell].Add(n)
}

// rows runs f for each row of a statement.
func (c *checker) rows(ctx context.Context, sql string, scan []any, f func() error) error {
	rows, err := c.tx.Query(ctx, c.s.q(sql))
	if err == nil {
		_, err = pgx.ForEachRow(rows, scan, f)
	}
	return err
}

func (c *checker) clicks(ctx context.Context) error {
	var node int32
	var number, first, last int64
	var day time.Time
	var data []byte
	err := c.rows(ctx, `SELECT node, lease FROM {s}.nodes`, []any{&node, &number}, func() error {
		c.leases[node] = number
		return nil
	})
	if err != nil {
		return err
	}
	var columns storedColumns
	return c.rows(ctx, `SELECT day, node, number, first_ms, last_ms, data, `+storedBlock+` FROM {s}.blocks`,
		append([]any{&day, &node, &number, &first, &last, &data}, columns.scan()...), func() error {
			c.step()
			what := fmt.Sprintf("click block %d of node %d", number, node)
			if lease, known := c.leases[node]; known && number >= lease {
				c.r.Found("%s lies beyond the lease, which ends at %d", what, lease)
			}
			b, err := capture.DecodeBlock(data)
			if err != nil {
				c.r.Found("%s cannot be read: %s", what, err)
				return nil
			}
			var rows blockRows
			if err := rows.add(node, b); err != nil {
				return err
			}
			if !rows.days[0].Equal(day) || rows.first[0] != first || rows.last[0] != last || b.Number != uint64(number) || //nolint:gosec // never negative
				int32(b.Clicks[0].Ref.Epoch) != node {
				c.r.Found("%s is listed under another place or time than its clicks have", what)
			}
			if !columns.same(&rows.columns, capture.FrontLength(data)) {
				c.r.Found("%s has other clicks in the columns for SQL than in its record", what)
			}
			for _, click := range b.Clicks {
				c.r.Clicks++
				add(c.records, capture.Cell{
					Quarter: capture.QuarterOf(click.Time), Campaign: click.Campaign, Source: click.Source, Destination: click.Destination,
				}, click.Counts())
			}
			return nil
		})
}

func (c *checker) conversions(ctx context.Context) error {
	var id, click, data []byte
	var rule int16
	var booked, test bool
	var at time.Time
	var columns ledgerColumns
	return c.rows(ctx, `SELECT id, click, rule, booked, test, at, data, `+storedLedger+` FROM {s}.ledger`,
		append([]any{&id, &click, &rule, &booked, &test, &at, &data}, columns.scan()...), func() error {
			c.step()
			c.r.Conversions++
			conv, err := decodeConversion(data)
			if err != nil {
				c.r.Found("conversion %x cannot be read: %s", id, err)
				return nil
			}
			c.r.CheckConversion(conv)
			key := conv.Click.Key()
			if string(conv.ID[:]) != string(id) || string(key[:]) != string(click) || ruleOf(conv.Known()) != rule ||
				conv.State.Booked != booked || conv.Test != test || !conv.State.Time.Equal(at) || !columns.same(conv) {
				c.r.Found("conversion %s is listed under something else than its record says", conv.ID)
			}
			if conv.State.Booked {
				add(c.records, conv.Cell(), conv.Counts())
			}
			return nil
		})
}

// transactions checks the index of transactions, in both directions.
func (c *checker) transactions(ctx context.Context) error {
	var key, id, data []byte
	err := c.rows(ctx, `SELECT t.key, t.conversion, c.data FROM {s}.txids t LEFT JOIN {s}.ledger c ON c.id = t.conversion`,
		[]any{&key, &id, &data}, func() error {
			if data == nil {
				c.r.Found("transaction %x leads to conversion %x, which is not there", key, id)
				return nil
			}
			conv, err := decodeConversion(data)
			if err == nil && !slices.Contains(conv.TxKeys, capture.TxKey(key)) {
				c.r.Found("transaction %x leads to conversion %s, which does not know it", key, conv.ID)
			}
			return nil // what cannot be read was noted before
		})
	if err != nil {
		return err
	}
	var leads int64
	return c.rows(ctx, `SELECT c.id, c.data, (SELECT count(*) FROM {s}.txids t WHERE t.conversion = c.id) FROM {s}.ledger c
WHERE c.id IN (SELECT conversion FROM {s}.txids)`, []any{&id, &data, &leads}, func() error {
		if conv, err := decodeConversion(data); err == nil && int64(len(conv.TxKeys)) != leads {
			c.r.Found("%d transactions lead to conversion %s, which knows %d", leads, conv.ID, len(conv.TxKeys))
		}
		return nil
	})
}

func (c *checker) journal(ctx context.Context) error {
	last, err := c.s.lastSeq(ctx, c.tx)
	if err != nil {
		return err
	}
	awaiting := make(map[int64]map[string]bool)
	var seq int64
	var key, click, data []byte
	var awaits, waits bool
	var print *int64
	var at time.Time
	err = c.rows(ctx, `SELECT key, seq, awaits FROM {s}.awaiting`, []any{&key, &seq, &awaits}, func() error {
		if awaiting[seq] == nil {
			awaiting[seq] = make(map[string]bool)
		}
		awaiting[seq][string(key)] = awaits
		return nil
	})
	if err != nil {
		return err
	}
	err = c.rows(ctx, `SELECT seq, at, click, waits, fingerprint, data FROM {s}.journal`,
		[]any{&seq, &at, &click, &waits, &print, &data}, func() error {
			c.step()
			c.r.Entries++
			listed := awaiting[seq]
			delete(awaiting, seq)
			if uint64(seq) > last { //nolint:gosec // never negative
				c.r.Found("journal entry %d lies beyond the last number, which is %d", seq, last)
			}
			e, err := decodeEntry(data)
			if err != nil {
				c.r.Found("journal entry %d cannot be read: %s", seq, err)
				return nil
			}
			var rows entryRows
			if err := rows.add(c.s.node, e, false); err != nil {
				return err
			}
			same := rows.seqs[0] == seq && e.Time.Equal(at) && string(rows.clicks[0]) == string(click) && rows.waits[0] == waits &&
				(rows.prints[0] == nil) == (print == nil) && (print == nil || *print == *rows.prints[0]) && len(rows.keys) == len(listed)
			for i, key := range rows.keys {
				awaits, ok := listed[string(key)]
				same = same && ok && awaits == rows.awaits[i]
			}
			if !same {
				c.r.Found("journal entry %d is listed under something else than its record says", seq)
			}
			return nil
		})
	for seq := range awaiting {
		c.r.Found("a transaction leads to journal entry %d, which is not there", seq)
	}
	return err
}

// cells compares the sums.
func (c *checker) cells(ctx context.Context) error {
	var row sumRow
	var quarter int32
	var hash []byte
	scan := append([]any{&quarter, &hash, &row.campaign, &row.source, &row.destination, &row.event, &row.currency}, row.numbers()...)
	err := c.rows(ctx, `SELECT quarter, cell, campaign, source, destination, event, currency, `+sumColumns+`
FROM {s}.sums GROUP BY 1, 2, 3, 4, 5, 6, 7`, scan, func() error {
		c.step()
		cell := row.cell()
		if string(cellHash(&cell)) != string(hash) {
			c.r.Found("a sum is kept under another name than its own: %s", cell)
		}
		cell.Quarter = uint32(quarter) //nolint:gosec // never negative
		n, err := row.counts()
		add(c.sums, cell, n)
		return err
	})
	if err != nil {
		return err
	}
	var sweptClicks, sweptConversions int64
	err = c.tx.QueryRow(ctx, c.s.q(`SELECT swept_clicks, swept_conversions FROM {s}.store`)).Scan(&sweptClicks, &sweptConversions)
	for cell, n := range c.sums {
		if !n.IsZero() {
			c.r.Sums++
		}
		if c.records[cell] == nil {
			c.records[cell] = new(attribution.Counts)
		}
	}
	for cell, n := range c.records {
		var sum attribution.Counts
		if c.sums[cell] != nil {
			sum = *c.sums[cell]
		}
		begin, end := cell.Time(), cell.Time().Add(capture.CellSpan)
		c.r.CompareSums(cell, sum, *n, end.UnixMilli() > sweptClicks, begin.UnixMilli() >= sweptConversions)
	}
	return err
}
