package e2e

import (
	"fmt"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// TestFleetStartsAway starts nodes while their database cannot be reached. One that was a node before goes on as that
// one; one that is new redirects, and turns senders away until it has learned who it is.
func TestFleetStartsAway(t *testing.T) {
	t.Parallel()
	wantPostgres(t)
	net := newWire(t, pgtest.Shared(t).Socket())
	f := startFleet(t, net.dsn(), fleetLinks)
	old, other := f.nodes[0], f.nodes[1]
	early := old.click("/go/early", "aff_sub")
	old.expectOutcome(t, early, "1", 200, "recorded")
	f.settle()
	old.stop()

	net.is(wireCut, 0)
	old.start()
	c := old.condition()
	if c.status != 200 || c.State != "ok" || c.Store.Spool.State != "spooling" || c.Store.Spool.Why == "" || c.Store.Spool.Since == "" {
		t.Errorf("a node without its database says %v", c)
	}
	late := old.click("/go/late", "aff_sub")
	old.expectOutcome(t, early, "1", 200, "accepted")
	old.expectOutcome(t, late, "2", 200, "accepted")
	other.expectOutcome(t, late, "2", 200, "accepted")
	if c := old.condition(); c.Store.Spool.Clicks != 1 || c.Store.Spool.Postbacks != 2 || c.Store.Spool.Oldest == "" {
		t.Errorf("with a click and two postbacks that wait it says %v", c)
	}
	if a := old.get("/"); a.status != 200 || a.body != "the site" {
		t.Errorf("the site: status %d %s", a.status, a.body)
	}
	for _, path := range []string{"/capture/report", "/capture/clicks/" + early} {
		if a := old.api(path); a.status != 503 || !containsAll(a.body, `"error"`) {
			t.Errorf("%s without the database: status %d %s", path, a.status, a.body)
		}
	}
	net.is(wireGood, 0)
	f.settle()
	for _, s := range f.nodes {
		s.expectOutcome(t, early, "1", 200, "duplicate")
		s.expectOutcome(t, late, "2", 200, "duplicate")
		if got := s.report("").Total; got.Clicks != 2 || got.Conversions != 2 {
			t.Errorf("node %s: the report says %s", s.site(), got)
		}
	}

	net.is(wireCut, 0)
	fresh := f.newNode(net.dsn())
	fresh.start()
	if c := fresh.condition(); c.status != 503 || c.State == "ok" || c.Why == "" {
		t.Errorf("a new node without its database says %v", c)
	}
	unknown := fresh.click("/go/lost", "aff_sub")
	for _, id := range []string{early, unknown} {
		a := fresh.get("/postback?cid=" + id)
		if a.status != 503 || a.header.Get("Retry-After") == "" || !containsAll(a.body, `"unavailable"`) {
			t.Errorf("a postback to a new node: status %d, Retry-After %q %s", a.status, a.header.Get("Retry-After"), a.body)
		}
	}
	net.is(wireGood, 0)
	eventually(t, fleetTimeout, fresh.inDatabase) // by itself
	f.settle()
	fresh.expectOutcome(t, early, "3", 200, "recorded")
	fresh.expectOutcome(t, fresh.click("/go/late", "aff_sub"), "4", 200, "recorded")
	eventually(t, waitForClicks, func() error {
		if got := other.report("").Total; got.Clicks != 3 || got.Conversions != 4 {
			return fmt.Errorf("at last the report says %s", got)
		}
		return nil
	})
	fresh.check()
	fresh.stop()
	f.stop()
}

// slowAtMost is how many postbacks of a test may be accepted by a node that can reach the database.
const slowAtMost = 3

// expectOutcome sends a postback. Where it should be decided at once, a machine that is too busy for that within two
// seconds may have it accepted now and then: what it has become a repeat must say.
func (s *server) expectOutcome(t testing.TB, id, txid string, status int, outcome string) {
	t.Helper()
	target := fmt.Sprintf("/postback?cid=%s&txid=%s&payout=0.01&currency=USD", id, txid)
	a := s.get(target)
	for outcome != "accepted" && a.status == 200 && containsAll(a.body, `"outcome":"accepted"`) && s.fleet.slow < slowAtMost {
		s.fleet.slow++
		eventually(t, fleetTimeout, s.inDatabase)
		if outcome == "recorded" {
			outcome = "duplicate"
		}
		a = s.get(target)
	}
	if a.status != status || !containsAll(a.body, `"outcome":"`+outcome+`"`) {
		t.Errorf("node %s, postback %s of click %s: status %d %s, want %s", s.site(), txid, id, a.status, a.body, outcome)
	}
}
