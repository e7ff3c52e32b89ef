package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Restore fills an empty schema. Who restores goes on as the node that made the
// backup, unless its own directory says that it is another one of it.
func (e *Engine) Restore(ctx context.Context, r io.ReadSeeker) error {
	h, err := e.claimNow(ctx)
	if err != nil {
		return err
	}
	defer h.release()
	b, err := capture.OpenBackup(r, engineName, backupFormat)
	if err != nil {
		return err
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing hangs on it
	mine, err := e.readNode()
	if err != nil {
		return err
	}
	l := loader{schema: e.schema(), ctx: ctx, conn: conn, days: make(map[string]bool)}
	err = pgx.BeginTxFunc(ctx, conn, long(readersIdle), func(tx pgx.Tx) error {
		l.tx = tx
		if err := l.empty(); err != nil {
			return err
		}
		return l.load(cbor.NewDecoder(b), mine)
	})
	if err != nil {
		return reading(ctx, "restoring the store", err)
	}
	return e.writeNode(&l.node)
}

// claimNow takes the lock of the node's directory without waiting for it.
func (e *Engine) claimNow(ctx context.Context) (*home, error) {
	own := Engine{Dir: e.Dir, patience: 1}
	return own.claim(ctx)
}

// loader writes the records of a backup.
type loader struct {
	schema
	ctx  context.Context
	conn *pgx.Conn
	tx   pgx.Tx
	node nodeFile
	head *backupHead
	days map[string]bool

	blocks  blockRows
	convs   conversionRows
	leads   pairs
	entries entryRows
	sums    sumRows
	n       int
}

// loadStep is how many records are written at a time.
const loadStep = 500

// empty refuses a schema that is in use or holds anything, and removes what a
// new store has.
func (l *loader) empty() error {
	var busy, used bool
	err := l.tx.QueryRow(l.ctx, l.q(`SELECT version FROM {s}.schema_version WHERE version = 0 FOR UPDATE`)).Scan(new(int))
	if err == nil {
		err = l.tx.QueryRow(l.ctx, l.q(`SELECT EXISTS (SELECT 1 FROM {s}.nodes n JOIN {s}.alive a ON a.node = n.node WHERE n.holder <> '' AND a.until > now()),
	EXISTS (SELECT 1 FROM {s}.nodes WHERE batch > 0 OR lease > 1) OR EXISTS (SELECT 1 FROM {s}.journal) OR EXISTS (SELECT 1 FROM {s}.ledger)`)).
			Scan(&busy, &used)
	}
	switch {
	case err != nil:
		return err
	case busy:
		return fmt.Errorf("%w: a node is running on the schema %q", capture.ErrLocked, string(l.schema))
	case used:
		return fmt.Errorf("the schema %q is not empty: restore into another one, or drop it first", string(l.schema))
	}
	for _, table := range []string{"nodes", "alive", "store", "erased"} {
		if _, err := l.tx.Exec(l.ctx, l.q(`DELETE FROM {s}.`+table)); err != nil {
			return err
		}
	}
	return nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", capture.ErrBackupDamaged, err) }

func (l *loader) load(dec *cbor.Decoder, mine *nodeFile) error {
	for {
		var item backupItem
		if err := dec.Decode(&item); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("it has no end")
			}
			return damaged(err)
		}
		switch {
		case item.End:
			return l.finish()
		case item.Head != nil:
			l.head = item.Head
			l.node = nodeFile{Format: nodeFormat, Store: l.head.Store, Node: l.head.Node, ClickIDKey: l.head.Secret, Token: newToken()}
			_, err := l.tx.Exec(l.ctx, l.q(`INSERT INTO {s}.store (id, secret, swept_clicks, swept_conversions) VALUES ($1, $2, $3, $4)`),
				l.head.Store, l.head.Secret, l.head.SweptClicks, l.head.SweptConversions)
			if err != nil {
				return err
			}
		case l.head == nil:
			return damaged(errors.New("it does not begin with its head"))
		case item.Node != nil:
			if mine != nil && mine.Token == item.Node.Token {
				l.node.Node, l.node.Token = item.Node.Node, item.Node.Token
			}
			_, err := l.tx.Exec(l.ctx, l.q(`INSERT INTO {s}.nodes (node, token, host, batch, lease) VALUES ($1, $2, $3, $4, $5)`),
				int32(item.Node.Node), item.Node.Token, item.Node.Host, item.Node.Batch, item.Node.Lease+leaseJump)
			if err != nil {
				return err
			}
		default:
			if err := l.record(&item); err != nil {
				return err
			}
		}
	}
}

