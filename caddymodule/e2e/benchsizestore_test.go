package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/bigstore"
)

// A madeStore is a store with the clicks of a month and a postback for each hundredth of them.
type madeStore struct {
	dir   string
	kept  bool // it is there for the next run
	past  *bigstore.Past
	codec *clickid.Codec
	took  time.Duration // to make it; zero if it was there
}

// freshFor is how long a kept store is good: its clicks must not have gone out of date.
const freshFor = 30 * 24 * time.Hour

// makeStore makes a store of that size, or finds it where stores are kept.
func makeStore(b *testing.B, plan sizePlan, clicks int) *madeStore {
	b.Helper()
	m := &madeStore{kept: plan.keep != "", dir: filepath.Join(b.TempDir(), "made")}
	note := ""
	if m.kept {
		m.dir = filepath.Join(plan.keep, fmt.Sprintf("size-%d-64", clicks))
		note = m.dir + ".json" // written last
		if text, err := os.ReadFile(note); err == nil {
			past := new(bigstore.Past)
			if err := json.Unmarshal(text, past); err == nil && past.Clicks == clicks && time.Since(past.End) < freshFor {
				m.past = past
			}
		}
	}
	engine := badgerstore.New(m.dir, zap.NewNop())
	if m.past == nil {
		if err := os.RemoveAll(m.dir); err != nil {
			b.Fatal(err)
		}
		if err := m.fill(b, engine, clicks); err != nil {
			b.Fatalf("making a store of %d clicks: %v", clicks, err)
		}
		if m.kept {
			text, err := json.Marshal(m.past)
			if err == nil {
				err = os.WriteFile(note, text, 0o600)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	id, err := engine.Identity()
	if err != nil {
		b.Fatal(err)
	}
	if m.codec, err = clickid.New(id.Secret); err != nil {
		b.Fatal(err)
	}
	return m
}

func (m *madeStore) fill(b *testing.B, engine *badgerstore.Engine, clicks int) error {
	id, err := engine.Identity()
	if err != nil {
		return err
	}
	store, err := engine.Open(b.Context())
	if err != nil {
		return err
	}
	begin := time.Now()
	m.past, err = bigstore.Fill(b.Context(), store, id, bigstore.Spec{
		Clicks: clicks, Postbacks: 1, End: begin.Truncate(time.Second), Seed: 1,
	})
	if err != nil {
		_ = store.Close(0)
		return err
	}
	err = store.Close(m.past.NextBlock())
	m.took = time.Since(begin)
	return err
}

// copyLimit is how large a kept store may be to be copied for the benchmark. A larger one is used
// itself: some clicks more make no difference to it.
const copyLimit = 4 << 30

// giveTo makes the store a server's, and says whether it may be used up there.
func (m *madeStore) giveTo(b *testing.B, s *server, caddyfile string, plan sizePlan) (spend bool) {
	b.Helper()
	used, err := diskUse(m.dir)
	if err != nil {
		b.Fatal(err)
	}
	if !m.kept || plan.spend || used > copyLimit {
		s.keepIn(m.dir, caddyfile)
		if m.kept && plan.spend { // it is not what its note says any more
			if err := os.Remove(m.dir + ".json"); err != nil {
				b.Fatal(err)
			}
		}
		return !m.kept || plan.spend
	}
	if err := copyFiles(m.dir, s.store); err != nil {
		b.Fatal(err)
	}
	return true
}

// copyFiles copies the files of a directory that has no others in it.
func copyFiles(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	return eachFile(from, func(f *os.File) error {
		copied, err := os.OpenFile(filepath.Join(to, filepath.Base(f.Name())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err := io.Copy(copied, f); err != nil {
			copied.Close()
			return err
		}
		return copied.Close()
	})
}

// eachFile opens all files of a directory, one after the other, but for the store's lock.
func eachFile(dir string, do func(f *os.File) error) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range list {
		if strings.HasSuffix(entry.Name(), ".lock") || !entry.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if os.IsNotExist(err) {
			continue // the server has deleted it meanwhile
		}
		if err != nil {
			return err
		}
		err = do(f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
