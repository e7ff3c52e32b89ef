package badgerstore

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestVerifyListed: a table that was compacted away has no bytes, for a moment,
// before it is gone. That is no damage, and the same of a table in use is.
func TestVerifyListed(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	fillTables(t, e)
	s := openStore(t, e)
	tables := s.db.Tables()
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	highest := slices.MaxFunc(tables, func(a, b badger.TableInfo) int { return int(a.ID) - int(b.ID) }).ID
	gone := table.NewFilename(highest+1000, e.Dir)
	for name, data := range map[string][]byte{"cut off": {}, "read while it was cut off": mustRead(t, table.NewFilename(highest, e.Dir))[:100]} {
		put(t, gone, data)
		if err := s.verifyListed(highest + 1000); err != nil {
			t.Errorf("a table on its way out, %s: %v", name, err)
		}
	}
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if err := s.verifyListed(highest + 1000); err != nil {
		t.Errorf("a table that is gone: %v", err)
	}

	used := table.NewFilename(highest, e.Dir)
	whole := mustRead(t, used)
	put(t, used, flipped(whole, len(whole)/2, 0x10))
	if err := s.verifyListed(highest); !errors.Is(err, capture.ErrDamaged) {
		t.Errorf("a damaged table that is in use: %v", err)
	}
	put(t, used, whole)
	if err := s.verifyListed(highest); err != nil {
		t.Errorf("a whole table: %v", err)
	}
}
