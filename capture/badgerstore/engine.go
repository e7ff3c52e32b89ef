package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// format is the version of what is on disk. A store of a newer format is not
// opened, one of an older format is migrated, see migrate.go.
const format = 1

// magic is a number in Badger's own files. It changes only when an older
// version of the program must not even look at them.
const magic = 1

// lockPatience is how long a lock is waited for: a restart overlaps with the
// end of the process before.
const lockPatience = 5 * time.Second

// Engine is a Badger store in a directory.
type Engine struct {
	Dir    string
	Logger *zap.Logger
	// Reserve is how many bytes are kept free on the disk; 0 chooses by the
	// size of the store.
	Reserve int64
	// Now is the clock; nil means the real one.
	Now func() time.Time

	patience time.Duration // for the lock; tests shorten it
	noSync   bool          // tests show with it that they notice what is lost
}

// New returns the engine of the store in dir.
func New(dir string, logger *zap.Logger) *Engine {
	return &Engine{Dir: dir, Logger: logger}
}

func (e *Engine) log() *zap.Logger {
	if e.Logger == nil {
		return zap.NewNop()
	}
	return e.Logger
}

func (e *Engine) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

// Key names the directory, the same before and after it is made and by
// whatever links it is reached.
func (e *Engine) Key() string { return "badger " + canonical(e.Dir) }

// canonical resolves the links of the longest part of the path that exists.
func canonical(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = filepath.Clean(dir)
	}
	rest := ""
	for at := abs; ; {
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(at)
		if parent == at {
			return abs
		}
		rest = filepath.Join(filepath.Base(at), rest)
		at = parent
	}
}

// Identity returns the store's identity, making it on the first start. It
// opens Badger only if store.json was lost or is damaged.
func (e *Engine) Identity() (capture.Identity, error) {
	// The file is whole whenever it is there, so reading needs no lock, and
	// works beside the open store.
	if err := finished(canonical(e.Dir)); err != nil {
		return capture.Identity{}, err
	}
	id, err := readIdentity(canonical(e.Dir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, capture.ErrDamaged) {
		id, err = e.makeIdentity()
	}
	if err != nil {
		return capture.Identity{}, withRemedy(canonical(e.Dir), err)
	}
	known := id.identity()
	known.NextBlock = readLease(canonical(e.Dir))
	return known, nil
}

// makeIdentity makes the file that was not found, or cannot be read.
func (e *Engine) makeIdentity() (identityFile, error) {
	h, err := e.claim(context.Background())
	if err != nil {
		return identityFile{}, err
	}
	defer h.release()
	// Somebody else may have made it before we got the lock.
	id, err := readIdentity(h.dir)
	damaged := errors.Is(err, capture.ErrDamaged)
	if !damaged && !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if _, missing := os.Stat(filepath.Join(h.dir, badger.ManifestFilename)); errors.Is(missing, fs.ErrNotExist) {
		if damaged {
			return id, err // click IDs may be about that it was the key of
		}
		if id, err = e.newIdentity(); err == nil {
			err = h.writeIdentity(id)
		}
		return id, err
	}
	// Badger has a copy.
	db, _, err := e.openDB(h)
	if err != nil {
		return id, err
	}
	id, err = e.reconcile(h, db)
	if closing := db.Close(); err == nil && closing != nil {
		err = fmt.Errorf("closing the store in %q: %w", h.dir, closing)
	}
	return id, err
}

// Open opens the store.
func (e *Engine) Open(ctx context.Context) (capture.Store, error) {
	h, err := e.claim(ctx)
	if err != nil {
		return nil, err
	}
	if err := finished(h.dir); err != nil {
		h.release()
		return nil, err
	}
	s, err := e.openSafely(ctx, h)
	if err != nil {
		h.release()
		return nil, withRemedy(h.dir, err)
	}
	return s, nil
}

// openSafely is open where Badger panics over what it reads: a damaged store
// must not take the site with it.
func (e *Engine) openSafely(ctx context.Context, h *home) (s *Store, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: opening the Badger files in %q: %v", errDamaged, h.dir, p)
		}
	}()
	return e.open(ctx, h)
}
