package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
	"github.com/caddy-capture/caddy-capture/capture/spool"
)

// way is a way to a server on which nothing arrives while it is silent, and nobody
// is told.
type way struct {
	dir    string
	silent atomic.Bool
	ended  chan struct{}
	work   sync.WaitGroup
}

func newWay(t testing.TB, server *pgtest.Server) *way {
	t.Helper()
	w := &way{dir: t.TempDir(), ended: make(chan struct{})}
	l, err := net.Listen("unix", filepath.Join(w.dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	w.work.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", server.Socket())
			if err != nil {
				_ = from.Close()
				continue
			}
			w.work.Go(func() { w.carry(to, from) })
			w.work.Go(func() { w.carry(from, to) })
			w.work.Go(func() {
				<-w.ended
				_, _ = from.Close(), to.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(w.ended)
		w.work.Wait()
	})
	return w
}

// carry takes what one end says to the other.
func (w *way) carry(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for w.silent.Load() {
			select {
			case <-w.ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_, _ = from.Close(), to.Close()
			return
		}
	}
}

func (w *way) dsn() string {
	return "host=" + w.dir + " port=5432 user=postgres dbname=postgres sslmode=disable"
}

// ends fails if something does not end at all.
func ends(t testing.TB, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s does not end", what)
	}
}

// A server that has fallen silent, and nobody knows that yet, keeps no Caddy from
// stopping, starting, or going over to another store, and costs nothing.
func TestPostgresFallsSilent(t *testing.T) {
	defer func(d time.Duration) { spoolDeadline = d }(spoolDeadline)
	spoolDeadline = spool.DefaultDeadline
	server := pgtest.Own(t)
	w := newWay(t, server)
	s := newSite(t)
	option := postgresOption(w.dsn(), filepath.Join(s.dir, "spool"), "")
	load := func(option string) func() error {
		return func() error { return s.tryLoad(option, postgresRoutes) }
	}
	ends(t, "the first start", load(option))
	first := s.visited()
	spoolIs(t, capture.SpoolShared)
	s.postback(first, "1", "recorded")

	w.silent.Store(true)
	ends(t, "stopping", caddy.Stop)
	ends(t, "starting", load(option))
	second := s.visited()
	s.postback(second, "2", "accepted")
	s.postback(first, "3", "accepted")
	if h, st := spoolStatus(t); h.State != "ok" || st.State != capture.SpoolSpooling || st.Since.IsZero() || st.Why == "" || st.Clicks != 1 || st.Postbacks != 2 {
		t.Errorf("the health is %+v, %+v", h, st)
	}
	srv := adminServer(t, adminAPI{})
	wantSteps(t, steps(t, srv, ""), "FAIL store: The database does not take what comes: ", "FAIL result: ")
	embedded, _ := memoryOption(t)
	ends(t, "going over to another store", load(embedded))
	ends(t, "coming back", load(option))
	ends(t, "a reload", load(strings.Replace(option, "spool ", "pool 5\n spool ", 1)))
	s.postback(second, "4", "accepted")

	w.silent.Store(false)
	spoolIs(t, capture.SpoolShared)
	s.postback(second, "5", "recorded")
	if clicks, sales := s.sales(); clicks != 2 || sales != 5 {
		t.Errorf("%d clicks and %d conversions", clicks, sales)
	}
}

// From the embedded store to a shared one and back, again and again, under
// postbacks: whatever was acknowledged is in the store that acknowledged it, and
// nothing stays open.
func TestPostgresThereAndBack(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	embedded := "capture {\n store badger " + filepath.Join(s.dir, "store") + "\n}"
	shared := postgresOption(server.DSN(), filepath.Join(s.dir, "spool"), "")
	const routes = "track_click /go/acme https://acme.example/?id={click_id} {\n max_wait 10s\n}\npostback /pb"
	s.load(shared, routes)
	ids := map[string]string{shared: s.visited()}
	place := placeOf(runningApp(t).engine)
	s.load(embedded, routes)
	ids[embedded] = s.visited()
	before := goroutines()

	var stop atomic.Bool
	var wg sync.WaitGroup
	var unsure atomic.Int64
	booked := make(map[string]*atomic.Int64)
	once := &http.Client{Timeout: client.Timeout, Transport: impatient}
	defer wg.Wait()
	defer stop.Store(true)
	for option, id := range ids {
		n := new(atomic.Int64)
		booked[option] = n
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				res, err := once.Get(s.url(fmt.Sprintf("/pb?click_id=%s&txid=%d", id, i)))
				if err != nil {
					unsure.Add(1) // Caddy resets a few connections at a reload
					continue
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				switch {
				case err != nil:
					unsure.Add(1)
				case res.StatusCode == http.StatusOK && strings.Contains(string(body), `"outcome":"recorded"`), strings.Contains(string(body), `"outcome":"accepted"`):
					n.Add(1)
				case res.StatusCode == http.StatusBadRequest && strings.Contains(string(body), "invalid_click_id"): // it is the other store's
				case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "":
				default:
					t.Errorf("a postback is answered %d %s", res.StatusCode, body)
				}
			}
		})
	}
	for range 4 {
		for _, option := range []string{shared, embedded} {
			s.load(option, routes)
			n := booked[option].Load()
			time.Sleep(100 * time.Millisecond)
			eventually(t, "a postback is acknowledged", func() bool { return booked[option].Load() > n })
		}
	}
	stop.Store(true)
	wg.Wait()
	if refs, there := ledgers.References(place); there {
		t.Errorf("the shared store is open still, for %d", refs)
	}
	eventually(t, "the goroutines of the shared store are gone", func() bool { return goroutines() <= before+3 })
	eventually(t, "its connections are gone", func() bool { return !strings.Contains(connected(t, server), "caddy-capture") })
	for _, option := range []string{embedded, shared} {
		s.load(option, routes)
		n, sure := reported(t), booked[option].Load()
		if sure == 0 || n < sure || n > sure+unsure.Load() {
			t.Errorf("%d conversions, where %d were acknowledged and %d are not known of: %s", n, sure, unsure.Load(), option)
		}
	}
}

