package caddymodule

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// database starts a PostgreSQL for one test.
func database(t *testing.T) *pgtest.Server {
	t.Helper()
	s, err := pgtest.Start()
	switch {
	case err == nil:
		t.Cleanup(s.Stop)
	case os.Getenv("CAPTURE_POSTGRES") == "must":
		t.Fatalf("there has to be a PostgreSQL server: %v", err)
	default:
		t.Skipf("there is no PostgreSQL server here: %v", err)
	}
	return s
}

// A site moves from the embedded store to a shared one, and back.
func TestMigrateCommand(t *testing.T) {
	db := database(t)
	t.Setenv("TEST_DATABASE", db.DSN())
	s := newSite(t)
	root := t.TempDir()
	dir, spool, back := filepath.Join(root, "store"), filepath.Join(root, "spool"), filepath.Join(root, "back")
	const directives = "track_click /go/* https://acme.example/offer?aff_sub={click_id}\npostback /postback"
	embedded := func(dir string) string { return "capture {\n store badger " + dir + "\n}" }
	shared := "capture {\n store postgres {env.TEST_DATABASE} {\n schema moved\n spool " + spool + "\n}\n}"
	s.load(embedded(dir), directives)
	srv := adminServer(t, adminAPI{})
	id, late := s.visit("/go/acme"), s.visit("/go/acme")
	repeat := "/postback?click_id=" + id + "&txid=1&payout=12.50&currency=USD"
	s.get(repeat)
	there := []string{"migrate", "--from", dir, "--to", "postgres {env.TEST_DATABASE}", "--schema", "moved", "--spool", spool}
	if _, _, err := runCommand(srv.URL, there...); !errors.Is(err, capture.ErrLocked) {
		t.Fatalf("while the server runs: %v", err)
	}
	answers := func(path, outcome string) {
		t.Helper()
		if resp, body := s.get(path); resp.StatusCode != http.StatusOK || !strings.Contains(body, `"outcome":"`+outcome+`"`) {
			t.Fatalf("%s: %s %s", path, resp.Status, body)
		}
	}
	move := func(args []string, clicks, conversions string) {
		t.Helper()
		var out, side string
		// The old store is closed in the background.
		eventually(t, "the store is copied", func() bool {
			var err error
			out, side, err = runCommand(srv.URL, args...)
			if err != nil && !errors.Is(err, capture.ErrLocked) {
				t.Fatal(err)
			}
			return err == nil
		})
		if !strings.HasPrefix(out, "copied and compared: "+clicks+", "+conversions+", ") || strings.Contains(out+side, db.DSN()) {
			t.Fatalf("%q %q", out, side)
		}
	}
	elsewhere := embedded(filepath.Join(root, "elsewhere"))
	s.load(elsewhere, directives)
	move(there, "2 clicks", "1 conversion")
	if _, _, err := runCommand(srv.URL, there...); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("once more: %v", err)
	}

	s.load(shared, directives)
	answers(repeat, "duplicate")
	answers("/postback?click_id="+late+"&txid=2&payout=3&currency=USD", "recorded")
	newer := s.visit("/go/acme")
	if out, _, err := runCommand(srv.URL, "check"); err != nil {
		t.Errorf("%v: %s", err, out)
	}

	s.load(elsewhere, directives)
	move([]string{"migrate", "--from", "postgres {env.TEST_DATABASE}", "--to", "badger " + back, "--schema", "moved", "--spool", spool},
		"3 clicks", "2 conversions")
	s.load(embedded(back), directives)
	answers(repeat, "duplicate")
	answers("/postback?click_id="+newer+"&txid=3&payout=1&currency=USD", "recorded")
	if out, _, err := runCommand(srv.URL, "check"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	var c clickAnswer
	adminGet(t, srv, "/capture/clicks/"+id, &c)
	if len(c.Conversions) != 1 || c.Gone {
		t.Errorf("%+v", c)
	}
	s.load("", "respond ok")
}

// What is said wrong is told without a password, and touches nothing.
func TestMigrateArguments(t *testing.T) {
	root := t.TempDir()
	t.Setenv("XDG_DATA_HOME", filepath.Join(root, "data"))
	store := filepath.Join(root, "store")
	config := writeFile(t, "Caddyfile", "{\n capture {\n store badger "+store+"\n}\n}\n:0 {\n respond ok\n}")
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "--to is missing"},
		{[]string{"--to", " "}, "--to is missing"},
		{[]string{"--to", "badger"}, "which directory"},
		{[]string{"--to", "postgres"}, "where the database is"},
		{[]string{"--to", "redis secretword"}, "postgres and badger"},
		{[]string{"--to", "postgress://me:secretword@a/b"}, "postgres and badger"},
		{[]string{"--to", "postgres postgres://me:a@secretword@a/b"}, "%40"},
		{[]string{"--to", "postgres {env.TEST_NOT_SET}"}, "TEST_NOT_SET"},
		{[]string{"--to", "postgres postgres://me:secretword%zz@a/b"}, "cannot be read"},
		{[]string{"--to", "postgres://me:secretword@a:x/b"}, "cannot be read"},
		{[]string{"--to", "postgres host=a port=x password=secretword"}, "cannot be read"},
		{[]string{"--to", "postgres host=a", "--schema", "1x"}, "schema is"},
		{[]string{"--to", "postgres host=a {\n nothing x\n}"}, "one connection string|unknown option"},
		{[]string{"--to", filepath.Join(root, "to"), "--from", store, "--config", config}, "both name the source"},
		{[]string{"--to", filepath.Join(root, "to"), "--config", filepath.Join(root, "none")}, "none"},
		{[]string{"--to", filepath.Join(root, "to"), "--config", config}, "there is no store in the directory"},
		{[]string{"--to", filepath.Join(root, "to")}, "there is no store in the directory"},
		{[]string{"--to", store, "--from", store}, "the same"},
		{[]string{"--to", filepath.Join(root, "to"), "--from", "postgres://me:secretword@127.0.0.1:1/b?connect_timeout=1"}, "same command again"},
		{[]string{"--to", filepath.Join(root, "to"), "extra"}, "unknown command"},
	} {
		_, _, err := runCommand("localhost:1", append([]string{"migrate"}, tc.args...)...)
		found := false
		for want := range strings.SplitSeq(tc.want, "|") {
			found = found || err != nil && strings.Contains(err.Error(), want)
		}
		if !found || strings.Contains(err.Error(), "secretword") {
			t.Errorf("%q gives %v, want %q", tc.args, err, tc.want)
		}
	}
	for _, dir := range []string{store, filepath.Join(root, "to")} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was made: %v", dir, err)
		}
	}
}
