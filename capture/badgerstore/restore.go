package badgerstore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// leaseJump is how many block numbers a restored store leaves out. The store
// that was backed up went on: visitors carry IDs of blocks that the backup
// knows nothing of, and those numbers must not name other clicks. At a hundred
// blocks a second this is enough for a backup a month old, and a store can be
// restored two thousand times, which leaves half of all numbers. (Should it not
// be enough, an ID still names no other click, as it also names its second: see
// getClick.) The gap costs nothing, as blocks are found by walking keys, not by
// counting.
const leaseJump = 1 << 28

// restoreLook is how many bytes are restored between two looks at the disk.
const restoreLook = 8 << 20

// Restore fills an empty or missing directory from a backup. The store is
// built beside it and moved to its place at the end, so a restore that fails
// leaves nothing; what one leaves that was killed is named
// <directory>.restoring-..., and can be deleted.
func (e *Engine) Restore(ctx context.Context, r io.ReadSeeker) error {
	dir := canonical(e.Dir)
	if err := checkVacant(dir); err != nil {
		return err
	}
	backup, err := capture.OpenBackup(r, engineName, format)
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return dirError("made", parent, err)
	}
	build, err := os.MkdirTemp(parent, filepath.Base(dir)+".restoring-")
	if err != nil {
		return dirError("written to (a restore needs to write beside the store's directory)", parent, err)
	}
	err = e.restore(ctx, build, dir, backup)
	if err != nil {
		_ = os.RemoveAll(build)
	}
	return err
}

func (e *Engine) restore(ctx context.Context, build, dir string, backup *capture.BackupReader) error {
	id, err := e.load(ctx, build, backup)
	if err != nil {
		return err
	}
	if err := (&home{dir: build}).writeIdentity(id); err != nil {
		return err
	}
	if err := syncAll(build); err != nil {
		return err
	}
	// A directory that is there has to be empty, which this proves once more.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("moving the restored store to %q: %w; the directory must be empty, and not be a disk of its own: "+
			"name a directory below it in the configuration", dir, err)
	}
	if err := os.Rename(build, dir); err != nil {
		return fmt.Errorf("moving the restored store to its place: %w", err)
	}
	return syncDir(filepath.Dir(dir))
}

// checkVacant refuses a directory that has anything in it. It writes nothing.
func checkVacant(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return dirError("read", dir, err)
	case len(names) == 0:
		return nil
	}
	if f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0); err == nil {
		h := &home{dir: dir, lock: f}
		defer h.release()
		if err := tryLock(f); err != nil {
			return lockedError(dir, h.holder(), err)
		}
	}
	return fmt.Errorf("the directory %q is not empty (there is %q): a backup is restored only into an empty directory; "+
		"move what is there away, or name another one", dir, names[0].Name())
}

// load fills a Badger in a directory of our own and returns its identity.
func (e *Engine) load(ctx context.Context, dir string, backup *capture.BackupReader) (id identityFile, err error) {
	g := newGuard(dir, e.Reserve)
	g.measure()
	o := badgerOptions(dir, e)
	o.SyncWrites = false // all is synced at the end, and nothing counts before
	db, err := badger.OpenManaged(o)
	if err != nil {
		return id, openError(dir, err)
	}
	l := loader{ctx: ctx, guard: g, batch: db.NewWriteBatchAt(1), state: state{seq: 1, lease: 1}}
	defer func() {
		l.batch.Cancel()
		if closing := db.Close(); err == nil && closing != nil {
			err = fmt.Errorf("restoring the store: %w", closing)
		}
	}()
	if err := readPairs(bufio.NewReaderSize(backup, 64<<10), l.put); err != nil {
		return id, fmt.Errorf("restoring the store: %w", err)
	}
	if l.identity == nil {
		return id, fmt.Errorf("%w: it holds no identity", capture.ErrBackupDamaged)
	}
	if id, err = parseIdentity(l.identity, "the identity in the backup"); err != nil {
		return id, err
	}
	was := l.state.lease
	if l.state.lease+leaseJump <= clickid.MaxBlock/2 {
		l.state.lease += leaseJump
	}
	if err := l.batch.Set(keyState, l.state.encode()); err != nil {
		return id, fmt.Errorf("restoring the store: %w", err)
	}
	if err := l.batch.Flush(); err != nil {
		return id, fmt.Errorf("restoring the store: %w", err)
	}
	if err := saveLease(dir, l.state.lease); err != nil {
		return id, err
	}
	h := backup.Header()
	e.log().Info("the store is restored", zap.String("store", e.Dir), zap.Time("backup", h.Created),
		zap.Int64("records", l.records), zap.Uint64("blocks_left_out", l.state.lease-was))
	return id, nil
}

// saveLease writes the file beside Badger that has the lease, too.
func saveLease(dir string, lease uint64) error {
	f, err := openLease(dir)
	if err != nil {
		return err
	}
	defer f.close()
	return f.raise(lease)
}

// loader puts the pairs of a backup into Badger.
type loader struct {
	ctx      context.Context
	guard    *guard
	batch    *badger.WriteBatch
	state    state
	identity []byte
	records  int64
	bytes    int // since the last look
}

func (l *loader) put(key, value []byte) error {
	l.bytes += len(key) + len(value)
	if l.records == 0 || l.bytes >= restoreLook {
		l.bytes = 0
		if err := l.look(); err != nil {
			return err
		}
	}
	l.records++
	switch string(key) {
	case string(keyState):
		var err error
		l.state, err = decodeState(value)
		return err // it is written last
	case string(keyIdentity):
		l.identity = bytes.Clone(value)
	}
	// The batch keeps what it is given until it is written.
	return l.batch.Set(bytes.Clone(key), bytes.Clone(value))
}

func (l *loader) look() error {
	if err := l.ctx.Err(); err != nil {
		return context.Cause(l.ctx)
	}
	if err := l.guard.look(); err != nil {
		return err
	}
	return l.guard.check()
}

// syncAll makes all files of a directory durable, and their names.
func syncAll(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("syncing the restored store: %w", err)
	}
	for _, n := range names {
		f, err := os.OpenFile(filepath.Join(dir, n.Name()), os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("syncing the restored store: %w", err)
		}
		err = f.Sync()
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("syncing the restored store: %w", err)
		}
	}
	return syncDir(dir)
}
