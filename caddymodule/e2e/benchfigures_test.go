package e2e

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// A processReading is what the server's process has used up to a moment.
type processReading struct {
	at       time.Time
	cpu      time.Duration
	written  int64 // bytes; of mapped files whole pages, when they are first changed after a sync
	resident int64 // bytes
}

// A reading is all of that, and the server's own metrics a little earlier.
type reading struct {
	process processReading
	scraped time.Time
	metrics series
}

// benchFigures are what a request of some kind costs, or the medians of that.
type benchFigures struct {
	cpu                float64 // microseconds of the server's processor time
	throughput         float64 // requests a second
	p50, p99, p999     float64 // milliseconds
	allocs, allocBytes float64
	written            float64 // bytes
	commits, syncs     float64
	late               float64 // share of the clicks that were redirected before they were on disk
	resident           float64 // bytes, of a server that has served nothing else
	requests           float64 // in a slice
}

// each names the figures that medians are taken of.
func (f *benchFigures) each() []*float64 {
	return []*float64{
		&f.cpu, &f.throughput, &f.p50, &f.p99, &f.p999, &f.allocs, &f.allocBytes,
		&f.written, &f.commits, &f.syncs, &f.late, &f.resident, &f.requests,
	}
}

// medians of slices, figure by figure.
func medians(slices []benchFigures) benchFigures {
	var m benchFigures
	for i, into := range m.each() {
		var values []float64
		for _, s := range slices {
			values = append(values, *s.each()[i])
		}
		*into = median(values)
	}
	return m
}

// medianRatio is the median of the ratios within each round.
func medianRatio(of, to []benchFigures, value func(benchFigures) float64) float64 {
	var ratios []float64
	for i := range min(len(of), len(to)) {
		ratios = append(ratios, value(of[i])/value(to[i]))
	}
	return median(ratios)
}

const (
	allocsCounted     = "go_memstats_mallocs_total"
	allocBytesCounted = "go_memstats_alloc_bytes_total"
	commitsCounted    = "caddy_capture_commit_duration_seconds_count"
)

// A meter reads a server.
type meter struct {
	server *benchServer
	load   *generator
	// What looking at the metrics itself allocates.
	scrapeAllocs, scrapeBytes float64
	// How often a commit makes the disk sync; not a number where that could not be counted.
	syncsPerCommit float64
	bursts         int
}

func newMeter(s *benchServer, load *generator) (*meter, error) {
	m := &meter{server: s, load: load, syncsPerCommit: math.NaN()}
	var allocs, bytes []float64
	before, err := m.scrape()
	for range 5 {
		var after series
		if err != nil {
			return nil, err
		}
		after, err = m.scrape()
		allocs = append(allocs, after[allocsCounted]-before[allocsCounted])
		bytes = append(bytes, after[allocBytesCounted]-before[allocBytesCounted])
		before = after
	}
	m.scrapeAllocs, m.scrapeBytes = median(allocs), median(bytes)
	return m, err
}

// scrape asks the admin API for the metrics.
func (m *meter) scrape() (series, error) {
	c := client{addr: m.server.admin}
	defer c.close()
	a, err := c.do("GET", "/metrics", "")
	if err != nil {
		return nil, err
	}
	s, err := parseMetrics(a.body)
	if _, ok := s[allocsCounted]; err == nil && !ok {
		err = fmt.Errorf("the server's metrics have no %s: status %d", allocsCounted, a.status)
	}
	return s, err
}

// read takes the metrics first, so that the processor time this costs stays out of the reading. When
// the server came to look at them, which takes long under load, they tell by their own processor time.
func (m *meter) read() (r reading, err error) {
	asked, err := readProcess(m.server.pid())
	if err != nil {
		return r, err
	}
	if r.metrics, err = m.scrape(); err != nil {
		return r, err
	}
	if r.process, err = readProcess(m.server.pid()); err != nil {
		return r, err
	}
	used := time.Duration(r.metrics["process_cpu_seconds_total"] * float64(time.Second))
	share := float64(used-asked.cpu) / float64(max(1, r.process.cpu-asked.cpu))
	r.scraped = asked.at.Add(time.Duration(min(max(share, 0), 1) * float64(r.process.at.Sub(asked.at))))
	return r, nil
}

