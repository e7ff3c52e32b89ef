package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// installScript installs Debian's Chromium where it is missing.
	installScript = "../../.ci/chromium"
	// installLimit is a little more than the script gives itself.
	installLimit = 12 * time.Minute
)

// findChromium returns the browser to test with. Where there is none it is installed, if that can be
// done; if not, the test is skipped, or fails where CAPTURE_BROWSER=must says that there has to be
// one. With CAPTURE_BROWSER=never nothing is installed and nothing tested.
func findChromium(t testing.TB) string {
	t.Helper()
	choice := os.Getenv("CAPTURE_BROWSER")
	if choice == "never" {
		t.Skip("CAPTURE_BROWSER=never: no browser is looked for")
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	var said bytes.Buffer
	path, err := installChromium(t.Context(), os.Environ(), io.MultiWriter(os.Stderr, &said))
	t.Logf("%s", said.Bytes())
	switch {
	case err == nil:
		return path
	case choice == "must":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return ""
}

// installChromium returns the path of the browser that it has installed. What is done it writes to say.
func installChromium(ctx context.Context, env []string, say io.Writer) (string, error) {
	return install(ctx, installScript, env, say)
}

// install returns what a script prints that installs something.
func install(ctx context.Context, script string, env []string, say io.Writer) (string, error) {
	if _, err := os.Stat(script); err != nil { // what depends on it is not taken from Go's test cache
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	var last bytes.Buffer
	install := exec.CommandContext(ctx, "sh", script)
	install.Env, install.Stderr, install.WaitDelay = env, io.MultiWriter(say, &last), 5*time.Second
	path, err := install.Output()
	if err == nil {
		return strings.TrimSpace(string(path)), nil
	}
	why := strings.TrimSpace(last.String())
	why = why[strings.LastIndexByte(why, '\n')+1:]
	if why == "" {
		return "", fmt.Errorf("running %s: %w", script, err)
	}
	return "", errors.New(why)
}

// TestChromiumIsInstalled has a browser installed by an apt-get that only pretends to.
func TestChromiumIsInstalled(t *testing.T) {
	t.Parallel()
	tools := make(map[string]string)
	for _, name := range []string{"sh", "timeout", "cp"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		tools[name] = path
	}
	const packages = "chromium fonts-inter fonts-jetbrains-mono"
	update := "-o DPkg::Lock::Timeout=60 update -q"
	install := "-o DPkg::Lock::Timeout=60 install -y -q --no-install-recommends " + packages
	const arrives = `case "$*" in *install*) cp "$0" "${0%/*}/chromium" ;; esac`
	for name, tc := range map[string]struct {
		user, apt string // apt is what the command does; none without it
		ran       []string
		wrong     string
	}{
		"root on Debian":     {"0", arrives, []string{update, install}, ""},
		"somebody on Debian": {"1000", arrives, nil, "can be installed by root with apt-get only: install " + packages},
		"another system":     {"0", "", nil, "can be installed by root with apt-get only"},
		"no mirror":          {"0", "exit 100", []string{update}, "installing " + packages + " failed"},
		"no such package":    {"0", `case "$*" in *install*) exit 100 ;; esac`, []string{update, install}, "failed"},
		"an empty package":   {"0", "true", []string{update, install}, "there is no Chromium in PATH after"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, path := range tools {
				if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			script := func(name, text string) {
				t.Helper()
				text = "#!" + tools["sh"] + "\n" + text + "\n"
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil { //nolint:gosec // it is to be run
					t.Fatal(err)
				}
			}
			script("id", "echo "+tc.user)
			if tc.apt != "" {
				script("apt-get", `echo "$*" >>"${0%/*}/ran"; echo "DEBIAN_FRONTEND is $DEBIAN_FRONTEND"`+"\n"+tc.apt)
			}
			var said bytes.Buffer
			path, err := installChromium(t.Context(), []string{"PATH=" + dir}, &said)
			ran, _ := os.ReadFile(filepath.Join(dir, "ran")) // it may not have run
			if got, want := strings.TrimSpace(string(ran)), strings.Join(tc.ran, "\n"); got != want {
				t.Errorf("apt-get ran with %q, want %q", got, want)
			}
			switch {
			case tc.wrong == "" && (err != nil || path != filepath.Join(dir, "chromium")):
				t.Errorf("%v: %q", err, path)
			case tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)):
				t.Errorf("got %v, want %q in it", err, tc.wrong)
			case tc.ran != nil && (!strings.Contains(said.String(), "installing "+packages) || !strings.Contains(said.String(), "DEBIAN_FRONTEND is noninteractive")):
				t.Errorf("it said %q", said.String())
			}
		})
	}
}
