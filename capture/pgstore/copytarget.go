package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A copy is made in its place. A table of its own, copying, says that it is not
// complete, of what it is a copy, and how far it goes, in the same transaction as
// the records. No node opens the store as long as the table is there; a finished
// store has none.

// copyIdle is when the server ends a transaction of who copies and is heard of no
// more: whoever goes on with the copy waits for its locks.
const copyIdle = time.Minute

// copyTarget is a store that is being made.
type copyTarget struct {
	schema
	e    *Engine
	home *home
	conn *pgx.Conn
	head *capture.CopyHead
	// holder is this attempt: an earlier one that still lives must not go on.
	holder string
	last   capture.CopyKey
	n      int64
}

// copying leaves errors of our own as they are, and tells those of the database
// from them.
func copying(ctx context.Context, doing string, err error) error {
	var network net.Error
	var connecting *pgconn.ConnectError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case codeOf(err) != "", errors.As(err, &network), errors.As(err, &connecting), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		pgconn.SafeToRetry(err):
		return away(doing, err)
	}
	return err
}

// finished refuses a schema with an unfinished copy.
func (s schema) finished(ctx context.Context, q querier) error {
	var copying bool
	if err := q.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, s.q(`{s}.copying`)).Scan(&copying); err != nil {
		return away("opening the store", err)
	}
	if copying {
		return fmt.Errorf("%w: the schema %q holds what `caddy capture migrate` has copied so far: run it again to go on, or drop the schema",
			capture.ErrUnfinished, string(s))
	}
	return nil
}

// OpenTarget begins a copy in an empty schema, or goes on with it.
func (e *Engine) OpenTarget(ctx context.Context, head *capture.CopyHead) (_ capture.CopyTarget, err error) {
	t := &copyTarget{schema: e.schema(), e: e, head: head, holder: newToken()}
	if t.home, err = e.claimNow(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = t.Close()
		}
	}()
	if t.conn, err = e.connect(ctx); err != nil {
		return nil, err
	}
	err = pgx.BeginTxFunc(ctx, t.conn, long(cmp.Or(t.e.abandonAfter, copyIdle)), func(tx pgx.Tx) error { return t.begin(ctx, tx) })
	if err != nil {
		return nil, copying(ctx, "beginning the copy", err)
	}
	return t, nil
}

// begin reads how far the copy goes, or writes what it begins with.
func (t *copyTarget) begin(ctx context.Context, tx pgx.Tx) error {
	mine, err := t.e.readNode()
	if err != nil {
		return err
	}
	l := loader{schema: t.schema, ctx: ctx, tx: tx}
	began := t.schema.finished(ctx, tx)
	switch {
	case errors.Is(began, capture.ErrUnfinished):
		return t.resume(ctx, tx)
	case began != nil:
		return began
	}
	if err := l.empty(); err != nil {
		return err
	}
	head, err := t.head.Encode()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, t.q(`CREATE TABLE {s}.copying (head bytea NOT NULL, holder text NOT NULL, last bytea NOT NULL, records bigint NOT NULL)`)); err != nil {
		return err
	}
	last, err := t.last.Encode()
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, t.q(`INSERT INTO {s}.copying (head, holder, last, records) VALUES ($1, $2, $3, 0)`), head, t.holder, last); err != nil {
		return err
	}
	store := t.head.Store
	if store == "" {
		store = newToken()
	}
	if _, err := tx.Exec(ctx, t.q(`INSERT INTO {s}.store (id, secret, swept_clicks, swept_conversions) VALUES ($1, $2, $3, $4)`),
		store, t.head.Secret, t.head.SweptClicks, t.head.SweptConversions); err != nil {
		return err
	}
	if t.head.NextSeq > 1 {
		if _, err := tx.Exec(ctx, t.q(`SELECT setval('{s}.journal_seq', $1)`), int64(t.head.NextSeq-1)); err != nil { //nolint:gosec // of a sequence
			return err
		}
	}
	if err := t.erased(ctx, tx); err != nil {
		return err
	}
	return t.nodes(ctx, tx, mine)
}

// erased writes down which clicks were erased: the nodes may still have some.
func (t *copyTarget) erased(ctx context.Context, tx pgx.Tx) error {
	var clicks [][]byte
	var at []time.Time
	for _, e := range t.head.Erased {
		clicks, at = append(clicks, e.Click[:]), append(at, time.UnixMilli(e.At).UTC())
	}
	_, err := tx.Exec(ctx, t.q(`INSERT INTO {s}.erased (click, at) SELECT * FROM unnest($1::bytea[], $2::timestamptz[])`), clicks, at)
	return err
}

// nodes writes down who gave out block numbers. Whoever copies goes on as the
// node that is home, unless its own directory says that it is another one.
func (t *copyTarget) nodes(ctx context.Context, tx pgx.Tx, mine *nodeFile) error {
	here, _ := os.Hostname()
	for _, n := range t.head.Nodes {
		token, host := n.Token, n.Host
		if n.Epoch == t.head.Home && !t.oneOfThem(mine) {
			token, host = newToken(), here
		}
		if token == "" {
			token = newToken() // nobody's any more, but the number stays taken
		}
		_, err := tx.Exec(ctx, t.q(`INSERT INTO {s}.nodes (node, token, host, batch, lease) VALUES ($1, $2, $3, $4, $5)`),
			int32(n.Epoch), token, escape(host), int64(n.Batch), int64(n.CopiedLease())) //nolint:gosec // counters
		if err != nil {
			return err
		}
	}
	return nil
}

