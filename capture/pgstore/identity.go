package pgstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

const (
	nodeName   = "node.json"
	nodeFormat = 1
	// identityTimeout is how long the database has to say who a new node is.
	identityTimeout = 15 * time.Second
	// reuseAfter is how long a node has to be gone before another becomes its
	// successor, where there are no more numbers.
	reuseAfter = 400 * 24 * time.Hour
	// reuseJump keeps clear of the block numbers that a node may have given out
	// while nobody heard of it.
	reuseJump = 1 << 32
)

// nodeFile is what node.json says: which node of which store this is, and the
// secret, so that click IDs can be made and read while the database is away.
type nodeFile struct {
	Format int `json:"format"`
	// Token is what the database knows the node by. It is written before the
	// database hears of it, so that a crash in between costs no number.
	Token string `json:"token"`
	Store string `json:"store,omitempty"`
	Node  uint16 `json:"node,omitempty"` // 0: it was not given one yet
	// ClickIDKey is the secret that all nodes share.
	ClickIDKey []byte `json:"click_id_key,omitempty"`
}

func (f *nodeFile) identity() capture.Identity {
	return capture.Identity{Epoch: f.Node, Secret: bytes.Clone(f.ClickIDKey)}
}

// newToken returns a name that nobody else has, nor can guess.
func newToken() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // which never fails
	return hex.EncodeToString(b[:])
}

// Identity returns what node.json says. The first time, the database is asked.
func (e *Engine) Identity() (capture.Identity, error) {
	ctx, cancel := context.WithTimeout(context.Background(), identityTimeout)
	defer cancel()
	f, err := e.join(ctx)
	if err != nil {
		return capture.Identity{}, err
	}
	return f.identity(), nil
}

// join returns who this node is, and makes it one of the store's if it is new.
func (e *Engine) join(ctx context.Context) (*nodeFile, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, err := e.readNode()
	if err != nil || f != nil && f.Node != 0 {
		return f, err
	}
	if f == nil {
		f = &nodeFile{Format: nodeFormat, Token: newToken()}
		if err := e.writeNode(f); err != nil {
			return nil, err
		}
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing hangs on it
	if err := e.register(ctx, conn, f); err != nil {
		return nil, err
	}
	return f, e.writeNode(f)
}

// register fills in what the database says of the node.
func (e *Engine) register(ctx context.Context, conn *pgx.Conn, f *nodeFile) error {
	s := e.schema()
	if err := s.finished(ctx, conn); err != nil {
		return err
	}
	err := conn.QueryRow(ctx, s.q(`SELECT id, secret FROM {s}.store`)).Scan(&f.Store, &f.ClickIDKey)
	if err != nil {
		return away("reading the store's identity", err)
	}
	host, _ := os.Hostname()
	for range racingTries {
		if f.Node, err = s.nodeOf(ctx, conn, f.Token); err == nil || !errors.Is(err, pgx.ErrNoRows) {
			break
		}
		var free uint16
		if free, err = s.freeNode(ctx, conn); err != nil {
			break
		}
		if free == 0 {
			err = s.succeed(ctx, conn, f.Token, host)
		} else {
			_, err = conn.Exec(ctx, s.q(`INSERT INTO {s}.nodes (node, token, host) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`),
				int32(free), f.Token, escape(host))
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		return away("asking the database for a node number", err)
	}
	if f.Node == 0 {
		return fmt.Errorf("%w: the database gave no node number", capture.ErrUnavailable)
	}
	return nil
}

func (s schema) nodeOf(ctx context.Context, q querier, token string) (uint16, error) {
	var n int32
	err := q.QueryRow(ctx, s.q(`SELECT node FROM {s}.nodes WHERE token = $1`), token).Scan(&n)
	return uint16(n), err //nolint:gosec // checked by the table
}

// freeNode chooses a number that no node ever had, at random, so that the IDs of
// one store mean nothing to another; 0 if there is none.
func (s schema) freeNode(ctx context.Context, q querier) (uint16, error) {
	rows, err := q.Query(ctx, s.q(`SELECT node FROM {s}.nodes`))
	if err != nil {
		return 0, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil || len(list) >= clickid.MaxEpoch {
		return 0, err
	}
	taken := make(map[int32]bool, len(list))
	for _, n := range list {
		taken[n] = true
	}
	var b [2]byte
	_, _ = rand.Read(b[:]) // which never fails
	n := (int32(b[0])<<8 | int32(b[1])) & clickid.MaxEpoch
	for n == 0 || taken[n] {
		n = (n + 1) & clickid.MaxEpoch
	}
	return uint16(n), nil //nolint:gosec // masked
}

// succeed takes over the number of the node that is gone for longest and has no
// click left. It goes on far beyond that one's block numbers, so that no click ID
// comes twice.
func (s schema) succeed(ctx context.Context, conn *pgx.Conn, token, host string) error {
	// Whoever waits for another one to do so finds that the node is not gone any more.
	tag, err := conn.Exec(ctx, s.q(`UPDATE {s}.nodes SET token = $1, host = $2, holder = '', lease = lease + $3, joined = now()
WHERE joined < now() - $4::float8 * interval '1 second' AND node = (SELECT n.node FROM {s}.nodes n LEFT JOIN {s}.alive a ON a.node = n.node
	WHERE greatest(a.until, n.joined) < now() - $4::float8 * interval '1 second' AND NOT EXISTS (SELECT 1 FROM {s}.blocks b WHERE b.node = n.node) ORDER BY greatest(a.until, n.joined) LIMIT 1)`),
		token, escape(host), int64(reuseJump), reuseAfter.Seconds())
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("all %d node numbers are in use: give nodes that come and go a directory that stays, "+
			"so that each goes on as the node it was", clickid.MaxEpoch)
	}
	return err
}

// readNode returns nil if there is no node.json yet.
func (e *Engine) readNode() (*nodeFile, error) {
	name := filepath.Join(e.Dir, nodeName)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading who this node is: %w", err)
	}
	f := new(nodeFile)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("%w: reading %q: %w; if it cannot be had from a copy, move it away: "+
			"this will then be a new node of its store", capture.ErrDamaged, name, err)
	}
	switch {
	case f.Format > nodeFormat:
		return nil, fmt.Errorf("%w: %q has format %d, and this version of the program knows formats up to %d",
			capture.ErrNewerFormat, name, f.Format, nodeFormat)
	case f.Token == "", f.Node > clickid.MaxEpoch, f.Node != 0 && (f.Store == "" || len(f.ClickIDKey) < 16):
		return nil, fmt.Errorf("%w: %q does not say who this node is; if it cannot be had from a copy, move it away: "+
			"this will then be a new node of its store", capture.ErrDamaged, name)
	}
	return f, nil
}

// writeNode replaces node.json, all of it or nothing.
func (e *Engine) writeNode(f *nodeFile) error {
	data, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return fmt.Errorf("making the node's directory: %w", err)
	}
	return replaceFile(filepath.Join(e.Dir, nodeName), append(data, '\n'))
}

func replaceFile(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it was renamed, or is of no use
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closed := tmp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err == nil {
		err = syncDir(filepath.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

// syncDir makes a new name in a directory durable, where directories can be
// synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // it was only read
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
