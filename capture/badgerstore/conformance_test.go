package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		return storetest.Fixture{
			Engine: New(filepath.Join(t.TempDir(), "store"), zap.NewNop()),
			Crash: func(t *testing.T, s capture.Store) capture.Engine {
				return New(crashed(t, s.(*Store)), zap.NewNop())
			},
		}
	})
}

// TestConformanceMerged: the same of a store that merges whatever it has. It does
// not wait for the disk, as the store above does.
func TestConformanceMerged(t *testing.T) {
	merging := func(dir string) capture.Engine {
		e := New(dir, zap.NewNop())
		e.noSync = true
		return mergingEngine{e}
	}
	storetest.Run(t, func(t *testing.T) storetest.Fixture {
		return storetest.Fixture{
			Engine: merging(filepath.Join(t.TempDir(), "store")),
			Crash: func(t *testing.T, s capture.Store) capture.Engine {
				return merging(crashed(t, s.(*mergingStore).Store))
			},
		}
	})
}

// mergingEngine is an engine of stores that merge at once, as if all clicks were
// of the past.
type mergingEngine struct{ *Engine }

func (e mergingEngine) Open(ctx context.Context) (capture.Store, error) {
	s, err := e.Engine.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &mergingStore{s.(*Store)}, nil
}

type mergingStore struct{ *Store }

func (s *mergingStore) Commit(ctx context.Context, b *capture.Batch) error {
	if err := s.Store.Commit(ctx, b); err != nil {
		return err
	}
	if err := s.mergeAll(); err != nil && !errors.Is(err, capture.ErrClosed) {
		return fmt.Errorf("merging: %w", err)
	}
	return nil
}

// mergeAll merges all groups, those of one block and those that have been merged
// before, too, as far as they fit into a record.
func (s *Store) mergeAll() error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	s.sweeping.Lock()
	defer s.sweeping.Unlock()
	normal := s.merging
	s.merging = merging{least: 1, step: mergeStep, eager: true}
	err := s.mergeBlocks(ctx, day)
	s.merging = normal // later ones go through all of it again
	return err
}

// crashed returns a copy of a store's files: what is in them while the store is
// open is what a killed process leaves.
func crashed(t *testing.T, s *Store) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	// A copy takes its time, in which tables may come and go.
	for {
		before := tablesOf(t, s.home.dir)
		copyDir(t, s.home.dir, dir)
		if tablesOf(t, s.home.dir) == before {
			return dir
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// tablesOf tells one state of a store's tables from another.
func tablesOf(t *testing.T, dir string) string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "*.[sm]*"))
	manifest, err := os.ReadFile(filepath.Join(dir, "MANIFEST"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ") + string(manifest)
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
