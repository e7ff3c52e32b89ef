package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// under puts load of some kinds on the server at once, for as long as there is no other reason to
// end. What is answered wrong, or not at all, does not matter here.
func (s *sizedServer) under(kinds []string, length time.Duration, during func()) (results []*result) {
	results = make([]*result, len(kinds))
	var all sync.WaitGroup
	for i, name := range kinds {
		all.Go(func() {
			l := burst{http1, s.kindOf(name), s.plan.connections / 2, length, fmt.Sprintf("u%d-%d", i, time.Now().UnixNano()), 0}
			results[i], _ = s.meter.load.wrk(l, span{begun: func() error { return nil }})
		})
	}
	during()
	all.Wait()
	return results
}

// measureKill kills the server under load, again and again, and measures how long the store takes to
// open then.
func (s *sizedServer) measureKill() {
	s.b.Helper()
	for range s.plan.starts {
		s.under([]string{kindClick, kindPostback}, 3*time.Second, func() {
			time.Sleep(1500 * time.Millisecond)
			s.bench.kill()
		})
		s.killed = max(s.killed, s.bench.launched(wellOpen))
	}
	s.bench.stop()
}

// keptDays of the thirty that the past has are kept when the retention is measured.
const keptDays = 10

// startSweep starts the server with a shorter retention. The first sweep is a minute after the start.
func (s *sizedServer) startSweep() {
	s.b.Helper()
	if !s.spend || !slices.Contains(s.plan.sweep, s.clicks) {
		return
	}
	var err error
	if s.sweptBefore, err = diskUse(s.bench.store); err != nil {
		s.b.Fatal(err)
	}
	s.bench.write(sizeConfig(fmt.Sprintf("retain {\n\t\t\tclicks %dd\n\t\t\tjournal %dd\n\t\t}", keptDays, keptDays)))
	s.bench.under = nil
	s.logged = len(s.bench.logs())
	s.bench.launched(wellOpen)
	s.sweeping = time.Now()
}

// awaitSweep waits until what is expired has left the disk.
func (s *sizedServer) awaitSweep() {
	s.b.Helper()
	if s.sweptBefore == 0 {
		return
	}
	patience := 3*time.Minute + time.Duration(s.clicks)*20*time.Microsecond
	for !strings.Contains(s.bench.logs()[s.logged:], "the space of deleted records was given back") {
		if time.Since(s.sweeping) > patience || s.bench.hasExited() {
			s.b.Fatalf("what is expired is still there %v after the start\n%s", time.Since(s.sweeping), s.bench.logs()[s.logged:])
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.sweepTook = time.Since(s.sweeping) - time.Minute
	var err error
	if s.sweptAfter, err = diskUse(s.bench.store); err != nil {
		s.b.Fatal(err)
	}
	s.checkSwept()
	s.bench.stop()
}

// checkSwept makes sure that clicks which are kept are there, and that others are not: of those that
// a conversion tells of there is still what it tells.
func (s *sizedServer) checkSwept() {
	s.b.Helper()
	past, codec := s.store.past, s.store.codec
	for n, kept := range map[int]bool{0: false, past.Clicks / 2: false, past.Clicks - 1: true} {
		a := s.bench.api("/capture/clicks/" + past.ID(codec, n))
		there := a.status == 200 && !strings.Contains(a.body, `"gone":true`)
		if there != kept || a.status != 200 && a.status != 404 {
			s.b.Errorf("%d clicks: that number %d is kept: %t, but the answer after the sweep is %d %s", past.Clicks, n, kept, a.status, a.body)
		}
	}
}
