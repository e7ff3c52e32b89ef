package e2e

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// benchExample is a setup of two rounds, of which the click misses one target.
func benchExample() []benchLine {
	slices := func(cpus ...float64) (all []benchFigures) {
		for _, cpu := range cpus {
			all = append(all, benchFigures{cpu: cpu, throughput: 1e6 / cpu, p99: 2, syncs: math.NaN()})
		}
		return all
	}
	return compareLines(benchSetup{protocol: http1, connections: 64, rounds: 2}, []measuredKind{
		{benchKind{name: kindRedir}, slices(100, 200), math.NaN()},
		{benchKind{name: kindLogged, yardstick: kindRedir}, slices(150, 300), math.NaN()},
		{benchKind{name: kindClick, yardstick: kindRedir}, slices(120, 240), 5e7},
		{benchKind{name: kindInject, yardstick: kindRedir}, slices(120, 240), 5e7},
	}, 0.02, time.Millisecond)
}

func TestBenchTable(t *testing.T) {
	t.Parallel()
	text := benchTable(benchExample())
	for _, want := range []string{
		"HTTP/1.1 keep-alive, connections: 64, rounds: 2; other processes took 2% of",
		"<= 1.15 missed", "<= 1.2 met",
		"processor time of click / redir with log: 0.80, < 1 met",
		"p99 of click in ms, against redir's + 5 ms + a sync: 2.00, <= 8 met",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	var widths []int
	for line := range strings.Lines(text) {
		if strings.Contains(line, "  -  ") || strings.Contains(line, "CPU us") {
			widths = append(widths, len(line))
		}
	}
	for _, w := range widths {
		if w != widths[0] || len(widths) != 5 {
			t.Fatalf("the lines are not alike in length: %v\n%s", widths, text)
		}
	}
	if got := benchTable(nil); got != "" {
		t.Errorf("a table of nothing: %q", got)
	}
}

func TestBenchTargets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target benchTarget
		want   string
	}{
		{benchTarget{value: 1.15, limit: 1.15}, "<= 1.15 met"},
		{benchTarget{value: 1.16, limit: 1.15}, "<= 1.15 missed"},
		{benchTarget{value: 1, limit: 1, below: true}, "< 1 missed"},
		{benchTarget{value: 0.9, limit: 0.9, least: true}, ">= 0.9 met"},
		{benchTarget{value: 0.89, limit: 0.9, least: true}, ">= 0.9 missed"},
		{benchTarget{value: math.NaN(), limit: 1}, "<= 1 missed"},
	} {
		if got := c.target.String(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.target, got, c.want)
		}
	}
}

func TestBenchReport(t *testing.T) {
	t.Parallel()
	r := benchReport{head: []string{"server: <one> & another"}, lines: benchExample()}
	if text := r.text(); !strings.HasPrefix(text, r.head[0]) || strings.Count(text, "== ") != 1 {
		t.Errorf("the report is\n%s", text)
	}
	rows := records(r.lines)
	var b strings.Builder
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	again, err := csv.NewReader(strings.NewReader(b.String())).ReadAll() // which wants lines of one length
	if err != nil || len(again) != 5 {
		t.Fatalf("%d lines, %v", len(again), err)
	}
	got := make(map[string]string)
	for i, name := range again[0] {
		got[name] = again[3][i]
	}
	for name, want := range map[string]string{
		"protocol": "h1", "connections": "64", "kind": kindClick, "yardstick": kindRedir, "cpu_us": "180.00",
		"cpu_ratio": "1.200", "cpu_met": "missed", "syncs": "", "resident_bytes": "50000000", "others_share": "0.020",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	var picture strings.Builder
	if err := plot(&picture, r.head[0], r.lines); err != nil {
		t.Fatal(err)
	}
	bars := 0
	for d := xml.NewDecoder(strings.NewReader(picture.String())); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, &picture)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 1+len(r.lines) || !strings.Contains(picture.String(), "prefers-color-scheme: dark") {
		t.Errorf("%d bars in\n%s", bars-1, &picture)
	}
}
