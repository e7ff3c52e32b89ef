// Package e2e drives the real server over HTTP, as visitors, senders and operators do. What it
// expects it takes from the documented behaviour alone: nothing of the implementation is imported,
// but to give the browser tests' server a past.
//
// The server is the binary named by CAPTURE_CADDY; without that, it is built once.
package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// caddyBinary is the server under test.
var caddyBinary string

func TestMain(m *testing.M) {
	path, err := findBinary()
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding the server to test:", err)
		os.Exit(1)
	}
	caddyBinary = path
	pgtest.Main(m) // which ends the database's server, too
}

func findBinary() (string, error) {
	if err := watchSources(); err != nil {
		return "", err
	}
	if path := os.Getenv("CAPTURE_CADDY"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("CAPTURE_CADDY: %w", err)
		}
		return filepath.Abs(path)
	}
	build := exec.Command("./xcaddy-build.sh")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("running xcaddy-build.sh: %w\n%s", err, out)
	}
	name := "caddy"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Abs(filepath.Join(build.Dir, name))
}

// watchSources looks at what the server is built from. Go's test cache remembers what a test has
// looked at, so "(cached)" never stands for a server that has changed since.
func watchSources() error {
	for _, name := range []string{"go.mod", "go.sum", "xcaddy-build.sh"} {
		if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"capture", "attribution", "caddymodule"} {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			_, err = os.Stat(path)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
