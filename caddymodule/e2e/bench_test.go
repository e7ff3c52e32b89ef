package e2e

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A benchPlan is how much is measured.
type benchPlan struct {
	setups []benchSetup
	slice  time.Duration // of load, per kind and round
	clicks int           // fresh ones for each setup's postbacks
}

// A benchSetup is a way in which all kinds of requests are sent.
type benchSetup struct {
	protocol    protocol
	connections int
	rounds      int
	warm        bool // whether each kind has a turn that does not count, first
	memory      bool // whether each kind's memory is measured, on servers of their own
}

func (s benchSetup) name() string { return fmt.Sprintf("%s-%d", s.protocol.short(), s.connections) }

// planned is the benchmark that CAPTURE_BENCH asks for. Named there, it must run; without, it is
// the short one, and skipped where its tools are missing.
func planned(b *testing.B) benchPlan {
	b.Helper()
	const warm, memory = true, true
	asked := os.Getenv("CAPTURE_BENCH")
	missing := missingTools()
	switch {
	case runtime.GOOS != "linux":
		b.Skip("the benchmark reads the server's processor time from Linux")
	case len(missing) > 0 && asked != "":
		b.Fatalf("not installed: %s", strings.Join(missing, " "))
	case len(missing) > 0:
		b.Skipf("the benchmark needs what is not installed here: apt-get install %s", strings.Join(missing, " "))
	}
	switch asked {
	case "", "short":
		return benchPlan{[]benchSetup{{http1, 64, 2, warm, !memory}, {https2, 64, 1, !warm, !memory}}, time.Second, 2000}
	case "full":
		rounds := benchRounds(b, 7)
		p := benchPlan{slice: 4 * time.Second, clicks: 20_000}
		for _, protocol := range []protocol{http1, https2} {
			for _, connections := range []int{1, 64, 1024} {
				p.setups = append(p.setups, benchSetup{protocol, connections, rounds, warm, memory})
			}
		}
		return p
	default:
		b.Fatalf("CAPTURE_BENCH is %q: it may be full or short", asked)
		return benchPlan{}
	}
}

// benchRounds is how many rounds CAPTURE_BENCH_ROUNDS asks for, or as many as are usual.
func benchRounds(b *testing.B, usual int) int {
	b.Helper()
	asked := os.Getenv("CAPTURE_BENCH_ROUNDS")
	if asked == "" {
		return usual
	}
	rounds, err := strconv.Atoi(asked)
	if err != nil || rounds < 1 {
		b.Fatalf("CAPTURE_BENCH_ROUNDS is %q: it must be a positive number", asked)
	}
	return rounds
}

// BenchmarkServer compares what Capture does to a request with Caddy's bare redir and respond, in
// one server: kind after kind in turns, the order reversed every other round. It prints tables and
// leaves them with a CSV and a plot in CAPTURE_BENCH_OUT. No figure makes it fail, only wrong
// answers do.
func BenchmarkServer(b *testing.B) {
	plan := planned(b)
	forServer, forLoad := splitProcessors()
	s := startBenchServer(b, forServer, plan.clicks)
	load := &generator{server: s, processors: forLoad}
	m, err := newMeter(s, load)
	if err != nil {
		b.Fatal(err)
	}
	if err := m.countSyncs(benchKinds(http1, s.ids[0])); err != nil {
		b.Fatal(err)
	}
	sync, err := syncTime(s.store)
	if err != nil {
		b.Fatal(err)
	}
	report := benchReport{head: benchHead(m, plan, sync)}
	fmt.Printf("\n%s\n", strings.Join(report.head, "\n"))
	for _, setup := range plan.setups {
		b.Run(setup.name(), func(b *testing.B) {
			for b.Loop() {
				kinds, others := measureKinds(b, m, setup, plan)
				lines := compareLines(setup, kinds, others, sync)
				report.lines = append(report.lines, lines...)
				fmt.Printf("\n\n%s\n", benchTable(lines))
				report.save(b) // after each part, as the whole takes long
				for _, l := range lines {
					if l.yardstick != "" {
						b.ReportMetric(l.cpuRatio, strings.ReplaceAll(l.kind+"/"+l.yardstick+"-cpu", " ", "-"))
					}
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
	if profiles := plannedProfiles(); profiles.full {
		b.Run("profile", func(b *testing.B) { profiles.run(b, m) })
	}
}

// save leaves the report where CAPTURE_BENCH_OUT says, if it does.
func (r *benchReport) save(b *testing.B) {
	b.Helper()
	if out := benchOut(); out != "" {
		if err := r.write(out); err != nil {
			b.Fatal(err)
		}
	}
}

// measureKinds measures all kinds in turns, and returns their slices in the order of the rounds.
func measureKinds(b *testing.B, m *meter, setup benchSetup, plan benchPlan) (all []measuredKind, others float64) {
	b.Helper()
	m.server.moreClicks(b, plan.clicks)
	for _, k := range benchKinds(setup.protocol, m.server.ids[0]) {
		all = append(all, measuredKind{kind: k})
	}
	turn := func(i int, length time.Duration) benchFigures {
		f, err := m.slice(setup.protocol, setup.connections, all[i].kind, length)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	for i := range all {
		all[i].resident = math.NaN()
		if setup.warm {
			turn(i, time.Second)
		}
	}
	bystanders, err := m.bystanders()
	if err != nil {
		b.Fatal(err)
	}
	for round := range setup.rounds {
		order := make([]int, len(all))
		for i := range order {
			order[i] = i
		}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			all[i].slices = append(all[i].slices, turn(i, plan.slice))
		}
	}
	if others, err = bystanders(); err != nil {
		b.Fatal(err)
	}
	for i := range all {
		if setup.memory {
			all[i].resident = memoryOf(b, setup, all[i].kind.name, m)
		}
	}
	return all, others
}

// memoryOf is what a fresh server's memory comes to that has served only one kind of request.
func memoryOf(b *testing.B, setup benchSetup, kind string, like *meter) float64 {
	b.Helper()
	s := startBenchServer(b, like.server.processors, 500)
	defer s.stop()
	m := &meter{server: s, load: &generator{server: s, processors: like.load.processors}}
	kinds := benchKinds(setup.protocol, s.ids[0])
	i := slices.IndexFunc(kinds, func(k benchKind) bool { return k.name == kind })
	f, err := m.slice(setup.protocol, setup.connections, kinds[i], 2*time.Second)
	if err != nil {
		b.Fatal(err)
	}
	return f.resident
}
