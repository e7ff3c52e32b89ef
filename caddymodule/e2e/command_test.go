package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
)

// A run is a finished command.
type run struct {
	code           int
	stdout, stderr string
}

// caddy runs a command of the same binary, in the server's environment.
func (s *server) caddy(args ...string) run {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, caddyBinary, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		s.t.Fatalf("caddy %s: %v %v", strings.Join(args, " "), err, ctx.Err())
	}
	return run{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// output runs a command that must succeed.
func (s *server) output(args ...string) string {
	s.t.Helper()
	r := s.caddy(args...)
	if r.code != 0 {
		s.t.Fatalf("caddy %s: exit status %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}
