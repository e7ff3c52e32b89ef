package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// copyPage is how many records are asked for at once.
const copyPage = 500

// copySource is a store that is read record by record, in the order of
// [capture.CopyKey], as of one moment.
type copySource struct {
	schema
	e    *Engine
	conn *pgx.Conn
	tx   pgx.Tx
	head *capture.CopyHead
}

// OpenSource opens a store that no node has open.
func (e *Engine) OpenSource(ctx context.Context) (_ capture.CopySource, err error) {
	c := &copySource{schema: e.schema(), e: e}
	if c.conn, err = e.dial(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = c.conn.Close(context.WithoutCancel(ctx))
		}
	}()
	var there bool
	if err := c.conn.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, c.q(`{s}.store`)).Scan(&there); err != nil {
		return nil, away("looking for the store", err)
	}
	if !there {
		return nil, fmt.Errorf("there is no store in the schema %q", string(c.schema))
	}
	if err := c.migrate(ctx, c.conn); err != nil {
		return nil, err
	}
	if err := c.unused(ctx, c.conn); err != nil {
		return nil, err
	}
	if c.tx, err = c.conn.BeginTx(ctx, readerOptions); err != nil {
		return nil, away("reading the store", err)
	}
	if c.head, err = c.copyHead(ctx, c.tx); err != nil {
		return nil, reading(ctx, "reading the store", err)
	}
	if err := c.finished(ctx, c.tx); err != nil {
		return nil, err
	}
	c.goHome()
	return c, nil
}

// unused refuses a store that a node has open.
func (s schema) unused(ctx context.Context, q querier) error {
	var node int32
	var host string
	err := q.QueryRow(ctx, s.q(`SELECT n.node, n.host FROM {s}.nodes n JOIN {s}.alive a ON a.node = n.node
WHERE n.holder <> '' AND a.until > now() ORDER BY n.node LIMIT 1`)).Scan(&node, &host)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return away("asking who uses the store", err)
	}
	return fmt.Errorf("%w: node %d on %q is running on the schema %q: stop all Caddies (one that was killed is known to be gone after %s)",
		capture.ErrLocked, node, unescape(host), string(s), leaseFor)
}

// copyHead reads what there is besides records.
func (s schema) copyHead(ctx context.Context, q querier) (*capture.CopyHead, error) {
	h := new(capture.CopyHead)
	err := q.QueryRow(ctx, s.q(`SELECT id, secret, swept_clicks, swept_conversions FROM {s}.store`)).
		Scan(&h.Store, &h.Secret, &h.SweptClicks, &h.SweptConversions)
	if err != nil {
		return nil, err
	}
	last, err := s.lastSeq(ctx, q)
	if err != nil {
		return nil, err
	}
	h.NextSeq = last + 1
	rows, err := q.Query(ctx, s.q(`SELECT node, token, host, batch, lease FROM {s}.nodes ORDER BY node`))
	if err != nil {
		return nil, err
	}
	var n capture.CopyNode
	_, err = pgx.ForEachRow(rows, []any{&n.Epoch, &n.Token, &n.Host, &n.Batch, &n.Lease}, func() error {
		n.Host = unescape(n.Host)
		h.Nodes = append(h.Nodes, n)
		return nil
	})
	if err == nil {
		h.Erased, err = s.copyErased(ctx, q)
	}
	return h, err
}

// copyErased reads which clicks were erased. So an erasure counts as a change of
// the store, too.
func (s schema) copyErased(ctx context.Context, q querier) (list []capture.CopyErased, err error) {
	rows, err := q.Query(ctx, s.q(`SELECT click, at FROM {s}.erased ORDER BY click`))
	if err != nil {
		return nil, err
	}
	var key []byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&key, &at}, func() error {
		e := capture.CopyErased{At: at.UnixMilli()}
		if copy(e.Click[:], key) != len(e.Click) {
			return fmt.Errorf("%w: a click that was erased has a key of %d bytes", errDamaged, len(key))
		}
		list = append(list, e)
		return nil
	})
	return list, err
}

