//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is for a server that was killed to be gone.
const patience = 10 * time.Second

// Replica starts another server with a copy of this one, which receives all that
// is written from then on. It goes by a name, which synchronous_standby_names of
// this one may have.
func (s *Server) Replica(name string) (*Server, error) {
	return start(s.settings, func(r *Server) error {
		return r.run("pg_basebackup", "-d", "host="+s.Dir+" port=5432 user=postgres application_name="+name,
			"-D", r.data, "-R", "-X", "stream", "-c", "fast", "-N")
	})
}

// Promote makes a replica a server of its own.
func (s *Server) Promote() error { return s.run("pg_ctl", "-D", s.data, "-w", "promote") }

// SQL runs one statement and returns what it gives, a line for each row.
func (s *Server) SQL(statement string) (string, error) {
	out, err := s.output("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", s.DSN(), "-c", statement)
	return strings.TrimSpace(out), err
}

// Crash ends all of the server's processes with SIGKILL, none of which can do
// anything about it.
func (s *Server) Crash() error {
	main, err := s.pid()
	if err != nil {
		return err
	}
	_ = syscall.Kill(main, syscall.SIGSTOP) // so that it starts no others
	all := append(children(main), main)
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for _, pid := range all {
			if runs(pid) {
				left++
			}
		}
		if left == 0 {
			// Where nobody has asked how they ended, the server that comes next takes them for alive.
			return errors.Join(os.Remove(filepath.Join(s.data, "postmaster.pid")), os.Remove(s.Socket()+".lock"))
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d processes of the server are still there", left)
		}
	}
}

// Processes lists the server's processes, where the system tells: first the one
// that has started all others.
func (s *Server) Processes() ([]int, error) {
	main, err := s.pid()
	if err != nil {
		return nil, err
	}
	return append([]int{main}, children(main)...), nil
}

// pid is the number of the server's first process.
func (s *Server) pid() (int, error) {
	data, err := os.ReadFile(filepath.Join(s.data, "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strconv.Atoi(line)
}

// children lists the processes that a process has started, where the system
// tells. Those of a server end by themselves when it does, only later.
func children(of int) (list []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		pid, _, parent := stat(name)
		if parent == of {
			list = append(list, pid)
		}
	}
	return list
}

// runs tells whether there is such a process, if only as a dead one's name.
func runs(pid int) bool {
	if _, state, _ := stat(fmt.Sprintf("/proc/%d/stat", pid)); state != "" {
		return state != "Z"
	}
	return syscall.Kill(pid, 0) == nil
}

// stat reads what the system says of a process.
func stat(name string) (pid int, state string, parent int) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, "", 0
	}
	text := string(data)
	if i := strings.LastIndexByte(text, ')'); i >= 0 { // the command may have anything in it
		fields := strings.Fields(text[i+1:])
		if len(fields) > 1 {
			pid, _ = strconv.Atoi(strings.Fields(text)[0])
			parent, _ = strconv.Atoi(fields[1])
			return pid, fields[0], parent
		}
	}
	return 0, "", 0
}
