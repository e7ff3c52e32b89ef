package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

const (
	trouble    = 1500 * time.Millisecond // for which the network is not as it should be, at least
	passersby  = 3                       // visitors at a time, who do nothing but click
	redirected = 20                      // times that each of them is, at least
	passing    = 10 * time.Millisecond
)

// TestFleetNetwork spoils the network between the nodes and their database in every way. Visitors go on, no sender is
// turned away, and when the network is good again, the database gets all of it.
func TestFleetNetwork(t *testing.T) {
	t.Parallel()
	wantPostgres(t)
	net := newWire(t, pgtest.Shared(t).Socket())
	// As people have it: redirects wait for the disk as briefly as by default.
	f := startFleet(t, net.dsn(), strings.Replace(fleetLinks, "max_wait 10s", "max_wait 50ms", 1))
	w := f.burdened()
	for _, tc := range []struct {
		name     string
		state    int
		delay    time.Duration
		late     bool   // redirects come before the database has the click
		accepted bool   // postbacks are
		spool    string // what the nodes say of it
	}{
		{"slow", wireSlow, 100 * time.Millisecond, true, false, ""},
		{"torn in the middle of answers", wireTorn, 0, false, false, ""},
		{"slower than anybody waits", wireSlow, 1500 * time.Millisecond, true, true, ""},
		{"stuck", wireStuck, 0, true, true, "spooling"},
		{"cut", wireCut, 0, false, true, "spooling"},
	} {
		accepted, late := w.accepted.Load(), f.late()
		net.is(tc.state, tc.delay)
		n := f.passBy() // which ends although the network is no better
		eventually(t, fleetTimeout, func() error {
			if tc.accepted && w.accepted.Load() == accepted {
				return fmt.Errorf("%s: no postback was accepted", tc.name)
			}
			return nil
		})
		if tc.spool != "" {
			expectSpool(t, tc.spool, f.nodes...)
		}
		accepted, late = w.accepted.Load()-accepted, f.late()-late
		t.Logf("%s: %d redirects beside the load's, %d late ones, %d postbacks accepted", tc.name, n, late, accepted)
		if tc.late && late == 0 {
			t.Errorf("%s: each redirect waited for the database", tc.name)
		}
		net.is(wireGood, 0)
		w.goesOn(t)
		w.stop(t)
		f.settle()
		w.start()
	}
	f.calm(w)
	f.verify(w)
	f.stop()
}

// late is how many clicks were redirected before they were on disk anywhere.
func (f *fleet) late() (n int64) {
	f.t.Helper()
	for _, s := range f.nodes {
		n += int64(s.condition().Late)
	}
	return n
}

// passBy has visitors follow another link for a while, each so many times at least, and returns how often they were
// redirected.
func (f *fleet) passBy() (n int) {
	f.t.Helper()
	type passed struct {
		times int
		err   error
	}
	all := make(chan passed, passersby)
	end := time.Now().Add(trouble)
	for range passersby {
		go func() {
			c := &client{addr: f.front.site()}
			defer c.close()
			var p passed
			for ; p.err == nil && (p.times < redirected || time.Now().Before(end)); time.Sleep(passing) {
				a, err := c.do("GET", "/go/passers-by", "")
				if err != nil || a.status != 302 || !clickIDs.MatchString(a.parameter("aff_sub")) {
					p.err = fmt.Errorf("a visitor got status %d, Location %q: %w", a.status, a.header.Get("Location"), err)
					break
				}
				p.times++
			}
			all <- p
		}()
	}
	for range passersby {
		p := <-all
		n += p.times
		if p.err != nil {
			f.t.Error(p.err)
		}
	}
	f.passed += int64(n)
	return n
}
