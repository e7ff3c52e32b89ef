package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// checkCounted makes sure that the server took the requests for what they were meant to be: a
// repeated postback and a new one look alike from outside. The moment of the first look at the
// metrics is known to some milliseconds only, so a tenth is let go; and whatever was under way when
// the generator hung up may have come to something else.
func checkCounted(l burst, requests float64, before, after series) error {
	grown := func(name, label, value string) float64 {
		c := counter{name, label, value}
		return after.sum(c) - before.sum(c)
	}
	meant := l.kind.counter
	for _, name := range []string{clicksCounted, postbacksCounted} {
		// A late click is counted as one besides, and one that was lost is a figure.
		all := grown(name, "", "") - grown(name, "kind", "late") - grown(name, "kind", "lost")
		as := 0.0
		if meant.name == name {
			as = grown(name, meant.label, meant.value)
			if short := requests - as - grown(name, "kind", "lost"); math.Abs(short) > requests/10+float64(l.connections) {
				return fmt.Errorf("the server counted %.0f of %.0f requests as %s %q", as, requests, meant.label, meant.value)
			}
		}
		if all-as > float64(l.connections) {
			return fmt.Errorf("the server counted %.0f further requests in %s", all-as, name)
		}
	}
	return nil
}

// countSyncs watches the server's calls with strace under some load of clicks and of postbacks, and
// takes how many syncs there were to a commit.
func (m *meter) countSyncs(kinds []benchKind) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil
	}
	name := filepath.Join(m.server.dir, "strace")
	cmd := exec.Command("strace", "-f", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o", name,
		"-p", strconv.Itoa(m.server.pid()))
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	said := bufio.NewScanner(pipe)
	if !said.Scan() || !strings.Contains(said.Text(), "attached") {
		_ = cmd.Wait() // not allowed to watch a process: the column stays empty
		return nil
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for said.Scan() {
		}
	}()
	commits, fault := m.commitsUnder(kinds)
	interrupted := cmd.Process.Signal(syscall.SIGINT)
	<-drained
	_ = cmd.Wait() // it ends by the signal
	text, err := os.ReadFile(name)
	if err := errors.Join(fault, interrupted, err); err != nil {
		return err
	}
	if commits > 0 {
		m.syncsPerCommit = float64(countSyncs(string(text))) / commits
	}
	return nil
}

func (m *meter) commitsUnder(kinds []benchKind) (float64, error) {
	before, err := m.scrape()
	if err != nil {
		return 0, err
	}
	for _, name := range []string{kindClick, kindPostback} {
		i := slices.IndexFunc(kinds, func(k benchKind) bool { return k.name == name })
		if _, err := m.slice(http1, 16, kinds[i], time.Second); err != nil {
			return 0, err
		}
	}
	after, err := m.scrape()
	return after[commitsCounted] - before[commitsCounted], err
}
