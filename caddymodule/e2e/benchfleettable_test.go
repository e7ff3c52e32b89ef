package e2e

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
)

// fleetClickTarget is how often redir's processor time a click may cost the Caddies of a fleet.
const fleetClickTarget = 1.3

// A measuredFleet is a kind of request at a fleet, with what was measured of it.
type measuredFleet struct {
	fleet  *benchFleet
	kind   benchKind
	slices []fleetFigures // one a round
}

// A fleetLine is a line of the table.
type fleetLine struct {
	connections, rounds    int
	fleet, kind, yardstick string
	nodes                  int
	fleetFigures
	ratio  float64 // of the Caddies' processor time to the yardstick's at the same fleet
	often  float64 // of a click's to that of as many redirs
	target *benchTarget
	others float64 // share of the Caddies' processors that other processes took
}

// compareFleets puts each kind beside its yardstick at the same fleet.
func compareFleets(connections, rounds int, others float64, all []measuredFleet) (lines []fleetLine) {
	of := make(map[string][]fleetFigures)
	for _, m := range all {
		of[m.fleet.name+" "+m.kind.name] = m.slices
	}
	for _, m := range all {
		l := fleetLine{
			connections: connections, rounds: rounds, fleet: m.fleet.name, nodes: len(m.fleet.nodes),
			kind: m.kind.name, yardstick: m.kind.yardstick, fleetFigures: fleetMedians(m.slices), ratio: math.NaN(), often: math.NaN(), others: others,
		}
		beside := func(kind string) float64 {
			var ratios []float64
			for i, y := range of[l.fleet+" "+kind] {
				ratios = append(ratios, m.slices[i].cpu/y.cpu)
			}
			return median(ratios)
		}
		if l.yardstick != "" {
			l.ratio = beside(l.yardstick)
		}
		if l.kind == kindClick {
			l.often = beside(kindOften)
		}
		if l.kind == kindClick && m.fleet.db != nil {
			l.target = &benchTarget{what: "processor time of click / redir", value: l.ratio, limit: fleetClickTarget}
		}
		lines = append(lines, l)
	}
	return lines
}

// fleetTable sets the lines of one number of connections.
func fleetTable(lines []fleetLine) string {
	if len(lines) == 0 {
		return ""
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "== %s, connections: %d over all nodes, rounds: %d; other processes took %.0f%% of the Caddies' processors\n\n",
		http1, lines[0].connections, lines[0].rounds, lines[0].others*100)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\t\tCaddy us\tratio\tas often\ttarget\tPostgreSQL us\treq/s\tp50 ms\tp99 ms\tWAL B\tdisk B\tcommits\tlate %\taccepted %\t")
	for i, l := range lines {
		name, target, ratio, often := "", "", "", ""
		if i == 0 || lines[i-1].fleet != l.fleet {
			name = l.fleet
		}
		if l.target != nil {
			target = l.target.String()
		}
		if l.yardstick != "" {
			ratio = number(l.ratio, 2)
		}
		if l.kind == kindClick {
			often = number(l.often, 2)
		}
		fmt.Fprintf(w, "%-8s\t%-14s\t%s\t\n", name, l.kind, strings.Join([]string{
			number(l.cpu, 1), ratio, often, target, number(l.database, 1), number(l.throughput, 0), number(l.p50, 2), number(l.p99, 2),
			number(l.wal, 0), number(l.disk, 0), number(l.commits, 3), number(l.late*100, 1), number(l.accepted*100, 1),
		}, "\t"))
	}
	w.Flush()
	return b.String()
}

var fleetHeader = []string{
	"connections", "fleet", "nodes", "kind", "yardstick", "rounds", "requests_per_slice", "caddy_us", "caddy_ratio", "caddy_ratio_as_often", "caddy_target",
	"caddy_met", "postgres_us", "requests_per_second", "p50_ms", "p99_ms", "wal_bytes", "disk_bytes", "commits", "late_share", "accepted_share", "others_share",
}

// fleetRecords are the lines as CSV; what was not measured is empty.
func fleetRecords(lines []fleetLine) [][]string {
	all := [][]string{fleetHeader}
	for _, l := range lines {
		limit, met := "", ""
		if l.target != nil {
			limit, met = number(l.target.limit, 2), l.target.met()
		}
		all = append(all, []string{
			strconv.Itoa(l.connections), l.fleet, strconv.Itoa(l.nodes), l.kind, l.yardstick, strconv.Itoa(l.rounds), measured(l.requests, 0),
			measured(l.cpu, 2), measured(l.ratio, 3), measured(l.often, 3), limit, met, measured(l.database, 2), measured(l.throughput, 0), measured(l.p50, 3), measured(l.p99, 3), measured(l.wal, 0), measured(l.disk, 0),
			measured(l.commits, 4), measured(l.late, 4), measured(l.accepted, 4), measured(l.others, 3),
		})
	}
	return all
}

// A fleetReport is all that a run came to.
type fleetReport struct {
	head  []string
	lines []fleetLine
}

// text is the report as it was printed.
func (r *fleetReport) text() string {
	parts := []string{strings.Join(r.head, "\n")}
	for begin := 0; begin < len(r.lines); {
		end := begin
		for end < len(r.lines) && r.lines[end].connections == r.lines[begin].connections {
			end++
		}
		parts = append(parts, fleetTable(r.lines[begin:end]))
		begin = end
	}
	return strings.Join(parts, "\n\n")
}

// write leaves the report in a directory.
func (r *fleetReport) write(dir string) error {
	return leaveFiles(dir, map[string][]byte{"fleet.txt": []byte(r.text()), "fleet.csv": asCSV(fleetRecords(r.lines))})
}
