package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestLogsFollow: the log that is synced is always the newest there is, also
// after one could not be opened.
func TestLogsFollow(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a[1]*") // a directory may have any name
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	begin := func(n int) {
		t.Helper()
		put(t, filepath.Join(dir, fmt.Sprintf("%05d.mem", n)), nil)
	}
	begin(3)
	begin(7)
	l := newLogs(dir)
	defer l.close()
	otherwise := errors.New("otherwise")
	instead := func() error { return otherwise }
	wantNewest := func(n int) {
		t.Helper()
		if err := l.sync(instead); err != nil {
			t.Fatalf("log %d was not synced: %v", n, err)
		}
		if got := filepath.Base(l.newest.Name()); got != fmt.Sprintf("%05d.mem", n) {
			t.Fatalf("%s was synced, want %d", got, n)
		}
	}
	wantNewest(7)
	begin(8)
	begin(9)
	wantNewest(9)

	// A link to itself cannot be opened, whoever asks.
	ring := filepath.Join(dir, "00010.mem")
	if err := os.Symlink(ring, ring); err != nil {
		t.Skip(err)
	}
	for range 2 {
		if err := l.sync(instead); !errors.Is(err, otherwise) {
			t.Fatalf("what cannot be opened is synced: %v", err)
		}
	}
	if err := os.Remove(ring); err != nil {
		t.Fatal(err)
	}
	begin(12) // 11 came and went
	wantNewest(12)
}
