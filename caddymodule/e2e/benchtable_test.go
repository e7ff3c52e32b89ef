package e2e

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A measuredKind is a kind of request with what was measured of it.
type measuredKind struct {
	kind     benchKind
	slices   []benchFigures // one a round
	resident float64        // bytes; not a number where that was not measured
}

// A benchTarget is what a figure should not be above, or below. Missing one is told and fails nothing.
type benchTarget struct {
	what         string
	value, limit float64
	below        bool // the limit itself is too much
	least        bool
}

func (t benchTarget) met() string {
	ok := t.value <= t.limit
	switch {
	case t.least:
		ok = t.value >= t.limit
	case t.below:
		ok = t.value < t.limit
	}
	if ok {
		return "met"
	}
	return "missed"
}

func (t benchTarget) String() string {
	sign := "<="
	switch {
	case t.least:
		sign = ">="
	case t.below:
		sign = "<"
	}
	return fmt.Sprintf("%s %s %s", sign, strconv.FormatFloat(t.limit, 'f', -1, 64), t.met())
}

// A benchLine is a line of the table: a kind of request in a setup.
type benchLine struct {
	setup           benchSetup
	kind, yardstick string
	benchFigures
	cpuRatio, throughputRatio float64
	target                    *benchTarget  // of cpuRatio
	further                   []benchTarget // of other figures
	others                    float64       // share of the server's processors that other processes took
}

// cpuTargets are how often the yardstick's processor time a request may cost.
var cpuTargets = map[string]float64{
	kindClick: 1.15, kindInject: 1.2, kindPostback: 1.5, kindRepeat: 1.3, kindForged: 1.1,
}

// compareLines puts each kind beside its yardstick.
func compareLines(setup benchSetup, kinds []measuredKind, others float64, sync time.Duration) []benchLine {
	of := make(map[string]measuredKind)
	for _, k := range kinds {
		of[k.kind.name] = k
	}
	cpu := func(f benchFigures) float64 { return f.cpu }
	throughput := func(f benchFigures) float64 { return f.throughput }
	var lines []benchLine
	for _, k := range kinds {
		l := benchLine{setup: setup, kind: k.kind.name, yardstick: k.kind.yardstick, benchFigures: medians(k.slices), others: others}
		l.resident = k.resident
		l.cpuRatio, l.throughputRatio = math.NaN(), math.NaN()
		if y := of[l.yardstick].slices; l.yardstick != "" {
			l.cpuRatio, l.throughputRatio = medianRatio(k.slices, y, cpu), medianRatio(k.slices, y, throughput)
		}
		if limit, ok := cpuTargets[l.kind]; ok {
			l.target = &benchTarget{what: "processor time of " + l.kind + " / " + l.yardstick, value: l.cpuRatio, limit: limit}
		}
		if l.kind == kindClick {
			l.further = clickTargets(setup, k, of, sync)
		}
		lines = append(lines, l)
	}
	return lines
}

// clickTargets are a click's targets beyond its processor time.
func clickTargets(setup benchSetup, k measuredKind, of map[string]measuredKind, sync time.Duration) []benchTarget {
	cpu := func(f benchFigures) float64 { return f.cpu }
	throughput := func(f benchFigures) float64 { return f.throughput }
	targets := []benchTarget{{
		what:  "processor time of click / redir with log",
		value: medianRatio(k.slices, of[kindLogged].slices, cpu), limit: 1, below: true,
	}}
	switch setup.connections {
	case 64:
		limit := medians(of[kindRedir].slices).p99 + 5 + float64(sync)/1e6
		targets = append(targets, benchTarget{
			what:  "p99 of click in ms, against redir's + 5 ms + a sync",
			value: medians(k.slices).p99, limit: math.Round(limit*100) / 100,
		})
	case 1024:
		targets = append(targets, benchTarget{
			what:  "throughput of click / redir",
			value: medianRatio(k.slices, of[kindRedir].slices, throughput), limit: 0.9, least: true,
		})
	}
	return targets
}

