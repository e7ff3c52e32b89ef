package dashboard

import (
	"encoding/csv"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
	"github.com/caddy-capture/caddy-capture/capture"
)

// TestReportFigures compares the table with the sums of what was recorded.
func TestReportFigures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	body := f.page("/report?by=campaign,source")
	got := rows(t, body)
	want := [][]string{
		// clicks, conversions, rate, revenue EUR and USD, cost, profit EUR and USD, EPC EUR and USD, by status, bots
		{"acme", "newsletter", "5", "1", "20.00", "0.00", "12.50", "1.00", "0.00", "11.50", "0.0000", "2.5000", "0", "1", "0", "0", "0"},
		{"shoes", "", "1", "1", "100.00", "1234567.89", "0.00", "0.00", "1234567.89", "0.00", "1234567.8900", "0.0000", "0", "1", "0", "0", "1"},
	}
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	for name, want := range map[string]string{
		"clicks": "6", "bots": "1", "conversions": "2", "approved": "2", "rate": "33.33", "revenue.EUR": "1234567.89",
		"cost.USD": "1.00", "profit.USD": "11.50", "epc.USD": "2.0833",
	} {
		if got := value(t, body, name); got != want {
			t.Errorf("the total of %s is %s, want %s", name, got, want)
		}
	}
}

func TestConvertedTotals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	var err error
	if f.rates, err = attribution.ParseRates([]byte("EUR,1,2026-01-01\nUSD,0.9,2026-01-01\n")); err != nil {
		t.Fatal(err)
	}
	heading, _, _ := strings.Cut(f.get("/report.csv").Body.String(), "\n")
	if want := "campaign,clicks,bot_clicks,conversions,pending,approved,rejected,reversed,revenue_EUR,revenue_USD,cost_USD,rate," +
		"profit_EUR,profit_USD,epc_EUR,epc_USD,converted_revenue_EUR,converted_cost_EUR,converted_profit_EUR,converted_epc_EUR," +
		"converted_without_rate"; heading != want {
		t.Errorf("the file has the columns\n%s\nwant\n%s", heading, want)
	}
	body := f.page("/report")
	for name, want := range map[string]string{
		"total_revenue.EUR": "1234579.14", "total_cost.EUR": "0.90", "total_profit.EUR": "1234578.24", "total_epc.EUR": "205763.1900",
	} {
		if got := value(t, body, name); got != want {
			t.Errorf("the total of %s is %s, want %s", name, got, want)
		}
	}
	if got := value(t, f.page("/"), "total_revenue.EUR"); got != "1234579.14" {
		t.Errorf("today's is %s", got)
	}
	if f.rates, err = attribution.ParseRates([]byte("EUR,1,2026-01-01\n")); err != nil {
		t.Fatal(err)
	}
	if body := f.page("/report"); !strings.Contains(body, "Left out of the converted totals, since no rate is known for the day: USD.") {
		t.Error("a currency without a rate is not named")
	}
}

// TestCSV wants the file to have the rows of the page, in their order. Its columns are those of the
// command's file, in that order, and may be more than the page's.
func TestCSV(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	f.click(capture.Click{Time: noon.Add(-time.Hour), Campaign: "=1+1", Source: "@SUM(A1)"})
	for _, q := range []string{
		"by=campaign", "by=campaign,day,source&sort=-revenue.USD&tz=Asia/Tokyo", "by=source&sort=source&limit=1",
		"by=hour&from=yesterday", "by=sub.creative,campaign&event=sale", "by=campaign&from=2020-01-01&to=2020-01-02",
	} {
		w := f.get("/report.csv?" + q)
		if w.Code != http.StatusOK || w.Result().Header.Get("Content-Type") != "text/csv; charset=utf-8" {
			t.Fatalf("%s: got %d %v", q, w.Code, w.Result().Header)
		}
		records, err := csv.NewReader(strings.NewReader(w.Body.String())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		body := f.page("/report?" + q)
		want := rows(t, body)
		for _, row := range want {
			for i := range row {
				row[i] = sheet.Cell(row[i])
			}
		}
		got := inOrder(records, columnNames(t, body))
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: the file has\n%q\nthe page\n%q", q, got, want)
		}
	}
	if body := f.get("/report.csv").Body.String(); !strings.Contains(body, "\n'=1+1,1,") {
		t.Errorf("a formula got through: %s", body)
	}
	if got := f.get("/report.csv?by=").Body.String(); !strings.HasPrefix(got, "clicks,bot_clicks,conversions,") || strings.Count(got, "\n") != 2 {
		t.Errorf("the total alone: %q", got)
	}
}

// columnNames returns how programs call the columns of the table on a page.
func columnNames(t *testing.T, body string) []string {
	t.Helper()
	_, head, _ := strings.Cut(body, `<table class="figures" id="report"`)
	head, _, _ = strings.Cut(head, "</thead>")
	var names []string
	for _, m := range regexp.MustCompile(`<th scope="col" data-column="([^"]+)"`).FindAllStringSubmatch(head, -1) {
		name := m[1]
		if !strings.HasPrefix(name, subDimension) {
			name = strings.NewReplacer("bots", "bot_clicks", "total_", "converted_", ".", "_").Replace(name)
		}
		names = append(names, name)
	}
	if len(names) < 8 {
		t.Fatalf("the table has the columns %q", names)
	}
	return names
}

