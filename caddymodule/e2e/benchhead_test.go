package e2e

import (
	"debug/buildinfo"
	"fmt"
	"math"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// benchHead says what was measured with what and where.
func benchHead(m *meter, plan benchPlan, sync time.Duration) []string {
	forServer, forLoad := join(m.server.processors), join(m.load.processors)
	versions := "server:  unknown build"
	if info, err := buildinfo.ReadFile(caddyBinary); err == nil {
		versions = "server:  built with " + info.GoVersion
		for _, dep := range info.Deps {
			switch dep.Path {
			case "github.com/caddyserver/caddy/v2":
				versions += ", Caddy " + dep.Version
			case "github.com/caddy-capture/caddy-capture":
				versions += ", Capture " + dep.Version
			}
		}
	}
	apart := fmt.Sprintf("; server on processors %s, load on %s", forServer, forLoad)
	if forServer == forLoad {
		apart = "; NOT apart: there is one processor for both"
	}
	head := []string{versions + " (" + runtime.GOOS + "/" + runtime.GOARCH + ")"}
	head = append(head, machine(m.server.store)...)
	syncs := "unknown (strace is not there or not allowed)"
	if !math.IsNaN(m.syncsPerCommit) {
		syncs = number(m.syncsPerCommit, 2)
	}
	last := len(head) - 1
	head[last] += fmt.Sprintf("; a sync of 4 KiB takes %s ms (median); syncs to a commit: %s", number(float64(sync)/1e6, 2), syncs)
	return append(head,
		"load:    "+firstWords("wrk", "-v")+" and "+firstWords("h2load", "--version")+apart,
		fmt.Sprintf("rounds:  %v of each kind in turns, order reversed every other round; medians, and medians of each round's ratios", plan.slice),
		"columns: per request: the server's processor time, allocations, bytes written (in pages), commits, syncs; RSS of a server of its own",
	)
}

// firstWords is how a program names itself and its version.
func firstWords(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput() // wrk exits with 1 here
	words := strings.Fields(string(out))
	return strings.Join(words[:min(2, len(words))], " ")
}
