package caddymodule

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// The commands do with a shared store what they do with the embedded one, and a
// backup of it comes back into an empty schema, through whichever node.
func TestPostgresCommands(t *testing.T) {
	server := pgtest.Own(t)
	t.Setenv("TEST_DATABASE", server.DSN())
	s := newSite(t)
	option := func(spool string) string {
		return "capture {\n store postgres {env.TEST_DATABASE} {\n schema books\n spool " + filepath.Join(s.dir, spool) + "\n}\n}"
	}
	s.load(option("a"), postgresRoutes)
	srv := adminServer(t, adminAPI{})
	must := func(want string, args ...string) {
		t.Helper()
		out, side, err := runCommand(srv.URL, args...)
		if err != nil || !strings.Contains(out+side, want) {
			t.Errorf("%q: %v, want %q in\n%s%s", args, err, want, out, side)
		}
	}
	id, other := s.visited(), s.visited()
	s.postback(id, "order-1", "recorded")
	must("everything works", "test")
	backup, records := filepath.Join(s.dir, "x.backup"), filepath.Join(s.dir, "x.csv")
	must("shared", "health")
	must("acme", "report", "--by", "campaign")
	must("order-1", "conversions")
	must("order-1", "journal")
	must("order-1", "click", id)
	must("", "export", "conversions", "-o", records)
	if text := readFile(t, records); !strings.Contains(text, "order-1") {
		t.Errorf("the export is %s", text)
	}
	lines := writeFile(t, "lines.csv", "click_id,txid,payout,currency\n"+other+",order-2,3.50,USD\n")
	must("1", "import", lines)
	must("0", "replay", "--dry-run")
	must("erased", "erase", other)
	must("checked", "check")
	must("", "backup", backup)
	s.postback(other, "late", "recorded") // which the backup does not have

	restore := func(spool string) []string {
		return []string{"restore", backup, "--config", writeFile(t, "Caddyfile", s.caddyfile(option(spool), "respond ok"))}
	}
	if _, _, err := runCommand(srv.URL, restore("b")...); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while a node runs, restoring gives %v", err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runCommand(srv.URL, restore("b")...); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a store that is not empty, restoring gives %v", err)
	}
	for _, on := range []string{"a", "c"} { // the machine that made the backup, and a new one
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := server.SQL("DROP SCHEMA books CASCADE"); err != nil {
			t.Fatal(err)
		}
		must("restored", restore(on)...)
		s.load(option(on), postgresRoutes)
		s.postback(id, "order-1", "duplicate")
		s.postback(other, "order-2", "duplicate")
		s.postback(other, "late", "recorded")
		s.load(option("beside"+on), postgresRoutes)
		s.postback(other, "late", "duplicate")
		must("checked", "check")
		if clicks, sales := s.sales(); clicks != 2 || sales != 3 {
			t.Errorf("restored on %s, there are %d clicks and %d conversions", on, clicks, sales)
		}
	}
	// The new machine took the place of the one that made the backup.
	if err := s.tryLoad(option("a"), postgresRoutes); err == nil || !strings.Contains(err.Error(), "with another directory this is a new node") {
		t.Errorf("as the node whose place was taken: %v", err)
	}
}
