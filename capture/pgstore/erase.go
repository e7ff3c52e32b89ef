package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Erase writes the records of the click anew without what identifies its
// visitor, and removes the versions before from the files of the tables.
func (s *Store) Erase(ctx context.Context, ref clickid.Ref) (r capture.Erased, err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		return r, err
	}
	defer leave()
	if r, err = s.eraseLocked(ctx, ref); err != nil {
		return r, reading(ctx, "erasing a click", err)
	}
	if r.Click || r.Conversions > 0 || r.Entries > 0 {
		ending, cancel := context.WithTimeout(ctx, vacuumPatience)
		defer cancel()
		err := with(ending, s.bulk, func(conn *pgxpool.Conn) error { return s.vacuum(ending, conn, daysOfClick(ref.Second)) })
		if err != nil {
			r.Pending = true
			s.e.log().Warn("what was erased is still in the files of the database, until the next sweep",
				zap.String("store", s.e.Key()), zap.Error(err))
		}
	}
	_ = s.recount(ctx) // which the next beat does as well
	return r, nil
}

// eraseLocked erases while this node writes nothing else.
func (s *Store) eraseLocked(ctx context.Context, ref clickid.Ref) (r capture.Erased, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why := s.failure.Load(); why != nil {
		return r, fmt.Errorf("%w: %s", capture.ErrFatal, *why)
	}
	for range maxAttempts {
		asked, cancel := context.WithTimeout(ctx, attemptTimeout)
		r, err = s.erase(asked, ref)
		cancel()
		if !collided(err) && codeOf(err) != codeNoPartition {
			break
		}
	}
	return r, err
}

// erase commits also where nothing is known of the click yet: a postback may be
// on its way that has read it.
func (s *Store) erase(ctx context.Context, ref clickid.Ref) (r capture.Erased, err error) {
	found := false
	err = s.inTx(ctx, pgx.Serializable, func(tx pgx.Tx) error {
		r, found = capture.Erased{}, false
		var b pgx.Batch
		for _, part := range []func(context.Context, pgx.Tx, clickid.Ref, *pgx.Batch, *capture.Erased) (bool, error){s.eraseClick, s.eraseBooked} {
			known, err := part(ctx, tx, ref, &b, &r)
			if err != nil {
				return err
			}
			found = found || known
		}
		key := ref.Key()
		b.Queue(s.q(`INSERT INTO {s}.erased (click, at) VALUES ($1, now()) ON CONFLICT (click) DO UPDATE SET at = excluded.at`), key[:]) // by the clock by which it is forgotten
		return exec(ctx, tx, &b)
	})
	if err == nil && !found {
		err = capture.ErrNotFound
	}
	return r, err
}

func (s *Store) eraseClick(ctx context.Context, tx pgx.Tx, ref clickid.Ref, b *pgx.Batch, r *capture.Erased) (bool, error) {
	data, err := s.block(ctx, tx, ref)
	if err == capture.ErrNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	block, err := capture.DecodeBlock(data)
	if err != nil {
		return false, fmt.Errorf("%w: block %d of node %d: %w", errDamaged, ref.Block, ref.Epoch, err)
	}
	for _, c := range block.Clicks {
		if c.Ref != ref {
			continue
		}
		if r.Click = c.Erase(); r.Click {
			var rows blockRows
			if err := rows.add(int32(ref.Epoch), block); err != nil {
				return false, err
			}
			rows.insert(s.schema, b, true)
		}
		return true, nil
	}
	return false, nil
}

// eraseBooked erases the click's conversions, the entries about it, and those
// that wait for one of its transactions.
func (s *Store) eraseBooked(ctx context.Context, tx pgx.Tx, ref clickid.Ref, b *pgx.Batch, r *capture.Erased) (found bool, err error) {
	key := ref.Key()
	rows, err := tx.Query(ctx, s.q(`SELECT data FROM {s}.ledger WHERE click = $1`), key[:])
	if err != nil {
		return false, err
	}
	convs, err := pgx.CollectRows(rows, rowToConversion)
	if err != nil {
		return false, err
	}
	var changed conversionRows
	var txids [][]byte
	for _, c := range convs {
		found = true
		for _, txid := range c.TxKeys {
			txids = append(txids, append([]byte(nil), txid[:]...))
		}
		if c.Erase() {
			r.Conversions++
			if err := changed.add(c); err != nil {
				return false, err
			}
		}
	}
	changed.put(s.schema, b)
	rows, err = tx.Query(ctx, s.q(`SELECT data FROM {s}.journal WHERE click = $1
UNION ALL SELECT data FROM {s}.journal WHERE seq IN (SELECT seq FROM {s}.awaiting WHERE key = ANY($2::bytea[]))`), key[:], txids)
	if err != nil {
		return false, err
	}
	about, err := s.eraseEntries(ctx, tx, rows, b, r)
	return found || about, err
}

// eraseEntries erases entries and those that they booked again.
func (s *Store) eraseEntries(ctx context.Context, tx pgx.Tx, rows pgx.Rows, b *pgx.Batch, r *capture.Erased) (found bool, err error) {
	entries := make(map[uint64]*capture.Entry)
	for {
		list, err := pgx.CollectRows(rows, rowToEntry)
		if err != nil {
			return false, err
		}
		var replayed []int64
		for _, e := range list {
			entries[e.Seq] = e
			if e.Replays != 0 && entries[e.Replays] == nil {
				replayed = append(replayed, int64(e.Replays)) //nolint:gosec // of a sequence
			}
		}
		if len(replayed) == 0 || len(list) == 0 {
			break
		}
		if rows, err = tx.Query(ctx, s.q(`SELECT data FROM {s}.journal WHERE seq = ANY($1::bigint[])`), replayed); err != nil {
			return false, err
		}
	}
	var changed entryRows
	for _, e := range entries {
		if e.Erase() {
			r.Entries++
			if err := changed.add(s.node, e, true); err != nil {
				return false, err
			}
		}
	}
	changed.put(s.schema, b)
	return len(entries) > 0, nil
}

func rowToEntry(row pgx.CollectableRow) (*capture.Entry, error) {
	var data []byte
	if err := row.Scan(&data); err != nil {
		return nil, err
	}
	return decodeEntry(data)
}
