package caddymodule

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What Grafana wants of a dashboard, as far as it can be told without Grafana: what else it reads
// (options, custom, color) differs by the kind of panel, and it fills in what is missing there.

type grafanaSource struct{ Type, UID string }

type grafanaTarget struct {
	RefID, EditorMode, Expr, LegendFormat, Format string
	Datasource                                    grafanaSource
	Range, Instant                                bool
}

type grafanaPlace struct{ X, Y, W, H int }

type grafanaSteps struct {
	Mode  string
	Steps []struct {
		Color string
		Value *float64
	}
}

type grafanaPanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  grafanaPlace
	Datasource               grafanaSource
	Targets                  []grafanaTarget
	Options                  map[string]json.RawMessage
	Collapsed                *bool
	Panels                   []json.RawMessage
	FieldConfig              struct {
		Defaults struct {
			Unit          string
			Decimals      *int
			Min           *float64
			Thresholds    *grafanaSteps
			Color, Custom json.RawMessage
		}
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct {
				ID    string
				Value json.RawMessage
			}
		}
	}
}

type grafanaVariable struct {
	Name, Label, Type, Definition, Regex, AllValue string
	Datasource                                     grafanaSource
	Query                                          json.RawMessage
	Current                                        json.RawMessage
	Options                                        []json.RawMessage
	Hide, Refresh, Sort                            int
	IncludeAll, Multi, SkipURLSync                 bool
}

type grafanaBoard struct {
	ID                                                         *int
	Title, UID, Description, Timezone, Refresh, WeekStart      string
	Tags                                                       []string
	SchemaVersion, Version, GraphTooltip, FiscalYearStartMonth int
	Editable, LiveNow                                          bool
	Time                                                       struct{ From, To string }
	Timepicker                                                 map[string]json.RawMessage
	Links                                                      []json.RawMessage
	Annotations                                                struct{ List []json.RawMessage }
	Templating                                                 struct{ List []grafanaVariable }
	Panels                                                     []grafanaPanel
}

// grafanaUnits are IDs of Grafana's units, those that our metrics can have.
var grafanaUnits = []string{"short", "none", "percent", "percentunit", "bytes", "s", "ms", "cps", "reqps", "ops"}

// grafanaPanels are kinds of panels that come with Grafana, with what each needs among its options.
var grafanaPanels = map[string][]string{
	"stat":       {"reduceOptions"},
	"timeseries": {"legend", "tooltip"},
	"heatmap":    {"calculate", "color", "yAxis"},
}

var grafanaName = regexp.MustCompile(`\$\{?(\w+)`)

func readGrafana(t *testing.T) *grafanaBoard {
	t.Helper()
	data, err := os.ReadFile("../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	board := new(grafanaBoard)
	decoder := json.NewDecoder(strings.NewReader(string(data)))
	decoder.DisallowUnknownFields() // a mistyped name would be ignored by Grafana
	if err := decoder.Decode(board); err != nil {
		t.Fatal(err)
	}
	return board
}

func TestGrafanaDashboard(t *testing.T) {
	t.Parallel()
	board := readGrafana(t)
	span := regexp.MustCompile(`^(now|now-\d+[mhd])$`)
	if board.Title == "" || !regexp.MustCompile(`^[\w-]{1,40}$`).MatchString(board.UID) || board.ID != nil ||
		board.SchemaVersion < 36 || board.SchemaVersion > 41 || // those of Grafana 9 to 12; newer ones read older schemas
		!span.MatchString(board.Time.From) || !span.MatchString(board.Time.To) ||
		!regexp.MustCompile(`^\d+[smh]$`).MatchString(board.Refresh) || board.GraphTooltip > 2 {
		t.Errorf("the dashboard itself: %q %q %v schema %d, %v, %q",
			board.Title, board.UID, board.ID, board.SchemaVersion, board.Time, board.Refresh)
	}
	known, used := metricLabels(t), make(map[string]bool)
	variables := checkGrafanaVariables(t, board, known)
	ids := make(map[int]bool)
	for i := range board.Panels {
		p := &board.Panels[i]
		if p.ID <= 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %q has the number %d of another, or none", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			if p.Collapsed == nil || *p.Collapsed || len(p.Panels) > 0 || len(p.Targets) > 0 || p.GridPos.W != 24 || p.GridPos.H != 1 {
				t.Errorf("row %q is no open row", p.Title)
			}
			continue
		}
		checkGrafanaPanel(t, p)
		checkGrafanaTargets(t, p, variables, known, used)
	}
	checkGrafanaPlaces(t, board.Panels)
	for name := range known {
		base, _, _ := strings.Cut(name, "_bucket")
		base = strings.TrimSuffix(strings.TrimSuffix(base, "_sum"), "_count")
		if !used[base] && !used[base+"_bucket"] && !used[base+"_sum"] {
			t.Errorf("no panel shows %s", base)
		}
	}
}