// goHome chooses who goes on where there are no nodes: the one of this machine if
// it is one of the store's, else the one that gave out most block numbers, as
// clicks of all others take a little longer to be found.
func (c *copySource) goHome() {
	if f, err := c.e.readNode(); err == nil && f != nil && f.Store == c.head.Store && c.head.Node(f.Node) != nil {
		c.head.Home = f.Node
		return
	}
	most := uint64(0)
	for _, n := range c.head.Nodes {
		if n.Lease > most {
			most, c.head.Home = n.Lease, n.Epoch
		}
	}
}

// Head returns what there is besides records.
func (c *copySource) Head() *capture.CopyHead { return c.head }

// Unchanged looks whether a node wrote after the copy was begun, which would be
// missing from it.
func (c *copySource) Unchanged(ctx context.Context) error {
	conn, err := c.e.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing hangs on it
	if err := c.unused(ctx, conn); err != nil {
		return err
	}
	now, err := c.copyHead(ctx, conn)
	if err != nil {
		return reading(ctx, "reading the store", err)
	}
	now.Home = c.head.Home
	was, err := c.head.Encode()
	if err != nil {
		return err
	}
	is, err := now.Encode()
	if err == nil && !bytes.Equal(was, is) {
		err = fmt.Errorf("%w: a node wrote to the schema %q while it was copied: stop all Caddies, empty the target and copy again",
			capture.ErrLocked, string(c.schema))
	}
	return err
}

// Close ends the snapshot.
func (c *copySource) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	return c.conn.Close(ctx)
}

// Count counts the records.
func (c *copySource) Count(ctx context.Context) (int64, error) { return c.countRecords(ctx, c.tx) }

// Records reads them.
func (c *copySource) Records(ctx context.Context, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	return copying(ctx, "reading the store", c.records(ctx, c.tx, after, yield))
}

// countRecords counts a sum for each of its currencies.
func (s schema) countRecords(ctx context.Context, q querier) (n int64, err error) {
	err = q.QueryRow(ctx, s.q(`SELECT (SELECT count(*) FROM {s}.blocks) + (SELECT count(*) FROM {s}.ledger)
+ (SELECT count(*) FROM {s}.journal) + (SELECT count(*) FROM {s}.sums)`)).Scan(&n)
	return n, reading(ctx, "counting records", err)
}

// records reads all records after a key.
func (s schema) records(ctx context.Context, q querier, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	r := copyReader{schema: s, q: q, yield: yield}
	for _, part := range []struct {
		kind capture.CopyKind
		read func(ctx context.Context, after capture.CopyKey) error
	}{
		{capture.CopyBlock, r.blocks}, {capture.CopyConversion, r.conversions}, {capture.CopyEntry, r.entries}, {capture.CopySum, r.sums},
	} {
		from := after
		switch {
		case after.Kind > part.kind:
			continue
		case after.Kind < part.kind:
			from = capture.CopyKey{Kind: part.kind}
		}
		if err := part.read(ctx, from); err != nil {
			return err
		}
	}
	return nil
}

// copyReader reads records page by page: each page is a short walk along a key,
// where all at once would have to be sorted first.
type copyReader struct {
	schema
	q     querier
	yield func(*capture.CopyRecord) error
}

// pages reads pages until one is not full. ask returns the rows of one, read the
// key of one row.
func (r *copyReader) pages(ask func() (pgx.Rows, error), scan []any, data *[]byte, read func() capture.CopyKey) error {
	for {
		rows, err := ask()
		if err != nil {
			return err
		}
		var page []*capture.CopyRecord
		if _, err := pgx.ForEachRow(rows, append(scan, data), func() error {
			page = append(page, &capture.CopyRecord{Key: read(), Data: bytes.Clone(*data)})
			return nil
		}); err != nil {
			return err
		}
		for _, rec := range page {
			if err := r.yield(rec); err != nil {
				return err
			}
		}
		if len(page) < copyPage {
			return nil
		}
	}
}

