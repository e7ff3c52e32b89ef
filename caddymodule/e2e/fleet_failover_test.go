package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// TestFleetFailover kills the database under load and makes its synchronous replica the one that takes writes. The
// nodes know both and find out by themselves.
func TestFleetFailover(t *testing.T) {
	t.Parallel()
	primary := newDatabase(t)
	replica, err := primary.Replica("second")
	must(t, err)
	t.Cleanup(replica.Stop)
	follow(t, primary)

	dsn := "host=" + primary.Dir + "," + replica.Dir + " port=5432,5432 user=postgres dbname=postgres sslmode=disable target_session_attrs=read-write"
	f := startFleet(t, dsn, fleetLinks)
	w := f.burdened()
	for range 5 {
		w.goesOn(t) // with what only the replica will still have
	}
	must(t, primary.Crash())
	w.goesOn(t)
	expectSpool(t, "spooling", f.nodes...)
	must(t, replica.Promote())
	w.goesOn(t)
	f.calm(w)
	f.verify(w)
	f.stop()
}

// follow makes the database acknowledge only what its replica has, too.
func follow(t *testing.T, primary *pgtest.Server) {
	t.Helper()
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'second'", "SELECT pg_reload_conf()"} {
		_, err := primary.SQL(statement)
		must(t, err)
	}
	eventually(t, startTimeout, func() error {
		state, err := primary.SQL("SELECT application_name || ' ' || sync_state FROM pg_stat_replication")
		if err == nil && strings.TrimSpace(state) != "second sync" {
			err = fmt.Errorf("the replica is %q", state)
		}
		return err
	})
}
