package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestReloadUnderLoad(t *testing.T) {
	s := startServer(t, reloadSite(0))
	first := s.click("/go/acme", "aff_sub")
	l := newLoad(s)
	l.repeat, l.extra = true, 1
	l.reload(t, 1, 4) // so that everything is warm
	goroutines, files := s.settled(t)
	l.reload(t, 5, 24)
	var moreGoroutines, moreFiles int
	eventually(t, 60*time.Second, func() error {
		moreGoroutines, moreFiles = s.settled(t)
		if moreGoroutines > goroutines+5 || moreFiles > files+5 {
			return fmt.Errorf("in 20 reloads goroutines grew from %d to %d, open files from %d to %d", goroutines, moreGoroutines, files, moreFiles)
		}
		return nil
	})
	clicks, posts := l.acknowledged()
	t.Logf("%d clicks, %d postbacks, %d asked again, slowest click %v; goroutines %d, then %d; files %d, then %d",
		clicks, posts, l.repeated, l.slowest, goroutines, moreGoroutines, files, moreFiles)
	lookUp(t, s, first)
	l.verify(t)
	reloadMetrics(t, s, clicks)
	s.stop()
}

func reloadSite(i int) string {
	return strings.Replace(loadSite, "$EXTRA", fmt.Sprintf("header X-Build %d", i), 1)
}

// reload loads one configuration after the other while the load goes on.
func (l *load) reload(t *testing.T, first, last int) {
	t.Helper()
	l.start()
	defer l.stop()
	counted := 0.0
	for i := first; i <= last; i++ {
		l.s.reload(reloadSite(i))
		if got := l.s.build(t); got != strconv.Itoa(i) {
			t.Errorf("reload %d: the site still answers as %q", i, got)
		}
		time.Sleep(100 * time.Millisecond)
		now := l.s.metric(t, "caddy_capture_clicks_total")
		if now < counted {
			t.Errorf("reload %d: caddy_capture_clicks_total went from %v to %v", i, counted, now)
		}
		counted = now
	}
}

// build says which configuration answers. An old one may still take a connection, only to drop it.
func (s *server) build(t *testing.T) string {
	t.Helper()
	var a answer
	eventually(t, requestTimeout, func() (err error) {
		c := client{addr: s.site()}
		defer c.close()
		a, err = c.do("GET", "/", "")
		return err
	})
	return a.header.Get("X-Build")
}

func reloadMetrics(t *testing.T, s *server, clicks int64) {
	if got := s.metric(t, "caddy_capture_clicks_total"); got < float64(clicks) {
		t.Errorf("caddy_capture_clicks_total is %v after %d clicks", got, clicks)
	}
	for _, name := range []string{
		"caddy_capture_postbacks_total", "caddy_capture_commit_duration_seconds_count", "caddy_capture_commit_batch_size_count",
		"caddy_capture_queue_length", "caddy_capture_click_to_conversion_seconds_count", "caddy_capture_store_bytes",
	} {
		if !strings.Contains(s.api("/metrics").body, name) {
			t.Errorf("no metric %s", name)
		}
	}
}

// settled counts goroutines and open files when nobody asks for anything, at their lowest in a
// while: what an old configuration leaves behind takes its time to go.
func (s *server) settled(t *testing.T) (goroutines, files int) {
	t.Helper()
	for range 20 {
		g, f := s.goroutines(t), s.openFiles(t)
		if goroutines == 0 || g < goroutines {
			goroutines = g
		}
		if files == 0 || f < files {
			files = f
		}
		time.Sleep(100 * time.Millisecond)
	}
	return goroutines, files
}

var profileTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)

func (s *server) goroutines(t *testing.T) int {
	t.Helper()
	a := s.api("/debug/pprof/goroutine?debug=1")
	found := profileTotal.FindStringSubmatch(a.body)
	if found == nil {
		t.Fatalf("goroutine profile: status %d %.100q", a.status, a.body)
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

// openFiles is 0 where the system has no /proc.
func (s *server) openFiles(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// metric sums a metric over its labels; labels, if any, must be part of the line.
func (s *server) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	a := s.api("/metrics")
	if a.status != 200 {
		t.Fatalf("metrics: status %d %s", a.status, a.body)
	}
	sum := 0.0
	for line := range strings.Lines(a.body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") || !containsAll(rest, labels...) {
			continue
		}
		fields := strings.Fields(rest)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			t.Fatalf("metrics: %s", line)
		}
		sum += value
	}
	return sum
}

func TestValidateBesideTheServer(t *testing.T) {
	s := startServer(t, threeLinesWithStore)
	id := s.click("/go/acme", "aff_sub")
	before := listing(t, s.dir)
	for _, command := range []string{"validate", "adapt"} {
		if r := s.caddy(command, "--config", s.caddyfile(), "--adapter", "caddyfile"); r.code != 0 {
			t.Errorf("caddy %s: exit status %d\n%s", command, r.code, r.stderr)
		}
	}
	if after := listing(t, s.dir); after != before {
		t.Errorf("the directory changed from\n%s\nto\n%s", before, after)
	}
	if a := s.get("/postback?cid=" + id); a.status != 200 {
		t.Errorf("postback afterwards: status %d %s", a.status, a.body)
	}
}

func TestValidateCreatesNothing(t *testing.T) {
	for name, caddyfile := range map[string]string{
		"named":   threeLinesWithStore,
		"default": strings.Replace(threeLines, "$UPSTREAM", "127.0.0.1:1", 1),
	} {
		s := newServer(t, caddyfile)
		for _, command := range []string{"validate", "adapt"} {
			if r := s.caddy(command, "--config", s.caddyfile(), "--adapter", "caddyfile"); r.code != 0 {
				t.Errorf("%s: caddy %s: exit status %d\n%s", name, command, r.code, r.stderr)
			}
			if _, err := os.Stat(s.store); !os.IsNotExist(err) {
				t.Errorf("%s: caddy %s made the store's directory", name, command)
			}
			if made := listing(t, s.dir); strings.Contains(made, "capture") {
				t.Errorf("%s: caddy %s made\n%s", name, command, made)
			}
		}
	}
}

const threeLinesWithStore = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	postback /postback
	respond "the site"
}
`

// listing names all files below a directory with their sizes, the log aside.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && filepath.Base(path) != "caddy.log" {
			fmt.Fprintln(&b, path, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
