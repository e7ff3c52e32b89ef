package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const abuseSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/* https://offer.example/?cid={click_id}
	postback /open
	postback /token {
		token ` + forgedToken + `
	}
	postback /hmac {
		verify hmac {
			secret ` + forgedSecret + `
			header X-Sig sha256=
		}
	}
	postback /stripe {
		network stripe
		verify hmac {
			secret ` + stripeSecret + `
		}
	}
	postback /shopify {
		network shopify
		verify hmac {
			secret ` + forgedSecret + `
		}
	}
	postback /small {
		max_body 1KiB
	}
	postback /large {
		max_body 512KiB
	}
	respond "the site"
}
`

const (
	forgedInAll   = 100_000
	forgedAmidst  = 25_000 // of these, while the site does what it is for
	forgedSenders = 8

	// What a server may grow by under a flood: Go's collector lets the heap double, and there are buffers of
	// connections. 100,000 requests that each left a kilobyte behind would be 100 MB.
	floodMemory = 96 << 20
)

// A flood of forged postbacks costs no disk, a bounded log and bounded memory, is counted in full, and takes
// nothing away from visitors and genuine senders.
func TestForgedFlood(t *testing.T) {
	launched := time.Now()
	s := startServer(t, abuseSite)
	started := time.Now()
	id := s.click("/go/acme", "cid")
	overheard := stripeSale(id, "overheard")
	replayed := post("/stripe", overheard, jsonBody, stripeHeader(stripeSecret, overheard, time.Now()))
	if a := s.send(replayed); a.status != 200 || !containsAll(a.body, `"recorded"`) {
		t.Fatalf("a genuine message: status %d %s", a.status, a.body)
	}
	f := flood{s: s, kinds: forgeries(id, replayed), sent: make(map[string]int64)}
	logged, before := len(s.logLines()), time.Now()
	// A first wave warms up what a server keeps for itself: connections, buffers, counters.
	f.run(t, 2000)
	memory, hasMemory := s.residentMemory()

	g := genuine{s: s}
	g.start()
	f.run(t, forgedAmidst-2000)
	g.finish(t)
	eventually(t, waitForClicks, func() error { return s.hasClicks(int64(1 + g.clicks)) })
	g.verify(t, id)

	var files map[string]string
	var entries int
	sent := forgedAmidst
	for again := true; again; sent += forgedInAll - forgedAmidst {
		files, entries = s.settledStore(t), len(s.all("/capture/journal"))
		begin := time.Now()
		f.run(t, forgedInAll-forgedAmidst)
		// The first sweep notes how far it has come with the clicks, which is none of the flood's doing.
		sweep, swept := launched.Add(55*time.Second), started.Add(70*time.Second)
		if again = begin.Before(swept) && time.Now().After(sweep); again {
			time.Sleep(time.Until(swept))
		}
	}
	for _, name := range union(files, s.storeFiles(t)) {
		if now := s.storeFiles(t); files[name] != now[name] {
			t.Errorf("the flood wrote to the store: %s was %s and is %s", name, files[name], now[name])
		}
	}
	if n := len(s.all("/capture/journal")); n != entries || n != 1+g.booked {
		t.Errorf("the journal has %d entries, had %d before the second part, and %d postbacks were genuine", n, entries, 1+g.booked)
	}
	f.verifyMetrics(t)
	if a := s.get("/token?token="+forgedToken, "X-Padding: "+strings.Repeat("p", 30<<10)); a.status != 431 {
		t.Errorf("a header of 30 KiB: status %d %s", a.status, a.body)
	}
	if now, _ := s.residentMemory(); hasMemory && now-memory > floodMemory {
		t.Errorf("the server grew from %d to %d MiB", memory>>20, now>>20)
	}
	// Each route logs five at once, then one every ten seconds; ten lines are for whatever else there is to say.
	lines, routes := s.logLines()[logged:], 5
	if limit := 10 + routes*(6+int(time.Since(before)/(10*time.Second))); len(lines) > limit {
		t.Errorf("%d lines in the log, want at most %d; the last one is %s", len(lines), limit, lines[len(lines)-1])
	}
	t.Logf("%d forged requests in %v, %d lines in the log, %d genuine postbacks meanwhile", sent, time.Since(before), len(lines), g.booked)
}

func (s *server) send(r request) answer {
	s.t.Helper()
	return s.do(r.method, r.target, r.body, r.headers...)
}

// logLines are those in the log that are not about this test's own questions.
func (s *server) logLines() (lines []string) {
	s.t.Helper()
	for line := range strings.Lines(s.logs()) {
		if !strings.Contains(line, `"logger":"admin.api"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// storeFiles says of each file of the store how long it is and what is in it.
func (s *server) storeFiles(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(s.store, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		h := sha256.New()
		size, err := io.Copy(h, file)
		files[filepath.Base(path)] = fmt.Sprintf("%d bytes %x", size, h.Sum(nil)[:8])
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// settledStore waits until nothing writes to the store any more.
func (s *server) settledStore(t *testing.T) map[string]string {
	t.Helper()
	var files map[string]string
	eventually(t, waitForClicks, func() error {
		files = s.storeFiles(t)
		time.Sleep(time.Second)
		if !maps.Equal(files, s.storeFiles(t)) {
			return errors.New("the store is still written to")
		}
		return nil
	})
	return files
}

// residentMemory is what the server's process takes of the machine's memory, where the system tells.
func (s *server) residentMemory() (bytes int64, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid()))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, is := strings.CutPrefix(line, "VmRSS:"); is {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kilobytes << 10, err == nil
		}
	}
	return 0, false
}
