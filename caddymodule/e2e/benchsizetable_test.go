package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// sizeFigures are what was measured of a store.
type sizeFigures struct {
	clicks             int
	made               time.Duration // zero if it was there
	disk               int64         // bytes, before anything was measured
	cold, warm, killed time.Duration // until it is open, in all
	checked            time.Duration // processor time until the server is at rest after that
	swept              time.Duration // and that the first sweep takes, which finds nothing to do
	rest, loaded       memoryUse
	kinds              []measuredKind

	sweptBefore, sweptAfter int64 // zero where the retention was not measured
	sweepTook               time.Duration
}

// A sizeReport is all that BenchmarkSize came to.
type sizeReport struct {
	head    []string
	plan    sizePlan
	bare    bareStart
	lines   []*sizeFigures
	limited limitedFigures
	others  float64
}

func (f *sizeFigures) of(kind string) measuredKind {
	for _, k := range f.kinds {
		if k.kind.name == kind {
			return k
		}
	}
	return measuredKind{}
}

func cpuOf(f benchFigures) float64 { return f.cpu }

// ratio is a kind's processor time by its yardstick's.
func (f *sizeFigures) ratio(kind string) float64 {
	k := f.of(kind)
	return medianRatio(k.slices, f.of(k.kind.yardstick).slices, cpuOf)
}

// growth is by how many percent the ratio of a kind is above that on another store: the median of
// what it is in each round.
func (f *sizeFigures) growth(kind string, from *sizeFigures) float64 {
	ratios := func(f *sizeFigures) (all []benchFigures) {
		k := f.of(kind)
		y := f.of(k.kind.yardstick)
		for i := range min(len(k.slices), len(y.slices)) {
			all = append(all, benchFigures{cpu: k.slices[i].cpu / y.slices[i].cpu})
		}
		return all
	}
	return (medianRatio(ratios(f), ratios(from), cpuOf) - 1) * 100
}

// The bounds of what is stated of the store.
const (
	growthLimit  = 10 // percent
	openLimit    = 2 * time.Second
	killedLimit  = 10 * time.Second
	memoryStated = 512 << 20 // half of it live under full load, and as much again until it is collected
)

// targets are what should hold.
func (r *sizeReport) targets() (all []benchTarget) {
	smallest, largest := r.lines[0], r.lines[len(r.lines)-1]
	for _, kind := range []string{kindClick, kindPostback, kindOld, kindRepeat} {
		all = append(all, benchTarget{
			what: fmt.Sprintf("growth of %s", kind), value: largest.growth(kind, smallest), limit: growthLimit, below: true,
		})
	}
	for _, f := range r.lines {
		opened := max(f.cold, f.warm) - r.bare.took
		all = append(all,
			benchTarget{what: fmt.Sprintf("seconds to open %s clicks", countOf(f.clicks)), value: opened.Seconds(), limit: openLimit.Seconds(), below: true},
			benchTarget{what: fmt.Sprintf("seconds to open %s clicks after kill -9", countOf(f.clicks)), value: (f.killed - r.bare.took).Seconds(), limit: killedLimit.Seconds(), below: true},
			benchTarget{what: fmt.Sprintf("MiB of its own for %s clicks under load, above Caddy's", countOf(f.clicks)), value: mebi(f.loaded.own - r.bare.memory.own), limit: mebi(memoryStated)},
		)
		if f.sweptBefore > 0 {
			// Two thirds of what was made are to go, and half of it must: what came since is kept.
			limit := f.sweptBefore - min(f.disk, f.sweptBefore)/2 + 32<<20
			all = append(all, benchTarget{what: fmt.Sprintf("MiB left of %s clicks", countOf(f.clicks)), value: mebi(f.sweptAfter), limit: mebi(limit)})
		}
	}
	if r.limited.skipped == "" {
		all = append(all, benchTarget{what: "processes killed in 512 MiB", value: float64(r.limited.killed)})
	}
	return all
}

