package e2e

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// fleetExample are two rounds of redir and click at the embedded store and at two nodes, which miss their target.
func fleetExample() []fleetLine {
	alone, two := &benchFleet{name: "embedded", nodes: make([]*server, 1)}, &benchFleet{name: "2 nodes", nodes: make([]*server, 2), db: new(pgtest.Server)}
	rounds := func(database float64, cpus ...float64) (all []fleetFigures) {
		for _, cpu := range cpus {
			all = append(all, fleetFigures{cpu: cpu, database: database, throughput: 1e6 / cpu, p99: 2, wal: database})
		}
		return all
	}
	redir, click, often := benchKind{name: kindRedir}, benchKind{name: kindClick, yardstick: kindRedir}, benchKind{name: kindOften}
	return compareFleets(48, 2, 0.02, []measuredFleet{
		{alone, redir, rounds(math.NaN(), 10, 20)},
		{alone, click, rounds(math.NaN(), 12, 24)},
		{alone, often, rounds(math.NaN(), 15, 30)},
		{two, redir, rounds(1, 20, 10)},
		{two, click, rounds(5, 28, 14)},
		{two, often, rounds(1, 20, 10)},
	})
}

func TestBenchFleetTable(t *testing.T) {
	t.Parallel()
	lines := fleetExample()
	text := fleetTable(lines)
	for _, want := range []string{
		"connections: 48 over all nodes, rounds: 2; other processes took 2% of the Caddies' processors", "<= 1.3 missed", "embedded", "2 nodes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Count(text, "<=") != 1 {
		t.Errorf("only clicks on a shared store have a target:\n%s", text)
	}
	if got := fleetTable(nil); got != "" {
		t.Errorf("a table of nothing: %q", got)
	}
	if got := lines[1].ratio; got != 1.2 {
		t.Errorf("the ratio at the embedded store is %v, want 1.2", got)
	}
	if got := lines[1].often; got != 0.8 {
		t.Errorf("the ratio to as many redirs is %v at the embedded store, want 0.8", got)
	}
	if got := lines[4].ratio; got != 1.4 {
		t.Errorf("the ratio at two nodes is %v, want 1.4", got)
	}
}

func TestBenchFleetReport(t *testing.T) {
	t.Parallel()
	r := fleetReport{head: []string{"server: one"}, lines: slices.Concat(fleetExample(), fleetExample())}
	for i := range r.lines[6:] {
		r.lines[6+i].connections = 384
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "fleet.txt"))
	if err != nil || !strings.HasPrefix(string(text), r.head[0]) || strings.Count(string(text), "== ") != 2 {
		t.Errorf("the report is %v\n%s", err, text)
	}
	f, err := os.Open(filepath.Join(dir, "fleet.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll() // which wants lines of one length
	if err != nil || len(rows) != 13 {
		t.Fatalf("%d lines, %v", len(rows), err)
	}
	for line, want := range map[int]map[string]string{
		2: {"fleet": "embedded", "kind": kindClick, "caddy_us": "18.00", "caddy_ratio": "1.200", "caddy_ratio_as_often": "0.800", "caddy_met": "", "postgres_us": "", "wal_bytes": ""},
		11: {"fleet": "2 nodes", "nodes": "2", "connections": "384", "caddy_us": "21.00", "caddy_ratio": "1.400", "caddy_ratio_as_often": "1.400", "caddy_target": "1.30",
			"caddy_met": "missed", "postgres_us": "5.00", "wal_bytes": "5", "others_share": "0.020"},
	} {
		for i, name := range rows[0] {
			if value, ok := want[name]; ok && rows[line][i] != value {
				t.Errorf("line %d: %s is %q, want %q", line, name, rows[line][i], value)
			}
		}
	}
}

// Fleets share nodes, and each is counted once.
func TestBenchFleetNodes(t *testing.T) {
	t.Parallel()
	own, one, two, three := new(server), new(server), new(server), new(server)
	db := new(pgtest.Server)
	m := fleetMeter{fleets: []*benchFleet{{nodes: []*server{own}}, {nodes: []*server{one}, db: db}, {nodes: []*server{one, two, three}, db: db}}}
	if got := m.nodes(); !slices.Equal(got, []*server{own, one, two, three}) {
		t.Errorf("%d nodes, want each of four once", len(got))
	}
}

// What was accepted counts as what it was meant to become.
func TestBenchFleetTaken(t *testing.T) {
	t.Parallel()
	s, err := parseMetrics(benchMetrics + `caddy_capture_postbacks_total{route="/postback",outcome="accepted",reason=""} 5` + "\n" +
		`caddy_capture_postbacks_total{route="/postback",outcome="rejected",reason=""} 2`)
	if err != nil {
		t.Fatal(err)
	}
	recorded, rejected := counter{postbacksCounted, "outcome", "recorded"}, counter{postbacksCounted, "outcome", "rejected"}
	all := taken(benchKind{counter: recorded}, s)
	if all.sum(recorded) != 12 || all.sum(rejected) != 2 {
		t.Errorf("%v recorded and %v rejected, want 12 and 2", all.sum(recorded), all.sum(rejected))
	}
	if got := taken(benchKind{}, s).sum(recorded); got != 7 {
		t.Errorf("%v recorded where no postbacks were meant, want 7", got)
	}
}
