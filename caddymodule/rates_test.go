package caddymodule

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func TestRatesFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if r, err := loadRates(""); r != nil || err != nil {
		t.Errorf("without a file: %v %v", r, err)
	}
	if r, err := loadRates(write("good.csv", "currency,rate,date\nEUR,1,2026-01-01\nUSD,0.9,2026-01-01\n")); err != nil || r.Base() != "EUR" {
		t.Errorf("good: %v %v", r, err)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "missing.csv"): "no such file",
		dir:                               "directory",
		"{env.CAPTURE_TEST_NO_RATES}":     "replacing placeholders",
		write("base.csv", "USD,0.9,2026-01-01\n"):   "no line has the rate 1",
		write("bad.csv", "EUR,1,2026-01-01\nUSD,x"): "line 2",
	} {
		if _, err := loadRates(file); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "rates") {
			t.Errorf("%s: %v; want %q in it", file, err, want)
		}
	}
}

func TestReportWithRatesAndLag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rates.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("EUR,1,2020-01-01\nUSD,0.5,2020-01-01\n")
	option := "capture {\n store memory " + newPlace(t, "") + "\n rates " + file + "\n}"
	directives := "track_click /go/* https://acme.example/offer?aff_sub={click_id} {\n cost 0.10 EUR\n}\n postback /postback"
	s := newSite(t)
	s.load(option, directives)
	srv := adminServer(t, adminAPI{})
	id := s.visit("/go/acme")
	s.get("/postback?click_id=" + id + "&txid=1&payout=10&currency=USD")
	s.get("/postback?click_id=" + id + "&txid=2&payout=3&currency=GBP")

	var report attribution.Report
	adminGet(t, srv, "/capture/report?lag=1", &report)
	converted, lag := report.TotalExtra.Converted, report.TotalExtra.Lag
	if converted == nil || converted.Currency != "EUR" || converted.Revenue.String() != "5" || converted.Cost.String() != "0.1" ||
		len(converted.WithoutRate) != 1 || converted.WithoutRate[0] != "GBP" || lag == nil || lag.Conversions != 2 {
		t.Errorf("total: %+v %+v", converted, lag)
	}
	if report.Total.Revenue["USD"].String() != "10" || len(report.Rows) != 1 || report.Rows[0].Converted == nil {
		t.Errorf("the originals are not beside it: %+v", report)
	}
	if _, _, body := adminDo(t, srv, http.MethodGet, "/capture/report"); strings.Contains(body, "median") {
		t.Errorf("lag was not asked for: %s", body)
	}
	out, _, err := runCommand(srv.URL, "report", "--lag")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CONVERTED REVENUE EUR", "CONVERTED COST EUR", "WITHOUT RATE  LAG MEDIAN  LAG P90", "5.00", "GBP"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _, err = runCommand(srv.URL, "report", "--lag", "--format", "csv", "--by=")
	if err != nil || !strings.Contains(out, "converted_revenue_EUR,converted_cost_EUR,converted_profit_EUR,converted_epc_EUR,converted_without_rate,lag_conversions,lag_median_seconds,lag_p90_seconds\n") ||
		!strings.Contains(out, ",5.00,0.10,4.90,5.0000,GBP,2,") {
		t.Errorf("%v\n%s", err, out)
	}

	// A reload reads the file anew; a bad one refuses the reload.
	write("EUR,1,2020-01-01\nUSD,2,2020-01-01\n")
	s.load(option, directives)
	adminGet(t, srv, "/capture/report", &report)
	if got := report.TotalExtra.Converted.Revenue.String(); got != "20" {
		t.Errorf("after a reload: %s", got)
	}
	write("EUR,1\n")
	if err := s.tryLoad(option, directives); err == nil || !strings.Contains(err.Error(), "rates") {
		t.Errorf("a bad file: %v", err)
	}
	adminGet(t, srv, "/capture/report", &report)
	if got := report.TotalExtra.Converted.Revenue.String(); got != "20" {
		t.Errorf("after a refused reload: %s", got)
	}
}