// checkGrafanaVariables returns the names of the dashboard's variables.
func checkGrafanaVariables(t *testing.T, board *grafanaBoard, known map[string]promMetric) []string {
	t.Helper()
	names := []string{"__rate_interval"}
	values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	for _, v := range board.Templating.List {
		switch v.Type {
		case "datasource":
			if string(v.Query) != `"prometheus"` || v.Name != "datasource" || len(names) > 1 {
				t.Errorf("the variable %s chooses from %s, and has to come first", v.Name, v.Query)
			}
		case "query":
			var query struct {
				Query, RefID string
				QryType      int
			}
			m := values.FindStringSubmatch(v.Definition)
			if err := json.Unmarshal(v.Query, &query); err != nil || query.Query != v.Definition || query.RefID == "" || query.QryType != 1 || m == nil {
				t.Errorf("the variable %s asks for %s, and says %q: %v", v.Name, v.Query, v.Definition, err)
				continue
			}
			labels, err := readQuery(m[1], known, nil)
			if err != nil || !slices.Contains(labels, m[2]) {
				t.Errorf("the variable %s: %q has no label %s: %v", v.Name, m[1], m[2], err)
			}
			if v.Datasource != (grafanaSource{"prometheus", "${datasource}"}) || v.Refresh == 0 || v.IncludeAll && v.AllValue == "" {
				t.Errorf("the variable %s is never filled: %+v", v.Name, v)
			}
			for _, m := range grafanaName.FindAllStringSubmatch(v.Definition, -1) {
				if !slices.Contains(names, m[1]) {
					t.Errorf("the variable %s needs %s, which does not come before it", v.Name, m[1])
				}
			}
		default:
			t.Errorf("the variable %s is of an unknown type %q", v.Name, v.Type)
		}
		if v.Name == "" || v.Label == "" || v.Hide != 0 || slices.Contains(names, v.Name) {
			t.Errorf("the variable %q cannot be chosen", v.Name)
		}
		names = append(names, v.Name)
	}
	if len(names) < 3 {
		t.Errorf("there are the variables %q only", names)
	}
	return names
}

func checkGrafanaPanel(t *testing.T, p *grafanaPanel) {
	t.Helper()
	options, ok := grafanaPanels[p.Type]
	if !ok {
		t.Errorf("panel %q is of a kind %q that does not come with Grafana", p.Title, p.Type)
	}
	for _, name := range options {
		if len(p.Options[name]) == 0 {
			t.Errorf("panel %q has no option %s", p.Title, name)
		}
	}
	if !slices.Contains(grafanaUnits, p.FieldConfig.Defaults.Unit) {
		t.Errorf("panel %q has the unit %q", p.Title, p.FieldConfig.Defaults.Unit)
	}
	checkGrafanaSteps(t, p.Title, p.FieldConfig.Defaults.Thresholds)
	for _, o := range p.FieldConfig.Overrides {
		if o.Matcher.ID != "byName" || !slices.ContainsFunc(p.Targets, func(x grafanaTarget) bool { return x.LegendFormat == o.Matcher.Options }) {
			t.Errorf("panel %q overrides %v, which it does not show", p.Title, o.Matcher)
		}
		for _, property := range o.Properties {
			var steps grafanaSteps
			if err := json.Unmarshal(property.Value, &steps); err != nil || property.ID != "thresholds" {
				t.Errorf("panel %q overrides %s: %v", p.Title, property.ID, err)
			}
			checkGrafanaSteps(t, p.Title, &steps)
		}
	}
}

