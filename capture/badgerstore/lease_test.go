package badgerstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// The lease must be known while Badger cannot be opened, and never be below a
// block that is stored.
func TestLeaseIsKnownWithoutBadger(t *testing.T) {
	dir := t.TempDir()
	e := New(dir, nil)
	if id, err := e.Identity(); err != nil || id.NextBlock != 0 {
		t.Fatalf("a new store has the identity %+v, %v", id, err)
	}
	s, err := e.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(0)
	check := func(batch *capture.Batch, want uint64) {
		t.Helper()
		batch.Now = time.Now()
		if err := s.Commit(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if id, err := e.Identity(); err != nil || id.NextBlock != want {
			t.Errorf("after batch %d the next block is %d (%v), want %d", batch.Number, id.NextBlock, err, want)
		}
	}
	check(&capture.Batch{Number: 1, Lease: 4097}, 4097)
	// A block from beyond the lease, as after a start on a full disk.
	now := time.Now().UTC().Truncate(time.Millisecond)
	check(&capture.Batch{Number: 2, Blocks: []*capture.Block{{Number: 5000, Clicks: []*capture.Click{{
		Ref:  clickid.Ref{Epoch: 1, Block: 5000, Second: uint32(now.Unix())}, //nolint:gosec // good until 2106
		Time: now, Campaign: "acme",
	}}}}}, 5001)

	name := filepath.Join(dir, leaseName)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[3] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := e.Identity(); err != nil || id.NextBlock != 0 {
		t.Errorf("a damaged lease is taken for %d, %v", id.NextBlock, err)
	}
}
