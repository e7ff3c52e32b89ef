package e2e

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A stressPlan is how long the load lasts and what it is.
type stressPlan struct {
	length, interval, pause time.Duration // pause is between jobs
	rates                   stressRates
}

// plannedStress is the benchmark that CAPTURE_BENCH asks for: short, or full, which is an hour.
// CAPTURE_BENCH_STRESS names another duration, CAPTURE_BENCH_RATE how many clicks are due in a second.
func plannedStress(b *testing.B) stressPlan {
	b.Helper()
	if runtime.GOOS != "linux" {
		b.Skip("the benchmark reads the server's memory and files from Linux")
	}
	p := stressPlan{length: 20 * time.Second, interval: time.Second, pause: 500 * time.Millisecond}
	switch asked := os.Getenv("CAPTURE_BENCH"); asked {
	case "", "short":
	case "full":
		p.length = time.Hour
	default:
		b.Fatalf("CAPTURE_BENCH is %q: it may be full or short", asked)
	}
	if asked := os.Getenv("CAPTURE_BENCH_STRESS"); asked != "" {
		var err error
		if p.length, err = time.ParseDuration(asked); err != nil || p.length < 5*time.Second {
			b.Fatalf("CAPTURE_BENCH_STRESS is %q: it must be a duration of at least 5s", asked)
		}
	}
	if p.length > 2*time.Minute {
		p.interval, p.pause = 10*time.Second, time.Second
	}
	clicks := 300.0
	if asked := os.Getenv("CAPTURE_BENCH_RATE"); asked != "" {
		var err error
		if clicks, err = strconv.ParseFloat(asked, 64); err != nil || clicks < 1 {
			b.Fatalf("CAPTURE_BENCH_RATE is %q: it must be a number of clicks a second", asked)
		}
	}
	p.rates = stressRates{clicks: clicks, postbacks: clicks / 10, controls: clicks / 3}
	return p
}