// checkGrafanaSteps wants thresholds that rise, and a colour below the first.
func checkGrafanaSteps(t *testing.T, title string, s *grafanaSteps) {
	t.Helper()
	if s == nil {
		return
	}
	for i, step := range s.Steps {
		if s.Mode != "absolute" || step.Color == "" || (i == 0) != (step.Value == nil) || i > 1 && *step.Value <= *s.Steps[i-1].Value {
			t.Errorf("panel %q has the thresholds %+v", title, s)
			return
		}
	}
	if len(s.Steps) == 0 {
		t.Errorf("panel %q has thresholds without a step", title)
	}
}

func checkGrafanaTargets(t *testing.T, p *grafanaPanel, variables []string, known map[string]promMetric, used map[string]bool) {
	t.Helper()
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	prometheus := grafanaSource{"prometheus", "${datasource}"}
	refs := make(map[string]bool)
	if p.Datasource != prometheus || len(p.Targets) == 0 {
		t.Errorf("panel %q has no data", p.Title)
	}
	for _, x := range p.Targets {
		if x.Datasource != prometheus || x.EditorMode != "code" || x.RefID == "" || refs[x.RefID] || x.Range == x.Instant || x.Instant != (p.Type == "stat") {
			t.Errorf("panel %q: %+v cannot be asked", p.Title, x)
		}
		refs[x.RefID] = true
		labels, err := readQuery(x.Expr, known, used)
		if err != nil {
			t.Errorf("panel %q: %v", p.Title, err)
		}
		named := legend.FindAllStringSubmatch(x.LegendFormat, -1)
		for _, m := range named {
			if !slices.Contains(labels, m[1]) {
				t.Errorf("panel %q names %s, which is none of %q", p.Title, m[1], labels)
			}
		}
		if len(named) != len(labels) {
			t.Errorf("panel %q: %q does not tell series by %q apart", p.Title, x.LegendFormat, labels)
		}
		if (p.Type == "heatmap") != (x.Format == "heatmap") || p.Type == "heatmap" && !slices.Equal(labels, []string{"le"}) {
			t.Errorf("panel %q: the format of %s is %q", p.Title, x.Expr, x.Format)
		}
		for _, m := range grafanaName.FindAllStringSubmatch(x.Expr, -1) {
			if !slices.Contains(variables, m[1]) {
				t.Errorf("panel %q uses the variable %s, which there is not", p.Title, m[1])
			}
		}
	}
}

// checkGrafanaPlaces wants each panel within the 24 columns, none over another, and rows in order.
func checkGrafanaPlaces(t *testing.T, panels []grafanaPanel) {
	t.Helper()
	for i := range panels {
		a := panels[i].GridPos
		if a.X < 0 || a.Y < 0 || a.W < 1 || a.H < 1 || a.X+a.W > 24 {
			t.Errorf("panel %q stands at %+v", panels[i].Title, a)
		}
		for j := range panels[:i] {
			b := panels[j].GridPos
			if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("panel %q stands on %q", panels[i].Title, panels[j].Title)
			}
			if a.Y < b.Y {
				t.Errorf("panel %q comes after %q and stands above it", panels[i].Title, panels[j].Title)
			}
		}
	}
}
