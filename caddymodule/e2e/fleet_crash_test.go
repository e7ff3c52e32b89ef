package e2e

import (
	"fmt"
	"testing"
	"time"
)

// There are four servers and a database to keep busy, and what waits at each of them is to be sent in the end.
const (
	fleetConnections = 6
	fleetPause       = 10 * time.Millisecond
)

// witness is one that can make load on a fleet.
func (f *fleet) witness() *witness {
	w := newWitness(f.front)
	w.fleet, w.conns, w.pause = true, fleetConnections, fleetPause
	return w
}

// burdened makes load on a fleet, which goes on whatever happens to it.
func (f *fleet) burdened() *witness {
	f.t.Helper()
	w := f.witness()
	w.start()
	w.warmUp(f.t)
	return w
}

// goesOn wants something acknowledged from now on, whoever is away.
func (w *witness) goesOn(t testing.TB) {
	t.Helper()
	w.mu.Lock()
	clicks, sales := len(w.clicks), w.now.booked()
	w.mu.Unlock()
	eventually(t, fleetTimeout, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if more := w.now.booked() - sales; len(w.clicks) < clicks+20 || more < 10 {
			return fmt.Errorf("%d clicks and %d postbacks were acknowledged since", len(w.clicks)-clicks, more)
		}
		return nil
	})
}

// TestFleetKilled ends Caddies and the database with SIGKILL, one after the other and together, under load: each
// time, what had been acknowledged is found in the end, and no more than was sent.
func TestFleetKilled(t *testing.T) {
	t.Parallel()
	db := newDatabase(t)
	f := startFleet(t, db.DSN(), fleetLinks)
	w := f.burdened()
	w.ending.Store(true) // answers are lost with those who were to give them

	// A node, while all else is well.
	f.nodes[0].kill()
	w.goesOn(t)
	f.nodes[0].start()

	// The database, and a node that has something for it, which starts without it.
	must(t, db.Crash())
	w.goesOn(t)
	expectSpool(t, "spooling", f.nodes...)
	f.nodes[1].kill()
	w.goesOn(t)
	f.nodes[1].start()
	expectSpool(t, "spooling", f.nodes...)
	w.goesOn(t)
	must(t, db.Restart())

	// A node that is sending what has waited.
	for end := time.Now().Add(fleetTimeout); f.nodes[2].condition().Store.Spool.State == "spooling" && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	f.nodes[2].kill()
	w.goesOn(t)
	f.nodes[2].start()

	// The database goes and comes so quickly that hardly anybody notices.
	for range 3 {
		must(t, db.Crash())
		must(t, db.Restart())
		w.goesOn(t)
	}
	f.calm(w)
	f.verify(w)
	f.stop()
}

// calm ends the load, waits until all is where it belongs, and makes some more, in which nothing is excused.
func (f *fleet) calm(w *witness) {
	f.t.Helper()
	w.stop(f.t)
	f.settle()
	w.start()
	w.goesOn(f.t)
	w.stop(f.t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
