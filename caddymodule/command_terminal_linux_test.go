package caddymodule

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// terminal opens a real terminal; what is written to it comes out of read once
// it is closed.
func terminal(t *testing.T, columns uint16) (tty *os.File, read func() string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	text := make(chan string, 1)
	go func() {
		data, _ := io.ReadAll(master) // its end is an error
		text <- string(data)
	}()
	return tty, func() string {
		_ = tty.Close()
		return <-text
	}
}

// onTerminal runs `caddy capture ...` with a terminal for both outputs.
func onTerminal(t *testing.T, columns uint16, address string, args ...string) string {
	t.Helper()
	tty, read := terminal(t, columns)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: "capture"}
	setupCommand(cmd)
	root.AddCommand(cmd)
	root.SetOut(tty)
	root.SetErr(tty)
	root.SetArgs(append([]string{"capture"}, append(args, "--address", strings.TrimPrefix(address, "http://"))...))
	err := root.Execute()
	text := read()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, text)
	}
	return text
}

func TestOnTerminal(t *testing.T) {
	s, _ := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	for _, campaign := range []string{"acme", "%E6%9D%B1%E4%BA%AC%E7%89%B9%E9%9B%86"} {
		id := s.visit("/go/" + campaign + "?source=" + strings.Repeat("long-", 30))
		s.get("/postback?click_id=" + id + "&txid=t1&payout=12.5&currency=USD&event=sale&status=pending")
	}
	const escape = "\x1b["
	for _, columns := range []uint16{80, 200} {
		for _, args := range []string{"report --by campaign,source,event", "conversions", "journal", "networks"} {
			t.Setenv("NO_COLOR", "")
			t.Setenv("TERM", "xterm-256color")
			colored := onTerminal(t, columns, srv.URL, splitArgs(args)...)
			t.Setenv("NO_COLOR", "1")
			plain := onTerminal(t, columns, srv.URL, splitArgs(args)...)
			if !strings.Contains(colored, escape+"1m") || strings.Contains(plain, escape) {
				t.Errorf("%s: colours:\n%s\nand without:\n%s", args, colored, plain)
			}
			for line := range strings.Lines(plain) {
				line = strings.TrimRight(line, "\r\n")
				if n := textWidth(line); n > int(columns) && !strings.HasPrefix(line, "no room for ") {
					t.Errorf("%s: %d columns on a terminal of %d: %s", args, n, columns, line)
				}
			}
			if !strings.Contains(plain, "…") && args != "networks" && args != "journal" && columns == 80 {
				t.Errorf("%s: nothing was cut:\n%s", args, plain)
			}
		}
	}
	if out := onTerminal(t, 200, srv.URL, "conversions", "--color", "always"); !strings.Contains(out, escape+"33mpending") {
		t.Errorf("--color always, against NO_COLOR:\n%s", out)
	}
	t.Setenv("NO_COLOR", "")
	if out := onTerminal(t, 200, srv.URL, "conversions", "--color", "never"); strings.Contains(out, escape) {
		t.Errorf("--color never:\n%s", out)
	}
	// The progress of a command that takes time, on its side.
	if out := onTerminal(t, 80, srv.URL, "check"); !strings.Contains(out, "\rchecking  100%") {
		t.Errorf("no progress:\n%q", out)
	}
	t.Setenv("TERM", "dumb")
	if out := onTerminal(t, 80, srv.URL, "check"); strings.Contains(out, "checking") {
		t.Errorf("progress on a dumb terminal:\n%q", out)
	}
	if out := onTerminal(t, 80, srv.URL, "conversions"); strings.Contains(out, escape) {
		t.Errorf("colours on a dumb terminal:\n%s", out)
	}
	// What is no terminal gets no colours, unless it is told to.
	for choice, want := range map[string]bool{"auto": false, "always": true} {
		if out, _, err := runCommand(srv.URL, "conversions", "--color", choice); err != nil || strings.Contains(out, escape) != want {
			t.Errorf("--color %s: %v\n%s", choice, err, out)
		}
	}
	if _, _, err := runCommand(srv.URL, "conversions", "--color", "blue"); err == nil || !strings.Contains(err.Error(), "use auto, always, never") {
		t.Errorf("--color blue: %v", err)
	}
}
