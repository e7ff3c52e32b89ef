package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memoryLimit is what a small server has.
const memoryLimit = 512 << 20

// A memoryGroup is a control group that bounds the memory of the processes in it.
type memoryGroup struct {
	dir                  string
	most, events, killed string // its files, and the counter of processes killed for want of memory
}

// newMemoryGroup makes a group, by the first or the second version of the interface.
func newMemoryGroup(limit int64) (*memoryGroup, error) {
	name := fmt.Sprintf("capture-bench-%d", os.Getpid())
	const first, second = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
	g := &memoryGroup{dir: filepath.Join(first, name), most: "memory.max_usage_in_bytes", events: "memory.oom_control", killed: "oom_kill"}
	settings := map[string]string{"memory.limit_in_bytes": strconv.FormatInt(limit, 10)}
	if _, err := os.Stat(filepath.Join(first, "memory.limit_in_bytes")); err != nil {
		controllers, err := os.ReadFile(filepath.Join(second, "cgroup.subtree_control"))
		if err != nil || !strings.Contains(string(controllers), "memory") {
			return nil, errors.New("no control groups for memory are mounted here")
		}
		g = &memoryGroup{dir: filepath.Join(second, name), most: "memory.peak", events: "memory.events", killed: "oom_kill"}
		settings = map[string]string{"memory.max": strconv.FormatInt(limit, 10), "memory.swap.max": "0"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	for file, value := range settings {
		err := os.WriteFile(filepath.Join(g.dir, file), []byte(value), 0o644)
		if err != nil && !(file == "memory.swap.max" && os.IsNotExist(err)) {
			return nil, errors.Join(err, os.Remove(g.dir))
		}
	}
	return g, nil
}

// joins is a command that runs another in the group.
func (g *memoryGroup) joins() []string {
	return []string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}
}

// peak is the most memory that the group had, the system's cache for it included, and how many of
// its processes were killed.
func (g *memoryGroup) peak() (most, killed int64, err error) {
	text, err := os.ReadFile(filepath.Join(g.dir, g.most))
	if err == nil {
		most, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil {
		return 0, 0, err
	}
	if text, err = os.ReadFile(filepath.Join(g.dir, g.events)); err == nil {
		killed, err = groupCounter(string(text), g.killed)
	}
	return most, killed, err
}

// groupCounter reads one of the counters in a group's file.
func groupCounter(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no %s in %q", name, text)
}

// limitedFigures are those of a server in a little memory.
type limitedFigures struct {
	skipped             string // why it was not measured
	clicks              int
	length              time.Duration
	own                 memoryUse // the most
	group               int64     // the most, with the system's cache
	killed              int64
	visits, booked      float64 // a second
	wrong               float64 // answers, of all of these
	reports             int
	slowest, reportTime time.Duration // of a report, all together
}

// limitedReports are those that run meanwhile: one of the sums, and one that reads all clicks.
var limitedReports = []string{"campaign,day", "sub.sub1"}

// measureLimited puts a server with a store that is not small into a memory of 512 MiB, under
// clicks, postbacks and reports at once.
func measureLimited(b *testing.B, plan sizePlan) (f limitedFigures) {
	b.Helper()
	f.clicks, f.length = plan.limited, plan.underLoad
	group, err := newMemoryGroup(memoryLimit)
	if err != nil {
		f.skipped = err.Error()
		return f
	}
	s := newSizedServer(b, plan, plan.limited)
	if err := forgetCached(s.bench.store); err != nil { // so that its cache counts as the group's
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.Remove(group.dir); err != nil {
			b.Error(err)
		}
	})
	s.bench.under = group.joins()
	s.bench.launched(wellOpen)
	first := s.store.past.ID(s.store.codec, 0)
	for _, k := range benchKinds(http1, first) {
		s.kinds = append(s.kinds, measuredKind{kind: k})
	}
	s.spread(newRandom())
	memory := watchMemory(s.bench.pid())
	results := s.under([]string{kindClick, kindPostback}, f.length, func() { f.report(b, s.bench.server) })
	f.own = memory.stop()
	if s.bench.hasExited() {
		b.Errorf("in %d MiB the server with %d clicks ended\n%s", memoryLimit>>20, f.clicks, s.bench.logs())
		return f
	}
	if f.group, f.killed, err = group.peak(); err != nil {
		b.Fatal(err)
	}
	for i, into := range []*float64{&f.visits, &f.booked} {
		if r := results[i]; r != nil {
			*into = r.throughput
			f.wrong += r.wrong
		} else {
			b.Errorf("in %d MiB the server with %d clicks broke connections\n%s", memoryLimit>>20, f.clicks, s.bench.logs())
		}
	}
	s.bench.stop()
	return f
}

// report asks for reports, one after the other.
func (f *limitedFigures) report(b *testing.B, s *server) {
	c := client{addr: s.admin}
	defer c.close()
	for begin := time.Now(); time.Since(begin) < f.length && !s.hasExited(); f.reports++ {
		asked := time.Now()
		a, err := c.do("GET", "/capture/report?by="+limitedReports[f.reports%len(limitedReports)], "")
		if err != nil || a.status != 200 {
			b.Errorf("report: status %d, %v %.200s", a.status, err, a.body)
			return
		}
		took := time.Since(asked)
		f.reportTime += took
		f.slowest = max(f.slowest, took)
	}
}
