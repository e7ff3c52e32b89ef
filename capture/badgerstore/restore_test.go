package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// backedUp returns a backup of a small store.
func backedUp(t testing.TB) []byte {
	t.Helper()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	w.commit(nil, []*capture.Postback{postback(c, "1", day.Add(time.Hour))})
	var file bytes.Buffer
	if err := s.Backup(ctx, &file); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// beside lists what is in the directory above the store's.
func beside(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

func TestRestoreLeavesNothing(t *testing.T) {
	t.Parallel()
	file := backedUp(t)
	e := newEngine(t)
	for name, data := range map[string][]byte{"torn": file[:len(file)-1], "empty": nil} {
		mustErr(t, e.Restore(ctx, bytes.NewReader(data)), capture.ErrBackupDamaged)
		if left := beside(t, e.Dir); len(left) > 0 {
			t.Errorf("%s: it left %v", name, left)
		}
	}
	// Whole as a file, but not what a store holds.
	for name, body := range map[string]string{
		"no identity": "\x01b\x00", "cut off": "\x05b", "too long": "\xff\xff\x7f", "empty key": "\x00\x00",
		"bad state": "\x02ms\x01\x09", "bad identity": "\x02mi\x02{}",
	} {
		var b bytes.Buffer
		w, err := capture.NewBackupWriter(&b, capture.BackupHeader{Engine: engineName, Format: format})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.Restore(ctx, bytes.NewReader(b.Bytes())); err == nil {
			t.Errorf("%s: it was restored", name)
		}
		if left := beside(t, e.Dir); len(left) > 0 {
			t.Errorf("%s: it left %v", name, left)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	mustErr(t, e.Restore(canceled, bytes.NewReader(file)), context.Canceled)
	full := *e
	full.Reserve = 1 << 60
	mustErr(t, full.Restore(ctx, bytes.NewReader(file)), capture.ErrNoSpace)
	if left := beside(t, e.Dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestRestorePlaces(t *testing.T) {
	t.Parallel()
	file := backedUp(t)
	e := newEngine(t)
	if err := os.MkdirAll(e.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(e.Dir, "notes.txt")
	if err := os.WriteFile(stray, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.Restore(ctx, bytes.NewReader(file)); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("into a directory that is not empty: %v", err)
	}
	if data, err := os.ReadFile(stray); err != nil || string(data) != "mine" {
		t.Errorf("the file there is %q: %v", data, err)
	}
	if left := beside(t, e.Dir); len(left) != 1 {
		t.Errorf("it left %v", left)
	}
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	// An empty one, by way of a link.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(e.Dir, link); err != nil {
		t.Skip(err)
	}
	linked := New(link, nil)
	if err := linked.Restore(ctx, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	if left := beside(t, e.Dir); len(left) != 1 {
		t.Errorf("it left %v", left)
	}
	for path, want := range map[string]os.FileMode{filepath.Join(e.Dir, identityName): 0o600, e.Dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v: %v", path, info.Mode(), want, err)
		}
	}
	s := openStore(t, linked)
	checkHealthy(t, s)
	if next := s.Position().NextBlock; next < leaseJump || next > clickid.MaxBlock/2 {
		t.Errorf("the next block is %d", next)
	}
	if lease := readLease(canonical(e.Dir)); lease < s.Position().NextBlock {
		t.Errorf("the lease beside Badger is %d, below %d", lease, s.Position().NextBlock)
	}
	e.patience = shortly
	mustErr(t, e.Restore(ctx, bytes.NewReader(file)), capture.ErrLocked)
}

// TestBackupEnds: a backup to somebody who does not read on ends with its
// context, and with the store.
func TestBackupEnds(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	fill(newWriter(t, s), day, 200)
	canceled, cancel := context.WithCancelCause(ctx)
	why := errors.New("the client went away")
	n := 0
	err := s.Backup(canceled, writerFunc(func(p []byte) (int, error) {
		if n += len(p); n > 1<<20 {
			cancel(why)
		}
		return len(p), nil
	}))
	mustErr(t, err, why)
	mustErr(t, s.Backup(ctx, writerFunc(func([]byte) (int, error) { return 0, why })), why)
	done := make(chan error)
	var file bytes.Buffer
	first := true
	err = s.Backup(ctx, writerFunc(func(p []byte) (int, error) {
		if first {
			first = false
			go func() { done <- s.Close(0) }()
			<-s.gate.closing
		}
		return file.Write(p)
	}))
	mustErr(t, err, capture.ErrClosed)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := capture.VerifyBackup(&file); !errors.Is(err, capture.ErrBackupDamaged) {
		t.Errorf("the half backup: %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