// TestFiguresAgree compares the figures of the pages' CSV file with those of the
// command, which reads them as JSON: whatever follows from converted amounts has
// to follow from the same ones.
func TestFiguresAgree(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rates.csv")
	if err := os.WriteFile(file, []byte("EUR,1,2020-01-01\nUSD,0.5,2020-01-01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.load("capture {\n store memory "+newPlace(t, "")+"\n rates "+file+"\n}", stats("capture_dashboard {\n open\n}")+`
track_click /go/* https://acme.example/offer?aff_sub={click_id} {
	campaign {path.1}
	cost 0.01 EUR
}
postback /postback`)
	srv := adminServer(t, adminAPI{})
	for i, payout := range []string{"0.05", "0.03", "0.01", "1.01"} { // all of them halves
		id := s.visit("/go/c" + payout)
		s.visit("/go/c" + payout)
		s.visit("/go/c" + payout)
		s.get("/postback?click_id=" + id + "&txid=" + strconv.Itoa(i) + "&payout=" + payout + "&currency=USD")
	}
	for _, by := range []string{"campaign", "day", ""} {
		_, page := s.get("/stats/report.csv?sort=" + by + "&by=" + by)
		out, _, err := runCommand(srv.URL, "report", "--format", "csv", "--by="+by)
		if err != nil {
			t.Fatal(err)
		}
		if page != out {
			t.Errorf("by %q: the pages say\n%s\nthe command\n%s", by, page, out)
		}
		a := csvColumns(t, page)
		for _, name := range []string{
			"clicks", "conversions", "rate", "revenue_USD", "cost_EUR", "profit_EUR", "profit_USD", "epc_USD",
			"converted_revenue_EUR", "converted_cost_EUR", "converted_profit_EUR", "converted_epc_EUR",
		} {
			if len(a[name]) == 0 {
				t.Errorf("by %q: there is no column %s in\n%s", by, name, page)
			}
		}
		if by == "campaign" && a["converted_profit_EUR"][2] != "-0.01" { // 0.02 less 0.03, not 0.025 less 0.03
			t.Errorf("got %q of %q", a["converted_profit_EUR"], a["campaign"])
		}
	}
}

// TestColumnsAgree asks the command, the pages and the admin API the same and
// wants the same names in the same order, but for what only follows from other
// columns, which the admin API leaves to others.
func TestColumnsAgree(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rates.csv")
	if err := os.WriteFile(file, []byte("EUR,1,2020-01-01\nUSD,0.5,2020-01-01\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, rates := range []string{"", "\n rates " + file} {
		s := newSite(t)
		s.load("capture {\n store memory "+newPlace(t, "")+rates+"\n}", stats("capture_dashboard {\n open\n}")+`
track_click /go/* https://acme.example/offer?aff_sub={click_id} {
	cost 0.01 EUR
}
postback /postback`)
		srv := adminServer(t, adminAPI{})
		id := s.visit("/go/acme?source=news")
		for i, currency := range []string{"USD", "EUR", "GBP"} {
			s.get("/postback?click_id=" + id + "&txid=" + strconv.Itoa(i) + "&payout=1&currency=" + currency)
		}
		for _, query := range []string{"by=campaign", "by=source,day&tz=Asia/Tokyo", "by=", "by=sub.x,campaign", "by=campaign&lag=1"} {
			_, _, answer := adminDo(t, srv, http.MethodGet, "/capture/report?"+query)
			args := []string{"report", "--format", "csv"}
			for part := range strings.SplitSeq(strings.Replace(query, "lag=1", "lag", 1), "&") {
				args = append(args, "--"+part)
			}
			out, _, err := runCommand(srv.URL, args...)
			if err != nil {
				t.Fatal(err)
			}
			command, _, _ := strings.Cut(out, "\n")
			if !strings.Contains(query, "lag") {
				_, page := s.get("/stats/report.csv?" + query)
				if names, _, _ := strings.Cut(page, "\n"); names != command {
					t.Errorf("%s: the pages' file has the columns\n%s\nthe command's\n%s", query, names, command)
				}
			}
			derived := func(name string) bool {
				kind, _, _ := strings.Cut(strings.TrimPrefix(name, "converted_"), "_")
				return slices.Contains([]string{"rate", "profit", "epc"}, kind)
			}
			names := slices.DeleteFunc(strings.Split(command, ","), derived)
			if want := jsonNames(t, answer); !slices.Equal(names, want) {
				t.Errorf("%s: the command has\n%q\nthe admin API\n%q", query, names, want)
			}
		}
	}
}

// jsonNames lists the members of a report's first row, or of its total, in their order, as
// programs are told to call them.
func jsonNames(t *testing.T, answer string) (names []string) {
	t.Helper()
	_, row, _ := strings.Cut(answer, `"rows":[`)
	if strings.HasPrefix(row, "]") { // without dimensions the total is all
		_, row, _ = strings.Cut(row, `"total":`)
	}
	d := json.NewDecoder(strings.NewReader(row))
	var path []string
	currency, key := "", ""
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		switch token {
		case json.Delim('{'):
			if depth++; depth > 1 {
				path, key = append(path, key), ""
			}
			continue
		case json.Delim('}'):
			if depth--; depth == 0 {
				return names
			}
			path, currency = path[:len(path)-1], ""
			continue
		case json.Delim('['):
			for d.More() {
				if token, err = d.Token(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := d.Token(); err != nil {
				t.Fatal(err)
			}
		default:
			if text, isText := token.(string); isText && key == "" {
				key = text
				continue
			}
		}
		name := strings.Join(append(slices.Clone(path), key), "_")
		switch {
		case key == "currency":
			currency = "_" + token.(string)
		case key == "without_rate":
			names = append(names, name)
		default:
			names = append(names, name+currency)
		}
		key = ""
	}
}

// csvColumns reads a CSV file by the names of its columns.
func csvColumns(t testing.TB, text string) map[string][]string {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) == 0 {
		t.Fatalf("%v: %s", err, text)
	}
	columns := make(map[string][]string)
	for i, name := range records[0] {
		for _, r := range records[1:] {
			columns[name] = append(columns[name], r[i])
		}
	}
	return columns
}

func TestLagColumns(t *testing.T) {
	t.Parallel()
	r := sampleReport(t)
	r.Rows[0].Lag = &attribution.Lag{Conversions: 12, Median: 5025.5, P90: 183600}
	out := tableText(t, reportTable(r, peopleColumns(r, true)), look{})
	if !strings.Contains(out, "1h 23m    2d 3h\n") || strings.Contains(out, "CONVERTED") {
		t.Errorf("table:\n%s", out)
	}
	for d, want := range map[float64]string{0: "0s", 0.4: "0s", 1: "1s", 60: "1m", 61: "1m 1s", 3600: "1h", 3601: "1h", 90000: "1d 1h"} {
		row := &attribution.Row{Extra: attribution.Extra{Lag: &attribution.Lag{Median: d}}}
		if got := lagColumn("", func(l *attribution.Lag) float64 { return l.Median }).cell(row); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
