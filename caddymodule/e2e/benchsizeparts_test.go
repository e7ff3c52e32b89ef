package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestBenchSizes(t *testing.T) {
	t.Parallel()
	if got, err := parseSizes("1000, 10,10,500"); err != nil || !slices.Equal(got, []int{10, 500, 1000}) {
		t.Errorf("read %v, %v", got, err)
	}
	for _, bad := range []string{"", "0", "-5", "10,,20", "10M", "1e6"} {
		if got, err := parseSizes(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
	for n, want := range map[int]string{7: "7", 1234: "1234", 1000: "1 k", 1500: "1.5 k", 50_000: "50 k", 10_000_000: "10 M", 2_500_000: "2.5 M"} {
		if got := countOf(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}

// sizeExample is a report of two stores. A click costs 20 % more on the larger one, and so does the
// yardstick in the second round, where the machine was busy.
func sizeExample() *sizeReport {
	made := func(name, yardstick string, cpus ...float64) measuredKind {
		k := measuredKind{kind: benchKind{name: name, yardstick: yardstick}}
		for _, cpu := range cpus {
			k.slices = append(k.slices, benchFigures{cpu: cpu, p99: 3})
		}
		return k
	}
	line := func(clicks int, click, postback float64) *sizeFigures {
		return &sizeFigures{
			clicks: clicks, disk: int64(clicks) * 100, cold: 900 * time.Millisecond, warm: 400 * time.Millisecond,
			killed: 12 * time.Second, loaded: memoryUse{own: 100 << 20, files: 7 << 20},
			kinds: []measuredKind{
				made(kindRedir, "", 10, 100, 10), made(kindClick, kindRedir, click, 10*click, click),
				made(kindRespond, "", 10, 10, 10), made(kindPostback, kindRespond, postback, postback, postback),
				made(kindOld, kindRespond, postback, 2*postback, postback*postback/10),
				made(kindRepeat, kindRespond, 20, 20, 20),
			},
		}
	}
	r := &sizeReport{
		head: []string{"machine: any"}, plan: sizePlan{rounds: 3, slice: time.Second},
		bare:    bareStart{100 * time.Millisecond, memoryUse{own: 10 << 20}},
		lines:   []*sizeFigures{line(1000, 15, 20), line(2_000_000, 18, 21)},
		limited: limitedFigures{clicks: 3_000_000, length: time.Minute, killed: 1, reports: 4, reportTime: 2 * time.Second},
	}
	r.lines[1].sweptBefore, r.lines[1].sweptAfter = 2000<<20, 900<<20
	r.lines[1].disk = 2200 << 20
	return r
}

func TestBenchSizeTargets(t *testing.T) {
	t.Parallel()
	r := sizeExample()
	got := make(map[string]string)
	for _, target := range r.targets() {
		got[target.what] = number(target.value, 1) + " " + target.met()
	}
	for what, want := range map[string]string{
		"growth of click":                                         "20.0 missed",
		"growth of postback":                                      "5.0 met",
		"growth of postback of an old click":                      "5.0 met",
		"growth of repeat":                                        "0.0 met",
		"seconds to open 2 M clicks":                              "0.8 met",
		"seconds to open 2 M clicks after kill -9":                "11.9 missed",
		"MiB left of 2 M clicks":                                  "900.0 met",
		"processes killed in 512 MiB":                             "1.0 missed",
		"MiB of its own for 1 k clicks under load, above Caddy's": "90.0 met",
	} {
		if got[what] != want {
			t.Errorf("%s: %q, want %q", what, got[what], want)
		}
	}
	if _, ok := got["MiB left of 1 k clicks"]; ok {
		t.Error("a retention has a target that was not measured")
	}
	r.lines[1].sweptAfter = 1040 << 20
	r.limited = limitedFigures{skipped: "there is none"}
	for _, target := range r.targets() {
		if target.what == "MiB left of 2 M clicks" && target.met() != "missed" || strings.Contains(target.what, "512") {
			t.Errorf("%s: %s", target.what, target)
		}
	}
}

func TestBenchSizeTable(t *testing.T) {
	t.Parallel()
	r := sizeExample()
	text := r.text()
	for _, want := range []string{
		"machine: any", "rounds: 3 of 1s", "  1.50  ", "  1.80  ", "100 + 7", "2000", "  900  ", "growth of click: 20.00, < 10 missed",
		"3 M clicks, 1m0s:", "4 reports in 0.50 s each", "Caddy alone starts in 0.10 s with 10 + 0 MiB",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	r.limited = limitedFigures{skipped: "there is none"}
	if text := r.text(); !strings.Contains(text, "not measured, as there is none") {
		t.Errorf("it is not said why the memory was not limited:\n%s", text)
	}
}

func TestBenchGroupCounter(t *testing.T) {
	t.Parallel()
	const events = "low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 0\n"
	if n, err := groupCounter(events, "oom_kill"); err != nil || n != 2 {
		t.Errorf("read %d, %v", n, err)
	}
	for _, bad := range []string{"", "oom_kill\n", "oom_kill two\n", "oom_kills 3\n"} {
		if n, err := groupCounter(bad, "oom_kill"); err == nil {
			t.Errorf("%q was read as %d", bad, n)
		}
	}
}

func TestBenchCopyFiles(t *testing.T) {
	t.Parallel()
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	for name, text := range map[string]string{"a": "one", "b.sst": "", "store.lock": "held"} {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := copyFiles(from, to); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(to, "a")); err != nil || string(text) != "one" {
		t.Errorf("copied %q, %v", text, err)
	}
	if list, err := os.ReadDir(to); err != nil || len(list) != 2 {
		t.Errorf("copied %v, %v", list, err)
	}
	if err := copyFiles(from, to); err == nil {
		t.Error("a copy was written over")
	}
}