// Another spool is another node, and another schema is another store: a reload to
// the one opens it beside the old one, and to the other is refused.
func TestPostgresReloadElsewhere(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	spool := filepath.Join(s.dir, "spool")
	s.load(postgresOption(server.DSN(), spool, ""), postgresRoutes)
	ledger := sameLedger(t, nil)
	id := s.visited()
	err := s.tryLoad(postgresOption(server.DSN(), spool, "schema elsewhere"), postgresRoutes)
	if err == nil || !strings.Contains(err.Error(), "none of the store") || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("another schema gives %v", err)
	}
	sameLedger(t, ledger)
	s.postback(id, "1", "recorded")

	s.load(postgresOption(server.DSN(), spool+"2", ""), postgresRoutes)
	held, err := runningApp(t).acquire()
	if err != nil || held.ledger == ledger || held.ledger.Identity().Epoch == ledger.Identity().Epoch {
		t.Errorf("with another spool: %v", err)
	}
	s.postback(id, "1", "duplicate")
	s.postback(id, "2", "recorded")
	s.load(postgresOption(server.DSN(), spool, ""), postgresRoutes)
	if again := sameLedger(t, nil); again.Identity().Epoch != ledger.Identity().Epoch {
		t.Error("with the spool from before, this is another node")
	}
	s.postback(id, "2", "duplicate")
	if clicks, sales := s.sales(); clicks != 1 || sales != 2 {
		t.Errorf("%d clicks and %d conversions", clicks, sales)
	}
}

// Passwords come into use with a reload, and are told to nobody. A wrong one is
// refused where the one before was good.
func TestPostgresPassword(t *testing.T) {
	server := pgtest.Own(t)
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // as it is
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var rules string
	if err := conn.QueryRow(t.Context(), `SHOW hba_file`).Scan(&rules); err != nil {
		t.Fatal(err)
	}
	exec(`CREATE ROLE shop LOGIN SUPERUSER PASSWORD 'hunter2one'`)
	exec(`COPY (VALUES ('local all shop scram-sha-256'), ('local all all trust')) TO '` + rules + `'`)
	exec(`SELECT pg_reload_conf()`)
	shop := strings.Replace(server.DSN(), "user=postgres", "user=shop", 1)
	eventually(t, "the server wants a password", func() bool {
		c, err := pgx.Connect(t.Context(), shop)
		if err == nil {
			_ = c.Close(t.Context())
		}
		return err != nil
	})

	s := newSite(t)
	log := filepath.Join(s.dir, "log.json")
	s.conf = "log {\n output file " + log + "\n format json\n level DEBUG\n}"
	secret := filepath.Join(s.dir, "password")
	option := postgresOption(shop+" password={file."+secret+"}", filepath.Join(s.dir, "spool"), "")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sold int64
	sell := func(want string) {
		t.Helper()
		s.postback(s.visited(), "1", want)
		sold++
	}
	write("hunter2one")
	s.load(option, postgresRoutes)
	ledger := sameLedger(t, nil)
	sell("recorded")

	exec(`ALTER ROLE shop PASSWORD 'hunter2two'`)
	write("hunter2wrong")
	if err := s.tryLoad(option, postgresRoutes); err == nil || !strings.Contains(err.Error(), "does not accept the user and password") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a wrong password gives %v", err)
	}
	// What was open has ended with that, and the password from before is not good any more.
	sell("accepted")
	eventually(t, "there is an alarm", func() bool {
		h, st := spoolStatus(t)
		return h.State == "degraded" && st.State == capture.SpoolSpooling && strings.Contains(h.Why, "does not accept") && !strings.Contains(h.Why, "hunter2")
	})
	write("hunter2two")
	s.load(option, postgresRoutes)
	sameLedger(t, ledger)
	spoolIs(t, capture.SpoolShared)
	sell("recorded")
	if clicks, sales := s.sales(); clicks != sold || sales != sold {
		t.Errorf("%d clicks and %d conversions, want %d of each", clicks, sales, sold)
	}
	if h, _ := spoolStatus(t); h.State != "ok" {
		t.Errorf("the health is %+v", h)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	said, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(said), "does not accept the user and password") || strings.Contains(string(said), "hunter2") {
		t.Errorf("%v: the log is %s", err, said)
	}
}

// Each way to the database that a reload leaves is closed.
func TestPostgresReloadLeavesNothing(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	load := func(n int) {
		s.load(postgresOption(server.DSN()+fmt.Sprintf(" application_name=way%d", n%2), filepath.Join(s.dir, "spool"), fmt.Sprintf("pool %d", 4+n%2)), postgresRoutes)
		s.postback(s.visited(), "1", "recorded")
	}
	load(0)
	ledger, before := sameLedger(t, nil), goroutines()
	for n := range 13 {
		load(n)
	}
	sameLedger(t, ledger)
	eventually(t, "the goroutines of 13 reloads are gone", func() bool { return goroutines() <= before+3 })
	eventually(t, "the connections of the others are gone", func() bool {
		names := connected(t, server)
		return strings.Contains(names, "way0") && !strings.Contains(names, "way1")
	})
	if clicks, sales := s.sales(); clicks != 14 || sales != 14 {
		t.Errorf("%d clicks and %d conversions", clicks, sales)
	}
}
