//go:build unix

// Package pgtest runs a PostgreSQL server for tests.
package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// env says with "must" that a machine without PostgreSQL fails the tests, and
// with "never" that they are skipped.
const env = "CAPTURE_POSTGRES"

// Server is a running server whose superuser needs no password on its socket.
type Server struct {
	// Dir is the directory of its socket.
	Dir      string
	data     string
	bin      string
	settings []string
	cred     *syscall.Credential
	// watch ends the server when the tests end without doing so, as a test does
	// that takes too long.
	watch *exec.Cmd
}

// watching waits for the end of the tests' process, then ends the server by the
// number of its own and removes its directory.
const watching = `while kill -0 "$1" 2>/dev/null; do sleep 1; done
pid=$(head -n 1 "$2/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
sleep 2
rm -rf "$2"`

var (
	once    sync.Once
	shared  *Server
	failure error
	schemas atomic.Int64
)

// Shared returns the server that all tests of the process share, and starts it
// the first time. [Main] stops it. Where there is no PostgreSQL, the test is
// skipped.
func Shared(t testing.TB) *Server {
	t.Helper()
	if os.Getenv(env) == "never" {
		t.Skipf("%s=never: no PostgreSQL server is looked for", env)
	}
	once.Do(func() { shared, failure = Start() })
	return there(t, shared, failure)
}

// Own starts a server for one test alone, which may stop it, with more settings.
func Own(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := Start(settings...)
	if err == nil {
		t.Cleanup(s.Stop)
	}
	return there(t, s, err)
}

func there(t testing.TB, s *Server, err error) *Server {
	t.Helper()
	switch {
	case err == nil:
		return s
	case os.Getenv(env) == "must":
		t.Fatalf("there has to be a PostgreSQL server: %v", err)
	default:
		t.Skipf("there is no PostgreSQL server here: %v", err)
	}
	return nil
}

// Main runs the tests and stops the server.
func Main(m *testing.M) {
	code := m.Run()
	if shared != nil {
		shared.Stop()
	}
	os.Exit(code)
}

// Start makes a new cluster and starts a server on it, as the user postgres if
// this is root. Settings, such as "full_page_writes=on", are added to those that
// make tests fast.
func Start(settings ...string) (*Server, error) {
	return start(settings, func(s *Server) error {
		return s.run("initdb", "-D", s.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
	})
}

// start starts a server on the cluster that fill makes.
func start(settings []string, fill func(*Server) error) (s *Server, err error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s = &Server{Dir: dir, data: filepath.Join(dir, "data"), bin: bin, settings: settings}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if os.Geteuid() == 0 {
		if err := s.asPostgres(); err != nil {
			return nil, err
		}
	}
	if err := fill(s); err != nil {
		return nil, err
	}
	s.watch = exec.Command("sh", "-c", watching, "sh", strconv.Itoa(os.Getpid()), dir) //nolint:gosec // the tests' own
	s.watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                          // who interrupts the tests does not interrupt it
	if err := s.watch.Start(); err != nil {
		return nil, err
	}
	if err := s.Restart(); err != nil {
		_ = s.watch.Process.Kill()
		return nil, err
	}
	return s, nil
}

// asPostgres hands the directory to the user postgres: the server does not run
// as root.
func (s *Server) asPostgres() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("the server does not run as root: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.Dir, int(uid), int(gid)) //nolint:gosec // 32 bits
}

// Restart starts the server, after a Kill or for the first time.
func (s *Server) Restart() error {
	options := "-c listen_addresses='' -c unix_socket_directories=" + s.Dir +
		" -c fsync=off -c full_page_writes=off -c max_connections=300 -c shared_buffers=64MB -c timezone=Asia/Kathmandu"
	for _, setting := range s.settings {
		options += " -c " + setting
	}
	log := filepath.Join(s.Dir, "log")
	err := s.run("pg_ctl", "-D", s.data, "-w", "-l", log, "-o", options, "start")
	if err != nil {
		said, _ := os.ReadFile(log)
		err = fmt.Errorf("%w\n%s", err, said[max(0, len(said)-2000):])
	}
	return err
}

// Stop ends the server and removes all of it.
func (s *Server) Stop() {
	_ = s.run("pg_ctl", "-D", s.data, "-m", "immediate", "-w", "stop")
	_ = s.watch.Process.Kill()
	_ = s.watch.Wait()
	_ = os.RemoveAll(s.Dir)
}

// Kill ends the server as a crash would.
func (s *Server) Kill() error { return s.run("pg_ctl", "-D", s.data, "-m", "immediate", "-w", "stop") }

func (s *Server) run(name string, args ...string) error {
	_, err := s.output(name, args...)
	return err
}

// output runs one of the server's programs and returns what it printed.
func (s *Server) output(name string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(s.bin, name), args...) //nolint:gosec // the tests' own
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGCTLTIMEOUT=300")
	if s.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	}
	// The server inherits what it is given, so no pipe.
	out, err := os.CreateTemp("", "pgtest")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name()) //nolint:errcheck // a temporary file
	defer out.Close()           //nolint:errcheck // as above
	cmd.Stdout, cmd.Stderr = out, out
	failed := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if failed != nil {
		return "", fmt.Errorf("%s: %w: %s", name, failed, bytes.TrimSpace(text))
	}
	return string(text), err
}

// Find returns the directory of the server's programs, of the newest version.
func Find() (string, error) {
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); runnable(dir) {
			return dir, nil
		}
	}
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	best, newest := "", -1
	for _, dir := range dirs {
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && n > newest && runnable(dir) {
			best, newest = dir, n
		}
	}
	if best != "" {
		return best, nil
	}
	if name, err := exec.LookPath("initdb"); err == nil && runnable(filepath.Dir(name)) {
		return filepath.Dir(name), nil
	}
	return "", fmt.Errorf("initdb and pg_ctl are not installed")
}

func runnable(dir string) bool {
	for _, name := range []string{"initdb", "pg_ctl", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// DSN is how to reach the server.
func (s *Server) DSN() string {
	return "host=" + s.Dir + " port=5432 user=postgres dbname=postgres sslmode=disable"
}

// Socket is the file of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.Dir, ".s.PGSQL.5432") }

// Schema returns the name of a schema that no other test has.
func Schema() string { return fmt.Sprintf("capture_%d", schemas.Add(1)) }
