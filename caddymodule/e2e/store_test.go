package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A server that cannot have its store says so soon.
const refuseTimeout = 60 * time.Second

func TestStoreDirectoryMissing(t *testing.T) {
	s := newServer(t, threeLinesWithStore)
	s.keepIn(filepath.Join(s.dir, "not", "yet", "there"), threeLinesWithStore)
	s.start()
	s.click("/go/acme", "aff_sub")
	info, err := os.Stat(s.store)
	if err != nil || !info.IsDir() {
		t.Fatalf("the directory was not made: %v", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may look into the store: %v", info.Mode())
	}
	s.stop()
}

func TestStoreIsAFile(t *testing.T) {
	s := newServer(t, threeLinesWithStore)
	if err := os.WriteFile(s.store, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.expectRefusal(s.store)
	if text, err := os.ReadFile(s.store); err != nil || string(text) != "something else" {
		t.Errorf("the file in the store's place was touched: %q %v", text, err)
	}
}

func TestStoreLocked(t *testing.T) {
	t.Parallel()
	first := startServer(t, threeLinesWithStore)
	id := first.click("/go/acme", "aff_sub")
	second := newServer(t, threeLinesWithStore)
	second.keepIn(first.store, threeLinesWithStore)
	second.expectRefusal(first.store, "caddy reload")
	lookUp(t, first, id)
	if a := first.get("/postback?cid=" + id); a.status != 200 {
		t.Errorf("the first server: status %d %s", a.status, a.body)
	}
}

// A store nobody may write to: a read-only mount, for root, or a directory without permission. A
// file in the way of the directory stands in where neither can be had.
func TestStoreReadOnly(t *testing.T) {
	s := newServer(t, threeLinesWithStore)
	if err := os.Mkdir(s.store, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := mountTmpfs(t, s.store, "ro"); err != nil {
			t.Logf("mounting a read-only file system: %v; a file stands in its way instead", err)
			s.keepIn(filepath.Join(s.dir, "file", "store"), threeLinesWithStore)
			if err := os.WriteFile(filepath.Dir(s.store), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.expectRefusal(s.store)
}

// expectRefusal starts a server that must not come up, and must say why.
func (s *server) expectRefusal(words ...string) {
	s.t.Helper()
	s.launch()
	if code := s.wait(refuseTimeout); code == 0 {
		s.t.Errorf("exit status 0")
	}
	lines := strings.Split(strings.TrimSpace(s.logs()), "\n")
	if last := lines[len(lines)-1]; !containsAll(last, words...) {
		s.t.Errorf("the last line should say %q, it is: %s", words, last)
	}
}

func TestDiskFull(t *testing.T) {
	s := newServer(t, threeLinesWithStore)
	if err := os.Mkdir(s.store, 0o700); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 30
	if err := mountTmpfs(t, s.store, fmt.Sprintf("size=%d", size)); err != nil {
		if os.Getenv("CAPTURE_FAULTS") == "must" {
			t.Fatal("mounting a small file system: ", err)
		}
		t.Skip("a small file system of its own is needed, and mounting one failed: ", err)
	}
	s.start()
	id := s.click("/go/acme", "aff_sub")
	eventually(t, waitForClicks, func() error { return s.hasClicks(1) })

	const while = 300 // clicks
	t.Run("while serving", func(t *testing.T) {
		resizeTmpfs(t, s.store, 4<<20)
		s.expectDiskFull(t, id, while)
		resizeTmpfs(t, s.store, size)
		s.expectPostbackAgain(t, id, "one")
		eventually(t, waitForClicks, func() error { return s.hasClicks(1 + while) })
	})
	s.stop()
	t.Run("at the start", func(t *testing.T) {
		resizeTmpfs(t, s.store, 4<<20)
		s.start()
		s.expectDiskFull(t, id, while)
		resizeTmpfs(t, s.store, size)
		s.expectPostbackAgain(t, id, "two")
	})
	t.Run("clicks since the start", func(t *testing.T) {
		eventually(t, waitForClicks, func() error { return s.hasClicks(1 + 2*while) })
	})
	s.stop()
}

const diskTimeout = 60 * time.Second

// expectDiskFull also makes clicks, which stay queued.
func (s *server) expectDiskFull(t *testing.T, id string, clicks int) {
	t.Helper()
	eventually(t, diskTimeout, func() error {
		a := s.get("/postback?cid=" + id + "&txid=full&payout=1&currency=USD")
		if a.status != 503 || a.header.Get("Retry-After") == "" || !containsAll(a.body, `"outcome":"unavailable"`) {
			return fmt.Errorf("postback: status %d, Retry-After %q %s", a.status, a.header.Get("Retry-After"), a.body)
		}
		return nil
	})
	for range clicks {
		begin := time.Now()
		s.click("/go/acme", "aff_sub")
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("a redirect took %v", took)
		}
	}
	if a := s.get("/"); a.status != 200 {
		t.Errorf("the site: status %d", a.status)
	}
	a := s.api("/capture/health")
	if text := strings.ToLower(a.body); !strings.Contains(text, "disk") && !strings.Contains(text, "space") {
		t.Errorf("health does not speak of the disk: status %d %s", a.status, a.body)
	}
}

func (s *server) expectPostbackAgain(t *testing.T, id, txid string) {
	t.Helper()
	eventually(t, diskTimeout, func() error {
		a := s.get("/postback?cid=" + id + "&txid=" + txid + "&payout=1&currency=USD")
		if a.status != 200 {
			return fmt.Errorf("postback: status %d %s", a.status, a.body)
		}
		return nil
	})
}
