package e2e

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// fleetFigures are what a request costs at a fleet, or the medians of that.
type fleetFigures struct {
	cpu, database float64 // microseconds of processor time: of the Caddies, and of PostgreSQL
	throughput    float64 // requests a second, of all nodes
	p50, p99      float64 // milliseconds
	wal, disk     float64 // bytes: of the database's log, and by which it has grown
	commits       float64
	late          float64 // share of the clicks that were redirected before they were on disk
	accepted      float64 // share of the postbacks that went to a node's own disk first
	requests      float64 // in a slice
}

// each names the figures that medians are taken of.
func (f *fleetFigures) each() []*float64 {
	return []*float64{
		&f.cpu, &f.database, &f.throughput, &f.p50, &f.p99, &f.wal, &f.disk, &f.commits, &f.late, &f.accepted, &f.requests,
	}
}

// fleetMedians are medians of slices, figure by figure.
func fleetMedians(slices []fleetFigures) fleetFigures {
	var m fleetFigures
	for i, into := range m.each() {
		var values []float64
		for _, s := range slices {
			values = append(values, *s.each()[i])
		}
		*into = median(values)
	}
	return m
}

// A fleetReading is the processor time that was used up to a moment.
type fleetReading struct {
	at                time.Time
	caddies, database time.Duration
}

// A fleetMeter loads fleets and reads what that takes.
type fleetMeter struct {
	db         *pgtest.Server
	fleets     []*benchFleet
	processors []int // of the Caddies
	forLoad    []int // and of the database
	dir        string
	bursts     int
}

