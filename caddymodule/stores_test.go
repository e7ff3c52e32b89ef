package caddymodule

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What the adapter makes of whole Caddyfiles. They are written as `caddy fmt`
// writes them.
func TestAdapt(t *testing.T) {
	t.Parallel()
	inputs, err := filepath.Glob("testdata/adapt/*.caddyfile")
	if err != nil || len(inputs) == 0 {
		t.Fatal(inputs, err)
	}
	for _, name := range inputs {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if formatted := caddyfile.Format(text); string(formatted) != string(text) {
			t.Errorf("%s is not formatted", name)
		}
		got, err := adapt(string(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden := strings.TrimSuffix(name, ".caddyfile") + ".json"
		if *update {
			writeGolden(t, golden, got)
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		wantJSON(t, got, want)
	}
}

func writeGolden(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, []byte(prettyJSON(t, data)), 0o644); err != nil { //nolint:gosec // not secret
		t.Fatal(err)
	}
}

func TestBadgerDirectory(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("STATE_DIRECTORY", filepath.Join(data, "state"))
	for given, want := range map[string]string{
		"":                          filepath.Join(data, "caddy", "capture"),
		"/var/lib/x":                "/var/lib/x",
		"{env.STATE_DIRECTORY}/sub": filepath.Join(data, "state", "sub"),
	} {
		s := &BadgerStore{Directory: given}
		if err := s.Provision(caddy.Context{}); err != nil || s.dir != want {
			t.Errorf("%q became %q, %v", given, s.dir, err)
		}
		key := s.Engine(zap.NewNop()).Key()
		if !strings.Contains(key, filepath.Base(want)) {
			t.Errorf("the key is %q", key)
		}
	}
	noFiles(t, filepath.Join(data, "caddy"))
	noFiles(t, filepath.Join(data, "state"))
}

// The three-line Caddyfile needs no global option: the store is made in
// Caddy's data directory when it starts.
func TestBadgerByDefault(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("HOME", data)
	s := newSite(t)
	s.load("", "postback /pb")
	dir := filepath.Join(data, "caddy", "capture")
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	id := click(t, "acme", 0)
	if res, body := s.get("/pb?click_id=" + id); res.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	// A check of the same configuration beside it.
	if err := s.validate("", "postback /pb"); err != nil {
		t.Error(err)
	}
	// What was answered is there after a restart.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.load("", "postback /pb")
	res, body := s.get("/pb?click_id=" + id)
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{"outcome":"duplicate"`) {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

func TestBadgerReloads(t *testing.T) {
	s := newSite(t)
	target := filepath.Join(s.dir, "real")
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(s.dir, "link")
	if err := os.Symlink(target, link); err != nil {
		t.Skip(err)
	}
	store := func(dir string) string { return "capture {\n store badger " + dir + "\n}" }
	one, two := filepath.Join(target, "one"), filepath.Join(target, "two")
	s.load(store(one), "postback /pb")
	id := click(t, "acme", 0)
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	ledger := held.ledger
	before := goroutines()

	// The same directory by another way is the same store.
	for i, dir := range []string{filepath.Join(link, "one"), filepath.Join(s.dir, "link", "..", "link", "one"), one} {
		s.load(store(dir), fmt.Sprintf("postback /pb\nheader X-Load %d", i))
		if held, _ := runningApp(t).acquire(); held.ledger != ledger {
			t.Errorf("%s is another store", dir)
		}
		if res, body := s.get("/pb?click_id=" + id); res.StatusCode != http.StatusOK {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
	}
	// Another one and back: the store is closed and opened again.
	for range 3 {
		s.load(store(two), "postback /pb")
		if res, _ := s.get("/pb?click_id=" + id); res.StatusCode != http.StatusBadRequest {
			t.Errorf("the other store knows the click: %d", res.StatusCode)
		}
		s.load(store(one), "postback /pb")
		if res, body := s.get("/pb?click_id=" + id); res.StatusCode != http.StatusOK ||
			!strings.HasPrefix(body, `{"outcome":"duplicate"`) {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
	}
	if n := len(openLedgers()); n != 1 {
		t.Errorf("%d stores are open", n)
	}
	eventually(t, "no goroutines are left over", func() bool { return goroutines() <= before+5 })
}

// A store that cannot be opened fails the load with its path, and the running
// configuration serves on.
func TestBadgerCannotOpen(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	file := filepath.Join(s.dir, "file")
	if err := os.WriteFile(file, []byte("not a directory"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.tryLoad("capture {\n store badger "+file+"\n}", "postback /pb")
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v", err)
	}
	id := click(t, "acme", 0)
	if res, body := s.get("/pb?click_id=" + id); res.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	place.want(t, 1, 0)
	if n := len(openLedgers()); n != 1 {
		t.Errorf("%d stores are open", n)
	}
}

// The largest postback that a route can be set to take fits into the store.
func TestBadgerLargestPostback(t *testing.T) {
	s := newSite(t)
	s.load("capture {\n store badger "+filepath.Join(s.dir, "store")+"\n}", "postback /pb {\n max_body 512KiB\n}")
	id := click(t, "acme", 0)
	head := `{"click_id":"` + id + `","pad":"`
	const tail = `"}`
	body := head + strings.Repeat("x", maxMaxBody-len(head)-len(tail)) + tail
	req, _ := http.NewRequest(http.MethodPost, s.url("/pb"), strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if res, answer := s.do(req); res.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", res.StatusCode, answer)
	}
	if res, answer := s.get("/pb?click_id=" + id + "&txid=2"); res.StatusCode != http.StatusOK {
		t.Errorf("got %d %s", res.StatusCode, answer)
	}
}
