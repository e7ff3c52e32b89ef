package caddymodule

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// freeAddress returns an address on which nobody listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The commands against Caddy's own admin endpoint, with a click site behind a
// Unix socket and a postback site behind TLS.
func TestCommandsAndRealAdmin(t *testing.T) {
	option, _ := memoryOption(t)
	dir, err := os.MkdirTemp("", "capture") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	admin, site := freeAddress(t), freeAddress(t)
	_, port, _ := net.SplitHostPort(site)
	config := filepath.Join(dir, "Caddyfile")
	load := func(text string) error {
		data, err := adapt(text)
		if err != nil {
			return err
		}
		return caddy.Load(data, true)
	}
	t.Cleanup(func() {
		// Without this the admin endpoint would outlive the test.
		if err := load("{\n admin off\n persist_config off\n}"); err != nil {
			t.Error(err)
		}
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	text := fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https disable_redirects
	skip_install_trust
	storage file_system %s/caddy
	%s
}
http://clicks.example {
	bind unix/%s/x.sock|0200
	track_click /go/* https://acme.example/offer?aff_sub={click_id}
}
https://*.localhost:%s {
	bind 127.0.0.1
	tls internal
	postback /postback
}
`, admin, dir, option, dir, port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := load(text); err != nil {
		t.Fatal(err)
	}

	run := func(args ...string) string {
		t.Helper()
		out, side, err := runCommand("", append(args, "--config", config)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s%s", args, err, out, side)
		}
		return out
	}
	// The certificate is made in the background.
	var out string
	eventually(t, "the test passes", func() bool {
		out, _, err = runCommand("", "test", "--config", config)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
		}
		return err == nil
	})
	for _, want := range []string{
		"GET http://clicks.example/go/capture-test?source=", "GET https://capture-test.localhost:" + port + "/postback?click_id=",
		"ok    result      everything works",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if out := run("health"); !strings.Contains(out, "state              ok") {
		t.Errorf("health: %s", out)
	}
	if out := run("report", "--format", "json"); !strings.Contains(out, `"rows":[]`) {
		t.Errorf("report: %s", out)
	}
	if out := run("conversions", "--test"); !strings.Contains(out, "capture-test") {
		t.Errorf("conversions: %s", out)
	}

	// Under a configuration without Capture the API says so.
	if err := load(fmt.Sprintf("{\n admin %s\n persist_config off\n}\n:0 {\n respond x\n}", admin)); err != nil {
		t.Fatal(err)
	}
	// Caddy closes the admin endpoint from before in the background, and resets what came to it.
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, _, err := runCommand(admin, "report")
		if err != nil && strings.Contains(err.Error(), "Capture is not in use") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("without Capture: %v", err)
		}
	}
}
