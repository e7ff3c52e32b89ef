package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// What a test expects to be recorded must not be spooled because the machine is
// busy. A server that was killed is noticed at once all the same.
func init() { spoolDeadline = 15 * time.Second }

// postgresOption is the global option; more goes into its block.
func postgresOption(dsn, spool, more string) string {
	return fmt.Sprintf("capture {\n store postgres %q {\n spool %s\n %s\n}\n}", dsn, spool, more)
}

func spoolStatus(t testing.TB) (capture.Health, *capture.SpoolStatus) {
	t.Helper()
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	h := held.ledger.Health()
	if h.Store.Spool == nil {
		return h, new(capture.SpoolStatus)
	}
	return h, h.Store.Spool
}

func spoolIs(t testing.TB, want capture.SpoolState) {
	t.Helper()
	eventually(t, "the spool is "+string(want), func() bool { _, st := spoolStatus(t); return st.State == want })
}

// visited lets a visitor come, and returns the ID of the click.
func (s *site) visited() string {
	s.t.Helper()
	res, _ := s.get("/go/acme")
	_, id, ok := strings.Cut(res.Header.Get("Location"), "id=")
	if res.StatusCode != http.StatusFound || !ok {
		s.t.Fatalf("got %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	return id
}

// postback sends one and checks its outcome.
func (s *site) postback(id, txid, want string) {
	s.t.Helper()
	res, body := s.get("/pb?click_id=" + id + "&txid=" + txid)
	if !strings.Contains(body, `"outcome":"`+want+`"`) {
		s.t.Fatalf("postback %s of %s: %d %s, want %s", txid, id, res.StatusCode, body, want)
	}
}

const postgresRoutes = "track_click /go/acme https://acme.example/?id={click_id} {\n max_wait 10s\n}\npostback /pb"

func sameLedger(t testing.TB, want *capture.Ledger) *capture.Ledger {
	t.Helper()
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	if want != nil && held.ledger != want {
		t.Fatal("the ledger is another one")
	}
	return held.ledger
}

func (s *site) sales() (clicks, conversions int64) {
	held, err := runningApp(s.t).acquire()
	if err != nil {
		s.t.Fatal(err)
	}
	now := time.Now()
	r, err := held.ledger.Report(s.t.Context(), attribution.Query{From: now.Add(-time.Hour), To: now.Add(time.Hour)})
	if err != nil {
		s.t.Fatal(err)
	}
	return r.Total.Clicks + r.Total.BotClicks, r.Total.Conversions
}

// Reloads while all is well, while the database is away, and while what waited is
// sent hand over one ledger, with whatever settings; nothing is lost or doubled.
func TestPostgresReload(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	spool := filepath.Join(s.dir, "spool")
	option := postgresOption(server.DSN(), spool, "")
	s.load(option, postgresRoutes)
	ledger := sameLedger(t, nil)
	clicks, sales := int64(0), int64(0)
	sell := func(want string) {
		t.Helper()
		id := s.visited()
		s.postback(id, "1", want)
		clicks, sales = clicks+1, sales+1
	}
	sell("recorded")
	for n, more := range []string{"pool 6", "pool 6\nspool_size 1GiB", "spool_size 1GiB"} {
		s.load(postgresOption(server.DSN()+fmt.Sprintf(" application_name=reload%d", n), spool, more), postgresRoutes)
		sameLedger(t, ledger)
		spoolIs(t, capture.SpoolShared)
		sell("recorded")
		// The server notices the end of a connection a little later.
		eventually(t, fmt.Sprintf("after reload %d, there are connections of that one alone", n), func() bool {
			names := connected(t, server)
			return strings.Contains(names, fmt.Sprintf("reload%d", n)) && (n == 0 || !strings.Contains(names, fmt.Sprintf("reload%d", n-1)))
		})
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		sell("accepted")
		s.load(postgresOption(server.DSN(), spool, fmt.Sprintf("pool %d", 4+n/2)), postgresRoutes+fmt.Sprintf("\npostback /pb%d", n))
		sameLedger(t, ledger)
	}
	if h, st := spoolStatus(t); h.State != "ok" || st.State != capture.SpoolSpooling || st.Clicks != 6 || st.Postbacks != 6 {
		t.Errorf("the health is %+v, %+v", h, st)
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		s.load(postgresOption(server.DSN(), spool, fmt.Sprintf("pool %d", 4+n/2)), postgresRoutes+fmt.Sprintf("\npostback /pb%d", n))
	}
	spoolIs(t, capture.SpoolShared)
	sell("recorded")
	if c, n := s.sales(); c != clicks || n != sales {
		t.Errorf("%d clicks and %d conversions, want %d and %d", c, n, clicks, sales)
	}
	if refs, ok := ledgers.References(placeOf(runningApp(t).engine)); !ok || refs != 1 {
		t.Errorf("%d references", refs)
	}
}

// connected names who is connected to the server.
func connected(t *testing.T, server *pgtest.Server) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // as it is
	var names string
	if err := conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(DISTINCT application_name, ' '), '') FROM pg_stat_activity`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	return names
}

// A reload that cannot reach the database where the one before could is refused,
// and so is one that is turned away or means another store; all goes on.
func TestPostgresReloadRefused(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	spool := filepath.Join(s.dir, "spool")
	s.load(postgresOption(server.DSN(), spool, ""), postgresRoutes)
	ledger := sameLedger(t, nil)
	id := s.visited()
	for dsn, want := range map[string]string{
		strings.Replace(server.DSN(), "user=postgres", "user=nobody", 1):        "pg_hba",
		strings.Replace(server.DSN(), "dbname=postgres", "dbname=nothing", 1):   "no database of the name",
		strings.Replace(server.DSN(), "dbname=postgres", "dbname=template1", 1): "none of the store",
		"host=127.0.0.1 port=1 user=me password=hunter2 sslmode=disable":        "refused",
	} {
		err := s.tryLoad(postgresOption(dsn, spool, ""), postgresRoutes)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the reload gives %v", dsn, err)
		}
		sameLedger(t, ledger)
		spoolIs(t, capture.SpoolShared)
		s.postback(s.visited(), "1", "recorded")
	}
	// What is refused for another reason gives the settings back as well.
	if err := s.tryLoad(postgresOption(server.DSN()+" application_name=twice", spool, ""), postgresRoutes+"\nbind 192.0.2.1"); err == nil {
		t.Error("a site on another machine's address was loaded")
	}
	eventually(t, "the settings are those from before", func() bool { return !strings.Contains(connected(t, server), "twice") })
	spoolIs(t, capture.SpoolShared)
	s.postback(id, "last", "recorded")
}

// Whoever is turned away at the first start is told so; the site is served, and
// all goes well as soon as the server lets the node in.
func TestPostgresTurnedAway(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	dsn := strings.Replace(server.DSN(), "user=postgres", "user=shop", 1)
	s.load(postgresOption(dsn, filepath.Join(s.dir, "spool"), ""), strings.Replace(postgresRoutes, "10s", "1ms", 1))
	h, _ := spoolStatus(t)
	if h.State != "degraded" || !strings.Contains(h.Why, "does not let the user") || !strings.Contains(h.Why, "shop") {
		t.Errorf("the health is %+v", h)
	}
	before := s.visited()
	if res, body := s.get("/pb?click_id=" + before + "&txid=1"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a postback gives %d %s", res.StatusCode, body)
	}
	conn, err := pgx.Connect(t.Context(), server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // as it is
	if _, err := conn.Exec(t.Context(), `CREATE ROLE shop LOGIN SUPERUSER`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the store is open", func() bool { h, _ := spoolStatus(t); return h.State == "ok" })
	held, err := runningApp(t).acquire()
	if err != nil || held.ledger.Identity().StandIn {
		t.Fatal("the identity is still a stand-in", err)
	}
	id := s.visited()
	eventually(t, "the click is there", func() bool { c, _ := s.sales(); return c == 1 })
	s.postback(id, "1", "recorded")
	// It is turned away later.
	if _, err := conn.Exec(t.Context(), `ALTER ROLE shop NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'`); err != nil {
		t.Fatal(err)
	}
	s.postback(s.visited(), "2", "accepted")
	eventually(t, "there is an alarm", func() bool {
		h, st := spoolStatus(t)
		return h.State == "degraded" && st.State == capture.SpoolSpooling && strings.Contains(h.Why, "does not let the user")
	})
	if _, err := conn.Exec(t.Context(), `ALTER ROLE shop LOGIN`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is well again", func() bool { h, st := spoolStatus(t); return h.State == "ok" && st.State == capture.SpoolShared })
}

