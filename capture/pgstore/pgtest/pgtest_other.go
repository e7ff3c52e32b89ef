//go:build !unix

package pgtest

import (
	"errors"
	"os"
	"testing"
)

// Server is none here: the tests want a Unix socket.
type Server struct{}

var errNone = errors.New("the tests start PostgreSQL only where there are Unix sockets")

// Shared skips the test.
func Shared(t testing.TB) *Server {
	t.Skip(errNone)
	return nil
}

// Own skips the test.
func Own(t testing.TB, _ ...string) *Server { return Shared(t) }

// Main runs the tests.
func Main(m *testing.M) { os.Exit(m.Run()) }

// Find fails.
func Find() (string, error) { return "", errNone }

// Start fails.
func Start(...string) (*Server, error) { return nil, errNone }

// Replica fails.
func (*Server) Replica(string) (*Server, error) { return nil, errNone }

// Promote fails.
func (*Server) Promote() error { return errNone }

// SQL fails.
func (*Server) SQL(string) (string, error) { return "", errNone }

// Crash fails.
func (*Server) Crash() error { return errNone }

// Processes fails.
func (*Server) Processes() ([]int, error) { return nil, errNone }

// Restart fails.
func (*Server) Restart() error { return errNone }

// Kill fails.
func (*Server) Kill() error { return errNone }

// Stop does nothing.
func (*Server) Stop() {}

// DSN is empty.
func (*Server) DSN() string { return "" }

// Socket is empty.
func (*Server) Socket() string { return "" }

// Pooler is none.
func (*Server) Pooler(testing.TB, int) string { return "" }

// Schema is empty.
func Schema() string { return "" }