// number writes one of the table's numbers, and what was not measured as a dash.
func number(v float64, decimals int) string {
	if math.IsNaN(v) {
		return "-"
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// benchTable sets the lines of one setup.
func benchTable(lines []benchLine) string {
	if len(lines) == 0 {
		return ""
	}
	setup := lines[0].setup
	var b bytes.Buffer
	fmt.Fprintf(&b, "== %s, connections: %d, rounds: %d; other processes took %.0f%% of the server's processors\n\n",
		setup.protocol, setup.connections, setup.rounds, lines[0].others*100)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tCPU us\tratio\ttarget\treq/s\tratio\tp50 ms\tp99 ms\tp99.9 ms\tallocs\talloc B\twritten B\tcommits\tsyncs\tlate %\tRSS MB\t")
	for _, l := range lines {
		target := ""
		if l.target != nil {
			target = l.target.String()
		}
		fmt.Fprintf(w, "%-16s\t%s\n", l.kind, strings.Join([]string{
			number(l.cpu, 1), ratio(l, l.cpuRatio), target, number(l.throughput, 0), ratio(l, l.throughputRatio),
			number(l.p50, 2), number(l.p99, 2), number(l.p999, 2), number(l.allocs, 1), number(l.allocBytes, 0),
			number(l.written, 0), number(l.commits, 3), number(l.syncs, 3), number(l.late*100, 1), number(l.resident/1e6, 0),
		}, "\t")+"\t")
	}
	w.Flush()
	b.WriteByte('\n')
	for _, l := range lines {
		for _, t := range l.further {
			fmt.Fprintf(&b, "%s: %s, %s\n", t.what, number(t.value, 2), t)
		}
	}
	return b.String()
}

// ratio is empty for the yardsticks.
func ratio(l benchLine, v float64) string {
	if l.yardstick == "" {
		return ""
	}
	return number(v, 2)
}

var csvHeader = []string{
	"protocol", "connections", "kind", "yardstick", "rounds", "requests_per_slice", "cpu_us", "cpu_ratio", "cpu_target", "cpu_met",
	"requests_per_second", "throughput_ratio", "p50_ms", "p99_ms", "p999_ms", "allocs", "alloc_bytes", "written_bytes",
	"commits", "syncs", "late_share", "resident_bytes", "others_share",
}

// records are the lines as CSV; what was not measured is empty.
func records(lines []benchLine) [][]string {
	all := [][]string{csvHeader}
	for _, l := range lines {
		limit, met := "", ""
		if l.target != nil {
			limit, met = number(l.target.limit, 2), l.target.met()
		}
		all = append(all, []string{
			l.setup.protocol.short(), strconv.Itoa(l.setup.connections), l.kind, l.yardstick, strconv.Itoa(l.setup.rounds),
			measured(l.requests, 0), measured(l.cpu, 2), measured(l.cpuRatio, 3), limit, met, measured(l.throughput, 0), measured(l.throughputRatio, 3),
			measured(l.p50, 3), measured(l.p99, 3), measured(l.p999, 3), measured(l.allocs, 1), measured(l.allocBytes, 0), measured(l.written, 0),
			measured(l.commits, 4), measured(l.syncs, 4), measured(l.late, 4), measured(l.resident, 0),
			measured(l.others, 3),
		})
	}
	return all
}

// A benchReport is all that a run came to.
type benchReport struct {
	head  []string
	lines []benchLine
}

// text is the report as it was printed.
func (r *benchReport) text() string {
	parts := []string{strings.Join(r.head, "\n")}
	for begin := 0; begin < len(r.lines); {
		end := begin
		for end < len(r.lines) && r.lines[end].setup == r.lines[begin].setup {
			end++
		}
		parts = append(parts, benchTable(r.lines[begin:end]))
		begin = end
	}
	return strings.Join(parts, "\n\n")
}

// write leaves the report in a directory.
func (r *benchReport) write(dir string) error {
	var picture bytes.Buffer
	if err := plot(&picture, r.head[0], r.lines); err != nil {
		return err
	}
	return leaveFiles(dir, map[string][]byte{
		"table.txt": []byte(r.text()), "results.csv": asCSV(records(r.lines)), "plot.svg": picture.Bytes(),
	})
}
