//go:build unix

package pgtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// poolerEnv names the program where it is in no usual place.
const poolerEnv = "CAPTURE_PGBOUNCER"

// Pooler starts a PgBouncer in front of the server, which gives each transaction
// one of so many connections, and ends it with the test. It returns how to reach
// it. Where there is none, the test is skipped, or fails where there has to be
// one.
func (s *Server) Pooler(t testing.TB, conns int) (dsn string) {
	t.Helper()
	bin := os.Getenv(poolerEnv)
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if found, err := exec.LookPath(name); bin == "" && err == nil {
			bin = found
		}
	}
	switch {
	case bin != "":
	case os.Getenv(env) == "must":
		t.Fatalf("there has to be a PgBouncer: install it, or set %s to the program", poolerEnv)
	default:
		t.Skip("there is no PgBouncer here")
	}
	dir, err := os.MkdirTemp("", "pgpool")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=5432 user=postgres
[pgbouncer]
unix_socket_dir = %s
listen_port = 5432
listen_addr =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
logfile = %s
pidfile =
`, s.Dir, dir, conns, filepath.Join(dir, "log"))
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil { //nolint:gosec // read by another user
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-q", ini) //nolint:gosec // the tests' own
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, dir
	if s.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
		if err := os.Chown(dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unix", filepath.Join(dir, ".s.PGSQL.5432"))
		if err == nil {
			_ = c.Close()
			return "host=" + dir + " port=5432 user=postgres dbname=postgres sslmode=disable"
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	t.Fatalf("PgBouncer does not listen: %s", out.Bytes())
	return ""
}