// BenchmarkStress puts a server under a steady load while operators ask for reports, take backups and
// reload. It prints what redirects took over time and what the server held, and leaves that with a CSV
// and a plot in CAPTURE_BENCH_OUT. No time makes it fail: only what is lost, doubled, refused or leaks.
func BenchmarkStress(b *testing.B) {
	plan := plannedStress(b)
	for b.Loop() {
		r := stress(b, plan)
		fmt.Printf("\n%s\n", r.text())
		if out := benchOut(); out != "" {
			if err := r.write(out); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(r.clicks.p99, "p99-ms")
		b.ReportMetric(r.clicks.max, "max-ms")
		b.ReportMetric(float64(r.clicks.stalled), "stalled")
		b.ReportMetric(float64(r.controls.stalled), "stalled-redir")
	}
	b.ReportMetric(0, "ns/op")
}

// stressWarmUp is a load that does not count.
const stressWarmUp = 3 * time.Second

func stress(b *testing.B, plan stressPlan) *stressReport {
	b.Helper()
	s := startServer(b, stressBuild(1))
	defer s.stop()
	l := newStressLoad(s)
	defer l.conns.close()
	jobs := newStressJobs(l, plan.pause)
	l.start(plan.rates)
	time.Sleep(stressWarmUp / 2)
	for _, name := range jobNames {
		jobs.do(name)
	}
	l.stop()
	before := l.atRest(b)
	l.start(plan.rates)
	time.Sleep(stressWarmUp / 2)
	jobs.start()

	shares := l.processors(b)
	from := time.Since(l.begin)
	var intervals []stressInterval
	ticker := time.NewTicker(plan.interval)
	for time.Since(l.begin)-from < plan.length-plan.interval/2 {
		<-ticker.C
		v := stressInterval{end: time.Since(l.begin)}
		var err error
		if v.gauge, err = l.gauge(); err != nil {
			b.Error(err) // and the next look may do
		}
		intervals = append(intervals, v)
	}
	ticker.Stop()
	to := time.Since(l.begin)
	used := shares()
	jobs.stop()
	l.stop()
	for _, err := range jobs.faults {
		b.Error(err)
	}

	r := l.report(plan, jobs, intervals, from, to)
	r.head = append(r.head, used)
	refused := l.refused
	l.sendAgain(b)
	l.verify(b)
	health := s.stressHealth(b)
	if health.Lost > 0 {
		b.Errorf("%d clicks were lost", health.Lost)
	}
	r.notes = append(r.notes, fmt.Sprintf("late clicks: %d, lost: %d; postbacks refused: %d; asked again as the connection was idle and closed: %d; "+
		"last backup: %.1f MB; sweeps that deleted something: %d", health.Late, health.Lost, refused, l.repeated, float64(jobs.bytes)/1e6,
		strings.Count(s.logs(), "expired records deleted")))
	l.expectNoLeak(b, before)
	return r
}

// processors returns a function that says what share of the machine's processors was used since.
func (l *stressLoad) processors(b *testing.B) func() string {
	b.Helper()
	var all []int
	for n := range runtime.NumCPU() {
		all = append(all, n)
	}
	read := func() (spent [3]time.Duration, at time.Time) {
		server, err := readProcess(l.s.pid())
		if err != nil {
			b.Fatal(err)
		}
		own, err := readProcess(os.Getpid())
		if err != nil {
			b.Fatal(err)
		}
		total, err := busy(all)
		if err != nil {
			b.Fatal(err)
		}
		return [3]time.Duration{server.cpu, own.cpu, total - server.cpu - own.cpu}, server.at
	}
	before, begin := read()
	return func() string {
		after, end := read()
		percent := func(i int) float64 {
			return max(0, float64(after[i]-before[i])) / float64(end.Sub(begin)) / float64(len(all)) * 100
		}
		return fmt.Sprintf("used:    %.0f%% of %d processors by the server, %.0f%% by the load, %.0f%% by others",
			percent(0), len(all), percent(1), percent(2))
	}
}

// report makes figures of what was due between two moments.
func (l *stressLoad) report(plan stressPlan, jobs *stressJobs, intervals []stressInterval, from, to time.Duration) *stressReport {
	r := &stressReport{length: to - from, intervals: intervals, growth: grown(intervals), shares: l.shares(jobs.done, from, to)}
	r.head = append([]string{fmt.Sprintf("%v of %g clicks, %g postbacks and %g redir a second; jobs in turns, %v between them",
		plan.length, plan.rates.clicks, plan.rates.postbacks, plan.rates.controls, plan.pause)}, machine(l.s.store)...)
	l.fill(intervals, jobs.done, from)
	l.mu.Lock()
	defer l.mu.Unlock()
	r.clicks, r.controls = summed(dueIn(l.clicks, from, to), stressLimit), summed(dueIn(l.controls, from, to), stressSlack)
	r.postbacks = summed(dueIn(l.posts, from, to), stressLimit)
	for i := range intervals {
		intervals[i].end -= from
	}
	return r
}

// atRest looks at the server with nothing under way and no connection of the load open, once it has
// had time to be done with those that were and with what a reload replaced. The counts move by a few
// all the time, so it takes the largest of some.
func (l *stressLoad) atRest(b *testing.B) (most gauge) {
	b.Helper()
	l.conns.close()
	time.Sleep(time.Second)
	for range 10 {
		g, err := l.gauge()
		if err != nil {
			b.Fatal(err)
		}
		most.goroutines, most.files = max(most.goroutines, g.goroutines), max(most.files, g.files)
		time.Sleep(100 * time.Millisecond)
	}
	return most
}

// expectNoLeak wants the server at rest to come back to what it was before the load. Under load it
// has as many goroutines and files as a stall of the machine makes connections.
func (l *stressLoad) expectNoLeak(b *testing.B, before gauge) {
	b.Helper()
	const slack = 10
	l.conns.close()
	var err error
	for begin := time.Now(); time.Since(begin) < diskTimeout; time.Sleep(100 * time.Millisecond) {
		var g gauge
		if g, err = l.gauge(); err == nil && (g.goroutines > before.goroutines+slack || g.files > before.files+slack) {
			err = fmt.Errorf("at rest goroutines grew from %.0f to %.0f, open files beside the store's from %.0f to %.0f",
				before.goroutines, g.goroutines, before.files, g.files)
		}
		if err == nil {
			return
		}
	}
	b.Error(err) // and the report is written all the same
}