// nodes are all Caddies, each once, although fleets share them.
func (m *fleetMeter) nodes() (all []*server) {
	for _, f := range m.fleets {
		for _, s := range f.nodes {
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// read is the processor time of some Caddies and of the database.
func (m *fleetMeter) read(nodes []*server) (r fleetReading, err error) {
	for _, s := range nodes {
		p, err := readProcess(s.pid())
		if err != nil {
			return r, err
		}
		r.caddies += p.cpu
	}
	r.database, err = databaseTime(m.db)
	r.at = time.Now()
	return r, err
}

// bystanders returns a function that says which share of the Caddies' processors others have used since.
func (m *fleetMeter) bystanders() (func() (float64, error), error) {
	read := func() (time.Duration, time.Time, error) {
		all, err := busy(m.processors)
		if err != nil {
			return 0, time.Time{}, err
		}
		r, err := m.read(m.nodes())
		return all - r.caddies, r.at, err
	}
	before, begin, err := read()
	return func() (float64, error) {
		after, end, err := read()
		return max(0, float64(after-before)) / float64(end.Sub(begin)) / float64(max(1, len(m.processors))), err
	}, err
}

// settle waits until a fleet and its database do nothing any more.
func (m *fleetMeter) settle(f *benchFleet) (fleetReading, error) {
	const pause, idle = 100 * time.Millisecond, 4 * time.Millisecond
	last, err := m.read(f.nodes)
	for quiet, until := 0, time.Now().Add(3*time.Second); err == nil && quiet < 2 && time.Now().Before(until); {
		time.Sleep(pause)
		var now fleetReading
		if now, err = m.read(f.nodes); now.caddies-last.caddies+now.database-last.database < idle {
			quiet++
		} else {
			quiet = 0
		}
		last = now
	}
	return last, err
}

// scrape adds up the metrics of a fleet.
func (f *benchFleet) scrape() (series, error) {
	all := make(series)
	for _, s := range f.nodes {
		c := client{addr: s.admin}
		a, err := c.do("GET", "/metrics", "")
		c.close()
		if err != nil {
			return nil, err
		}
		one, err := parseMetrics(a.body)
		if err != nil {
			return nil, err
		}
		for name, value := range one {
			all[name] += value
		}
	}
	if _, ok := all[allocsCounted]; !ok {
		return nil, fmt.Errorf("the nodes' metrics have no %s", allocsCounted)
	}
	return all, nil
}

// A fleetSize is how many bytes a database has written to its log so far, and how many it has.
type fleetSize struct{ wal, disk float64 }

// size asks the database.
func (m *fleetMeter) size() (size fleetSize, err error) {
	text, err := m.db.SQL("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_database_size(current_database())")
	if err != nil {
		return size, err
	}
	wal, disk, _ := strings.Cut(text, "|")
	if size.wal, err = strconv.ParseFloat(wal, 64); err == nil {
		size.disk, err = strconv.ParseFloat(disk, 64)
	}
	// What it took the database to tell is to be over before anything is measured.
	time.Sleep(100 * time.Millisecond)
	return size, err
}

// run loads all nodes of a fleet at once, each with its part of the connections.
func (m *fleetMeter) run(f *benchFleet, l burst) (*result, error) {
	var ports []string
	for _, s := range f.nodes {
		ports = append(ports, s.port)
	}
	args := append(pinned(m.forLoad), "wrk",
		"-t", strconv.Itoa(len(ports)), "-c", strconv.Itoa(l.connections),
		"-d", strconv.Itoa(max(1, int(l.length/time.Second)))+"s", "--timeout", "30s",
		"-H", "User-Agent: "+browser, "-s", filepath.Join("testdata", "bench.lua"),
		"http://"+f.nodes[0].site(), "--", strconv.Itoa(l.kind.status), l.kind.target)
	if strings.Contains(l.kind.target, "{id}") {
		args = append(args, f.list, l.word)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "BENCH_PORTS="+strings.Join(ports, " "))
	if l.rate > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("BENCH_RATE=%f", l.rate/float64(len(ports))))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	r, err := parseWrk(string(out))
	switch {
	case err != nil:
		return nil, err
	case r.wrong > 0:
		return nil, fmt.Errorf("%.0f answers had not the status %d, the first had %d", r.wrong, l.kind.status, r.firstWrong)
	case r.requests == 0:
		return nil, fmt.Errorf("nothing was answered")
	}
	r.underWay = float64(l.connections)
	return r, nil
}

// slice measures some load of one kind of request on all nodes of a fleet: as many as go, or so many a second.
func (m *fleetMeter) slice(b *testing.B, f *benchFleet, k benchKind, connections int, rate float64, length time.Duration) (fleetFigures, error) {
	b.Helper()
	m.bursts++
	l := burst{http1, k, connections, length, "f" + strconv.Itoa(m.bursts), rate}
	var none fleetFigures
	metrics, err := f.scrape()
	if err != nil {
		return none, err
	}
	size, err := m.size()
	if err != nil {
		return none, err
	}
	before, err := m.settle(f)
	if err != nil {
		return none, err
	}
	r, err := m.run(f, l)
	if err != nil {
		return none, err
	}
	after, err := m.settle(f)
	if err != nil {
		return none, err
	}
	if f.db != nil && f.waits() {
		// What is sent to the database later is this kind's, too.
		f.arrive(b)
		if after, err = m.settle(f); err != nil {
			return none, err
		}
	}
	then, err := f.scrape()
	if err != nil {
		return none, err
	}
	grown, err := m.size()
	if err != nil {
		return none, err
	}
	grown.wal, grown.disk = grown.wal-size.wal, grown.disk-size.disk
	if err := checkCounted(l, r.requests+r.underWay, taken(k, metrics), taken(k, then)); err != nil {
		return none, err
	}
	return fleetCost(f, r, before, after, metrics, then, grown), nil
}

// waits tells whether a node has something that is not in the database yet.
func (f *benchFleet) waits() bool {
	for _, s := range f.nodes {
		if s.inDatabase() != nil {
			return true
		}
	}
	return false
}

// taken are metrics in which a postback that was accepted counts as what it was meant to become.
func taken(k benchKind, s series) series {
	if k.counter.name != postbacksCounted {
		return s
	}
	all := make(series, len(s))
	for name, value := range s {
		all[strings.Replace(name, `outcome="accepted"`, fmt.Sprintf("outcome=%q", k.counter.value), 1)] += value
	}
	return all
}

// fleetCost makes figures of what was read before and after some load.
func fleetCost(f *benchFleet, r *result, before, after fleetReading, metrics, then series, size fleetSize) fleetFigures {
	n := r.requests + r.underWay
	grown := func(c counter) float64 { return then.sum(c) - metrics.sum(c) }
	costs := fleetFigures{
		cpu:        float64((after.caddies - before.caddies).Nanoseconds()) / 1e3 / n,
		database:   float64((after.database - before.database).Nanoseconds()) / 1e3 / n,
		throughput: r.throughput, p50: r.p50, p99: r.p99, wal: size.wal / n, disk: size.disk / n,
		commits:  grown(counter{name: commitsCounted}) / n,
		late:     (grown(counter{clicksCounted, "kind", "late"}) + grown(counter{clicksCounted, "kind", "lost"})) / n,
		accepted: grown(counter{postbacksCounted, "outcome", "accepted"}) / n,
		requests: r.requests,
	}
	if f.db == nil {
		costs.database, costs.wal, costs.disk = math.NaN(), math.NaN(), math.NaN()
	}
	return costs
}
