package e2e

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// parseWrk reads the line that testdata/bench.lua prints.
func parseWrk(out string) (*result, error) {
	i := strings.LastIndex(out, "BENCH ")
	if i < 0 {
		return nil, fmt.Errorf("wrk printed no figures:\n%s", out)
	}
	line, _, _ := strings.Cut(out[i:], "\n")
	values := make(map[string]float64)
	for _, word := range strings.Fields(line)[1:] {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("wrk printed %q: %w", word, err)
		}
		values[name] = n
	}
	for _, name := range []string{"requests", "duration_us", "p50_us", "p99_us", "p999_us", "wrong", "first_wrong", "errors", "timeouts"} {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("wrk printed no %s: %q", name, line)
		}
	}
	if values["errors"]+values["timeouts"] > 0 {
		return nil, fmt.Errorf("wrk had %.0f broken connections and %.0f requests without an answer", values["errors"], values["timeouts"])
	}
	return &result{
		requests: values["requests"], throughput: values["requests"] / values["duration_us"] * 1e6,
		p50: values["p50_us"] / 1e3, p99: values["p99_us"] / 1e3, p999: values["p999_us"] / 1e3,
		wrong: values["wrong"], firstWrong: int(values["first_wrong"]),
	}, nil
}

var h2loadErrors = regexp.MustCompile(`(?m)^requests: .* (\d+) errored, (\d+) timeout$`)

// checkH2load looks in what h2load prints for requests that were not answered. What it calls failed
// is any answer of 400 and above, which its log tells better.
func checkH2load(out string) error {
	m := h2loadErrors.FindStringSubmatch(out)
	if m == nil {
		return fmt.Errorf("h2load printed no summary:\n%s", out)
	}
	if m[1] != "0" || m[2] != "0" {
		return fmt.Errorf("h2load had %s requests that failed and %s without an answer", m[1], m[2])
	}
	return nil
}

// parseH2load reads h2load's log: for each request when it began and how long it took, in
// microseconds, with the status between. Where the status came before the warm-up was over and the
// rest of the answer after, h2load has forgotten it and writes 0: at most once a connection.
func parseH2load(log io.Reader, status, connections int) (*result, error) {
	var r result
	var took []float64
	forgotten := 0
	first, last := int64(math.MaxInt64), int64(0)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			return nil, fmt.Errorf("h2load's log has %q", lines.Text())
		}
		var numbers [3]int64
		for i := range numbers {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("h2load's log has %q: %w", lines.Text(), err)
			}
			numbers[i] = n
		}
		began, ended := numbers[0], numbers[0]+numbers[2]
		if numbers[1] == 0 {
			forgotten++
		}
		if numbers[1] != int64(status) && (numbers[1] != 0 || forgotten > connections) {
			if r.wrong == 0 {
				r.firstWrong = int(numbers[1])
			}
			r.wrong++
		}
		took = append(took, float64(numbers[2])/1e3)
		r.completed = append(r.completed, time.UnixMicro(ended))
		first, last = min(first, began), max(last, ended)
	}
	if len(took) == 0 {
		return &r, nil
	}
	slices.Sort(took)
	r.requests = float64(len(took))
	r.throughput = r.requests / (float64(max(1, last-first)) / 1e6)
	r.p50, r.p99, r.p999 = percentile(took, 50), percentile(took, 99), percentile(took, 99.9)
	return &r, nil
}

// percentile takes the value of sorted ones that so many percent are not above.
func percentile(sorted []float64, p float64) float64 {
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// median of an even number of values lies between the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// A series is a metric's values by name and labels, as they are written.
type series map[string]float64

// parseMetrics reads Prometheus' text format, as far as the benchmark needs it.
func parseMetrics(text string) (series, error) {
	all := make(series)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, fmt.Errorf("the metrics have %q", line)
		}
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("the metrics have %q: %w", line, err)
		}
		all[line[:i]] = value
	}
	return all, nil
}

// A counter is a metric's series with a label of some value.
type counter struct{ name, label, value string }

const (
	clicksCounted    = "caddy_capture_clicks_total"
	postbacksCounted = "caddy_capture_postbacks_total"
)

// sum adds up a counter; without a label, all its series.
func (s series) sum(c counter) (total float64) {
	for name, value := range s {
		name, labels, _ := strings.Cut(name, "{")
		if name == c.name && (c.label == "" || strings.Contains(","+labels, fmt.Sprintf(",%s=%q", c.label, c.value))) {
			total += value
		}
	}
	return total
}

// procField is a number from a file of "name: number unit" lines, in bytes where that is kB.
func procField(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		fields := strings.Fields(value)
		if len(fields) == 0 {
			break
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if len(fields) > 1 && fields[1] == "kB" {
			n <<= 10
		}
		return n, err
	}
	return 0, fmt.Errorf("there is no %s in %.200q", name, text)
}

// fileSystem names the kind of file system that a directory is on, from /proc/self/mountinfo: the
// one with the longest mount point above it.
func fileSystem(mounts, dir string) string {
	kind, longest := "an unknown file system", 0
	for line := range strings.Lines(mounts) {
		fields, rest, ok := strings.Cut(line, " - ")
		at, of := strings.Fields(fields), strings.Fields(rest)
		if !ok || len(at) < 5 || len(of) < 1 || len(at[4]) < longest {
			continue
		}
		if above := at[4]; path.Clean(above) == "/" || dir == above || strings.HasPrefix(dir, above+"/") {
			kind, longest = of[0], len(above)
		}
	}
	return kind
}

// busyTime adds up what /proc/stat says that processors spent on processes: user, nice and system,
// in hundredths of a second.
func busyTime(stat string, processors []int) (total time.Duration, err error) {
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		n, err := strconv.Atoi(fields[0][len("cpu"):])
		if err != nil || !slices.Contains(processors, n) {
			continue // the first line is of all of them
		}
		for _, field := range fields[1:4] {
			ticks, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("/proc/stat has %q: %w", line, err)
			}
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total, nil
}

var syncCalls = regexp.MustCompile(`\b(?:fsync|fdatasync|msync|sync_file_range)\(`)

// countSyncs counts the calls in what strace wrote: one that was interrupted is written twice, the
// second time as resumed and without the bracket.
func countSyncs(trace string) int { return len(syncCalls.FindAllStringIndex(trace, -1)) }
