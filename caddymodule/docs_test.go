package caddymodule

import (
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/caddy-capture/caddy-capture/capture"
)

// What the files in docs say of metrics has to be what there is.

// metricLabels returns our metrics by the names that queries use.
func metricLabels(t *testing.T) map[string]promMetric {
	t.Helper()
	desc := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	known := make(map[string]promMetric)
	for _, c := range []prometheus.Collector{
		clicksTotal, postbacksTotal, commitDuration, commitBatchSize, clickToConversion, eventsDropped, ledgerMetrics,
	} {
		ch := make(chan *prometheus.Desc, 20)
		c.Describe(ch)
		close(ch)
		for d := range ch {
			part := desc.FindStringSubmatch(d.String())
			if part == nil {
				t.Fatalf("%s says no name", d)
			}
			labels := strings.FieldsFunc(part[2], func(r rune) bool { return r == ',' })
			if _, histogram := c.(prometheus.Histogram); histogram {
				known[part[1]+"_bucket"] = promMetric{append(slices.Clone(labels), "le"), true}
				known[part[1]+"_sum"], known[part[1]+"_count"] = promMetric{labels, true}, promMetric{labels, true}
				continue
			}
			_, counter := c.(*prometheus.CounterVec)
			known[part[1]] = promMetric{labels, counter}
		}
	}
	return known
}

// labelValues are those that a label can have, where that is fixed.
func labelValues() map[string][]string {
	return map[string][]string{
		"kind":    {"counted", "bot", "prefetch", "test", "lost", "late", "unresolved_macro"},
		"outcome": wordsOf(capture.Outcomes),
		"state":   {"ok", "degraded", "stopped", "shared", "spooling", "draining"},
		"event":   {eventConversion, eventQuarantined},
		"reason": append(wordsOf(capture.QuarantineReasons), wordsOf([]capture.Reason{
			capture.MalformedRequest, capture.BadToken, capture.BadSignature, capture.StaleTimestamp, capture.ReplayedMessage,
			capture.AddressNotAllowed, capture.InsecureTransport, capture.MethodNotAllowed, capture.BodyTooLarge, capture.EarlyData,
		})...),
	}
}

func TestPrometheusAlerts(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../docs/prometheus-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(data)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	known := metricLabels(t)
	names := make(map[string]bool)
	inText := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" || names[rule.Alert] || rule.Labels["severity"] == "" ||
				rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%q lacks something, or is there twice", rule.Alert)
			}
			names[rule.Alert] = true
			labels, err := readQuery(rule.Expr, known, nil)
			if err != nil {
				t.Errorf("%s: %v", rule.Alert, err)
			}
			for _, m := range inText.FindAllStringSubmatch(rule.Annotations["summary"]+rule.Annotations["description"], -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s tells of the label %s, which its result has not", rule.Alert, m[1])
				}
			}
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d alerts were read", len(names))
	}
}

// Prometheus' own tool, where there is one, knows better.
func TestAlertsWithPromtool(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed; it comes with Prometheus")
	}
	for _, args := range [][]string{
		{"check", "rules", "../docs/prometheus-alerts.yml"}, {"test", "rules", "testdata/alerts_test.yml"},
	} {
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// The documentation of events has every member of their data, and no other.
func TestEventsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "## What the data says")
	tables, _, _ = strings.Cut(tables, "Times are")
	documented := make(map[string]bool)
	code := regexp.MustCompile("`([a-z_]+)`")
	for line := range strings.Lines(tables) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
				documented[m[1]] = true
			}
		}
	}
	said := map[string]bool{"click_id": true} // it is set when an event is emitted
	for _, r := range []*capture.Result{
		{Entry: &capture.Entry{Outcome: capture.Quarantined}},
		{Entry: &capture.Entry{Outcome: capture.Recorded}, Conversion: &capture.Conversion{}},
	} {
		e := waitingEvent{name: eventName(r)}
		e.fill(r)
		for name := range e.data {
			said[name] = true
		}
		if !strings.Contains(string(text), "`"+e.name+"`") {
			t.Errorf("%s is not documented", e.name)
		}
	}
	if !maps.Equal(said, documented) {
		t.Errorf("events say %q, the documentation %q", slices.Sorted(maps.Keys(said)), slices.Sorted(maps.Keys(documented)))
	}
}