// With the database away, the admin API says so at once, and nothing is decided
// that cannot be.
func TestPostgresAdminAway(t *testing.T) {
	server := pgtest.Own(t)
	s := newSite(t)
	s.load(postgresOption(server.DSN(), filepath.Join(s.dir, "spool"), ""), postgresRoutes)
	srv := adminServer(t, adminAPI{})
	id := s.visited()
	s.postback(id, "1", "recorded")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	s.postback(id, "2", "accepted")
	for path, method := range map[string]string{
		"/capture/report": http.MethodGet, "/capture/conversions": http.MethodGet, "/capture/journal": http.MethodGet,
		"/capture/clicks/" + id: http.MethodGet, "/capture/backup": http.MethodGet, "/capture/journal/replay": http.MethodPost,
	} {
		if status, _, body := adminDo(t, srv, method, path); status != http.StatusServiceUnavailable || !strings.Contains(body, "not available") {
			t.Errorf("%s %s gives %d %s", method, path, status, body)
		}
	}
	if status, _, body := adminDo(t, srv, http.MethodDelete, "/capture/clicks/"+id); status != http.StatusServiceUnavailable {
		t.Errorf("erasing gives %d %s", status, body)
	}
	if status, body := adminPost(t, srv, "/capture/conversions", "text/csv", strings.NewReader("click_id,txid\n"+id+",9\n")); status != http.StatusServiceUnavailable {
		t.Errorf("an import gives %d %s", status, body)
	}
	if status, _, body := adminDo(t, srv, http.MethodGet, "/capture/health"); status != http.StatusOK || !strings.Contains(body, `"spooling"`) {
		t.Errorf("the health is %d %s", status, body)
	}
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	entries, stop := held.ledger.Follow()
	defer stop()
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-entries:
		if e.Outcome != capture.Recorded || e.Claim.TxID != "2" {
			t.Errorf("the live stream says %+v", e)
		}
	case <-time.After(time.Minute):
		t.Error("the live stream says nothing of what was accepted")
	}
	spoolIs(t, capture.SpoolShared)
	if status, _, body := adminDo(t, srv, http.MethodDelete, "/capture/clicks/"+id); status != http.StatusOK {
		t.Errorf("erasing gives %d %s", status, body)
	}
}

// A check of a configuration touches neither disk nor database.
func TestPostgresValidate(t *testing.T) {
	s := newSite(t)
	spool := filepath.Join(s.dir, "spool")
	if err := s.validate(postgresOption("host=127.0.0.1 port=1", spool, ""), postgresRoutes); err != nil {
		t.Error(err)
	}
	noFiles(t, spool)
	if err := caddy.Stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
