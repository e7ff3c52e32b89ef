package badgerstore

import (
	"errors"
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
			// What is in the files while the store is open is what a killed
			// process leaves.
			Crash: func(t *testing.T, s capture.Store) capture.Engine {
				to := filepath.Join(t.TempDir(), "store")
				// A copy takes its time, in which tables may come and go.
				for from := s.(*Store).home.dir; ; {
					before := tablesOf(t, from)
					copyDir(t, from, to)
					if tablesOf(t, from) == before {
						break
					}
					if err := os.RemoveAll(to); err != nil {
						t.Fatal(err)
					}
				}
				return New(to, zap.NewNop())
			},
		}
	})
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
