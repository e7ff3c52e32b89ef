package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// fleetKinds are the kinds of requests that a fleet is measured with.
var fleetKinds = []string{kindRedir, kindClick, kindOften, kindAgain, kindRespond, kindPostback, kindRepeat}

// kindOften is redir as often as clicks were answered: what a request costs depends on how many there are, as threads
// that go to sleep between them have to be woken.
const kindOften = "redir as often"

// fleetBenchSite is a node without its store, which is put in the place of $KEEPS.
const fleetBenchSite = `{
	admin $ADMIN
	default_bind 127.0.0.1
	capture {
		$KEEPS
	}
}
http://127.0.0.1:$PORT {
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
	respond /respond "{\"outcome\":\"recorded\"}" 200
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	postback /postback
}
`

const (
	keepsEmbedded = `store badger $STORE`
	keepsShared   = `store postgres "$DSN" {
			schema $SCHEMA
			spool $STORE
		}`
)

// A fleetPlan is how much is measured of fleets.
type fleetPlan struct {
	setups []fleetSetup
	fleets []int // numbers of nodes with the database, in order; the embedded store is there besides
	kinds  []string
	slice  time.Duration
	clicks int // fresh ones for postbacks
}

// A fleetSetup is a number of connections of all nodes together, which 1, 2 and 3 divide, and how often each kind has
// its turn with it. An even number of rounds has as many in either order.
type fleetSetup struct {
	connections, rounds int
	warm                bool // whether each kind has a turn that does not count, first
}

// plannedFleet is the benchmark that CAPTURE_BENCH asks for.
func plannedFleet(b *testing.B) fleetPlan {
	b.Helper()
	plan := planned(b) // which wants the tools
	if _, err := pgtest.Find(); err != nil && os.Getenv("CAPTURE_BENCH") == "" {
		b.Skipf("the benchmark needs PostgreSQL: %v", err)
	}
	wantPostgres(b)
	if os.Getenv("CAPTURE_BENCH") == "full" {
		rounds := benchRounds(b, 4)
		return fleetPlan{[]fleetSetup{{48, rounds, true}, {384, max(1, rounds/2), false}}, []int{1, 2, 3}, fleetKinds, 2 * time.Second, plan.clicks / 2}
	}
	return fleetPlan{[]fleetSetup{{48, 1, false}}, []int{1, 3}, []string{kindRedir, kindClick, kindOften, kindRespond, kindPostback}, time.Second, plan.clicks / 4}
}

// A benchFleet is what is measured: some Caddies that share a database, or one that has its own store.
type benchFleet struct {
	name  string
	nodes []*server
	db    *pgtest.Server // none for the embedded store
	id    string         // of a click that has a conversion
	list  string         // a file with IDs of clicks
}