// oneOfThem tells whether a directory is that of a node of the source.
func (t *copyTarget) oneOfThem(f *nodeFile) bool {
	if f == nil || f.Store != t.head.Store {
		return false
	}
	n := t.head.Node(f.Node)
	return n != nil && n.Token == f.Token
}

func (t *copyTarget) resume(ctx context.Context, tx pgx.Tx) error {
	head, err := t.head.Encode()
	if err != nil {
		return err
	}
	var was, last []byte
	if err := tx.QueryRow(ctx, t.q(`UPDATE {s}.copying SET holder = $1 RETURNING head, last, records`), t.holder).Scan(&was, &last, &t.n); err != nil {
		return err
	}
	if !bytes.Equal(was, head) {
		return fmt.Errorf("%w, or its source has changed since, in the schema %q: drop that, and copy again", capture.ErrAnotherCopy, string(t.schema))
	}
	t.last, err = capture.DecodeCopyKey(last)
	return err
}

// Done tells how far the copy goes.
func (t *copyTarget) Done() (capture.CopyKey, int64) { return t.last, t.n }

// Put adds records in one transaction.
func (t *copyTarget) Put(ctx context.Context, records []*capture.CopyRecord) error {
	last, n := records[len(records)-1].Key, t.n+int64(len(records))
	key, err := last.Encode()
	if err != nil {
		return err
	}
	err = pgx.BeginTxFunc(ctx, t.conn, long(cmp.Or(t.e.abandonAfter, copyIdle)), func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, t.q(`UPDATE {s}.copying SET last = $1, records = $2 WHERE holder = $3 AND records = $4`), key, n, t.holder, t.n)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("%w: another process copies into the schema %q now", capture.ErrLocked, string(t.schema))
		}
		l := loader{schema: t.schema, ctx: ctx, conn: t.conn, tx: tx, days: make(map[string]bool)}
		for _, r := range records {
			if err := l.copied(r, t.head.Home); err != nil {
				return fmt.Errorf("%s: %w", r.Key, err)
			}
		}
		return l.flush()
	})
	if err != nil {
		return copying(ctx, "copying", err)
	}
	t.last, t.n = last, n
	return nil
}

// copied adds a record to what is written.
func (l *loader) copied(r *capture.CopyRecord, home uint16) error {
	switch r.Key.Kind {
	case capture.CopyBlock:
		return l.record(&backupItem{Block: r.Data})
	case capture.CopyConversion:
		return l.record(&backupItem{Conversion: r.Data})
	case capture.CopyEntry:
		return l.record(&backupItem{Entry: &backupEntry{home, r.Data}})
	case capture.CopySum:
		l.sums.add(int32(home), &r.Key.Cell, &r.Counts)
		return nil
	}
	return fmt.Errorf("there are no records of kind %d", r.Key.Kind)
}

// Count counts the records.
func (t *copyTarget) Count(ctx context.Context) (int64, error) { return t.countRecords(ctx, t.conn) }

// Records reads them.
func (t *copyTarget) Records(ctx context.Context, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	return copying(ctx, "reading the copy", t.records(ctx, t.conn, after, yield))
}

// Check is that of a node that has the store open for nothing else.
func (t *copyTarget) Check(ctx context.Context, progress func(done, total int64)) (r capture.CheckResult, err error) {
	s := &Store{schema: t.schema, e: t.e, node: int32(t.head.Home)}
	s.closing, s.end = context.WithCancelCause(ctx)
	defer s.end(capture.ErrClosed)
	if s.bulk, err = t.e.pool(ctx, 1); err != nil {
		return r, err
	}
	defer s.closePools()
	return s.Check(ctx, progress)
}

// Finish makes the copy a store, and this machine's directory that of a node of
// it.
func (t *copyTarget) Finish(ctx context.Context) error {
	mine, err := t.e.readNode()
	if err != nil {
		return err
	}
	// The connection that wrote has had nothing to do while the copy was checked,
	// and may have been taken for dead by whatever it goes through.
	conn, err := t.e.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing hangs on it
	f := nodeFile{Format: nodeFormat, Node: t.head.Home, ClickIDKey: t.head.Secret}
	if err := conn.QueryRow(ctx, t.q(`SELECT s.id, n.token FROM {s}.store s, {s}.nodes n WHERE n.node = $1`), int32(f.Node)).
		Scan(&f.Store, &f.Token); err != nil {
		return copying(ctx, "finishing the copy", err)
	}
	if !t.oneOfThem(mine) {
		if err := t.e.writeNode(&f); err != nil {
			return err
		}
	}
	_, err = conn.Exec(ctx, t.q(`DROP TABLE {s}.copying`))
	return copying(ctx, "finishing the copy", err)
}

// Close gives up the connection. What was not finished stays as it is.
func (t *copyTarget) Close() error {
	if t.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_ = t.conn.Close(ctx)
	}
	t.home.release()
	return nil
}
