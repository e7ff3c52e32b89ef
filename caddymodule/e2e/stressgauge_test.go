package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A gauge is what a server holds at a moment.
type gauge struct {
	goroutines, threads     float64
	files, storeFiles       float64 // open; of the store, which come and go with its tables
	anonymous, heap         float64 // bytes
	connections             float64 // of the load
	clicks, postbacks, late float64 // queued, and redirected too early so far
	collections             float64 // of garbage so far
	waited                  float64 // seconds that its threads waited for a processor so far
}

// each names the figures whose growth is told.
func (g *gauge) each() []*float64 {
	return []*float64{
		&g.goroutines, &g.threads, &g.files, &g.storeFiles, &g.anonymous, &g.heap, &g.connections, &g.clicks, &g.postbacks,
	}
}

// gauge looks at the server. All it asks is cheap, or it would be part of the load.
func (l *stressLoad) gauge() (g gauge, err error) {
	a, err := l.admin("/metrics")
	if err != nil {
		return g, err
	}
	m, err := parseMetrics(a.body)
	if err != nil {
		return g, err
	}
	g.goroutines, g.heap = m["go_goroutines"], m["go_memstats_heap_inuse_bytes"]
	g.collections = m["go_gc_duration_seconds_count"]
	g.late = m.sum(counter{clicksCounted, "kind", "late"})
	if a, err = l.admin("/capture/health"); err != nil {
		return g, err
	}
	var h stressHealth
	if err := json.Unmarshal([]byte(a.body), &h); err != nil {
		return g, fmt.Errorf("health: %w in %.200q", err, a.body)
	}
	g.clicks, g.postbacks = float64(h.Queue.Clicks), float64(h.Queue.Postbacks)
	g.connections = float64(l.conns.count())
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.s.pid()))
	if err != nil {
		return g, err
	}
	anonymous, err := procField(string(status), "RssAnon")
	if err != nil {
		return g, err
	}
	threads, err := procField(string(status), "Threads")
	if err != nil {
		return g, err
	}
	g.anonymous, g.threads = float64(anonymous), float64(threads)
	g.waited = waited(l.s.pid())
	g.files, g.storeFiles, err = l.s.filesOpen()
	return g, err
}

// admin asks the admin API, and again if a reload took the connection away.
func (l *stressLoad) admin(target string) (answer, error) {
	for {
		c := client{addr: l.s.admin}
		a, err := c.do("GET", target, "")
		c.close()
		if err == nil || !wasIdle(err) {
			return a, err
		}
	}
}

// filesOpen counts open files, those of the store apart. Deleted ones are not the store's any more.
func (s *server) filesOpen() (others, store float64, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", s.pid())
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name, err := os.Readlink(filepath.Join(dir, e.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(name, s.store+"/") && !strings.HasSuffix(name, " (deleted)"):
			store++
		default:
			others++
		}
	}
	return others, store, err
}

// waited is how long the threads of a process were ready and had no processor, in seconds: what a busy
// machine does to it. Threads that have ended are forgotten.
func waited(pid int) (seconds float64) {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is good
	for _, name := range names {
		var ran, waited float64 // nanoseconds
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if _, err := fmt.Sscan(string(text), &ran, &waited); err == nil {
			seconds += waited / 1e9
		}
	}
	return seconds
}
