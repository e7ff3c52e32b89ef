package e2e

import (
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

const (
	fleetVisits  = 6000
	fleetStories = 500
)

// fleetDayLinks are dayLinks with redirects that wait for the disk, so that each one says that its click is kept.
func fleetDayLinks() string {
	links := regexp.MustCompile(`(?m)^(\ttrack_click \S+) (https:\S+)$`).ReplaceAllString(dayLinks, "$1 {\n\t\tto $2\n\t}")
	return regexp.MustCompile(`(?m)^\ttrack_click \S+ \{$`).ReplaceAllString(links, "$0\n\t\tmax_wait 10s")
}

// TestFleetDay plays a shorter day on three nodes behind a load balancer, which sends a click to one and its postback
// to another. For a part of the day nodes and database are killed while they work. In the end each node must tell of
// the whole, to the cent, in each of the ways in which it can be asked.
func TestFleetDay(t *testing.T) {
	db := newDatabase(t)
	f := startFleet(t, db.DSN(), fleetDayLinks()+dayNetworks+daySheets+"}\n")
	d := newDay(t, f.nodes[0])
	d.fleet, d.site, d.visitors, d.stories, d.left = f, f.front.site(), fleetVisits, fleetStories, fleetVisits
	d.visits(0.4)
	f.arrived(d)
	d.postbacks(0.4)
	t.Run("while all is well", func(t *testing.T) {
		f.checkMetrics(t, d)
		if d.again == 0 {
			d.checkJournal(t)
		} else {
			d.checkRoughJournal(t)
		}
	})
	middle := d.pause()
	f.roughly(d, db)
	d.late()
	f.arrived(d)
	t.Logf("%d clicks, %d postbacks of which %d once more:\n%s", len(d.oracle.clicks), d.sent(), d.again, describe(d.oracle.answers))

	all := d.questions(t, middle)
	for i, s := range f.nodes {
		t.Run(fmt.Sprintf("node %d", i+1), func(t *testing.T) {
			d.s, s.t = s, t
			for n := i; n < len(all); n += len(f.nodes) {
				d.checkReport(t, all[n].question, all[n].more)
			}
			d.checkReport(t, question{by: dimensions("campaign,source,event")}, "")
			d.checkRoughJournal(t)
		})
		s.t = f.t
	}
	f.nodes[0].check()
	f.stop()
}

// roughly plays the rest of the visits and of the first postbacks, and kills first the database, then a node while what
// waited is sent, then the database, and another node that has something for it: each time while all visitors and
// networks are at it.
func (f *fleet) roughly(d *day, db *pgtest.Server) {
	f.t.Helper()
	visits, stories := d.left/3, (d.stories-len(d.waiting))/3
	d.rough = away
	d.mix(visits, stories)
	d.runWith(func() { d.noFault(db.Crash()) })
	expectSpool(f.t, "spooling", f.nodes...)
	must(f.t, db.Restart())

	d.rough = falls
	d.mix(visits, stories)
	d.runWith(f.nodes[1].kill)
	f.nodes[1].start()
	f.settle()

	d.mix(d.left, d.stories-len(d.waiting))
	d.runWith(func() { d.noFault(db.Crash()) }, f.nodes[2].kill)
	f.nodes[2].start()
	expectSpool(f.t, "spooling", f.nodes...)
	must(f.t, db.Restart())
	d.rough = smooth
	f.settle()
	d.dispelDoubts()
}

// runWith empties the lanes, and does something else meanwhile, in even distances.
func (d *day) runWith(others ...func()) {
	d.t.Helper()
	lane, n := &d.lanes[0], len(d.lanes[0])
	for i, do := range others {
		*lane = slices.Insert(*lane, n*(i+1)/(len(others)+1)+i, func(*client) { do() })
	}
	d.run()
}

func (d *day) noFault(err error) {
	if err != nil {
		d.fault("%v", err)
	}
}

// unanswered tells of a request whose server has fallen.
func (d *day) unanswered(a answer, err error) bool {
	return d.rough == falls && (err != nil || a.status == 502)
}

// doubt notes a visit without an answer.
func (d *day) doubt(v visit, at time.Time) {
	if v.method == "HEAD" {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubts = append(d.doubts, v.seen(new(url.URL), at))
}

// repeats waits as a sender does before it sends its postback once more.
func (d *day) repeats() {
	time.Sleep(20 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.again++
}

// decides waits until the nodes decide again, after one of them has accepted what could be decided. A machine that is
// too busy to have that done within two seconds may make it do so now and then, for all who ask it meanwhile.
func (d *day) decides() {
	lanes := func(more int) (slow int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.undecided == 0 {
			d.slow++
		}
		d.undecided += more
		return d.slow
	}
	if lanes(+1) > slowAtMost {
		d.fault("the nodes accept what they could decide, again and again")
	}
	defer lanes(-1)
	d.fleet.decides(d.fleet.nodes...)
}

// standsFor tells whether v may be answered instead of another while servers come and go. What they cannot decide they
// accept, and what waits at one is not known to the others: so what was first may be decided last.
func (v verdict) standsFor(want verdict) bool {
	booked := func(v verdict) bool {
		return v.status == 200 && slices.Contains([]string{"recorded", "updated", "duplicate"}, v.outcome)
	}
	switch {
	case want.outcome == "rejected":
		return false
	case v == verdict{200, "accepted", ""}, v == verdict{202, "quarantined", "unknown_click"}:
		return true
	}
	return booked(v) && booked(want)
}

// dispelDoubts asks which of the visits without an answer are clicks after all, and expects no others.
func (d *day) dispelDoubts() {
	d.t.Helper()
	known := make(map[string]bool)
	for _, c := range d.oracle.clicks {
		known[c.id] = true
	}
	all, doubtful := 0, len(d.doubts)
	for line := range strings.Lines(d.s.api("/capture/export/clicks?format=jsonl").body) { // complete, or its last line is none
		var got storedClick
		decode(d.t, line, &got)
		all++
		if known[got.ID] {
			continue
		}
		i := slices.IndexFunc(d.doubts, got.is)
		if i < 0 {
			d.t.Errorf("nobody made the click %s", line)
			continue
		}
		c := d.doubts[i]
		d.doubts = slices.Delete(d.doubts, i, i+1)
		c.id, c.destination = got.ID, got.Destination
		d.oracle.clicks = append(d.oracle.clicks, c)
	}
	if all != len(d.oracle.clicks) {
		d.t.Errorf("%d clicks are stored, of which %d were made", all, len(d.oracle.clicks))
	}
	d.t.Logf("%d visitors got no answer, %d of them made a click", doubtful, doubtful-len(d.doubts))
}

// A storedClick is one as it is exported.
type storedClick struct {
	ID, Campaign, Source, Destination string
	Subs, Cost                        map[string]string
	Flags                             []string
}

// is tells whether it can be that visit.
func (s storedClick) is(c *seenClick) bool {
	for name, value := range c.subs {
		if s.Subs[name] != value {
			return false
		}
	}
	cost := make(map[string]*big.Rat)
	add(cost, c.costCurrency, c.cost)
	flagged := slices.Contains(s.Flags, "bot") || slices.Contains(s.Flags, "prefetch")
	return s.Campaign == c.campaign && s.Source == c.source && flagged == c.flagged && amounts(s.Cost) == amounts(written(cost))
}

// checkRoughJournal expects what checkJournal does, but for the order in which postbacks of one conversion were decided,
// and for those that were sent once more. A parked postback is not called recorded in the journal, but resolved.
func (d *day) checkRoughJournal(t *testing.T) {
	t.Helper()
	want := outcomes(d.oracle.answers, func(v verdict) bool { return v.outcome != "rejected" })
	got := make(map[string]int)
	for _, e := range d.s.all("/capture/journal") {
		reason, _ := e["reason"].(string)
		got[fmt.Sprint(e["outcome"])+" "+reason]++
	}
	parked := got["quarantined unknown_click"]
	booked := func(n map[string]int) int { return n["recorded "] + n["updated "] + n["duplicate "] }
	between := func(what string, n, least, most int) {
		if n < least || n > most {
			t.Errorf("journal: %d are %s, want %d to %d\n got %v\nwant %v", n, what, least, most, got, want)
		}
	}
	conversions := 0
	for _, c := range d.oracle.clicks {
		conversions += len(c.conversions)
	}
	between("recorded", got["recorded "], conversions-parked, conversions)
	between("booked", booked(got)+parked, booked(want), booked(want)+d.again)
	for what, n := range want {
		if strings.HasPrefix(what, "quarantined") {
			between(what, got[what], n, n+d.again)
		}
	}
	for what := range got {
		if want[what] == 0 && what != "quarantined unknown_click" {
			t.Errorf("journal: %d are %s, want none", got[what], what)
		}
	}
	if left := len(d.s.all("/capture/journal?open=1&reason=unknown_click")); left > 0 {
		t.Errorf("%d postbacks still wait for their click", left)
	}
	if got := len(d.s.all("/capture/conversions")); got != conversions {
		t.Errorf("%d conversions listed, want %d", got, conversions)
	}
}

// arrived waits until all clicks are in the database.
func (f *fleet) arrived(d *day) {
	f.t.Helper()
	f.settle()
	eventually(f.t, waitForClicks, func() error { return f.nodes[0].hasClicks(int64(len(d.oracle.clicks))) })
}

// checkMetrics expects a count for each answer at one of the nodes, and of the clicks a part at each.
func (f *fleet) checkMetrics(t *testing.T, d *day) {
	t.Helper()
	for key, want := range outcomes(d.oracle.answers, func(verdict) bool { return true }) {
		outcome, reason, _ := strings.Cut(key, " ")
		got := 0.0
		for _, s := range f.nodes {
			got += s.metric(t, "caddy_capture_postbacks_total", fmt.Sprintf("outcome=%q", outcome), fmt.Sprintf("reason=%q", reason))
		}
		if got < float64(want-d.again) || got > float64(want+d.again) {
			t.Errorf("caddy_capture_postbacks_total of %q is %v at all nodes, want %d, and %d were sent once more", key, got, want, d.again)
		}
	}
	for _, s := range f.nodes {
		if n, clicks := s.metric(t, "caddy_capture_clicks_total"), len(d.oracle.clicks); n < float64(clicks)/5 {
			t.Errorf("the load balancer sent %v of %d clicks to node %s", n, clicks, s.site())
		}
	}
}
