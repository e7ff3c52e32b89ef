package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	lockName = "node.lock"
	// mostKnown is how many holders the file has at most, which is read up to 1 KiB.
	mostKnown = 24
)

// home is the node's directory while this process holds its lock. The file says
// which holders of the node's lease in the database were processes of this
// directory: with the lock in hand, they are known to be gone.
type home struct {
	lock  *os.File
	file  string // what the file is: a copy of it is another one
	known []string
}

func (e *Engine) claim(ctx context.Context) (h *home, err error) {
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the node's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(e.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the node's directory: %w", err)
	}
	err = e.patiently(ctx, func() error {
		if err := tryLock(f); err != nil {
			return fmt.Errorf("%w: the directory %q is that of a node that is running (%w); stop that one, or give this one a directory of its own",
				capture.ErrLocked, e.Dir, err)
		}
		return nil
	})
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("reading the lock of the node's directory: %w", err)
	}
	h = &home{lock: f, file: fileOf(f), known: strings.Fields(string(data))}
	if len(h.known) > 0 && h.known[0] == h.file {
		h.known = h.known[1:]
	} else {
		h.known = nil // those who held the lock of the file that this was copied from may run
	}
	return h, nil
}

// note writes down a holder before the database hears of it. Those before it are
// kept: the database may never hear of this, nor of the next ones.
func (h *home) note(holder string) error {
	if len(h.known) == mostKnown {
		h.known = slices.Delete(h.known, 1, 2) // the first is the one that it has heard of for certain
	}
	h.known = append(h.known, holder)
	return h.write()
}

// settle is called when the database has heard of the last holder, and has forgotten
// those before.
func (h *home) settle() {
	h.known = h.known[len(h.known)-1:]
	_ = h.write() // more of them do no harm
}

func (h *home) write() error {
	text := strings.Join(append([]string{h.file}, h.known...), "\n") + "\n"
	_, err := h.lock.WriteAt([]byte(text), 0)
	if err == nil {
		err = h.lock.Truncate(int64(len(text)))
	}
	if err == nil {
		err = h.lock.Sync()
	}
	if err != nil {
		return fmt.Errorf("writing the lock of the node's directory: %w", err)
	}
	return nil
}

func (h *home) release() { _ = h.lock.Close() } // which unlocks it

// take makes this process the one that writes as the node. Whoever did before
// cannot commit any more.
func (s *Store) take(ctx context.Context, conn *pgx.Conn, f *nodeFile) error {
	holder := newToken()
	if err := s.home.note(holder); err != nil {
		return err
	}
	return s.e.patiently(ctx, func() error {
		forgetWarnings(conn)
		err := pgx.BeginTxFunc(ctx, conn, bounded(pgx.ReadCommitted), func(tx pgx.Tx) error {
			var before string
			var lease, batch int64
			var busy bool
			if err := s.finished(ctx, tx); err != nil {
				return err
			}
			known, err := s.reenter(ctx, tx, f)
			if err == nil && known {
				err = tx.QueryRow(ctx, s.q(`SELECT holder, lease, batch FROM {s}.nodes WHERE token = $1 AND node = $2 FOR UPDATE`),
					f.Token, int32(f.Node)).Scan(&before, &lease, &batch)
			}
			if err == nil && known {
				// With the lock in hand: whoever had it may have become the node.
				err = tx.QueryRow(ctx, s.q(`SELECT EXISTS (SELECT 1 FROM {s}.alive WHERE node = $1 AND until > clock_timestamp())`), int32(f.Node)).Scan(&busy)
			}
			switch {
			case err == nil && !known, errors.Is(err, pgx.ErrNoRows):
				return fmt.Errorf("the node %d of %q is none of the store in the schema %q: "+
					"was the database or the directory replaced? with another directory this is a new node",
					f.Node, s.e.Dir, string(s.schema))
			case err != nil:
				return away("opening the store", err)
			case busy && before != "" && !slices.Contains(s.home.known, before):
				return fmt.Errorf("%w: node %d is running elsewhere, with a copy of the directory %q; give each node a directory of its own",
					capture.ErrLocked, f.Node, s.e.Dir)
			}
			if before != "" && !slices.Contains(s.home.known, before) {
				// Who was the node may still give out numbers, and keep the clicks to
				// itself; and has to see, when it is back, that it has not sent what
				// is counted from here on.
				lease += leaseJump
				batch += capture.BatchJump
			}
			s.position.NextBlock, s.position.NextBatch = uint64(lease), uint64(batch)+1 //nolint:gosec // never negative
			s.batch, s.holder = uint64(batch), holder                                   //nolint:gosec // never negative
			host, _ := os.Hostname()
			if _, err = tx.Exec(ctx, s.q(`UPDATE {s}.nodes SET holder = $2, host = $3, lease = $4, batch = $5 WHERE node = $1`), s.node, holder, escape(host), lease, batch); err == nil {
				_, err = tx.Exec(ctx, s.q(`INSERT INTO {s}.alive (node, until) VALUES ($1, now() + $2::float8 * interval '1 second')
ON CONFLICT (node) DO UPDATE SET until = excluded.until`), s.node, leaseFor.Seconds())
			}
			return err
		})
		if err == nil {
			// What the position says is applied is not sent again.
			if err = confirmed(conn); err != nil {
				err = away("opening the store", err)
			} else {
				s.home.settle()
			}
		}
		return err
	})
}

// reenter tells whether the node is one of this store. Where the database has
// lost it, as it was restored to a moment before the node joined, or a standby
// took over that had not heard of it, the node joins again as who it is, unless
// its number is another one's now.
func (s *Store) reenter(ctx context.Context, tx pgx.Tx, f *nodeFile) (bool, error) {
	var store string
	err := tx.QueryRow(ctx, s.q(`SELECT id FROM {s}.store`)).Scan(&store)
	if err != nil || store != f.Store {
		return false, err
	}
	tag, err := tx.Exec(ctx, s.q(`INSERT INTO {s}.nodes (node, token, lease) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`),
		int32(f.Node), f.Token, int64(leaseJump))
	if err == nil && tag.RowsAffected() > 0 {
		s.e.log().Warn("the database did not know this node any more: was it restored, or did a standby take over that had lost some?",
			zap.String("store", s.e.Key()), zap.Uint16("node", f.Node))
	}
	return true, err
}