func mebi(bytes int64) float64 { return float64(bytes>>10) / 1024 }

// countOf writes a large number as people say it.
func countOf(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return fmt.Sprintf("%g M", float64(n)/1e6)
	case n >= 1000 && n%100 == 0:
		return fmt.Sprintf("%g k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return number(d.Seconds(), 2)
}

// sizeHead says what was measured where.
func sizeHead(s *sizedServer) []string {
	return append(machine(s.bench.store),
		"load:    "+firstWords("wrk", "-v")+fmt.Sprintf(", %d connections; server on processors %s, load on %s",
			s.plan.connections, join(s.bench.processors), join(s.meter.load.processors)))
}

// text is the report in words.
func (r *sizeReport) text() string {
	var b bytes.Buffer
	fmt.Fprintln(&b, strings.Join(r.head, "\n"))
	fmt.Fprintf(&b, "\n== Processor time by size of the store, rounds: %d of %v; other processes took %.0f%% of the server's processors\n\n",
		r.plan.rounds, r.plan.slice, r.others*100)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "clicks\tredir us\tclick us\tratio\tp99 ms\trespond us\tpostback us\tratio\tp99 ms\told click us\tratio\tp99 ms\trepeat us\tratio\t")
	for _, f := range r.lines {
		cells := []string{countOf(f.clicks)}
		for _, name := range sizeKinds {
			m := medians(f.of(name).slices)
			cells = append(cells, number(m.cpu, 1))
			if f.of(name).kind.yardstick != "" {
				cells = append(cells, number(f.ratio(name), 2))
			}
			if name == kindClick || name == kindPostback || name == kindOld {
				cells = append(cells, number(m.p99, 2))
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
	}
	w.Flush()
	fmt.Fprintf(&b, "\n== Opening, memory and disk by size; Caddy alone starts in %s s with %s MiB\n\n", seconds(r.bare.took), r.bare.memory)
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "clicks\tcold s\twarm s\tkilled s\tchecked CPU s\tsweep CPU s\trest MiB\tload MiB\tdisk MiB\tB/click\tbefore MiB\tleft MiB\tin s\tmade in s\t")
	for _, f := range r.lines {
		fmt.Fprintln(w, strings.Join([]string{
			countOf(f.clicks), seconds(f.cold), seconds(f.warm), seconds(f.killed), seconds(f.checked), seconds(f.swept), f.rest.String(), f.loaded.String(),
			number(mebi(f.disk), 0), number(float64(f.disk)/float64(f.clicks), 0),
			r.retained(f, f.sweptBefore), r.retained(f, f.sweptAfter), seconds(f.sweepTook), seconds(f.made),
		}, "\t")+"\t")
	}
	w.Flush()
	fmt.Fprintf(&b, "\n%s\n\n", &r.limited)
	for _, t := range r.targets() {
		fmt.Fprintf(&b, "%s: %s, %s\n", t.what, number(t.value, 2), t)
	}
	return b.String()
}

func (r *sizeReport) retained(f *sizeFigures, bytes int64) string {
	if f.sweptBefore == 0 {
		return "-"
	}
	return number(mebi(bytes), 0)
}

func (f *limitedFigures) String() string {
	if f.skipped != "" {
		return fmt.Sprintf("in %d MiB of memory: not measured, as %s", memoryLimit>>20, f.skipped)
	}
	mean := time.Duration(0)
	if f.reports > 0 {
		mean = f.reportTime / time.Duration(f.reports)
	}
	return fmt.Sprintf("in %d MiB of memory, %s clicks, %v: at most %s MiB (%d with the system's cache for it), processes killed: %d; "+
		"%.0f clicks and %.0f postbacks a second, %.0f of them not answered as they should be, %d reports in %s s each, the slowest in %s s",
		memoryLimit>>20, countOf(f.clicks), f.length, f.own, f.group>>20, f.killed, f.visits, f.booked, f.wrong,
		f.reports, seconds(mean), seconds(f.slowest))
}
