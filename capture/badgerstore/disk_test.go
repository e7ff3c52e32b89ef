package badgerstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-capture/caddy-capture/capture"
)

func TestKeyIsTheSameByAnyName(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Skip(err)
	}
	before := New(filepath.Join(link, "a", "..", "b"), nil).Key()
	if err := os.Mkdir(filepath.Join(root, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if after := New(filepath.Join(root, "b"), nil).Key(); after != before || !strings.HasPrefix(after, "badger /") {
		t.Errorf("the key was %q and is %q", before, after)
	}
}

func TestIdentityFile(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	id, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if id.Epoch == 0 || id.Epoch > 4095 || len(id.Secret) != 32 {
		t.Errorf("the identity is %+v", id)
	}
	name := filepath.Join(e.Dir, identityName)
	for path, want := range map[string]os.FileMode{name: 0o600, e.Dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v: %v", path, info.Mode(), want, err)
		}
	}
	first, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, openStore(t, e), 0)

	// Lost with Badger there: written again, without inventing anything.
	for _, open := range []bool{true, false} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if open {
			s, err := e.Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			closeStore(t, s.(*Store), 0)
		} else if again, err := e.Identity(); err != nil || again.Epoch != id.Epoch || !bytes.Equal(again.Secret, id.Secret) {
			t.Errorf("the identity is %+v: %v", again, err)
		}
		if again, err := os.ReadFile(name); err != nil || !sameJSON(first, again) {
			t.Errorf("the file was\n%s and is\n%s: %v", first, again, err)
		}
	}

	// Another store's.
	other := newEngine(t)
	if _, err := other.Identity(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other.Dir, identityName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = e.Open(ctx); err == nil || !strings.Contains(err.Error(), "belongs to another store") ||
		!strings.Contains(err.Error(), name) {
		t.Errorf("with another store's identity: %v", err)
	}

	// Of a newer version.
	newer, err := parseIdentity(first, name)
	if err != nil {
		t.Fatal(err)
	}
	newer.Format = 9
	if err := (&home{dir: canonical(e.Dir)}).writeIdentity(newer); err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{
		func() error { _, err := e.Identity(); return err },
		func() error { _, err := e.Open(ctx); return err },
	} {
		err := f()
		mustErr(t, err, capture.ErrNewerFormat)
		if !strings.Contains(err.Error(), "9") || !strings.Contains(err.Error(), "up to 1") {
			t.Errorf("the error does not name both formats: %v", err)
		}
	}
}

func sameJSON(a, b []byte) bool {
	var x, y identityFile
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x.same(y)
}

func TestFileInPlaceOfDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{file: "is not a directory", filepath.Join(file, "sub"): "user ID"} {
		_, err := New(dir, nil).Identity()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
		if _, err := New(dir, nil).Open(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestLockedInTheSameProcess(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	e.patience = shortly
	_, err := e.Open(ctx)
	mustErr(t, err, capture.ErrLocked)
	if !strings.Contains(err.Error(), "caddy reload") || !strings.Contains(err.Error(), canonical(e.Dir)) {
		t.Errorf("the error does not help: %v", err)
	}
	// A lock that is given back in time is waited for.
	e.patience = 20 * time.Second
	time.AfterFunc(300*time.Millisecond, func() { _ = s.Close(0) })
	openStore(t, e)
}

func TestGuard(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	closeStore(t, s, 0)

	e.Reserve = 1 << 60
	if _, err := e.Identity(); err != nil {
		t.Errorf("the identity needs no room: %v", err)
	}
	_, err := e.Open(ctx)
	mustErr(t, err, capture.ErrNoSpace)
	for _, part := range []string{"1.0 EiB", "free", canonical(e.Dir)} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}

	e.Reserve = 0
	s = openStore(t, e)
	w = newWriter(t, s)
	if st := s.Status(); st.Reserve != minReserve || st.Free <= 0 || st.Bytes <= 0 || !st.Writable {
		t.Errorf("the status is %+v", st)
	}
	var free int64
	g := newGuard(s.guard.dir, 0)
	g.ask = func(string) (int64, error) { return free, nil }
	g.measure()
	s.stopWatch()
	s.guard = g
	for _, step := range []struct {
		free int64
		ok   bool
	}{
		{minReserve, true}, {minReserve - 1, false}, {minReserve + 1, false},
		{minReserve + minReserve/20, true}, {minReserve + 1, true}, {0, false},
	} {
		free = step.free
		if err := g.look(); err != nil {
			t.Fatal(err)
		}
		if st := s.Status(); st.Writable != step.ok || (st.Why == "") != step.ok || st.Failed {
			t.Errorf("with %d free the status is %+v", free, st)
		}
		b := &capture.Batch{Number: w.next.NextBatch}
		err := s.Commit(ctx, b)
		if step.ok {
			w.next.NextBatch++
			if err != nil {
				t.Errorf("with %d free: %v", free, err)
			}
			continue
		}
		mustErr(t, err, capture.ErrNoSpace)
		if _, err := s.Click(ctx, c.Ref); err != nil {
			t.Errorf("reading needs no room: %v", err)
		}
	}
}

// stopWatch ends the goroutines, so that a test may take the guard's place.
func (s *Store) stopWatch() {
	close(s.stop)
	s.work.Wait()
	s.stop = make(chan struct{})
}

func TestEmptyFilesOfACrash(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	core, logs := observer.New(zapcore.WarnLevel)
	e.Logger = zap.New(core)
	s := openStore(t, e)
	c := newWriter(t, s).clicks(click(day, "spring"))[0]
	closeStore(t, s, 0)
	for _, name := range []string{"000099.mem", "000098.vlog"} {
		if err := os.WriteFile(filepath.Join(e.Dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, e)
	if _, err := s.Click(ctx, c.Ref); err != nil {
		t.Error(err)
	}
	if names, _ := filepath.Glob(filepath.Join(e.Dir, "aside-*", "*")); len(names) != 2 {
		t.Errorf("set aside are %v", names)
	}
	if logs.FilterMessageSnippet("aside").Len() != 1 {
		t.Errorf("the log has %v", logs.All())
	}
}

// Deleting would make Badger write much of the store anew, for which there must
// be room; a small store needs none but the reserve.
func TestNoRoomToDelete(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	core, logs := observer.New(zapcore.WarnLevel)
	e.Logger = zap.New(core)
	s := openStore(t, e)
	c := newWriter(t, s).clicks(click(day, "spring"))[0]
	s.stopWatch()
	keep, later := capture.Retention{Clicks: time.Hour}, day.Add(48*time.Hour)
	for i, step := range []struct {
		bytes, free int64
		ok          bool
	}{{8 << 30, 8<<30 - 1, false}, {minReserve + 1, minReserve, false}, {8 << 30, 8 << 30, true}, {minReserve, minReserve / 2, true}} {
		s.guard.bytes.Store(step.bytes)
		s.guard.free.Store(step.free)
		n, err := s.Sweep(ctx, later, keep)
		if !step.ok {
			mustErr(t, err, capture.ErrNoSpace)
			if _, err := s.Click(ctx, c.Ref); err != nil || n != (capture.SweepResult{}) {
				t.Errorf("%+v is deleted with %d free: %v", n, step.free, err)
			}
			if got := logs.FilterMessageSnippet("not deleted").Len(); got != i+1 {
				t.Errorf("%d lines say so, want %d", got, i+1)
			}
			if _, err := s.Sweep(ctx, later, capture.Retention{}); !errors.Is(err, capture.ErrNoSpace) || logs.FilterMessageSnippet("not deleted").Len() != i+1 {
				t.Errorf("a sweep that deletes nothing: %v", err)
			}
			continue
		}
		if err != nil {
			t.Errorf("with %d free: %v", step.free, err)
		}
	}
	if _, err := s.Click(ctx, c.Ref); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("the expired click: %v", err)
	}
}
