package badgerstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// damaged wants the error of a damaged store that names a file and says what
// to do.
func damaged(t *testing.T, e *Engine, err error, file string) {
	t.Helper()
	mustErr(t, err, capture.ErrDamaged)
	dir := canonical(e.Dir)
	for _, part := range []string{file, "mv " + dir + " ", "caddy capture restore <file> --store " + dir, "restart Caddy"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error lacks %q: %v", part, err)
		}
	}
}

// put writes a file in its place, as others may have it mapped.
func put(t *testing.T, name string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
}

// flipped is data with one bit changed.
func flipped(data []byte, at int, bit byte) []byte {
	data = bytes.Clone(data)
	data[at] ^= bit
	return data
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fillTables writes so many clicks that there are tables, and closes the store.
func fillTables(t *testing.T, e *Engine) (clicks int64) {
	t.Helper()
	s := openStore(t, e)
	w := newWriter(t, s)
	for i := range 60 {
		var clicks []*capture.Click
		for j := range 64 {
			c := click(day.Add(time.Duration(i*j)*time.Second), "spring")
			c.Referer = strings.Repeat(txid(i*j), 9)
			clicks = append(clicks, c)
		}
		w.clicks(clicks...)
	}
	clicks = clicksOf(t, s)
	closeStore(t, s, 0)
	if clicks != 60*64 {
		t.Fatalf("%d clicks", clicks)
	}
	return clicks
}

func clicksOf(t *testing.T, s *Store) int64 {
	t.Helper()
	return report(t, s, attribution.Query{From: day, To: day.Add(100 * time.Hour)}).Total.Clicks
}

// TestDamageIsNoSilence flips one byte at a time in a table: the store must
// not open as if nothing were.
func TestDamageIsNoSilence(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	fillTables(t, e)
	tables, _ := filepath.Glob(filepath.Join(e.Dir, "*.sst"))
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	whole := mustRead(t, tables[0])
	size := len(whole)
	for _, at := range []int{0, 100, size / 4, size / 2, size - 200, size - 10, size - 4, size - 1} {
		put(t, tables[0], flipped(whole, at, 0x10))
		s, err := e.Open(ctx)
		if err == nil {
			_ = s.Close(0)
			t.Errorf("byte %d of %d is damaged, and nobody noticed", at, size)
			continue
		}
		damaged(t, e, err, filepath.Base(tables[0]))
	}
	put(t, tables[0], whole)
	s := openStore(t, e)
	// While it serves: the daily look finds it and stops the store.
	put(t, tables[0], flipped(whole, size/2, 0x10))
	if err := s.verify(0); !errors.Is(err, capture.ErrDamaged) {
		t.Errorf("verifying: %v", err)
	}
	put(t, tables[0], whole)
	closeStore(t, s, 0)

	// A table that is gone.
	if err := os.Remove(tables[0]); err != nil {
		t.Fatal(err)
	}
	_, err := e.Open(ctx)
	damaged(t, e, err, "")
}

// TestEndsOfTables: what Badger reads to open a table is looked at in the
// tables that there is no time to verify, too.
func TestEndsOfTables(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	fillTables(t, e)
	tables, _ := filepath.Glob(filepath.Join(e.Dir, "*.sst"))
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	whole := mustRead(t, tables[0])
	size := int64(len(whole))
	if err := checkEnds(bytes.NewReader(whole), size); err != nil {
		t.Fatalf("a table that is whole: %v", err)
	}
	index, n, err := findIndex(bytes.NewReader(whole), size)
	if err != nil {
		t.Fatal(err)
	}
	block, err := lastBlock(whole[index:index+n], index)
	if err != nil || block.last != uint64(index) || block.first >= block.last {
		t.Fatalf("the last block is %+v and the index at %d: %v", block, index, err)
	}
	sum := int64(whole[index-1]) // length of the block's checksum
	for what, at := range map[string]int64{
		"length of the checksum of the block": index - 4,
		"number of entries of the block":      index - 4 - sum - 4,
		"length of the checksum":              size - 4,
		"length of the index":                 index + n,
	} {
		if err := checkEnds(bytes.NewReader(flipped(whole, int(at), 0x10)), size); err == nil {
			t.Errorf("the %s is damaged, and nobody noticed", what)
		}
	}
	// Anything may be damaged without a panic, whatever comes of it.
	for at := index; at < size; at++ {
		_ = checkEnds(bytes.NewReader(flipped(whole, int(at), 0x80)), size)
	}
	if err := withFile(filepath.Join(e.Dir, "none.sst"), checkEnds); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestDamagedManifest flips each byte of the manifest in turn. Badger takes
// some of it for the end of the manifest, and would remove the tables that are
// behind it.
func TestDamagedManifest(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	want := fillTables(t, e)
	closeStore(t, openStore(t, e), 0)
	name := filepath.Join(e.Dir, badger.ManifestFilename)
	whole := mustRead(t, name)
	for at := range whole {
		for _, bit := range []byte{1, 0x10} {
			put(t, name, flipped(whole, at, bit))
			st, err := e.Open(ctx)
			if err == nil {
				if got := clicksOf(t, st.(*Store)); got != want {
					t.Errorf("byte %d of %d is damaged, and there are %d clicks", at, len(whole), got)
				}
				closeStore(t, st.(*Store), 0)
				t.Fatalf("byte %d of %d is damaged, and nobody noticed", at, len(whole))
			}
			damaged(t, e, err, "")
		}
	}
	// A record that was interrupted is no damage.
	put(t, name, append(bytes.Clone(whole), 0, 0, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9))
	s := openStore(t, e)
	if got := clicksOf(t, s); got != want {
		t.Errorf("after a crash there are %d clicks, want %d", got, want)
	}
	closeStore(t, s, 0)
}

// TestDamagedIdentity: a damaged store.json is written again from the store's
// own copy. Where there is none, nothing is made up.
func TestDamagedIdentity(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	core, logs := observer.New(zapcore.WarnLevel)
	e.Logger = zap.New(core)
	want, err := e.Identity()
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, openStore(t, e), 0)
	name := filepath.Join(e.Dir, identityName)
	whole := mustRead(t, name)
	noticed := 0
	for at := 0; at < len(whole); at += 3 {
		data := flipped(whole, at, 1<<(at%7))
		put(t, name, data)
		open := at%2 == 0
		if open {
			st, err := e.Open(ctx)
			if err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			closeStore(t, st.(*Store), 0)
		}
		id, err := e.Identity()
		if err != nil || id.Epoch != want.Epoch || !bytes.Equal(id.Secret, want.Secret) {
			t.Fatalf("byte %d: the identity is %+v, %v", at, id, err)
		}
		names, _ := filepath.Glob(name + ".damaged-*")
		if now := mustRead(t, name); len(names) == 1 {
			noticed++
			if !bytes.Equal(now, whole) || !bytes.Equal(mustRead(t, names[0]), data) {
				t.Fatalf("byte %d: the file is\n%s", at, now)
			}
			_ = os.Remove(names[0])
		}
		put(t, name, whole)
	}
	if noticed < len(whole)/4 || logs.FilterMessageSnippet("was damaged").Len() != noticed {
		t.Errorf("of %d bytes %d were noticed, and %d logged", len(whole), noticed, logs.Len())
	}

	// What has no checksum is taken as it is, and given one.
	bare := bytes.Replace(whole, []byte("checksum"), []byte("whatever"), 1)
	put(t, name, bare)
	closeStore(t, openStore(t, e), 0)

	// Badger has no copy, or cannot be opened.
	put(t, name, flipped(whole, 0, 1))
	put(t, filepath.Join(e.Dir, badger.ManifestFilename), []byte("nonsense"))
	_, err = e.Identity()
	damaged(t, e, err, "manifest")
	fresh := newEngine(t)
	if _, err := fresh.Identity(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(fresh.Dir, identityName), []byte("{{{{"))
	_, err = fresh.Identity()
	damaged(t, fresh, err, identityName)
	_, err = fresh.Open(ctx)
	damaged(t, fresh, err, identityName)
}

// TestNotDamage: what the system has against reading a file says nothing about
// what is in it.
func TestNotDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "000001.sst")
	for cause, want := range map[error]struct {
		is   error
		says string
	}{
		syscall.EACCES:             {nil, "user ID"},
		syscall.EROFS:              {nil, "user ID"},
		syscall.EMFILE:             {nil, "too little"},
		syscall.ENOSPC:             {capture.ErrNoSpace, "make room"},
		syscall.EIO:                {capture.ErrDamaged, name},
		errors.New("bad checksum"): {capture.ErrDamaged, name},
	} {
		for _, err := range []error{
			unreadable(name, &os.PathError{Op: "open", Path: name, Err: cause}),
			unreadable(name, fmt.Errorf("opening table err: %v", cause)), // as Badger wraps
		} {
			if !strings.Contains(err.Error(), want.says) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v: the error does not help: %v", cause, err)
			}
			for _, sentinel := range []error{capture.ErrNoSpace, capture.ErrDamaged} {
				if errors.Is(err, sentinel) != (sentinel == want.is) {
					t.Errorf("%v: the error is %v", cause, err)
				}
			}
		}
	}
}

func TestBlockLengths(t *testing.T) {
	t.Parallel()
	// A block with two entries: data, where they begin, their number, checksum.
	whole := []byte{1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 0, 0, 0, 2}
	if err := checkBlock(whole); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ at, value byte }{{20, 200}, {17, math.MaxUint8}, {14, 3}, {11, math.MaxUint8}} {
		data := bytes.Clone(whole)
		data[c.at] = c.value
		if checkBlock(data) == nil {
			t.Errorf("with %d at byte %d it passes", c.value, c.at)
		}
	}
	for n := range whole[:12] {
		if checkBlock(whole[:n]) == nil && n < 8 {
			t.Errorf("%d bytes pass", n)
		}
	}
}
