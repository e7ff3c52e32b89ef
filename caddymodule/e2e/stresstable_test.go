package e2e

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A stressReport is all that a run came to.
type stressReport struct {
	head      []string
	length    time.Duration
	intervals []stressInterval
	shares    []share
	growth    growth
	clicks    latencies // of the whole run
	controls  latencies
	postbacks latencies
	notes     []string
}

// tableLines is how many intervals the table shows at most; the CSV has all of them.
const tableLines = 30

// text is the report for people.
func (r *stressReport) text() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n", strings.Join(r.head, "\n"))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\trequests\tp50 ms\tp99 ms\tmax ms\tslow\tstalled\tsent late by ms\t\n")
	for _, l := range []struct {
		name string
		latencies
	}{{"clicks", r.clicks}, {"redir", r.controls}, {"postbacks", r.postbacks}} {
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%.2f\t%.1f\t%d\t%d\t%.1f\t\n", l.name, l.requests, l.p50, l.p99, l.max, l.slow, l.stalled, l.sent)
	}
	w.Flush()
	fmt.Fprintf(&b, "slow: answered more than %v after they were due (redir: %v); stalled: more than that after they were sent\n\n",
		stressLimit, stressSlack)
	r.writeShares(&b)
	r.writeGrowth(&b)
	r.writeIntervals(&b)
	for _, n := range r.notes {
		fmt.Fprintln(&b, n)
	}
	return b.String()
}

func (r *stressReport) writeShares(b *bytes.Buffer) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "while\ttimes\tseconds\tlongest s\tclicks\tp99 ms\tmax ms\tslow\tstalled\tredir p99 ms\tmax ms\tslow\tstalled\t\n")
	for _, s := range r.shares {
		times, longest := "", ""
		if s.times > 0 {
			times, longest = strconv.Itoa(s.times), number(s.longest.Seconds(), 2)
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\t%d\t%.2f\t%.1f\t%d\t%d\t%.2f\t%.1f\t%d\t%d\t\n", s.job, times, s.took.Seconds(), longest,
			s.clicks.requests, s.clicks.p99, s.clicks.max, s.clicks.slow, s.clicks.stalled,
			s.controls.p99, s.controls.max, s.controls.slow, s.controls.stalled)
	}
	w.Flush()
	fmt.Fprintln(b)
}

func (r *stressReport) writeGrowth(b *bytes.Buffer) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "medians\tgoroutines\tthreads\tfiles\tof the store\tRssAnon MB\theap MB\tconnections\tclicks queued\tpostbacks queued\t\n")
	for _, q := range []struct {
		name string
		gauge
	}{{"first quarter", r.growth.first}, {"last quarter", r.growth.last}} {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t\n", q.name, q.goroutines, q.threads, q.files,
			q.storeFiles, q.anonymous/1e6, q.heap/1e6, q.gauge.connections, q.gauge.clicks, q.gauge.postbacks)
	}
	w.Flush()
	fmt.Fprintln(b)
}

func (r *stressReport) writeIntervals(b *bytes.Buffer) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "second\tclicks\tp50 ms\tp99 ms\tmax ms\tslow\tstalled\tredir p99 ms\tmax ms\tlate by\tstarved %%\tgoroutines\tfiles\tRssAnon MB\theap MB\tqueued\tjobs\t\n")
	step := (len(r.intervals) + tableLines - 1) / tableLines
	for i, v := range r.intervals {
		if i%step != 0 {
			continue
		}
		fmt.Fprintf(w, "%.0f\t%d\t%.2f\t%.2f\t%.1f\t%d\t%d\t%.2f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f\t%.1f\t%.1f\t%.0f\t%s\t\n", v.end.Seconds(),
			v.clicks.requests, v.clicks.p50, v.clicks.p99, v.clicks.max, v.clicks.slow, v.clicks.stalled, v.controls.p99, v.controls.max,
			max(v.clicks.sent, v.controls.sent), v.starved*100,
			v.goroutines, v.files+v.storeFiles, v.anonymous/1e6, v.heap/1e6, v.gauge.clicks+v.gauge.postbacks, strings.Join(v.jobs, " "))
	}
	w.Flush()
	if step > 1 {
		fmt.Fprintf(b, "(every %d. interval; the CSV has all)\n", step)
	}
	fmt.Fprintln(b)
}

// records are the intervals as CSV.
func (r *stressReport) records() [][]string {
	all := [][]string{{
		"second", "clicks", "click_p50_ms", "click_p99_ms", "click_max_ms", "clicks_slow", "clicks_stalled", "redir", "redir_p50_ms", "redir_p99_ms",
		"redir_max_ms", "redir_slow", "redir_stalled", "postbacks", "postback_p50_ms", "postback_p99_ms", "postback_max_ms", "sent_late_max_ms",
		"goroutines", "threads", "files", "store_files", "rss_anon_bytes", "heap_bytes", "connections",
		"queued_clicks", "queued_postbacks", "late_clicks", "collections", "starved", "jobs",
	}}
	for _, v := range r.intervals {
		line := []string{number(v.end.Seconds(), 1)}
		add := func(decimals int, values ...float64) {
			for _, n := range values {
				line = append(line, number(n, decimals))
			}
		}
		add(0, float64(v.clicks.requests))
		add(3, v.clicks.p50, v.clicks.p99, v.clicks.max)
		add(0, float64(v.clicks.slow), float64(v.clicks.stalled), float64(v.controls.requests))
		add(3, v.controls.p50, v.controls.p99, v.controls.max)
		add(0, float64(v.controls.slow), float64(v.controls.stalled), float64(v.postbacks.requests))
		add(3, v.postbacks.p50, v.postbacks.p99, v.postbacks.max, max(v.clicks.sent, v.controls.sent))
		add(0, v.goroutines, v.threads, v.files, v.storeFiles, v.anonymous, v.heap, v.gauge.connections,
			v.gauge.clicks, v.gauge.postbacks, v.late, v.collections)
		add(3, v.starved)
		all = append(all, append(line, strings.Join(v.jobs, " ")))
	}
	return all
}

// write leaves the report in a directory.
func (r *stressReport) write(dir string) error {
	var picture bytes.Buffer
	if err := r.plot(&picture); err != nil {
		return err
	}
	return leaveFiles(dir, map[string][]byte{
		"stress.txt": []byte(r.text()), "stress.csv": asCSV(r.records()), "stress.svg": picture.Bytes(),
	})
}