// inOrder returns the rows of a CSV file with its columns in another order.
func inOrder(records [][]string, names []string) [][]string {
	var list [][]string
	for _, record := range records[1:] {
		var row []string
		for _, name := range names {
			if i := slices.Index(records[0], name); i >= 0 {
				row = append(row, record[i])
			}
		}
		list = append(list, row)
	}
	return list
}

func TestSorting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	for sort, want := range map[string][]string{
		"":             {"acme", "shoes"},
		"clicks":       {"shoes", "acme"},
		"-clicks":      {"acme", "shoes"},
		"campaign":     {"acme", "shoes"},
		"-campaign":    {"shoes", "acme"},
		"rate":         {"acme", "shoes"},
		"-revenue.EUR": {"shoes", "acme"},
		"-epc.USD":     {"acme", "shoes"},
		"revenue.JPY":  {"acme", "shoes"},
	} {
		body := f.page("/" + link("report", query("sort", sort)))
		var got []string
		for _, row := range rows(t, body) {
			got = append(got, row[0])
		}
		if !slices.Equal(got, want) {
			t.Errorf("sort=%s: got %q, want %q", sort, got, want)
		}
		if n := strings.Count(body, "aria-sort="); n != 1 && sort != "revenue.JPY" {
			t.Errorf("sort=%s: %d columns say that they are sorted", sort, n)
		}
	}
}

// TestDrill follows the values of tables down to where nothing is left.
func TestDrill(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	for _, c := range []struct{ from, key, value, want string }{
		{"by=campaign", "campaign", "acme", "report?by=source&campaign=acme"},
		{"by=campaign,day", "campaign", "acme", "report?by=day&campaign=acme"},
		{"by=source&campaign=shoes", "source", "", "report?by=destination&campaign=shoes&none=source"},
		{"by=month", "month", "2026-11", "report?by=day&from=2026-11-01&to=2026-11-30"},
		{"by=day", "day", "2026-11-20", "report?by=hour&from=2026-11-20&to=2026-11-20"},
		{"by=sub.creative&sort=sub.creative", "sub.creative", "blue", "report?sub.creative=blue"},
		{"by=hour&from=today", "hour", "2026-11-20T10:00:00Z", "report?from=2026-11-20T10%3A00%3A00Z&to=2026-11-20T11%3A00%3A00Z"},
	} {
		values, err := url.ParseQuery(c.from)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := parseView(values, noon)
		if err != nil {
			t.Fatal(err)
		}
		got := v.drill(c.key, c.value)
		if got != c.want {
			t.Errorf("%s, %s %q: got %s, want %s", c.from, c.key, c.value, got, c.want)
		}
		f.page("/" + got)
		if body := f.page("/report?" + c.from); !strings.Contains(body, html.EscapeString(`./`+got)) {
			t.Errorf("%s does not link to %s", c.from, got)
		}
	}
	// What a value leads to has the figures of its row.
	for _, row := range rows(t, f.page("/report?by=campaign")) {
		if got := value(t, f.page("/report?by=source&campaign="+row[0]), "clicks"); got != row[1] {
			t.Errorf("%s has %s clicks, and looked into it are %s", row[0], row[1], got)
		}
	}
}

func TestHourWhenClocksChange(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	// The second of the two hours from 2 to 3.
	from, to, ok := span("hour", "2026-10-25T02:00:00+01:00", berlin)
	if !ok || from != "2026-10-25T02:00:00+01:00" || to != "2026-10-25T03:00:00+01:00" {
		t.Errorf("got %s to %s", from, to)
	}
}

// TestFilters compares each filter with the rows of the whole report.
func TestFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	for filter, want := range map[string]string{
		"campaign=acme": "5", "source=newsletter": "5", "none=source": "1", "sub.creative=blue": "4",
		"none=sub.creative": "2", "destination=https://shoes.example/": "1", "event=sale": "6", "campaign=acme&none=source": "0",
	} {
		if got := value(t, f.page("/report?"+filter), "clicks"); got != want {
			t.Errorf("%s: %s clicks, want %s", filter, got, want)
		}
	}
	for filter, want := range map[string]string{"event=sale": "1", "event=lead": "1", "none=event": "0", "sub.creative=blue": "1"} {
		if got := value(t, f.page("/report?"+filter), "conversions"); got != want {
			t.Errorf("%s: %s conversions, want %s", filter, got, want)
		}
	}
}

func TestForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for given, want := range map[string]string{
		"by=campaign&from=&to=&tz=&add=day&addsub=&where=&wheresub=&is=": "./report?by=campaign%2Cday",
		"by=campaign&addsub=creative":                                    "./report?by=campaign%2Csub.creative",
		"add=source":                                                     "./report?by=campaign%2Csource",
		"by=campaign&by=day&from=7days":                                  "./report?by=campaign%2Cday&from=7days",
		"by=source&where=campaign&is=acme":                               "./report?by=source&campaign=acme",
		"by=source&where=sub&wheresub=creative&is=":                      "./report?by=source&none=sub.creative",
		"by=source&source=a&where=source&is=":                            "./report?by=source&none=source",
		"by=source&where=sub&wheresub=&is=x&from=":                       "./report?by=source",
		"by=source&sort=-clicks&limit=500&metric=":                       "./report?by=source&sort=-clicks",
		"by=&from=": "./report?by=",
	} {
		w := f.get("/report?" + given)
		if got := w.Result().Header.Get("Location"); w.Code != http.StatusSeeOther || got != want {
			t.Errorf("%s: got %d %q %s, want %q", given, w.Code, got, problemText(w.Body.String()), want)
		}
	}
}

func TestRowLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 7 {
		f.click(capture.Click{Time: noon.Add(-time.Hour), Campaign: fmt.Sprint("c", i)})
	}
	for i := range 2 * csvChunk {
		f.click(capture.Click{Time: noon.AddDate(0, 0, -60), Campaign: fmt.Sprint("c", i)})
	}
	if got := strings.Count(f.get("/report.csv?limit=all&from=80d").Body.String(), "\n"); got != 2*csvChunk+1 {
		t.Errorf("a file of many rows has %d lines", got)
	}
	body := f.page("/report?limit=3")
	if got := len(rows(t, body)); got != 3 || !strings.Contains(body, "The first 3 of 7 rows") {
		t.Errorf("%d rows are shown", got)
	}
	if got := value(t, body, "clicks"); got != "7" {
		t.Errorf("the total is %s: it has to be that of all rows", got)
	}
	if got := strings.Count(f.get("/report.csv?limit=all").Body.String(), "\n"); got != 8 {
		t.Errorf("the file of all rows has %d lines", got)
	}
}

var chartPattern = regexp.MustCompile(`(?s)<script type="application/json" data-chart>(.*?)</script>`)

func TestChart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.tell()
	for q, want := range map[string][]string{
		"":                                 {`"metric":"clicks"`, `"step":"day"`, `"points":[`},
		"sort=-revenue.USD":                {`"metric":"revenue.USD"`, `"unit":"USD"`, `12.50`},
		"metric=rate&by=day":               {`"metric":"rate"`, `"unit":"%"`, `null`},
		"by=campaign,day":                  {`"label":"acme"`, `"label":"shoes"`},
		"from=today":                       {`"step":"hour"`},
		"from=2025-01-01":                  {`"step":"month"`},
		"from=today&tz=Asia/Kolkata":       {`"tz":"Asia/Kolkata"`},
		"by=campaign,source&none=campaign": {`"series":`},
	} {
		body := f.page("/report?" + q)
		m := chartPattern.FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("%s: there is no chart", q)
		}
		for _, w := range want {
			if !strings.Contains(m[1], w) {
				t.Errorf("%s: %s is missing in %s", q, w, m[1])
			}
		}
	}
	// What there is is seen, however long there was nothing before.
	m := chartPattern.FindStringSubmatch(f.page("/report?by=hour&from=1971-01-01"))
	if m == nil || !strings.Contains(m[1], "2026-11-20 10:00") || strings.Contains(m[1], `"1971-01-01`) {
		t.Error("the plot is of the years before")
	}
	// Today has no point for the hour that runs and for those to come.
	m = chartPattern.FindStringSubmatch(f.page("/"))
	if got := strings.Count(m[1], "null"); got != 12 {
		t.Errorf("%d hours have no point, want 12: %s", got, m[1])
	}
}

func FuzzView(f *testing.F) {
	for _, seed := range []string{
		"", "by=campaign,day&from=7days", "by=&tz=Europe/Berlin", "none=source,sub.x&campaign=a%00b", "sub.creative=%3Cscript%3E",
		"add=day&addsub=x&where=sub&wheresub=y&is=z", "sort=-revenue.USD&metric=epc.EUR&limit=all", "from=2026-01-01T00:00:00%2B02:00&to=now",
		"by=hour,hour,hour", "limit=99999999999999999999", "from=99999d", "tz=../../etc/passwd",
		"tz=America/Santiago&from=2026-09-06&to=2026-09-06&by=day", "tz=Pacific/Apia&from=2011-12-29&to=2011-12-30&by=month",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		v, _, err := parseView(values, noon)
		if err != nil {
			if _, ok := err.(*problem); !ok || err.Error() == "" {
				t.Fatalf("got %#v", err)
			}
			return
		}
		if err := v.query(nil).Validate(); err != nil {
			t.Fatal(err)
		}
		// The address of a view means the same view, and is its own best form.
		again, better, err := parseView(v.values(), noon)
		if err != nil {
			t.Fatalf("%q: %v", v.values(), err)
		}
		if better || again.values().Encode() != v.values().Encode() || !again.from.Equal(v.from) || !again.to.Equal(v.to) ||
			!slices.Equal(again.By, v.By) || !maps.Equal(again.Filters, v.Filters) {
			t.Fatalf("got %+v of %+v", again, v)
		}
		for _, dimension := range v.By {
			v.drill(dimension, raw)
		}
	})
}
