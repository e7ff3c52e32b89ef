package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

const lockName = "store.lock"

// holderSize is how long the line in the lock file is.
const holderSize = 32

// lockRetry is the pause between two tries to get the lock.
const lockRetry = 50 * time.Millisecond

// home is the store's directory while this process holds its lock. Badger has
// a lock of its own, but store.json and leftovers of a crash have to be safe
// before Badger is opened.
type home struct {
	dir  string
	lock *os.File
}

// claim makes the directory and takes its lock.
func (e *Engine) claim(ctx context.Context) (*home, error) {
	dir := canonical(e.Dir)
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("the store's directory %q is not a directory: "+
			"name another one in the configuration, or move the file away", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, dirError("made", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, dirError("written to", dir, err)
	}
	h := &home{dir: dir, lock: f}
	err = e.patiently(ctx, func() error {
		if err := tryLock(f); err != nil {
			return lockedError(dir, h.holder(), err)
		}
		return nil
	})
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	// Advice for whoever finds it locked; nothing depends on it.
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%-*d\n", holderSize-1, os.Getpid())
	}
	return h, nil
}

// patiently tries again for a while what fails because of a lock.
func (e *Engine) patiently(ctx context.Context, try func() error) error {
	patience := e.patience
	if patience == 0 {
		patience = lockPatience
	}
	for end := time.Now().Add(patience); ; {
		err := try()
		if !errors.Is(err, capture.ErrLocked) || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockRetry):
		}
	}
}

func (h *home) release() {
	_ = h.lock.Close() // which unlocks it
}

// touch writes to the disk the plain way, and waits if the disk does not take
// anything at the moment. Badger writes into mapped memory: that would wait too,
// but in a way that the Go scheduler cannot see, and with the next garbage
// collection the whole process would wait for it, all of the site included.
func (h *home) touch() {
	_, _ = h.lock.WriteAt([]byte{'\n'}, holderSize-1)
}

// holder names the process that has the lock, as far as it said so.
func (h *home) holder() string {
	var b [holderSize]byte
	n, _ := h.lock.ReadAt(b[:], 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return "process " + pid
	}
	return "another process"
}

func lockedError(dir, holder string, err error) error {
	return fmt.Errorf("%w: %s has the directory %q open (%w); most likely another Caddy is running on it: "+
		"stop that one, or change its configuration with `caddy reload`, or give this one a directory of its own",
		capture.ErrLocked, holder, dir, err)
}

// dirError says what to do about a directory that cannot be used.
func dirError(what, dir string, err error) error {
	uid := os.Geteuid()
	return fmt.Errorf("the store's directory %q cannot be %s: %w; Caddy runs as user ID %d: "+
		"make the directory and hand it over with `chown -R %d %s` and `chmod 700 %s`, or name another one",
		dir, what, err, uid, uid, dir, dir)
}

// moveAside puts files of no length out of Badger's way: a crash between
// making a file and giving it its size leaves one, and Badger then refuses to
// open.
func (e *Engine) moveAside(h *home) error {
	var empty []string
	for _, suffix := range []string{".mem", ".vlog"} {
		names, err := filesIn(h.dir, suffix)
		if err != nil {
			return fmt.Errorf("looking for leftovers of a crash in %q: %w", h.dir, err)
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.Size() == 0 {
				empty = append(empty, name)
			}
		}
	}
	if len(empty) == 0 {
		return nil
	}
	aside := filepath.Join(h.dir, "aside-"+strconv.FormatInt(e.now().Unix(), 10))
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return dirError("written to", h.dir, err)
	}
	for _, name := range empty {
		if err := os.Rename(name, filepath.Join(aside, filepath.Base(name))); err != nil {
			return fmt.Errorf("moving the empty file %q aside, which a crash left: %w", name, err)
		}
	}
	e.log().Warn("moved empty files aside that a crash left; they held nothing",
		zap.String("store", h.dir), zap.String("to", aside), zap.Strings("files", empty))
	return nil
}
