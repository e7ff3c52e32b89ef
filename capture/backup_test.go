package capture

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func backupOf(t testing.TB, body []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewBackupWriter(&file, BackupHeader{Engine: "test", Format: 3, Created: time.Unix(1_700_000_000, 0).UTC()})
	if err != nil {
		t.Fatal(err)
	}
	for rest := body; len(rest) > 0; {
		n := min(len(rest), 700_001)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{1}); err == nil {
		t.Error("a closed backup takes more")
	}
	return file.Bytes()
}

func TestBackupRoundTrip(t *testing.T) {
	t.Parallel()
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, backupChunk - 1, backupChunk, backupChunk + 1, 5*backupChunk + 17} {
		body := make([]byte, size)
		_, _ = random.Read(body)
		file := backupOf(t, body)
		r, err := NewBackupReader(iotest.HalfReader(bytes.NewReader(file)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back as %d: %v", size, len(got), err)
		}
		h, err := VerifyBackup(bytes.NewReader(file))
		if err != nil || h.Engine != "test" || h.Format != 3 || h.Program != "caddy-capture" || h.Created.Unix() != 1_700_000_000 {
			t.Errorf("the header is %+v: %v", h, err)
		}
	}
}

// TestBackupDamage cuts the file everywhere, turns every bit and appends.
func TestBackupDamage(t *testing.T) {
	t.Parallel()
	file := backupOf(t, []byte("what is in the store"))
	refused := func(data []byte, what string, at int) {
		t.Helper()
		if _, err := VerifyBackup(bytes.NewReader(data)); !errors.Is(err, ErrBackupDamaged) && !errors.Is(err, ErrNewerFormat) {
			t.Fatalf("%s at %d: %v", what, at, err)
		}
	}
	for n := range file {
		refused(file[:n], "cut", n)
		for bit := range 8 {
			bad := bytes.Clone(file)
			bad[n] ^= 1 << bit
			refused(bad, "turned", n)
		}
	}
	refused(append(bytes.Clone(file), 0), "appended", len(file))
	refused(append(bytes.Clone(file), file...), "doubled", len(file))

	// A whole chunk left out, its checksum being right for what is there.
	chunks := backupOf(t, bytes.Repeat([]byte("0123456789abcdef"), 3*backupChunk/16))
	at := bytes.Index(chunks, []byte("0123456789abcdef")) - 8
	refused(append(bytes.Clone(chunks[:at]), chunks[at+8+backupChunk:]...), "left out", at)
}

func TestOpenBackup(t *testing.T) {
	t.Parallel()
	file := append([]byte("before"), backupOf(t, []byte("body"))...)
	r := bytes.NewReader(file)
	_, _ = r.Seek(6, io.SeekStart)
	b, err := OpenBackup(r, "test", 3)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(b); err != nil || string(body) != "body" {
		t.Errorf("%q: %v", body, err)
	}
	for _, c := range []struct {
		engine string
		format int
		want   error
		text   string
	}{{"other", 3, ErrBackupDamaged, `"other"`}, {"test", 2, ErrNewerFormat, "format 3"}} {
		_, _ = r.Seek(6, io.SeekStart)
		if _, err := OpenBackup(r, c.engine, c.format); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := VerifyBackup(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrBackupDamaged) {
		t.Errorf("an error of the disk is no damage: %v", err)
	}
}

type failingWriter struct{ room int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestBackupWriterFails(t *testing.T) {
	t.Parallel()
	if _, err := NewBackupWriter(&failingWriter{}, BackupHeader{}); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
	w, err := NewBackupWriter(&failingWriter{1 << 10}, BackupHeader{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(make([]byte, 2*backupChunk))
	if closing := w.Close(); !errors.Is(err, io.ErrShortWrite) || !errors.Is(closing, io.ErrShortWrite) {
		t.Errorf("%v, %v", err, closing)
	}
}

func FuzzBackup(f *testing.F) {
	f.Add(backupOf(f, []byte("body")))
	f.Add([]byte(backupMagic))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = VerifyBackup(bytes.NewReader(data))
	})
}