func (l *loader) record(item *backupItem) (err error) {
	switch {
	case item.Block != nil:
		err = l.block(item.Block)
	case item.Conversion != nil:
		var c *capture.Conversion
		if c, err = decodeConversion(item.Conversion); err != nil {
			return damaged(err)
		}
		for _, key := range c.TxKeys {
			l.leads.add(key, c.ID)
		}
		err = l.convs.add(c)
	case item.Entry != nil:
		var e *capture.Entry
		if e, err = decodeEntry(item.Entry.Data); err != nil {
			return damaged(err)
		}
		err = l.entries.add(int32(item.Entry.Node), e, false)
	case item.Cell != nil:
		var n attribution.Counts
		if err := capture.DecodeRecord(item.Cell.Counts, &n); err != nil {
			return damaged(err)
		}
		l.sums.add(int32(item.Cell.Node), &item.Cell.Cell, &n)
	case item.Erased != nil:
		_, err = l.tx.Exec(l.ctx, l.q(`INSERT INTO {s}.erased (click, at) VALUES ($1, $2) ON CONFLICT DO NOTHING`),
			item.Erased.Click, time.UnixMilli(item.Erased.At).UTC())
	}
	if err != nil {
		return err
	}
	if l.n++; l.n%loadStep == 0 {
		return l.flush()
	}
	return nil
}

func (l *loader) block(data []byte) error {
	b, err := capture.DecodeBlock(data)
	if err != nil {
		return damaged(err)
	}
	if len(b.Clicks) == 0 || b.Clicks[0].Ref.Epoch > clickid.MaxEpoch {
		return damaged(fmt.Errorf("block %d has no clicks", b.Number))
	}
	if err := l.blocks.add(int32(b.Clicks[0].Ref.Epoch), b); err != nil {
		return err
	}
	day := l.blocks.days[len(l.blocks.days)-1]
	if name := l.partition(day); !l.days[name] {
		l.days[name] = true
		return l.attachDay(l.ctx, l.tx, day)
	}
	return nil
}

// flush writes what was collected. Sums of one cell in several currencies are
// several rows, but never the same twice.
func (l *loader) flush() error {
	var b pgx.Batch
	l.blocks.insert(l.schema, &b, false)
	l.convs.put(l.schema, &b)
	l.leads.put(l.schema, &b)
	l.entries.put(l.schema, &b)
	l.sums.put(l.schema, &b)
	l.blocks, l.convs, l.leads, l.entries, l.sums = blockRows{}, conversionRows{}, pairs{}, entryRows{}, sumRows{}
	return exec(l.ctx, l.tx, &b)
}

func (l *loader) finish() error {
	if err := l.flush(); err != nil {
		return err
	}
	tag, err := l.tx.Exec(l.ctx, l.q(`UPDATE {s}.nodes SET token = $2 WHERE node = $1`), int32(l.node.Node), l.node.Token)
	if err == nil && tag.RowsAffected() != 1 {
		err = damaged(errors.New("it lacks the node that made it"))
	}
	if err == nil && l.head.LastSeq > 0 {
		_, err = l.tx.Exec(l.ctx, l.q(`SELECT setval('{s}.journal_seq', $1)`), int64(l.head.LastSeq)) //nolint:gosec // of a sequence
	}
	return err
}