func (r *copyReader) blocks(ctx context.Context, after capture.CopyKey) error {
	node, number := int32(after.Epoch), int64(after.Number) //nolint:gosec // at most clickid.MaxBlock
	if after.Epoch == 0 {
		number = -1
	}
	var data []byte
	return r.pages(func() (pgx.Rows, error) {
		return r.q.Query(ctx, r.schema.q(`SELECT node, number, data FROM {s}.blocks WHERE (node, number) > ($1, $2) ORDER BY node, number LIMIT $3`),
			node, number, copyPage)
	}, []any{&node, &number}, &data, func() capture.CopyKey {
		return capture.CopyKey{Kind: capture.CopyBlock, Epoch: uint16(node), Number: uint64(number)} //nolint:gosec // as above
	})
}

func (r *copyReader) conversions(ctx context.Context, after capture.CopyKey) error {
	last := after.ID[:]
	var data []byte
	return r.pages(func() (pgx.Rows, error) {
		return r.q.Query(ctx, r.schema.q(`SELECT id, data FROM {s}.ledger WHERE id > $1 ORDER BY id LIMIT $2`), last, copyPage)
	}, []any{&last}, &data, func() capture.CopyKey {
		return capture.CopyKey{Kind: capture.CopyConversion, ID: attribution.ConversionID(last)}
	})
}

func (r *copyReader) entries(ctx context.Context, after capture.CopyKey) error {
	seq := int64(after.Number) //nolint:gosec // of a sequence
	var data []byte
	return r.pages(func() (pgx.Rows, error) {
		return r.q.Query(ctx, r.schema.q(`SELECT seq, data FROM {s}.journal WHERE seq > $1 ORDER BY seq LIMIT $2`), seq, copyPage)
	}, []any{&seq}, &data, func() capture.CopyKey {
		return capture.CopyKey{Kind: capture.CopyEntry, Number: uint64(seq)} //nolint:gosec // as above
	})
}

// sumsAtOnce is how many quarters of an hour are added up at once: a day.
const sumsAtOnce = 96

// sums reads what the nodes' sums of a cell come to.
func (r *copyReader) sums(ctx context.Context, after capture.CopyKey) error {
	for next := int64(after.Cell.Quarter); ; {
		var first *int64
		err := r.q.QueryRow(ctx, r.schema.q(`SELECT min(quarter)::bigint FROM {s}.sums WHERE quarter >= $1`), next).Scan(&first)
		if err != nil || first == nil {
			return err
		}
		next = *first + sumsAtOnce
		if err := r.sumsOf(ctx, after, *first, next); err != nil {
			return err
		}
	}
}

func (r *copyReader) sumsOf(ctx context.Context, after capture.CopyKey, first, end int64) error {
	rows, err := r.q.Query(ctx, r.schema.q(`SELECT quarter, campaign, source, destination, event, currency, `+sumColumns+`
FROM {s}.sums WHERE quarter >= $1 AND quarter < $2 GROUP BY 1, 2, 3, 4, 5, 6`), first, end)
	if err != nil {
		return err
	}
	var row sumRow
	var quarter int32
	cells := make(map[capture.Cell]*attribution.Counts)
	scan := append([]any{&quarter, &row.campaign, &row.source, &row.destination, &row.event, &row.currency}, row.numbers()...)
	if _, err := pgx.ForEachRow(rows, scan, func() error {
		cell := row.cell()
		cell.Quarter = uint32(quarter) //nolint:gosec // never negative
		n, err := row.counts()
		add(cells, cell, n)
		return err
	}); err != nil {
		return err
	}
	for _, cell := range slices.SortedFunc(maps.Keys(cells), capture.Cell.Compare) {
		key := capture.CopyKey{Kind: capture.CopySum, Cell: cell}
		if key.Compare(after) <= 0 || cells[cell].IsZero() {
			continue
		}
		if err := r.yield(&capture.CopyRecord{Key: key, Counts: *cells[cell]}); err != nil {
			return err
		}
	}
	return nil
}

var _ capture.CopyEngine = (*Engine)(nil)
