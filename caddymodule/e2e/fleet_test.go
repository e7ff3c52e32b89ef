package e2e

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// postgresScript installs Debian's PostgreSQL where there is none.
const postgresScript = "../../.ci/postgres"

// A node of a fleet: it shares a database, and has a spool of its own.
const fleetSite = `{
	admin $ADMIN
	grace_period 10s
	metrics
	capture {
		store postgres "$DSN" {
			schema $SCHEMA
			spool $STORE
		}
	}
}
http://127.0.0.1:$PORT {
`

// What stands before the nodes. A request that may have reached a node is not sent to another, so that each is
// counted once at most: with connections that are kept, Go's client sends one again that got no answer.
const fleetFront = `{
	admin $ADMIN
}
http://127.0.0.1:$PORT {
	reverse_proxy $NODES {
		lb_policy round_robin
		lb_try_duration 5s
		lb_try_interval 20ms
		lb_retry_match {
			method TRACE
		}
		transport http {
			keepalive off
		}
	}
}
`

// fleetLinks are those of witnessSite.
const fleetLinks = `
	track_click /go/* {
		to https://acme.example/offer?aff_sub={click_id}
		max_wait 10s
	}
	postback /postback
	respond "the site"
}
`

// fleetTimeout is far longer than a fleet takes until all that waited is where it belongs, also on a busy machine.
const fleetTimeout = 2 * time.Minute

