package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A sizePlan is how much of BenchmarkSize is run.
type sizePlan struct {
	sizes       []int // clicks, from the smallest store to the largest
	wait        bool  // whether the load waits until the servers' first sweeps are over
	rounds      int
	slice       time.Duration // of load, per kind, store and round
	starts      int           // of each sort, whose times have a median
	limited     int           // clicks of the store that is served in a little memory
	underLoad   time.Duration // there
	sweep       []int         // sizes of which the retention is measured
	keep        string        // directory where stores are kept for the next run
	spend       bool          // whether kept stores may be used up
	fresh       int           // clicks that each server makes for its postbacks
	days        time.Duration // from how long before the end of the past old clicks are
	connections int
}

// plannedSizes is the benchmark that CAPTURE_BENCH and CAPTURE_BENCH_SIZES ask for.
func plannedSizes(b *testing.B) sizePlan {
	b.Helper()
	planned(b) // skips where the tools are missing
	p := sizePlan{
		sizes: []int{1000, 100_000}, rounds: 2, slice: time.Second, starts: 1, limited: 50_000, underLoad: 3 * time.Second, fresh: 2000,
		connections: 64, keep: os.Getenv("CAPTURE_BENCH_DIR"), spend: os.Getenv("CAPTURE_BENCH_SPEND") != "",
	}
	full := os.Getenv("CAPTURE_BENCH") == "full"
	if full {
		p.sizes = []int{10_000, 10_000_000, 100_000_000}
		p.wait, p.fresh = true, 20_000
		p.rounds, p.slice, p.starts, p.limited, p.underLoad = 7, 6*time.Second, 3, 3_000_000, 30*time.Second
	}
	p.rounds = numberAsked(b, "CAPTURE_BENCH_ROUNDS", p.rounds)
	p.days = time.Duration(numberAsked(b, "CAPTURE_BENCH_DAYS", 2)) * 24 * time.Hour
	if sizes := os.Getenv("CAPTURE_BENCH_SIZES"); sizes != "" {
		var err error
		if p.sizes, err = parseSizes(sizes); err != nil {
			b.Fatalf("CAPTURE_BENCH_SIZES: %v", err)
		}
	}
	p.sweep = p.sizes
	if !full {
		p.sweep = p.sizes[len(p.sizes)-1:] // a sweep is a minute after the start
	}
	return p
}

// numberAsked is the positive number in an environment variable, or usual if that is not set.
func numberAsked(b *testing.B, name string, usual int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := parseSizes(text)
	if err != nil || len(n) != 1 {
		b.Fatalf("%s is %q: it must be a positive number", name, text)
	}
	return n[0]
}

// parseSizes reads positive numbers between commas, and sorts them.
func parseSizes(text string) (sizes []int, err error) {
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q must be a positive number", word)
		}
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}

// BenchmarkSize shows what the size of a store costs: it measures the same on stores of some
// thousand and of many million clicks, all of one month. The servers stand side by side and take
// turns, so that what else the machine does hits all of them. It prints tables, and no figure makes
// it fail.
func BenchmarkSize(b *testing.B) {
	plan := plannedSizes(b)
	for b.Loop() {
		r := sizeReport{plan: plan, bare: bareStarts(b, plan)}
		var all []*sizedServer
		for _, clicks := range plan.sizes {
			s := newSizedServer(b, plan, clicks)
			s.measureStarts()
			s.ready()
			all = append(all, s)
		}
		for _, s := range all {
			s.passFirstSweep()
		}
		r.head = sizeHead(all[0])
		r.others = measureRounds(b, plan, all)
		for _, s := range all {
			s.loaded = s.memory.stop()
			s.measureKill()
			s.startSweep()
			r.lines = append(r.lines, &s.sizeFigures)
		}
		r.limited = measureLimited(b, plan)      // while the sweeps are awaited
		fmt.Printf("\n%s\nsweeping\n", r.text()) // which may take long
		for _, s := range all {
			s.awaitSweep()
		}
		text := r.text()
		fmt.Printf("\n%s\n", text)
		saveSizes(b, text)
		for _, t := range r.targets() {
			if strings.HasPrefix(t.what, "growth") {
				b.ReportMetric(t.value, strings.ReplaceAll(t.what, " ", "-")+"-%")
			}
		}
	}
	b.ReportMetric(0, "ns/op")
}

// saveSizes leaves the tables where CAPTURE_BENCH_OUT says, if it does.
func saveSizes(b *testing.B, text string) {
	b.Helper()
	out := benchOut()
	if out == "" {
		return
	}
	if err := leaveFiles(out, map[string][]byte{"size.txt": []byte(text)}); err != nil {
		b.Fatal(err)
	}
}

// sizeKinds are the kinds of requests that are measured, each yardstick before what it is of.
var sizeKinds = []string{kindRedir, kindClick, kindRespond, kindPostback, kindOld, kindRepeat}

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(7, 11)) }

// measureRounds measures all kinds on all servers in turns: in each round one server after the
// other, every other round the other way round. It returns what other processes used meanwhile of
// the processors.
func measureRounds(b *testing.B, plan sizePlan, all []*sizedServer) float64 {
	b.Helper()
	random := newRandom()
	for _, s := range all {
		for i := range s.kinds { // a turn that does not count
			s.turn(random, i, min(plan.slice, 2*time.Second))
		}
	}
	own := func() (sum time.Duration) {
		for _, s := range all {
			p, err := readProcess(s.bench.pid())
			if err != nil {
				b.Fatal(err)
			}
			sum += p.cpu
		}
		return sum
	}
	processors := all[0].bench.processors
	begin, used := time.Now(), own()
	busyBefore, err := busy(processors)
	if err != nil {
		b.Fatal(err)
	}
	for round := range plan.rounds {
		order := slices.Clone(all)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			for i := range s.kinds {
				s.kinds[i].slices = append(s.kinds[i].slices, s.turn(random, i, plan.slice))
			}
		}
	}
	busyAfter, err := busy(processors)
	if err != nil {
		b.Fatal(err)
	}
	others := busyAfter - busyBefore - (own() - used)
	return max(0, float64(others)) / float64(time.Since(begin)) / float64(max(1, len(processors)))
}
