package pgstore

import (
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/storetest"
)

// TestCopy copies from and to a database: a directory, as those who move do, and
// another schema. Stores in memory have their turn with directories.
func TestCopy(t *testing.T) {
	t.Parallel()
	disk := func(t *testing.T) storetest.Fixture {
		return storetest.Fixture{Engine: badgerstore.New(filepath.Join(t.TempDir(), "store"), zap.NewNop())}
	}
	database := func(t *testing.T) storetest.Fixture { return storetest.Fixture{Engine: fresh(t)} }
	for _, c := range []struct {
		name     string
		from, to func(*testing.T) storetest.Fixture
	}{
		{"disk to database", disk, database},
		{"database to disk", database, disk},
		{"database to database", database, database},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storetest.RunCopy(t, c.from, c.to)
		})
	}
}