// wantPostgres installs PostgreSQL where it is missing, if that can be done; if not, the test is skipped, or fails
// where CAPTURE_POSTGRES=must says that there has to be one. With CAPTURE_POSTGRES=never nothing is installed and
// nothing tested.
func wantPostgres(t testing.TB) {
	t.Helper()
	choice := os.Getenv("CAPTURE_POSTGRES")
	if choice == "never" {
		t.Skip("CAPTURE_POSTGRES=never: no database is looked for")
	}
	if _, err := pgtest.Find(); err == nil {
		return
	}
	var said strings.Builder
	_, err := install(t.Context(), postgresScript, os.Environ(), io.MultiWriter(os.Stderr, &said))
	t.Log(said.String())
	switch {
	case err == nil:
	case choice == "must":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// newDatabase starts a server for one test. Whole pages are in its log, so that it can be killed.
func newDatabase(t testing.TB) *pgtest.Server {
	t.Helper()
	wantPostgres(t)
	db, err := pgtest.Start("full_page_writes=on")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Stop)
	return db
}

// A fleet is some Caddies that share a database, and another that stands before them.
type fleet struct {
	t     *testing.T
	nodes []*server
	front *server

	site, schema string // the nodes' Caddyfile, and what they share
	passed       int64  // clicks beside those of a witness
	slow         int    // postbacks that a busy machine did not decide in time
	deciding     sync.Mutex
}

// startFleet starts three nodes at the same moment, on a new schema, and what stands before them.
func startFleet(t *testing.T, dsn, links string) *fleet {
	t.Helper()
	return startFleetOver(t, links, dsn, dsn, dsn)
}

// startFleetOver starts a node for each way to the database, and waits until all are there.
func startFleetOver(t *testing.T, links string, dsns ...string) *fleet {
	t.Helper()
	f := &fleet{t: t, site: fleetSite + links, schema: pgtest.Schema()}
	sites := ""
	for _, dsn := range dsns {
		s := f.newNode(dsn)
		f.nodes = append(f.nodes, s)
		sites += " " + s.site()
		s.launch()
	}
	for _, s := range f.nodes {
		s.started()
	}
	f.front = newServer(t, fleetFront, "$NODES", strings.TrimSpace(sites))
	f.front.launch()
	eventually(t, startTimeout, func() error {
		if !listening(f.front.site()) {
			return fmt.Errorf("the load balancer does not listen\n%s", f.front.logs())
		}
		return nil
	})
	f.settle()
	return f
}

// newNode prepares one that was never one before.
func (f *fleet) newNode(dsn string) *server {
	f.t.Helper()
	s := newServer(f.t, f.site, "$DSN", dsn, "$SCHEMA", f.schema)
	s.fleet = f
	return s
}

// stop ends all of the fleet as systemd does.
func (f *fleet) stop() {
	f.t.Helper()
	f.front.stop()
	for _, s := range f.nodes {
		s.stop()
	}
}

// A condition is what a node says of its health.
type condition struct {
	status     int
	State, Why string
	Queue      struct{ Clicks, Postbacks int }
	Late       int `json:"late_clicks"`
	Lost       int `json:"lost_clicks"`
	Quarantine map[string]int
	Store      struct {
		Writable bool
		Spool    struct {
			State, Why, Since, Oldest string
			Clicks, Postbacks         int
		}
	}
}

func (s *server) condition() (c condition) {
	s.t.Helper()
	a := s.api("/capture/health")
	decode(s.t, a.body, &c)
	c.status = a.status
	return c
}

func (c condition) String() string {
	return fmt.Sprintf("%d %s (%s), queue %v, spool %+v, quarantine %v", c.status, c.State, c.Why, c.Queue, c.Store.Spool, c.Quarantine)
}

// inDatabase says whether all that a node has is in the database.
func (s *server) inDatabase() error {
	s.t.Helper()
	if c := s.condition(); c.status != 200 || c.State != "ok" || c.Store.Spool.State != "shared" || c.Queue.Clicks+c.Queue.Postbacks > 0 {
		return fmt.Errorf("node %s has not all in the database: %v", s.site(), c)
	}
	return nil
}

// decides waits until nodes that accepted postbacks, for want of a decision in time, have had all of them decided and
// decide at once again. Of many who wait one asks, which keeps a busy machine from being busier.
func (f *fleet) decides(nodes ...*server) {
	f.t.Helper()
	f.deciding.Lock()
	defer f.deciding.Unlock()
	for _, s := range nodes {
		eventually(f.t, fleetTimeout, func() error {
			if c := s.condition(); c.status != 200 || c.Store.Spool.State != "shared" || c.Store.Spool.Postbacks > 0 {
				return fmt.Errorf("node %s has not had all decided: %v", s.site(), c)
			}
			return nil
		})
	}
}

// settle waits until the database has all there is.
func (f *fleet) settle() {
	f.t.Helper()
	for _, s := range f.nodes {
		eventually(f.t, fleetTimeout, s.inDatabase)
	}
}

// expectSpool waits until each of some nodes says where its clicks and postbacks go.
func expectSpool(t testing.TB, state string, nodes ...*server) {
	t.Helper()
	for _, s := range nodes {
		eventually(t, fleetTimeout, func() error {
			c := s.condition()
			if c.status != 200 || c.Store.Spool.State != state {
				return fmt.Errorf("node %s: want it %s, it is %v", s.site(), state, c)
			}
			return nil
		})
	}
}

// verify wants of each node all that was acknowledged exactly once, and of the first that sums and records agree.
func (f *fleet) verify(w *witness) {
	f.t.Helper()
	f.settle()
	c := w.claims()
	for _, s := range f.nodes {
		found := c.verify(f.t, s)
		found.clicks += f.passed
		s.verifyTotal(f.t, found)
		if s == f.nodes[0] {
			f.t.Logf("%d clicks and %d conversions are there; %d clicks and %d postbacks were acknowledged", found.clicks, found.sales, len(w.clicks), c.booked())
		}
		if c := s.condition(); c.Lost > 0 {
			f.t.Errorf("node %s: %d clicks are lost", s.site(), c.Lost)
		}
	}
	if left := f.nodes[0].all("/capture/journal?open=1"); len(left) > 0 {
		f.t.Errorf("%d postbacks are left in quarantine, the newest: %v", len(left), left[0])
	}
	f.nodes[0].check()
}

// booked counts the postbacks that were acknowledged.
func (c claims) booked() (n int) {
	for _, s := range c.sales {
		if s.booked {
			n++
		}
	}
	return n
}
