package caddymodule

import (
	"encoding/json"
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

// metricLabels returns the labels of each of our metrics, by the name that a
// query uses.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	desc := regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
	known := make(map[string][]string)
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
				known[part[1]+"_bucket"] = append(slices.Clone(labels), "le")
				known[part[1]+"_sum"], known[part[1]+"_count"] = labels, labels
				continue
			}
			known[part[1]] = labels
		}
	}
	return known
}

// labelValues are those that a label can have, where that is fixed.
func labelValues() map[string][]string {
	return map[string][]string{
		"kind":    {"counted", "bot", "prefetch", "test", "lost", "late", "unresolved_macro"},
		"outcome": wordsOf(capture.Outcomes),
		"state":   {"ok", "degraded", "stopped"},
		"event":   {eventConversion, eventQuarantined},
		"reason": append(wordsOf(capture.QuarantineReasons), wordsOf([]capture.Reason{
			capture.MalformedRequest, capture.BadToken, capture.BadSignature, capture.StaleTimestamp, capture.ReplayedMessage,
			capture.AddressNotAllowed, capture.InsecureTransport, capture.MethodNotAllowed, capture.BodyTooLarge, capture.EarlyData,
		})...),
	}
}

var (
	promMetric   = regexp.MustCompile(`\b(caddy_capture_\w+)(?:\{([^}]*)\})?`)
	promMatcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!=|!~|=)\s*"([^"]*)"`)
	promGrouping = regexp.MustCompile(`\b(?:by|on)\s*\(([^)]*)\)`)
	promTarget   = []string{"instance", "job"} // labels that the scrape adds
)

// checkQuery compares a query with the metrics; it notes in used which it has.
func checkQuery(t *testing.T, query string, known map[string][]string, used map[string]bool) {
	t.Helper()
	values := labelValues()
	var all []string
	found := promMetric.FindAllStringSubmatch(query, -1)
	if len(found) == 0 {
		t.Errorf("no metric of ours in %s", query)
	}
	for _, m := range found {
		labels, ok := known[m[1]]
		if !ok {
			t.Errorf("there is no metric %s: %s", m[1], query)
		}
		used[m[1]] = true
		all = append(all, labels...)
		for _, matcher := range promMatcher.FindAllStringSubmatch(m[2], -1) {
			name, value := matcher[1], matcher[2]
			if !slices.Contains(labels, name) && !slices.Contains(promTarget, name) {
				t.Errorf("%s has no label %s: %s", m[1], name, query)
			}
			if fixed := values[name]; fixed != nil && !strings.HasPrefix(value, "$") {
				for v := range strings.SplitSeq(value, "|") {
					if !slices.Contains(fixed, v) {
						t.Errorf("%s is never %q: %s", name, v, query)
					}
				}
			}
		}
	}
	for _, group := range promGrouping.FindAllStringSubmatch(query, -1) {
		for name := range strings.SplitSeq(group[1], ",") {
			if name = strings.TrimSpace(name); !slices.Contains(all, name) && !slices.Contains(promTarget, name) {
				t.Errorf("no metric has the label %s: %s", name, query)
			}
		}
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
	known, used := metricLabels(t), make(map[string]bool)
	names := make(map[string]bool)
	inText := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" || names[rule.Alert] || rule.Labels["severity"] == "" ||
				rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%q lacks something, or is there twice", rule.Alert)
			}
			names[rule.Alert] = true
			checkQuery(t, rule.Expr, known, used)
			for _, m := range inText.FindAllStringSubmatch(rule.Annotations["summary"]+rule.Annotations["description"], -1) {
				if m[1] != "instance" && !strings.Contains(rule.Expr, m[1]) && !strings.HasPrefix(rule.Expr, "caddy_capture_quarantine") {
					t.Errorf("%s tells of the label %s, which its result has not", rule.Alert, m[1])
				}
			}
		}
	}
	if len(names) < 10 {
		t.Errorf("only %d alerts were read", len(names))
	}
}

func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Title      string
		Templating struct{ List []struct{ Name, Type string } }
		Panels     []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Datasource  struct{ UID string }
			Targets     []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	variables := []string{"__rate_interval"}
	for _, v := range board.Templating.List {
		variables = append(variables, v.Name)
	}
	known, used := metricLabels(t), make(map[string]bool)
	ids := make(map[int]bool)
	variable := regexp.MustCompile(`\$(\w+)`)
	for _, p := range board.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %q has a number of another or no place", p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no data", p.Title)
		}
		for _, target := range p.Targets {
			checkQuery(t, target.Expr, known, used)
			for _, m := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(variables, m[1]) {
					t.Errorf("panel %q uses the variable %s, which there is not", p.Title, m[1])
				}
			}
		}
	}
	for name := range known {
		base, _, _ := strings.Cut(name, "_bucket")
		base = strings.TrimSuffix(strings.TrimSuffix(base, "_sum"), "_count")
		if !used[base] && !used[base+"_bucket"] && !used[base+"_sum"] {
			t.Errorf("no panel shows %s", base)
		}
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