// BenchmarkFleet compares what Capture does to a request with Caddy's bare redir and respond, on one, two and three
// Caddies with one PostgreSQL (the short one on one and three), and on one with the embedded store: fleet after fleet and
// kind after kind in turns, the order reversed every other round. It prints tables and leaves them with a CSV in
// CAPTURE_BENCH_OUT. No figure makes it fail, only wrong answers do.
func BenchmarkFleet(b *testing.B) {
	plan := plannedFleet(b)
	forServer, forLoad := splitProcessors()
	db, err := pgtest.Start("fsync=on", "full_page_writes=on", "shared_buffers=128MB")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(db.Stop)
	if err := pinDatabase(db, forLoad); err != nil {
		b.Fatal(err)
	}
	m := &fleetMeter{db: db, fleets: startBenchFleets(b, db, forServer, plan), processors: forServer, forLoad: forLoad, dir: b.TempDir()}
	report := fleetReport{head: fleetHead(b, m, plan)}
	fmt.Printf("\n%s\n", strings.Join(report.head, "\n"))
	for _, setup := range plan.setups {
		b.Run(strconv.Itoa(setup.connections), func(b *testing.B) {
			for b.Loop() {
				lines := m.measure(b, setup, plan)
				report.lines = append(report.lines, lines...)
				fmt.Printf("\n\n%s\n", fleetTable(lines))
				if out := benchOut(); out != "" {
					if err := report.write(out); err != nil {
						b.Fatal(err)
					}
				}
				for _, l := range lines {
					if l.kind == kindClick {
						b.ReportMetric(l.ratio, strings.ReplaceAll(l.fleet, " ", "-")+"-click/redir-cpu")
					}
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startBenchFleets starts one Caddy with the embedded store and others on a database, of which fleets have some, or all.
func startBenchFleets(b *testing.B, db *pgtest.Server, processors []int, plan fleetPlan) []*benchFleet {
	b.Helper()
	start := func(keeps string) *server {
		s := newServer(b, strings.Replace(fleetBenchSite, "$KEEPS", keeps, 1), "$DSN", db.DSN(), "$SCHEMA", "capture")
		s.under = pinned(processors)
		s.start()
		return s
	}
	all := []*benchFleet{{name: "embedded", nodes: []*server{start(keepsEmbedded)}}}
	var nodes []*server
	for _, n := range plan.fleets {
		for len(nodes) < n {
			nodes = append(nodes, start(keepsShared))
		}
		name := strconv.Itoa(n) + " node"
		if n > 1 {
			name += "s"
		}
		all = append(all, &benchFleet{name: name, nodes: slices.Clone(nodes), db: db})
	}
	for _, f := range all {
		f.list = filepath.Join(f.nodes[0].dir, fmt.Sprintf("clicks-%d", len(f.nodes)))
	}
	return all
}

// moreClicks gives a fleet's postbacks fresh clicks to report on, of all its nodes, and repeats one that is booked.
func (f *benchFleet) moreClicks(b *testing.B, n int) {
	b.Helper()
	var sites []string
	for _, s := range f.nodes {
		sites = append(sites, s.site())
	}
	ids, err := makeClicks(n, sites...)
	if err == nil {
		err = writeLines(f.list, ids)
	}
	if err != nil {
		b.Fatal(err)
	}
	f.arrive(b)
	f.id = ids[0]
	if a := f.nodes[0].get("/postback?click_id=" + f.id + "&txid=order-0&payout=12.50&currency=USD"); a.status != 200 {
		b.Fatalf("postback: status %d %s", a.status, a.body)
	}
	f.arrive(b)
}

// arrive waits until all that a fleet has is in the database.
func (f *benchFleet) arrive(b *testing.B) {
	b.Helper()
	if f.db == nil {
		return
	}
	for _, s := range f.nodes {
		eventually(b, fleetTimeout, s.inDatabase)
	}
}

// kinds are those of some names for a fleet.
func (f *benchFleet) kinds(names []string) (list []benchKind) {
	for _, k := range benchKinds(http1, f.id) {
		if slices.Contains(names, k.name) {
			list = append(list, k)
		}
		if k.name == kindClick && slices.Contains(names, kindOften) {
			list = append(list, benchKind{name: kindOften, status: 302, target: "/redir"})
		}
	}
	return list
}

// measure measures all kinds at all fleets in turns.
func (m *fleetMeter) measure(b *testing.B, setup fleetSetup, plan fleetPlan) []fleetLine {
	b.Helper()
	var all []measuredFleet
	for _, f := range m.fleets {
		f.moreClicks(b, plan.clicks)
		for _, k := range f.kinds(plan.kinds) {
			all = append(all, measuredFleet{fleet: f, kind: k})
		}
	}
	clicks := make(map[*benchFleet]float64) // a second, last
	turn := func(i int, length time.Duration) fleetFigures {
		rate := 0.0
		if all[i].kind.name == kindOften {
			rate = clicks[all[i].fleet]
		}
		f, err := m.slice(b, all[i].fleet, all[i].kind, setup.connections, rate, length)
		if err != nil {
			b.Fatalf("%s, %d connections, %s: %v", all[i].fleet.name, setup.connections, all[i].kind.name, err)
		}
		if all[i].kind.name == kindClick {
			clicks[all[i].fleet] = f.throughput
		}
		return f
	}
	for i := range all {
		if setup.warm {
			turn(i, time.Second)
		}
	}
	others, err := m.bystanders()
	if err != nil {
		b.Fatal(err)
	}
	for round := range setup.rounds {
		for n := range all {
			i := n
			if round%2 == 1 {
				i = len(all) - 1 - n
			}
			all[i].slices = append(all[i].slices, turn(i, plan.slice))
		}
	}
	share, err := others()
	if err != nil {
		b.Fatal(err)
	}
	return compareFleets(setup.connections, setup.rounds, share, all)
}

// fleetHead says what was measured with what and where.
func fleetHead(b *testing.B, m *fleetMeter, plan fleetPlan) []string {
	b.Helper()
	version, err := m.db.SQL("SHOW server_version")
	if err != nil {
		b.Fatal(err)
	}
	sync, err := syncTime(m.dir)
	if err != nil {
		b.Fatal(err)
	}
	caddies, database, err := m.idle(2 * time.Second)
	if err != nil {
		b.Fatal(err)
	}
	apart := fmt.Sprintf("all Caddies on processors %s, PostgreSQL and load on %s", join(m.processors), join(m.forLoad))
	if join(m.processors) == join(m.forLoad) {
		apart = "NOT apart: Caddies, PostgreSQL and load share one processor"
	}
	head := append([]string{"server:  Caddy with Capture (" + runtime.GOOS + "/" + runtime.GOARCH + "), PostgreSQL " + version + " on a socket of the same machine"},
		machine(m.dir)...)
	return append(head,
		fmt.Sprintf("disk:    a sync of 4 KiB takes %s ms (median); fsync, full_page_writes and synchronous_commit are on", number(float64(sync)/1e6, 2)),
		"load:    "+firstWords("wrk", "-v")+", a thread for each node; "+apart,
		fmt.Sprintf("idle:    in a second, all %d Caddies take %s ms of processor time and PostgreSQL %s ms", len(m.nodes()), number(caddies, 1), number(database, 1)),
		fmt.Sprintf("rounds:  %v of each kind in turns, order reversed every other round; medians, and medians of each round's ratios", plan.slice),
		"columns: per request: processor time of the Caddies, and of all of PostgreSQL's processes; bytes of its write-ahead log, and by which it has grown; commits")
}

// idle is how much processor time Caddies and database take in a second of doing nothing, in milliseconds.
func (m *fleetMeter) idle(length time.Duration) (caddies, database float64, err error) {
	before, err := m.read(m.nodes())
	if err != nil {
		return math.NaN(), math.NaN(), err
	}
	time.Sleep(length)
	after, err := m.read(m.nodes())
	if err != nil {
		return math.NaN(), math.NaN(), err
	}
	seconds := after.at.Sub(before.at).Seconds()
	return (after.caddies - before.caddies).Seconds() * 1e3 / seconds, (after.database - before.database).Seconds() * 1e3 / seconds, nil
}
