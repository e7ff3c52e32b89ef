package pgstore

import (
	"context"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	engineName   = "postgres" // in backups
	backupFormat = 1
	// leaseJump keeps numbers from being used again that were handed out after
	// the backup, or by a process that lost the node and does not know it.
	leaseJump = 1 << 20
)

// The body of a backup is a sequence of CBOR items, each with one of its fields
// set: first the head and the nodes, then records in the forms that all stores
// have in common, at last the end. So another kind of store could be made of it.
type backupItem struct {
	Head       *backupHead  `cbor:"1,keyasint,omitempty"`
	Node       *backupNode  `cbor:"2,keyasint,omitempty"`
	Block      []byte       `cbor:"3,keyasint,omitempty"` // capture.EncodeBlock
	Conversion []byte       `cbor:"4,keyasint,omitempty"` // capture.EncodeRecord
	Entry      *backupEntry `cbor:"5,keyasint,omitempty"`
	Cell       *backupCell  `cbor:"6,keyasint,omitempty"`
	End        bool         `cbor:"7,keyasint,omitempty"`
	Erased     *backupGone  `cbor:"8,keyasint,omitempty"`
}

// backupGone is a click that was erased, and may still come from its node.
type backupGone struct {
	Click []byte // clickid.Ref.Key
	At    int64  // Unix ms
}

type backupHead struct {
	Store                         string
	Secret                        []byte
	Node                          uint16 // that made the backup
	LastSeq                       uint64
	SweptClicks, SweptConversions int64
}

type backupNode struct {
	Node         uint16
	Token        string
	Host         string
	Batch, Lease uint64
}

type backupEntry struct {
	Node uint16
	Data []byte // capture.EncodeRecord
}

type backupCell struct {
	Node   uint16
	Cell   capture.Cell
	Counts []byte // capture.EncodeRecord
}

// Backup writes the whole store, the secret and the nodes' tokens included, as of
// one moment.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	b, err := capture.NewBackupWriter(w, capture.BackupHeader{Engine: engineName, Format: backupFormat, Created: s.e.now().UTC()})
	if err != nil {
		return err
	}
	err = s.snapshot(ctx, s.bulk, "backing up the store", func(ctx context.Context, tx pgx.Tx) error {
		enc := cbor.NewEncoder(b)
		for _, part := range []func(context.Context, pgx.Tx, *cbor.Encoder) error{s.backupHead, s.backupErased, s.backupRecords, s.backupSums} {
			if err := part(ctx, tx, enc); err != nil {
				return err
			}
		}
		return enc.Encode(backupItem{End: true})
	})
	if err != nil {
		return err
	}
	return b.Close()
}

func (s *Store) backupHead(ctx context.Context, tx pgx.Tx, enc *cbor.Encoder) error {
	head := backupHead{Node: uint16(s.node)} //nolint:gosec // at most clickid.MaxEpoch
	err := tx.QueryRow(ctx, s.q(`SELECT id, secret, swept_clicks, swept_conversions FROM {s}.store`)).
		Scan(&head.Store, &head.Secret, &head.SweptClicks, &head.SweptConversions)
	if err != nil {
		return err
	}
	if head.LastSeq, err = s.lastSeq(ctx, tx); err != nil {
		return err
	}
	if err := enc.Encode(backupItem{Head: &head}); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, s.q(`SELECT node, token, host, batch, lease FROM {s}.nodes`))
	if err != nil {
		return err
	}
	var n backupNode
	_, err = pgx.ForEachRow(rows, []any{&n.Node, &n.Token, &n.Host, &n.Batch, &n.Lease}, func() error {
		return enc.Encode(backupItem{Node: &n})
	})
	return err
}

func (s *Store) backupErased(ctx context.Context, tx pgx.Tx, enc *cbor.Encoder) error {
	rows, err := tx.Query(ctx, s.q(`SELECT click, at FROM {s}.erased`))
	if err != nil {
		return err
	}
	var click []byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&click, &at}, func() error {
		return enc.Encode(backupItem{Erased: &backupGone{click, at.UnixMilli()}})
	})
	return err
}

func (s *Store) backupRecords(ctx context.Context, tx pgx.Tx, enc *cbor.Encoder) error {
	var node uint16
	var data []byte
	for _, kind := range []struct {
		sql  string
		item func() backupItem
	}{
		{`SELECT node, data FROM {s}.blocks ORDER BY day`, func() backupItem { return backupItem{Block: data} }},
		{`SELECT 0, data FROM {s}.ledger`, func() backupItem { return backupItem{Conversion: data} }},
		{`SELECT node, data FROM {s}.journal`, func() backupItem { return backupItem{Entry: &backupEntry{node, data}} }},
	} {
		rows, err := tx.Query(ctx, s.q(kind.sql))
		if err != nil {
			return err
		}
		if _, err := pgx.ForEachRow(rows, []any{&node, &data}, func() error { return enc.Encode(kind.item()) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) backupSums(ctx context.Context, tx pgx.Tx, enc *cbor.Encoder) error {
	rows, err := tx.Query(ctx, s.q(`SELECT node, quarter, campaign, source, destination, event, currency, clicks, bot_clicks, conversions,
	pending, approved, rejected, reversed, revenue::text, cost::text FROM {s}.sums`))
	if err != nil {
		return err
	}
	var node uint16
	var quarter int32
	var row sumRow
	scan := append([]any{&node, &quarter, &row.campaign, &row.source, &row.destination, &row.event, &row.currency}, row.numbers()...)
	_, err = pgx.ForEachRow(rows, scan, func() error {
		cell := row.cell()
		cell.Quarter = uint32(quarter) //nolint:gosec // never negative
		n, err := row.counts()
		if err != nil {
			return err
		}
		data, err := capture.EncodeRecord(n)
		if err != nil {
			return err
		}
		return enc.Encode(backupItem{Cell: &backupCell{node, cell, data}})
	})
	return err
}
