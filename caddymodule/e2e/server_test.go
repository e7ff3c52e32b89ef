package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout   = 60 * time.Second
	stopTimeout    = 30 * time.Second
	commandTimeout = 60 * time.Second
)

// clickIDs are 26 characters that survive networks which fold case.
var clickIDs = regexp.MustCompile(`^[0-9a-z]{26}$`)

// A server is a Caddy with a directory, ports and a Caddyfile of its own.
type server struct {
	t     testing.TB
	dir   string
	port  string // of the site, on 127.0.0.1
	admin string // address of the admin API
	store string // where $STORE points to
	env   []string
	vars  []string // what $NAME stands for in Caddyfiles
	under []string // a command that runs the server's, as taskset does
	fleet *fleet   // that it is a node of, if of one

	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended

	reloaded time.Time
}

// newServer prepares a server without starting it. In its Caddyfile stand $PORT, $ADMIN and
// $STORE, and whatever vars adds in pairs.
func newServer(t testing.TB, caddyfile string, vars ...string) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{
		t: t, dir: dir,
		port:  freePort(t),
		admin: "127.0.0.1:" + freePort(t),
		store: filepath.Join(dir, "store"),
	}
	s.vars = append([]string{"$PORT", s.port, "$ADMIN", s.admin, "$STORE", s.store, "$DIR", dir}, vars...)
	s.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + dir,
		"XDG_DATA_HOME=" + filepath.Join(dir, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(dir, "config"),
		"CADDY_ADMIN=" + s.admin,
	}
	s.write(caddyfile)
	return s
}

// startServer prepares and starts a server, which ends with the test.
func startServer(t testing.TB, caddyfile string, vars ...string) *server {
	t.Helper()
	s := newServer(t, caddyfile, vars...)
	s.start()
	return s
}

// keepIn makes another directory the store's.
func (s *server) keepIn(dir, caddyfile string) {
	s.t.Helper()
	s.store, s.vars[5] = dir, dir
	s.write(caddyfile)
}

func (s *server) caddyfile() string { return filepath.Join(s.dir, "Caddyfile") }

func (s *server) expand(text string) string { return strings.NewReplacer(s.vars...).Replace(text) }

// write replaces the Caddyfile, which a running server does not notice.
func (s *server) write(caddyfile string) {
	s.t.Helper()
	if err := os.WriteFile(s.caddyfile(), []byte(s.expand(caddyfile)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// launch starts the process and does not wait for it to serve.
func (s *server) launch() {
	s.t.Helper()
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	command := slices.Concat(s.under, []string{caddyBinary, "run", "--config", s.caddyfile(), "--adapter", "caddyfile"})
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, log, log
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(exited)
	}()
	s.process, s.exited = cmd, exited
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-exited
		s.expectSanity()
	})
}

// expectSanity looks in the log for what no server may ever say. Data races are reported by a
// binary that was built to find them.
func (s *server) expectSanity() {
	s.t.Helper()
	logs := s.logs()
	for _, words := range []string{"panic: ", "panic serving", "fatal error: ", "WARNING: DATA RACE"} {
		if i := strings.Index(logs, words); i >= 0 {
			s.t.Errorf("the server's log has\n%s", logs[i:min(len(logs), i+4000)])
		}
	}
}

// start returns when the site and the admin API answer.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.started()
}

// started waits until a server that was launched serves.
func (s *server) started() {
	s.t.Helper()
	eventually(s.t, startTimeout, func() error {
		if s.hasExited() {
			s.t.Fatalf("the server has ended\n%s", s.logs())
		}
		return s.serves()
	})
}

// serves says why the site and the admin API do not answer yet.
func (s *server) serves() error {
	c := client{addr: s.admin}
	defer c.close()
	a, err := c.do("GET", "/capture/health", "")
	if err == nil && (a.status == 404 || containsAll(a.body, "still starting") || !listening(s.site())) {
		err = fmt.Errorf("the server does not serve yet: status %d %s", a.status, a.body)
	}
	return err
}

func (s *server) site() string    { return "127.0.0.1:" + s.port }
func (s *server) pid() int        { return s.process.Process.Pid }
func (s *server) logFile() string { return filepath.Join(s.dir, "caddy.log") }

func (s *server) logs() string {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (s *server) hasExited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// wait returns the exit status of a server that is about to end.
func (s *server) wait(limit time.Duration) int {
	s.t.Helper()
	select {
	case <-s.exited:
		return s.process.ProcessState.ExitCode()
	case <-time.After(limit):
		s.t.Fatalf("the server still runs after %v\n%s", limit, s.logs())
		return -1
	}
}

// stop ends the server as systemd does.
func (s *server) stop() {
	s.t.Helper()
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if code := s.wait(stopTimeout); code != 0 {
		s.t.Errorf("the server ended with status %d\n%s", code, s.logs())
	}
}

// kill ends it as a crash does.
func (s *server) kill() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	s.wait(stopTimeout)
}

// reload hands the running server another Caddyfile.
func (s *server) reload(caddyfile string) {
	s.t.Helper()
	c := client{addr: s.admin}
	defer c.close()
	a, err := c.do("POST", "/load", s.expand(caddyfile), "Content-Type: text/caddyfile")
	if err != nil || a.status != 200 {
		s.t.Fatalf("reload: %v, status %d %s", err, a.status, a.body)
	}
	s.reloaded = time.Now()
}

// do sends one request, and again if it comes so soon after a reload that the old configuration took the connection, only
// to drop it.
func (s *server) do(method, target, body string, headers ...string) answer {
	s.t.Helper()
	c := client{addr: s.site()}
	defer c.close()
	a, err := c.do(method, target, body, headers...)
	for wasIdle(err) && time.Since(s.reloaded) < 10*time.Second {
		a, err = c.do(method, target, body, headers...)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *server) get(target string, headers ...string) answer {
	s.t.Helper()
	return s.do("GET", target, "", headers...)
}

// click follows a tracked link and returns the click ID found in a parameter of the Location.
func (s *server) click(target, parameter string, headers ...string) string {
	s.t.Helper()
	a := s.get(target, headers...)
	id := a.parameter(parameter)
	if a.status != 302 || !clickIDs.MatchString(id) {
		s.t.Fatalf("GET %.200s: status %d, Location %q: no click ID in %q", target, a.status, a.header.Get("Location"), parameter)
	}
	return id
}

// api asks the admin API, and again if a reload took the connection away.
func (s *server) api(target string) answer {
	s.t.Helper()
	for {
		c := client{addr: s.admin}
		a, err := c.do("GET", target, "")
		c.close()
		switch {
		case err == nil:
			return a
		case !wasIdle(err):
			s.t.Fatal(err)
		}
	}
}

func decode(t testing.TB, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in %.500q", err, text)
	}
}

// eventually repeats check until it returns nothing, and fails with its last complaint.
func eventually(t testing.TB, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still so after %v: %v", limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
