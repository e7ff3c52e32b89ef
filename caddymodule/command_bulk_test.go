package caddymodule

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
)

func writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestImportCommand(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	good := writeFile(t, "good.csv", "click_id,txid,payout,currency\n"+id+",1,5,USD\n"+id+",2,6,USD\n")
	for _, want := range []string{"2 recorded, 0 updated, 0 duplicate", "0 recorded, 0 updated, 2 duplicate"} {
		out, side, err := runCommand(srv.URL, "import", good)
		if err != nil || out != "" || !strings.HasPrefix(side, want) {
			t.Errorf("%v: %q %q", err, out, side)
		}
	}
	mixed := writeFile(t, "mixed.ndjson", `{"click_id":"`+id+`","txid":"3"}`+"\n{\n"+`{"click_id":"`+id+`","payout":"\u001bx"}`+"\n")
	out, side, err := runCommand(srv.URL, "import", mixed)
	if err == nil || err.Error() != "2 lines were not booked" || !strings.Contains(out, "line 2: ") || !strings.Contains(out, "line 3: ") ||
		strings.Contains(out, "\x1b") || !strings.HasPrefix(side, "1 recorded") || !strings.Contains(side, "2 failed") {
		t.Errorf("%v: %q %q", err, out, side)
	}
	if n := reported(t); n != 3 {
		t.Errorf("%d conversions", n)
	}
	for args, want := range map[string]string{
		"import " + writeFile(t, "bad.csv", "a,b\n"): "unknown column",
		"import /nonexistent":                        "no such file",
		"import x --format xml":                      "use csv or jsonl",
		"import":                                     "accepts 1 arg(s)",
		"import " + t.TempDir():                      "directory",
	} {
		if _, _, err := runCommand(srv.URL, splitArgs(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
	}
}

// TestImportCommandOfCorrections: what a correction comes to is never silent.
func TestImportCommandOfCorrections(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	s.get("/postback?click_id=" + s.visit("/go/acme") + "&txid=1&payout=5&currency=USD")
	var list conversionsAnswer
	adminGet(t, srv, "/capture/conversions", &list)
	id := list.Conversions[0].ID
	file := func(line string) string {
		return writeFile(t, "correct.csv", "conversion_id,status,payout,currency\n"+id+line+"\n")
	}
	for i, tc := range []struct{ line, out, side string }{
		{",reversed,,", "", "0 recorded, 1 updated, 0 duplicate"},
		{",,4,USD", "", "0 recorded, 1 updated, 0 duplicate"},
		{",approved,,", "", "0 recorded, 1 updated, 0 duplicate"},
		{",approved,,", "", "0 recorded, 0 updated, 1 duplicate"},
		{",pending,,", "line 2: changes nothing: the conversion is approved, which is final", "1 duplicate"},
		{",reversed,,", "line 2: changes nothing: the conversion is approved as of ", "1 duplicate"},
	} {
		out, side, err := runCommand(srv.URL, "import", file(tc.line))
		if err != nil || !strings.HasPrefix(out, tc.out) || (out == "") != (tc.out == "") || !strings.Contains(side, tc.side) {
			t.Errorf("line %d: %v: %q %q", i, err, out, side)
		}
	}
	adminGet(t, srv, "/capture/conversions", &list)
	if c := list.Conversions[0]; len(list.Conversions) != 1 || c.Status != "approved" || c.Payout != "4.00" {
		t.Errorf("the conversions are %+v", list.Conversions)
	}
}

func TestReplayCommand(t *testing.T) {
	option, _ := memoryOption(t)
	s := newSite(t)
	clicks := "track_click /go/* https://acme.example/offer?aff_sub={click_id}\n"
	s.load(option, clicks+"postback /postback {\n token very-secret-token\n}")
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?token=very-secret-token&click_id=" + id + "&txid=1&status=paid")
	s.get("/postback?token=very-secret-token&click_id=" + id + "&txid=2&payout=1")
	s.load(option, clicks+"postback /postback {\n token very-secret-token\n statuses {\n approved paid\n}\n}")
	for _, tc := range []struct{ args, out, side string }{
		{"replay --dry-run", "1  unmapped_status  recorded", "dry run, nothing was changed: 1 recorded, 0 updated, 0 duplicate, 1 quarantined"},
		{"replay --dry-run --format csv", "seq,was,outcome,reason,conversion_id,detail\n1,unmapped_status,recorded,,", "dry run"},
		{"replay --dry-run --format json", `"summary":{"recorded":1,"updated":0,"duplicate":0,"quarantined":1,"failed":0},"dry_run":true}`, ""},
		{"replay --reason unmapped_status", "recorded", "1 recorded, 0 updated, 0 duplicate, 0 quarantined"},
		{"replay", "", "nothing changes\n0 recorded, 0 updated, 0 duplicate, 1 quarantined"},
		{"replay --to 2020-01-01 --format csv", "seq,was,", "0 recorded"},
	} {
		out, side, err := runCommand(srv.URL, splitArgs(tc.args)...)
		if err != nil || !strings.Contains(out, tc.out) || !strings.Contains(side, tc.side) {
			t.Errorf("%s: %v\n%s%s", tc.args, err, out, side)
		}
		if tc.out == "" && out != "" {
			t.Errorf("%s: %q", tc.args, out)
		}
	}
	if _, _, err := runCommand(srv.URL, "replay", "--reason", "x"); err == nil || !strings.Contains(err.Error(), "use one of") {
		t.Errorf("got %v", err)
	}
}

func TestExportEraseCheckCommands(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?click_id=" + id + "&txid=1&payout=1&currency=USD")
	out, _, err := runCommand(srv.URL, "export", "conversions", "--campaign", "acme")
	if err != nil || !strings.HasPrefix(out, "id,click_id,") || strings.Count(out, "\n") != 2 {
		t.Errorf("%v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "clicks.jsonl")
	out, side, err := runCommand(srv.URL, "export", "clicks", "--format", "jsonl", "-o", file)
	if text := readFile(t, file); err != nil || out != "" || !strings.HasPrefix(side, file+": ") || !strings.HasPrefix(text, `{"id":"`+id) {
		t.Errorf("%v: %q %q %s", err, out, side, text)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	s.get("/postback?click_id=" + id + "&txid=2&payout=1&currency=USD")
	for path, want := range map[string]string{
		"clicks": "1", "conversions": "2", "clicks?from=7d": "1", "conversions?campaign=other": "",
		"journal": "2", "journal?from=7d": "2", "journal?to=7d": "", "journal?campaign=acme": "",
	} {
		if _, header, _ := adminDo(t, srv, http.MethodGet, "/capture/export/"+path); header.Get(estimateHeader) != want {
			t.Errorf("%s: estimated %q records, want %q", path, header.Get(estimateHeader), want)
		}
	}
	out, _, err = runCommand(srv.URL, "check")
	if err != nil || !strings.Contains(out, "checked: 1 click, 2 conversions, 2 journal entries, ") {
		t.Errorf("%v: %s", err, out)
	}
	out, _, err = runCommand(srv.URL, "check", "--format", "json")
	if err != nil || !strings.HasPrefix(out, `{"clicks":1,`) {
		t.Errorf("%v: %s", err, out)
	}
	out, _, err = runCommand(srv.URL, "erase", id)
	if err != nil || !strings.HasPrefix(out, "erased: the click, 2 conversions, 2 journal entries\n") {
		t.Errorf("%v: %s", err, out)
	}
	out, _, err = runCommand(srv.URL, "erase", id, "--format", "json")
	if err != nil || !strings.HasPrefix(out, `{"erased":{"click":`) {
		t.Errorf("%v: %s", err, out)
	}
	for args, want := range map[string]string{
		"export sums":                     "invalid argument",
		"export clicks --from x":          "is no time",
		"export clicks -o /nonexistent/x": "no such file",
		"erase abc":                       "has 3 characters",
	} {
		if _, _, err := runCommand(srv.URL, splitArgs(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
	}
}

// Answers that break off or end with an error.
func TestBulkCommandErrors(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/capture/conversions":
			_, _ = io.WriteString(w, `{"line":1,"outcome":"recorded"}`+"\n")
		case "/capture/journal/replay":
			_, _ = io.WriteString(w, `{"seq":1,"outcome":"recorded","done":1,"total":2}`+"\n"+`{"error":"the disk is gone"}`+"\n")
		case "/capture/check":
			_, _ = io.WriteString(w, `{"done":1,"total":2}`+"\n"+
				`{"done":2,"total":2,"result":{"clicks":2,"conversions":0,"entries":0,"sums":1,"wrong":3,"problems":["sum \u001b1","sum 2"]}}`+"\n")
		case "/capture/export/clicks", "/capture/backup":
			_, _ = io.WriteString(w, "something")
			_ = http.NewResponseController(w).Flush()
			if r.URL.RawQuery == "campaign=x" || r.URL.Path == "/capture/export/clicks" {
				panic(http.ErrAbortHandler)
			}
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.csv")
	if err := os.WriteFile(in, []byte("click_id\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	for args, want := range map[string]string{
		"import " + in:                      "import the same file again",
		"replay":                            "the disk is gone",
		"check":                             "3 problems found",
		"export clicks":                     "unexpected EOF",
		"export clicks -o " + out:           "unexpected EOF",
		"backup " + out:                     "is no backup",
		"backup":                            "accepts 1 arg(s)",
		"restore " + in + " --store a -c b": "give one of them",
		"restore " + out + "x":              "no such file",
		"restore " + dir + " --store " + dir + "/s": "is not a file",
	} {
		stdout, _, err := runCommand(srv.URL, splitArgs(args)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", args, err, want)
		}
		if args == "check" && !strings.Contains(stdout, "sum \\x1b1\nsum 2\nand 1 more\n") {
			t.Errorf("check: %q", stdout)
		}
	}
	// Nothing is left of what was not whole.
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
}

// A backup of the serving process is restored into an empty directory.
func TestBackupAndRestoreCommands(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "store")
	option := func(dir string) string { return "capture {\n store badger " + dir + "\n}" }
	directives := "track_click /go/* https://acme.example/offer?aff_sub={click_id}\npostback /postback"
	s.load(option(dir), directives)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?click_id=" + id + "&txid=1&payout=1&currency=USD")

	file := filepath.Join(t.TempDir(), "capture.backup")
	out, side, err := runCommand(srv.URL, "backup", file)
	if err != nil || out != "" || !strings.HasPrefix(side, file+": ") {
		t.Fatalf("%v: %q %q", err, out, side)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	stdout, _, err := runCommand(srv.URL, "backup", "-")
	if err != nil {
		t.Error(err)
	}
	if _, err := capture.VerifyBackup(strings.NewReader(stdout)); err != nil {
		t.Error(err)
	}

	// Not onto the store that is in use, nor one that is not empty.
	if _, _, err := runCommand(srv.URL, "restore", file, "--store", dir); !errors.Is(err, capture.ErrLocked) {
		t.Errorf("in use: %v", err)
	}
	s.load(option(filepath.Join(t.TempDir(), "elsewhere")), directives)
	// The old store is closed in the background.
	eventually(t, "the old store is refused as not empty", func() bool {
		_, _, err := runCommand(srv.URL, "restore", file, "--store", dir)
		if err == nil {
			t.Fatal("restored onto a store that is not empty")
		}
		return !errors.Is(err, capture.ErrLocked) && strings.Contains(err.Error(), "empty")
	})
	damaged := []byte(readFile(t, file))
	damaged[len(damaged)/2] ^= 1
	bad := writeFile(t, "bad.backup", string(damaged))
	empty := filepath.Join(t.TempDir(), "restored")
	if _, _, err := runCommand(srv.URL, "restore", bad, "--store", empty); !errors.Is(err, capture.ErrBackupDamaged) {
		t.Errorf("damaged: %v", err)
	}

	config := writeFile(t, "Caddyfile", s.caddyfile(option(empty), directives))
	_, side, err = runCommand(srv.URL, "restore", file, "--config", config)
	if err != nil || !strings.HasPrefix(side, "restored: badger ") {
		t.Fatalf("%v: %q", err, side)
	}
	s.load(option(empty), directives)
	if n := reported(t); n != 1 {
		t.Errorf("%d conversions after the restore", n)
	}
	var c clickAnswer
	adminGet(t, srv, "/capture/clicks/"+id, &c)
	if len(c.Conversions) != 1 || c.Gone {
		t.Errorf("%+v", c)
	}
	if out, _, err := runCommand(srv.URL, "check"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestStoreOf(t *testing.T) {
	t.Parallel()
	app, err := storeOf("", "", "")
	if err != nil || app.StoreRaw != nil {
		t.Errorf("%v %s", err, app.StoreRaw)
	}
	engine, done, err := app.engineOnly()
	if err != nil || !strings.HasSuffix(engine.Key(), "/capture") {
		t.Fatalf("%v %v", engine, err)
	}
	done()
	plain := writeFile(t, "plain.json", `{"apps":{"http":{}}}`)
	if app, err := storeOf(plain, "", ""); err != nil || app.StoreRaw != nil {
		t.Errorf("%v", err)
	}
	for text, want := range map[string]string{
		`{`: "unexpected", `{"apps":{"capture":{"shop":1}}}`: "unknown field",
	} {
		if _, err := storeOf(writeFile(t, "bad.json", text), "", ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
