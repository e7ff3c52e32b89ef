package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// profiledKinds are the kinds of requests of which a profile is taken: what has a target, and its
// yardsticks.
var profiledKinds = []string{kindRedir, kindClick, kindInject, kindRespond, kindPostback, kindRepeat, kindForged}

// A profilePlan is how much is profiled. Samples are 10 ms apart, so what is short is also rough.
type profilePlan struct {
	full   bool
	rounds int
	slice  time.Duration // of load, per kind and round
	clicks int           // fresh ones for postbacks
}

// plannedProfiles is what CAPTURE_BENCH asks for.
func plannedProfiles() profilePlan {
	if os.Getenv("CAPTURE_BENCH") == "full" {
		return profilePlan{full: true, rounds: 3, slice: 8 * time.Second, clicks: 20_000}
	}
	return profilePlan{rounds: 1, slice: 3 * time.Second, clicks: 2000}
}

// BenchmarkProfile says on which parts of the work the server spends the processor time of a request.
// The full BenchmarkServer ends with the same.
func BenchmarkProfile(b *testing.B) {
	planned(b) // skips where nothing can be measured
	plan := plannedProfiles()
	forServer, forLoad := splitProcessors()
	s := startBenchServer(b, forServer, plan.clicks)
	m, err := newMeter(s, &generator{server: s, processors: forLoad})
	if err != nil {
		b.Fatal(err)
	}
	if err := m.countSyncs(benchKinds(http1, s.ids[0])); err != nil {
		b.Fatal(err)
	}
	plan.run(b, m)
}

// run profiles all kinds, prints a table for each number of connections, and leaves them in
// CAPTURE_BENCH_OUT.
func (p profilePlan) run(b *testing.B, m *meter) {
	b.Helper()
	sync, err := syncTime(m.server.store)
	if err != nil {
		b.Fatal(err)
	}
	head := benchHead(m, benchPlan{slice: p.slice}, sync)
	for b.Loop() {
		tables := []string{strings.Join(head[:len(head)-2], "\n")} // the last are about other tables
		for _, connections := range []int{64, 1024} {
			m.server.moreClicks(b, p.clicks)
			profiles := p.profileKinds(b, m, connections)
			title := fmt.Sprintf("== %s, connections: %d, rounds: %d of %v; microseconds of processor time a request",
				http1, connections, p.rounds, p.slice)
			tables = append(tables, title+"\n\n"+profileTable(profiles))
			fmt.Printf("\n\n%s\n", tables[len(tables)-1])
		}
		if err := saveProfiles(strings.Join(tables, "\n\n")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// profileKinds profiles all kinds in turns, every other round the other way round.
func (p profilePlan) profileKinds(b *testing.B, m *meter, connections int) []kindProfile {
	b.Helper()
	var kinds []benchKind
	var profiles []kindProfile
	for _, k := range benchKinds(http1, m.server.ids[0]) {
		if slices.Contains(profiledKinds, k.name) {
			kinds = append(kinds, k)
			profiles = append(profiles, kindProfile{kind: k.name})
		}
	}
	for _, k := range kinds {
		if _, err := m.slice(http1, connections, k, time.Second); err != nil { // warm
			b.Fatal(err)
		}
	}
	for round := range p.rounds {
		for i := range kinds {
			if round%2 == 1 {
				i = len(kinds) - 1 - i
			}
			f, stacks, err := m.profile(connections, kinds[i], p.slice)
			if err != nil {
				b.Fatal(err)
			}
			profiles[i].add(f, stacks)
		}
	}
	return profiles
}

// profile measures some load while the server takes a profile of itself. That goes on for a moment
// after the load, as does what is measured: what the load leaves to be done later is its own.
func (m *meter) profile(connections int, k benchKind, length time.Duration) (benchFigures, []stack, error) {
	const before, after = 200 * time.Millisecond, 2 * time.Second
	type taken struct {
		stacks []stack
		err    error
	}
	done := make(chan taken)
	go func() {
		stacks, err := m.server.takeProfile(length + after)
		done <- taken{stacks, err}
	}()
	time.Sleep(before)
	f, err := m.slice(http1, connections, k, length)
	t := <-done
	return f, t.stacks, errors.Join(err, t.err)
}

// takeProfile asks the server where it spends its time, for so long.
func (s *benchServer) takeProfile(length time.Duration) ([]stack, error) {
	c := client{addr: s.admin}
	defer c.close()
	a, err := c.do("GET", fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(length/time.Second)), "")
	if err != nil {
		return nil, err
	}
	if a.status != 200 {
		return nil, fmt.Errorf("asking the server for a profile: status %d %.200s", a.status, a.body)
	}
	name := filepath.Join(s.dir, "profile")
	if err := os.WriteFile(name, []byte(a.body), 0o600); err != nil {
		return nil, err
	}
	// The profile itself has the functions' names: the server's binary needs no symbols.
	out, err := exec.Command("go", "tool", "pprof", "-traces", "-unit=ms", name).Output()
	if err != nil {
		return nil, fmt.Errorf("reading the server's profile: %w\n%s", err, out)
	}
	return parseTraces(string(out))
}

// saveProfiles leaves the tables where CAPTURE_BENCH_OUT says, if it does.
func saveProfiles(tables string) error {
	out := benchOut()
	if out == "" {
		return nil
	}
	return leaveFiles(out, map[string][]byte{"profile.txt": []byte(tables + "\n")})
}
