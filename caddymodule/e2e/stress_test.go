package e2e

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOpenLoop lets a server stand still: everybody who was due meanwhile must count, from when they
// were due, however few connections there were before.
func TestOpenLoop(t *testing.T) {
	t.Parallel()
	var still sync.RWMutex
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		still.RLock()
		defer still.RUnlock()
		w.Header().Set("Location", "/")
		w.WriteHeader(http.StatusFound)
	}))
	defer site.Close()
	_, port, err := net.SplitHostPort(site.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l := newStressLoad(&server{t: t, port: port})
	defer l.conns.close()
	const rate = 100
	l.start(stressRates{controls: rate})
	time.Sleep(100 * time.Millisecond)
	still.Lock()
	stopped := time.Since(l.begin)
	time.Sleep(400 * time.Millisecond)
	resumed := time.Since(l.begin)
	still.Unlock()
	eventually(t, requestTimeout, func() error { // the load itself may be late
		l.mu.Lock()
		defer l.mu.Unlock()
		if !slices.ContainsFunc(l.controls, func(r timing) bool { return r.due > resumed }) {
			return errors.New("nothing that was due later is answered yet")
		}
		return nil
	})
	l.stop()
	for _, f := range l.faults {
		t.Error(f)
	}
	meanwhile := dueIn(l.controls, stopped, resumed)
	if want := int((resumed - stopped).Seconds() * rate); len(meanwhile) < want-1 || len(meanwhile) > want+1 {
		t.Errorf("%d requests were due in %v, want %d", len(meanwhile), resumed-stopped, want)
	}
	for _, r := range meanwhile {
		if r.took < resumed-r.due {
			t.Errorf("what was due after %v says it took %v, but nothing was answered before %v", r.due, r.took, resumed)
		}
	}
}

func TestSummed(t *testing.T) {
	t.Parallel()
	var timings []timing
	for n := range 100 {
		timings = append(timings, timing{due: time.Duration(n), late: 5 * time.Millisecond, took: time.Duration(n+1) * time.Millisecond})
	}
	want := latencies{requests: 100, p50: 50, p99: 99, max: 100, slow: 40, stalled: 35, sent: 5}
	if got := summed(timings, 60*time.Millisecond); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := summed(nil, time.Second); got != (latencies{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestDuring(t *testing.T) {
	t.Parallel()
	jobs := []job{{"a", 10, 20}, {"b", 30, 40}}
	for _, c := range []struct {
		from, to time.Duration
		want     string
	}{{0, 9, ""}, {0, 10, "a"}, {12, 13, "a"}, {20, 25, "a"}, {21, 29, ""}, {15, 35, "b"}, {40, 50, "b"}, {41, 50, ""}} {
		if got := during(jobs, c.from, c.to); got != c.want {
			t.Errorf("from %d to %d: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

// TestStressReport makes a report of a load of two intervals.
func TestStressReport(t *testing.T) {
	t.Parallel()
	l := &stressLoad{
		clicks:   []timing{{due: 0, took: time.Hour}, {due: 1 * time.Second, took: time.Millisecond}, {due: 2 * time.Second, took: 100 * time.Millisecond}},
		controls: []timing{{due: 1500 * time.Millisecond, took: 20 * time.Millisecond}},
	}
	jobs := []job{{jobBackup, 2050 * time.Millisecond, 2500 * time.Millisecond}}
	from := 500 * time.Millisecond
	intervals := []stressInterval{
		{end: 1500 * time.Millisecond, gauge: gauge{goroutines: 10}}, {end: 2500 * time.Millisecond, gauge: gauge{goroutines: 30}},
	}
	l.fill(intervals, jobs, from)
	if got := intervals[0]; got.clicks.requests != 1 || got.controls.requests != 0 || got.jobs != nil {
		t.Errorf("the first interval: %+v", got)
	}
	if got := intervals[1]; got.clicks.slow != 1 || got.controls.slow != 1 || strings.Join(got.jobs, " ") != jobBackup {
		t.Errorf("the second interval: %+v", got)
	}
	r := &stressReport{
		head: []string{"a <load>"}, length: 2 * time.Second, intervals: intervals, growth: grown(intervals),
		shares: l.shares(jobs, from, 3*time.Second),
	}
	if g := r.growth; g.first.goroutines != 10 || g.last.goroutines != 30 {
		t.Errorf("growth: %+v", g)
	}
	for _, s := range r.shares {
		if slow := map[string]int{jobBackup: 1}[s.job]; s.clicks.slow != slow {
			t.Errorf("while %s: %d slow, want %d", s.job, s.clicks.slow, slow)
		}
	}
	if text := r.text(); !containsAll(text, "a <load>", jobBackup, "last quarter") {
		t.Errorf("the table is\n%s", text)
	}
	for _, line := range r.records() {
		if len(line) != len(r.records()[0]) {
			t.Errorf("a line of %d fields, want %d: %q", len(line), len(r.records()[0]), line)
		}
	}
	var picture bytes.Buffer
	if err := r.plot(&picture); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&picture); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
