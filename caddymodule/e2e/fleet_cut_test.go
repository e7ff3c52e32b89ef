package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// TestFleetOneCut cuts one node alone from the database. It goes on by itself and says so, and the others notice
// nothing. A postback that comes to them while its click waits at that node is parked, and booked when the click comes.
func TestFleetOneCut(t *testing.T) {
	t.Parallel()
	wantPostgres(t)
	db := pgtest.Shared(t)
	net := newWire(t, db.Socket())
	f := startFleetOver(t, fleetLinks, net.dsn(), db.DSN(), db.DSN())
	apart, one, other := f.nodes[0], f.nodes[1], f.nodes[2]
	w := f.witness()
	early := w.clickAt(apart)
	w.sellAt(t, apart, early, 200, "recorded")
	f.settle()

	since := time.Now()
	net.is(wireCut, 0)
	late := []string{w.clickAt(apart), w.clickAt(apart), w.clickAt(apart)}
	// What it cannot decide it accepts, whether the click is its own or in the database.
	w.sellAt(t, apart, early, 200, "accepted")
	w.sellAt(t, apart, late[0], 200, "accepted")
	w.sellAt(t, apart, w.clickAt(one), 200, "accepted")
	// The others cannot have its clicks yet. One sale is told to all of them.
	w.sellAt(t, one, late[0], 202, "quarantined")
	w.sellAt(t, other, late[1], 202, "quarantined")
	sale := w.sellAt(t, one, late[2], 202, "quarantined")
	other.expectOutcome(t, late[2], sale, 202, "quarantined")
	apart.expectOutcome(t, late[2], sale, 200, "accepted")
	// With their own they go on.
	own := w.clickAt(other)
	eventually(t, fleetTimeout, other.inDatabase)
	w.sellAt(t, one, own, 200, "recorded")
	for _, s := range []*server{one, other} {
		s.expectParked(t, late...)
		eventually(t, fleetTimeout, s.inDatabase)
		eventually(t, fleetTimeout, func() error {
			if got := s.report("").Total; got.Clicks != 3 || got.Conversions != 2 {
				return fmt.Errorf("node %s knows no more than 3 clicks and 2 conversions, and reports %s", s.site(), got)
			}
			return nil
		})
	}
	apart.expectWaiting(t, since, 3, 4)
	apart.kill()
	apart.start()
	apart.expectWaiting(t, since, 3, 4)

	w.start()
	w.goesOn(t)
	eventually(t, fleetTimeout, func() error { // the load balancer goes on using it
		if c := apart.condition(); c.Store.Spool.State != "spooling" || c.Store.Spool.Clicks < 10 || c.Store.Spool.Postbacks < 10 {
			return fmt.Errorf("the node that is cut says %v", c)
		}
		return nil
	})
	expectSpool(t, "shared", one, other)
	net.is(wireGood, 0)
	w.goesOn(t)
	f.calm(w)
	f.verify(w)
	for _, s := range f.nodes {
		s.expectOutcome(t, late[2], sale, 200, "duplicate")
	}
	if text := apart.logs(); !strings.Contains(text, "nothing waits on this machine any more") {
		t.Errorf("its log does not say that all was sent\n%s", text)
	}
	f.stop()
}

// clickAt makes a click at one server that is the test's alone, and owed like the others.
func (w *witness) clickAt(s *server) string {
	s.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	id := s.click(fmt.Sprintf("/go/%s?sub1=%d", w.now.campaign, w.next), "aff_sub")
	w.now.clicks[w.next] = id
	return id
}

// sellAt reports a sale of such a click to one server, which owes it then. It returns the transaction's ID.
func (w *witness) sellAt(t *testing.T, s *server, id string, status int, outcome string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	txid := fmt.Sprintf("t%d", w.next)
	s.expectOutcome(t, id, txid, status, outcome)
	w.now.sales[txid] = sale{click: id, booked: true}
	return txid
}

// expectParked wants the postbacks in quarantine to be those of clicks that are not known, of each of these one at least.
func (s *server) expectParked(t *testing.T, clicks ...string) {
	t.Helper()
	left := make(map[string]bool)
	for _, id := range clicks {
		left[id] = true
	}
	for _, e := range s.all("/capture/journal?open=1") {
		if e["outcome"] != "quarantined" || e["reason"] != "unknown_click" {
			t.Errorf("node %s has %v in quarantine", s.site(), e)
		}
		delete(left, fmt.Sprint(e["click_id"]))
	}
	for id := range left {
		t.Errorf("node %s has no postback of click %s in quarantine", s.site(), id)
	}
}

// expectWaiting wants a node to say that it cannot reach the database, since when, and what waits for that.
func (s *server) expectWaiting(t *testing.T, since time.Time, clicks, postbacks int) {
	t.Helper()
	c := s.condition()
	p := c.Store.Spool
	if c.status != 200 || c.State != "ok" || p.State != "spooling" || p.Why == "" || p.Clicks != clicks || p.Postbacks != postbacks {
		t.Errorf("with %d clicks and %d postbacks that wait, node %s says %v", clicks, postbacks, s.site(), c)
	}
	for name, text := range map[string]string{"since": p.Since, "oldest": p.Oldest} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Before(since.Truncate(time.Millisecond)) || at.After(time.Now()) {
			t.Errorf("node %s says %q of %s: want a time after %v", s.site(), text, name, since)
		}
	}
	for kind, want := range map[string]int{"clicks": clicks, "postbacks": postbacks} {
		if got := s.metric(t, "caddy_capture_spool_length", fmt.Sprintf("kind=%q", kind)); got != float64(want) {
			t.Errorf("node %s: caddy_capture_spool_length of %s is %v, want %d", s.site(), kind, got, want)
		}
	}
	if got := s.metric(t, "caddy_capture_spools", `state="spooling"`); got != 1 {
		t.Errorf("node %s: caddy_capture_spools says %v of spooling", s.site(), got)
	}
	if text := s.logs(); !strings.Contains(text, "clicks and postbacks go to the disk of this machine") {
		t.Errorf("node %s does not say in its log where things go\n%s", s.site(), text)
	}
}