// bystanders returns a function that says which share of the server's processors other processes
// have used since: where that is more than a few percent, the figures are noise.
func (m *meter) bystanders() (func() (float64, error), error) {
	processors := m.server.processors
	read := func() (others time.Duration, at time.Time, err error) {
		all, err := busy(processors)
		if err != nil {
			return 0, at, err
		}
		p, err := readProcess(m.server.pid())
		return all - p.cpu, p.at, err
	}
	before, begin, err := read()
	return func() (float64, error) {
		after, end, err := read()
		return max(0, float64(after-before)) / float64(end.Sub(begin)) / float64(max(1, len(processors))), err
	}, err
}

// settle waits until the server does nothing any more: what a kind of request leaves behind to be
// done later belongs to it, not to the next.
func (m *meter) settle() (processReading, error) {
	const pause, idle = 20 * time.Millisecond, 500 * time.Microsecond
	last, err := readProcess(m.server.pid())
	for quiet, until := 0, time.Now().Add(3*time.Second); err == nil && quiet < 3 && time.Now().Before(until); {
		time.Sleep(pause)
		var now processReading
		if now, err = readProcess(m.server.pid()); now.cpu-last.cpu < idle {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return last, err
}

// slice measures some load of one kind of request.
func (m *meter) slice(p protocol, connections int, k benchKind, length time.Duration) (benchFigures, error) {
	m.bursts++
	var before reading
	var after *processReading
	// A kept store has the postbacks of earlier runs.
	l := burst{p, k, connections, length, "b" + strconv.FormatInt(time.Now().UnixMilli(), 36) + "-" + strconv.Itoa(m.bursts), 0}
	r, err := m.load.run(l, span{
		begun: func() (err error) {
			before, err = m.read()
			return err
		},
		ended: func() error {
			now, err := readProcess(m.server.pid())
			after = &now
			return err
		},
	})
	if err != nil {
		return benchFigures{}, err
	}
	settled, err := m.settle()
	if err != nil {
		return benchFigures{}, err
	}
	handled := r.requests + r.underWay
	if after == nil {
		after = &settled
	} else {
		handled = r.between(before.process.at, after.at)
	}
	metrics, err := m.scrape()
	if err != nil {
		return benchFigures{}, err
	}
	f := m.compare(r, handled, before, *after, metrics)
	f.resident = float64(settled.resident)
	if err := checkCounted(l, r.since(before.scraped), before.metrics, metrics); err != nil {
		return benchFigures{}, fmt.Errorf("%s, %d connections, %s: %w", p, connections, k.name, err)
	}
	return f, nil
}

// compare makes figures of what was read before and after some load, of which n requests were handled
// between the readings of the process.
func (m *meter) compare(r *result, n float64, before reading, after processReading, metrics series) benchFigures {
	counted := r.since(before.scraped)
	grown := func(c counter) float64 { return metrics.sum(c) - before.metrics.sum(c) }
	f := benchFigures{
		cpu:        float64((after.cpu - before.process.cpu).Nanoseconds()) / 1e3 / n,
		throughput: r.throughput, p50: r.p50, p99: r.p99, p999: r.p999,
		allocs:     (grown(counter{name: allocsCounted}) - m.scrapeAllocs) / counted,
		allocBytes: (grown(counter{name: allocBytesCounted}) - m.scrapeBytes) / counted,
		written:    float64(after.written-before.process.written) / n,
		commits:    grown(counter{name: commitsCounted}) / counted,
		late: (grown(counter{clicksCounted, "kind", "late"}) + grown(counter{clicksCounted, "kind", "lost"})) /
			counted,
		requests: r.requests,
	}
	if f.commits > 0 {
		f.syncs = f.commits * m.syncsPerCommit
	}
	return f
}
