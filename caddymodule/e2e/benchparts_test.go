package e2e

import (
	"errors"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestBenchWrkOutput(t *testing.T) {
	t.Parallel()
	const good = "Running 1s test @ http://127.0.0.1:21080\n  1 threads and 64 connections\n" +
		"BENCH requests=19648 duration_us=2000000 p50_us=3279 p99_us=11811 p999_us=15957 wrong=2 first_wrong=503 errors=0 timeouts=0\n"
	r, err := parseWrk(good)
	if err != nil {
		t.Fatal(err)
	}
	r.underWay = 64
	if r.requests != 19648 || r.throughput != 9824 || r.p50 != 3.279 || r.p99 != 11.811 || r.p999 != 15.957 ||
		r.wrong != 2 || r.firstWrong != 503 || r.since(time.Now()) != 19712 {
		t.Errorf("read %+v", r)
	}
	for _, bad := range []string{
		"",
		"unable to connect to 127.0.0.1:1 Connection refused",
		strings.Replace(good, "wrong=2 ", "", 1),
		strings.Replace(good, "=3279", "=nil", 1),
		strings.Replace(good, "errors=0", "errors=1", 1),
		strings.Replace(good, "timeouts=0", "timeouts=1", 1),
	} {
		if r, err := parseWrk(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
}

func TestBenchH2loadLog(t *testing.T) {
	t.Parallel()
	const log = "1000000\t0\t3000\n1001000\t302\t1000\n1002000\t302\t2000\n1003000\t302\t997000\n"
	r, err := parseH2load(strings.NewReader(log), 302, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.underWay = 1
	if r.requests != 4 || r.throughput != 4 || r.p50 != 2 || r.p99 != 997 || r.wrong != 0 {
		t.Errorf("read %+v", r)
	}
	if n := r.between(time.UnixMicro(1002000), time.UnixMicro(1004000)); n != 2 {
		t.Errorf("%v requests between, want the first two to end: the span's own end is not in it", n)
	}
	if n := r.since(time.UnixMicro(1003500)); n != 3 {
		t.Errorf("%v requests since, want the last two and the one under way", n)
	}
	r, err = parseH2load(strings.NewReader(strings.Replace(log, "302", "503", 2)), 302, 0)
	if err != nil || r.wrong != 3 || r.firstWrong != 0 {
		t.Errorf("wrong answers were read as %+v, %v", r, err)
	}
	for _, bad := range []string{"1 2\n", "a\t302\t1\n", "1\t302\t1.5\n"} {
		if r, err := parseH2load(strings.NewReader(bad), 302, 1); err == nil {
			t.Errorf("%q was read as %+v", bad, r)
		}
	}
	if r, err := parseH2load(strings.NewReader(""), 302, 1); err != nil || r.requests != 0 {
		t.Errorf("an empty log was read as %+v, %v", r, err)
	}
}

func TestBenchH2loadSummary(t *testing.T) {
	t.Parallel()
	const good = "finished in 1.00s\nrequests: 9 total, 9 started, 9 done, 0 succeeded, 9 failed, 0 errored, 0 timeout\nstatus codes: 9 4xx\n"
	if err := checkH2load(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", strings.Replace(good, "0 errored", "1 errored", 1), strings.Replace(good, "0 timeout", "3 timeout", 1),
	} {
		if checkH2load(bad) == nil {
			t.Errorf("%q was taken for good", bad)
		}
	}
}

func TestBenchMedians(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing: %v", got)
	}
	sorted := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for p, want := range map[float64]float64{0: 1, 50: 5, 90: 9, 99.9: 10, 100: 10} {
		if got := percentile(sorted, p); got != want {
			t.Errorf("percentile %v: %v, want %v", p, got, want)
		}
	}
	// A machine that is twice as slow in the second round leaves the ratio as it is.
	of := []benchFigures{{cpu: 12}, {cpu: 24}, {cpu: 13}}
	to := []benchFigures{{cpu: 10}, {cpu: 20}, {cpu: 10}}
	if got := medianRatio(of, to, func(f benchFigures) float64 { return f.cpu }); got != 1.2 {
		t.Errorf("median ratio: %v, want 1.2", got)
	}
	if got := medians(of); got.cpu != 13 || got.p99 != 0 {
		t.Errorf("medians: %+v", got)
	}
}

const benchMetrics = `# HELP caddy_capture_clicks_total Clicks.
# TYPE caddy_capture_clicks_total counter
caddy_capture_clicks_total{campaign="acme",kind="counted"} 100
caddy_capture_clicks_total{campaign="books",kind="counted"} 20
caddy_capture_clicks_total{campaign="acme",kind="late"} 5
caddy_capture_postbacks_total{route="/postback",outcome="recorded",reason=""} 7
go_memstats_mallocs_total 1.1687317e+07
`

func TestBenchMetrics(t *testing.T) {
	t.Parallel()
	s, err := parseMetrics(benchMetrics)
	if err != nil {
		t.Fatal(err)
	}
	for c, want := range map[counter]float64{
		{clicksCounted, "kind", "counted"}:        120,
		{clicksCounted, "", ""}:                   125,
		{clicksCounted, "ind", "counted"}:         0,
		{postbacksCounted, "outcome", "recorded"}: 7,
		{name: allocsCounted}:                     11687317,
	} {
		if got := s.sum(c); got != want {
			t.Errorf("%+v is %v, want %v", c, got, want)
		}
	}
	for _, bad := range []string{"name\n", "name one\n"} {
		if s, err := parseMetrics(bad); err == nil {
			t.Errorf("%q was read as %v", bad, s)
		}
	}
}

func TestBenchCounted(t *testing.T) {
	t.Parallel()
	before, err := parseMetrics(benchMetrics)
	if err != nil {
		t.Fatal(err)
	}
	later := func(text string) series {
		s, err := parseMetrics(benchMetrics + text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	clicks := burst{connections: 1, kind: benchKind{counter: counter{clicksCounted, "kind", "counted"}}}
	plain := burst{connections: 1}
	for _, c := range []struct {
		l        burst
		requests float64
		after    string
		good     bool
	}{
		{clicks, 900, `caddy_capture_clicks_total{campaign="acme",kind="counted"} 1000`, true},
		{clicks, 900, `caddy_capture_clicks_total{campaign="acme",kind="counted"} 700`, false},
		{clicks, 900, `caddy_capture_clicks_total{campaign="acme",kind="bot"} 900`, false},
		{clicks, 900, `caddy_capture_clicks_total{campaign="acme",kind="lost"} 900`, true},
		{plain, 900, "", true},
		{plain, 900, `caddy_capture_postbacks_total{route="/postback",outcome="rejected",reason=""} 9`, false},
	} {
		if err := checkCounted(c.l, c.requests, before, later(c.after)); (err == nil) != c.good {
			t.Errorf("%s after %v requests: %v", c.after, c.requests, err)
		}
	}
}

func TestBenchProc(t *testing.T) {
	t.Parallel()
	const status = "Name:\tcaddy\nVmHWM:\t   2000 kB\nVmRSS:\t   1000 kB\nThreads:\t9\n"
	if n, err := procField(status, "VmRSS"); err != nil || n != 1024000 {
		t.Errorf("VmRSS: %d, %v", n, err)
	}
	if n, err := procField(status, "Threads"); err != nil || n != 9 {
		t.Errorf("Threads: %d, %v", n, err)
	}
	if n, err := procField(status, "Vm"); err == nil {
		t.Errorf("what is not there was read as %d", n)
	}
	const stat = "cpu  60 6 600 9 9 9 9 9\ncpu0 10 1 100 9 9 9 9 9\ncpu1 20 2 200 9 9 9 9 9\ncpu10 30 3 300 9 9 9 9 9\nintr 1 2 3 4\n"
	if d, err := busyTime(stat, []int{0, 10}); err != nil || d != 4440*time.Millisecond {
		t.Errorf("busy for %v, %v", d, err)
	}
	const mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"23 22 0:5 / /tmp rw shared:1 - tmpfs tmpfs rw\n24 22 0:6 / /tmp2 rw - xfs /dev/vdb rw\n"
	for dir, want := range map[string]string{"/tmp/x/store": "tmpfs", "/tmp": "tmpfs", "/tmp2/x": "xfs", "/var/tmp": "ext4", "/tmpx": "ext4"} {
		if got := fileSystem(mounts, dir); got != want {
			t.Errorf("%s is on %s, want %s", dir, got, want)
		}
	}
	const trace = "7 msync(0x7f, 4096, MS_SYNC <unfinished ...>\n8 fdatasync(9) = 0\n7 <... msync resumed>) = 0\n7 fsync(3) = 0\n"
	if n := countSyncs(trace); n != 3 {
		t.Errorf("%d syncs, want 3", n)
	}
}

func TestBenchWatch(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("there is no shell to say something")
	}
	said := 0
	count := func() error { said++; return nil }
	out, err := watch([]string{"sh", "-c", "echo one two; echo one"}, &cue{"one", 2, count}, &cue{"two", 1, count})
	if err != nil || said != 2 || out != "one two\none\n" {
		t.Errorf("acted %d times on %q, %v", said, out, err)
	}
	broken := errors.New("broken")
	for _, c := range []struct {
		script string
		cue    cue
	}{
		{"echo one", cue{"two", 1, count}},
		{"echo one; exit 3", cue{"one", 1, count}},
		{"echo one", cue{"one", 1, func() error { return broken }}},
	} {
		if out, err := watch([]string{"sh", "-c", c.script}, &c.cue); err == nil {
			t.Errorf("%s: no error, %q", c.script, out)
		}
	}
}

func TestBenchThreads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ processors, connections, want int }{
		{0, 64, 1}, {1, 64, 1}, {3, 64, 2}, {8, 64, 8}, {8, 1, 1}, {12, 1024, 8},
	} {
		g := generator{processors: make([]int, c.processors)}
		if got := g.threads(c.connections); got != c.want {
			t.Errorf("%d processors, %d connections: %d threads, want %d", c.processors, c.connections, got, c.want)
		}
	}
	if got := strings.Join(pinned([]int{0, 2}), " "); got != "taskset -c 0,2" || pinned(nil) != nil {
		t.Errorf("pinned by %q", got)
	}
}
