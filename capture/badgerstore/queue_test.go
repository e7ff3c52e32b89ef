package badgerstore

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A batch that is split leaves two, and what is set aside is a file; both are there
// after a restart, and after the files of an empty queue were dropped.
func TestQueueSplitAndAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Queue {
		t.Helper()
		q, err := New(dir, zap.NewNop()).OpenQueue(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	big := func(n byte) []byte { return bytes.Repeat([]byte{n}, 500<<10) }
	must(t, q.Append(10, []byte("head"), append(big(1), big(2)...)))
	must(t, q.Append(11, []byte("other"), []byte("data")))
	mustErr(t, q.Split(12, nil, nil, nil, nil), capture.ErrNotFound)
	mustErr(t, q.Split(10, nil, make([]byte, maxQueued), nil, []byte("x")), capture.ErrTooLarge)
	must(t, q.Split(10, []byte("a"), big(1), []byte("b"), []byte("short")))
	must(t, q.SetAside("one", []byte("{}")))
	must(t, q.SetAside("one", []byte(`{"again":1}`)))
	must(t, q.SetAside("two", []byte("{}")))
	must(t, q.Close())
	q = open()
	var keys []uint64
	must(t, q.Heads(func(key uint64, _ []byte, _ int64) error { keys = append(keys, key); return nil }))
	if !slices.Equal(keys, []uint64{9, 10, 11}) {
		t.Errorf("the keys are %v", keys)
	}
	for key, want := range map[uint64][]byte{9: big(1), 10: []byte("short"), 11: []byte("data")} {
		if _, data, err := q.Read(key); err != nil || !bytes.Equal(data, want) {
			t.Errorf("batch %d has %d bytes: %v", key, len(data), err)
		}
		must(t, q.Remove(key))
	}
	q.mu.Lock()
	q.appended = dropAfter
	q.mu.Unlock()
	must(t, q.Emptied())
	names, err := q.Aside()
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"one", "two"}) {
		t.Errorf("set aside are %v, %v", names, err)
	}
	if data, err := q.ReadAside("one"); err != nil || string(data) != `{"again":1}` {
		t.Errorf("it is %s, %v", data, err)
	}
	must(t, q.RemoveAside("one"))
	must(t, q.RemoveAside("one"))
	if _, err := q.ReadAside("one"); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("what was removed gives %v", err)
	}
	if info, err := os.Stat(filepath.Join(q.AsideDir(), "two.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	must(t, q.Close())
}

// Before the disk is full, nothing more is taken: neither a batch nor a split.
func TestQueueFull(t *testing.T) {
	t.Parallel()
	q, err := New(t.TempDir(), zap.NewNop()).OpenQueue(ctx)
	must(t, err)
	defer q.Close() //nolint:errcheck // the test is over
	must(t, q.Append(5, []byte("h"), []byte("data")))
	q.guard.full.Store(true)
	mustErr(t, q.Append(6, nil, []byte("x")), capture.ErrNoSpace)
	mustErr(t, q.Split(5, nil, []byte("x"), nil, []byte("y")), capture.ErrNoSpace)
	mustErr(t, q.SetAside("one", nil), capture.ErrNoSpace)
	if _, _, full := q.Room(); !errors.Is(full, capture.ErrNoSpace) {
		t.Errorf("there is room: %v", full)
	}
	must(t, q.Remove(5)) // which makes room
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
