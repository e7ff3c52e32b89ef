package badgerstore

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// bigStore has 200,000 clicks of two weeks, and a postback for each tenth.
func bigStore(b *testing.B) (*Store, int) {
	b.Helper()
	s := openStore(b, newEngine(b))
	w := newWriter(b, s)
	const clicks, batch = 200_000, 640
	for i := 0; i < clicks; i += batch {
		var list []*capture.Click
		for j := range batch {
			c := click(day.Add(time.Duration(i+j)*6*time.Second), fmt.Sprint("c", j%20))
			c.Kept = []capture.Param{{Name: "gclid", Value: fmt.Sprintf("%016x", (i+j)*7919)}}
			list = append(list, c)
		}
		w.clicks(list...)
		var posts []*capture.Postback
		for j := 0; j < batch; j += 10 {
			posts = append(posts, postback(list[j], txid(i+j), list[j].Time.Add(time.Hour)))
		}
		w.commit(nil, posts)
	}
	return s, clicks
}

func BenchmarkCheck(b *testing.B) {
	s, clicks := bigStore(b)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := s.Check(ctx, nil); err != nil || r.Wrong != 0 || r.Clicks < int64(clicks) {
			b.Fatalf("%+v: %v", r, err)
		}
	}
	b.ReportMetric(float64(clicks)*float64(b.N)/b.Elapsed().Seconds(), "clicks/s")
}

func BenchmarkBackup(b *testing.B) {
	s, _ := bigStore(b)
	var file bytes.Buffer
	if err := s.Backup(ctx, &file); err != nil {
		b.Fatal(err)
	}
	b.Run("backup", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(file.Len()))
		for b.Loop() {
			if err := s.Backup(ctx, io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(file.Len()))
		dir := b.TempDir()
		for i := 0; b.Loop(); i++ {
			e := New(filepath.Join(dir, fmt.Sprint(i)), nil)
			if err := e.Restore(ctx, bytes.NewReader(file.Bytes())); err != nil {
				b.Fatal(err)
			}
			_ = os.RemoveAll(e.Dir)
		}
	})
}

func BenchmarkErase(b *testing.B) {
	s, clicks := bigStore(b)
	refs := make([]*capture.Click, 0, clicks)
	if err := s.Clicks(ctx, capture.ClickQuery{}, func(c *capture.Click) bool {
		refs = append(refs, &capture.Click{Ref: c.Ref})
		return true
	}); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if _, err := s.Erase(ctx, refs[i*640%len(refs)].Ref); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzReadPairs reads the body of backups.
func FuzzReadPairs(f *testing.F) {
	f.Add([]byte("\x01b\x02vv\x02ms\x00"))
	f.Add([]byte("\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := readPairs(bufio.NewReader(bytes.NewReader(data)), func(key, value []byte) error {
			n += len(key) + len(value) + 2
			return nil
		})
		if n > len(data) {
			t.Errorf("%d bytes were read of %d: %v", n, len(data), err)
		}
	})
}
