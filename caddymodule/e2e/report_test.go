package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// figures are what a row of a report says.
type figures struct {
	Clicks      int64             `json:"clicks"`
	BotClicks   int64             `json:"bot_clicks"`
	Conversions int64             `json:"conversions"`
	Pending     int64             `json:"pending"`
	Approved    int64             `json:"approved"`
	Rejected    int64             `json:"rejected"`
	Reversed    int64             `json:"reversed"`
	Revenue     map[string]string `json:"revenue"`
	Cost        map[string]string `json:"cost"`
}

// String is the same for equal figures, however their amounts are written.
func (f figures) String() string {
	return fmt.Sprintf("clicks %d bots %d conversions %d (pending %d approved %d rejected %d reversed %d) revenue %s cost %s",
		f.Clicks, f.BotClicks, f.Conversions, f.Pending, f.Approved, f.Rejected, f.Reversed, amounts(f.Revenue), amounts(f.Cost))
}

func amounts(sums map[string]string) string {
	var all []string
	for _, currency := range slices.Sorted(maps.Keys(sums)) {
		sum, ok := new(big.Rat).SetString(sums[currency])
		switch {
		case !ok:
			all = append(all, fmt.Sprintf("%s %q", currency, sums[currency]))
		case sum.Sign() != 0:
			all = append(all, currency+" "+sum.RatString())
		}
	}
	return "[" + strings.Join(all, " ") + "]"
}

// A report is the admin API's, its rows under their dimensions' values joined by "|".
type report struct {
	By    []string
	Rows  map[string]figures
	Total figures
}

// report asks for one. The query is as in the URL, "by=campaign&source=x".
func (s *server) report(query string) report {
	s.t.Helper()
	return parseReport(s.t, s.api("/capture/report?"+query))
}

func parseReport(t testing.TB, a answer) report {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("report: status %d %s", a.status, a.body)
	}
	var raw struct {
		By    []string          `json:"by"`
		Rows  []json.RawMessage `json:"rows"`
		Total figures           `json:"total"`
	}
	decode(t, a.body, &raw)
	r := report{By: raw.By, Rows: make(map[string]figures), Total: raw.Total}
	for _, text := range raw.Rows {
		var f figures
		var all map[string]any
		decode(t, string(text), &f)
		decode(t, string(text), &all)
		var key []string
		for _, dimension := range raw.By {
			value, ok := all[dimension].(string)
			if !ok {
				t.Fatalf("report: row without %q: %s", dimension, text)
			}
			key = append(key, value)
		}
		if _, twice := r.Rows[strings.Join(key, "|")]; twice {
			t.Fatalf("report: two rows for %q", key)
		}
		r.Rows[strings.Join(key, "|")] = f
	}
	return r
}

// expectRows compares a report's rows with figures written as by figures.String.
func expectRows(t testing.TB, name string, got map[string]figures, want map[string]string) {
	t.Helper()
	complaints := 0
	complain := func(format string, args ...any) {
		t.Helper()
		if complaints++; complaints <= 10 {
			t.Errorf("report %s: %s", name, fmt.Sprintf(format, args...))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if f, ok := got[key]; !ok {
			complain("no row %.120q, want %s", key, want[key])
		} else if f.String() != want[key] {
			complain("row %.120q\n got %s\nwant %s", key, f, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			complain("row %.120q is too many: %s", key, got[key])
		}
	}
	if complaints > 10 {
		t.Errorf("report %s: and %d more", name, complaints-10)
	}
}

// items are the objects of a list that the admin API or a command printed.
func items(t testing.TB, text string) []map[string]any {
	t.Helper()
	list, _ := page(t, text)
	return list
}

// page returns the objects of a page and where the next one begins, or "".
func page(t testing.TB, text string) (list []map[string]any, next string) {
	t.Helper()
	var v any
	decode(t, text, &v)
	array, ok := v.([]any)
	if object, is := v.(map[string]any); is {
		for _, value := range object {
			if a, is := value.([]any); is {
				array, ok = a, true
			}
		}
		if value := object["next"]; value != nil {
			next = fmt.Sprint(value)
		}
	}
	if !ok {
		t.Fatalf("no list in %.300q", text)
	}
	for _, e := range array {
		object, ok := e.(map[string]any)
		if !ok {
			t.Fatalf("not a list of objects: %.300q", text)
		}
		list = append(list, object)
	}
	return list, next
}

// all reads every page of a list.
func (s *server) all(target string) []map[string]any {
	s.t.Helper()
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	target += separator + "limit=500"
	var all []map[string]any
	for after := ""; ; {
		query := target
		if after != "" {
			query += "&after=" + url.QueryEscape(after)
		}
		a := s.api(query)
		if a.status != 200 {
			s.t.Fatalf("GET %s: status %d %s", query, a.status, a.body)
		}
		list, next := page(s.t, a.body)
		all = append(all, list...)
		if next == "" || len(list) == 0 {
			return all
		}
		after = next
	}
}

func column(list []map[string]any, name string) []string {
	var values []string
	for _, e := range list {
		values = append(values, fmt.Sprint(e[name]))
	}
	return values
}

// waitForClicks is how long clicks may stay queued before they are counted.
const waitForClicks = 60 * time.Second

// hasClicks says whether the reports count that many clicks, those of bots included.
func (s *server) hasClicks(want int64) error {
	total := s.report("").Total
	if got := total.Clicks + total.BotClicks; got != want {
		return fmt.Errorf("%d clicks in the report, want %d", got, want)
	}
	return nil
}
