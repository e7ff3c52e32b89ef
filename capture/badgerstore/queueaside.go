package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// asideName is the folder of what was set aside, a plain file each, so that
	// people can look at it, keep copies of it and take it away.
	asideName = "refused"
	asideExt  = ".json"
)

// Split puts two batches in the place of one, the first of them under the key
// before: all of that is durable or nothing.
func (q *Queue) Split(key uint64, headBefore, before, headAfter, after []byte) error {
	if len(headBefore)+len(before)+len(headAfter)+len(after) > maxQueued {
		return fmt.Errorf("%w: its halves are %d bytes", capture.ErrTooLarge, len(before)+len(after))
	}
	_, old, err := q.Read(key)
	if err != nil {
		return err
	}
	if err := q.guard.check(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.appended += int64(len(before) + len(after))
	return q.write(true, func(txn *badger.Txn) error {
		if err := deleteBatch(txn, key, len(old)); err != nil {
			return err
		}
		if err := putBatch(txn, key-1, headBefore, before); err != nil {
			return err
		}
		return putBatch(txn, key, headAfter, after)
	})
}

func (q *Queue) asideDir() string { return filepath.Join(q.home.dir, asideName) }

// AsideDir is where what was set aside is.
func (q *Queue) AsideDir() string { return q.asideDir() }

// SetAside keeps data under a name, durable.
func (q *Queue) SetAside(name string, data []byte) error {
	if err := q.guard.check(); err != nil {
		return err
	}
	dir := q.asideDir()
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = syncDir(q.home.dir)
	}
	file := filepath.Join(dir, name+asideExt)
	if err == nil {
		err = writeSynced(file+".new", data)
	}
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", file, err)
	}
	return nil
}

// Aside lists the names of what was set aside.
func (q *Queue) Aside() ([]string, error) {
	list, err := os.ReadDir(q.asideDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, f := range list {
		if name, ok := strings.CutSuffix(f.Name(), asideExt); ok {
			names = append(names, name)
		}
	}
	return names, err
}

// ReadAside returns what was set aside.
func (q *Queue) ReadAside(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(q.asideDir(), name+asideExt))
	if errors.Is(err, fs.ErrNotExist) {
		err = capture.ErrNotFound
	}
	return data, err
}

// RemoveAside removes it; there may be nothing to remove.
func (q *Queue) RemoveAside(name string) error {
	err := os.Remove(filepath.Join(q.asideDir(), name+asideExt))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(q.asideDir())
	}
	return err
}
