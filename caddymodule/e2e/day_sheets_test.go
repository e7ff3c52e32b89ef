package e2e

import (
	"encoding/csv"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// daySheets is where the day's site has its dashboard.
const daySheets = `
	handle_path /stats/* {
		capture_dashboard {
			open
		}
	}
`

// A sheet is a report as CSV, from the dashboard or from the command.
type sheet struct {
	name  string
	heads []string
	lines [][]string
}

// sheetQuery is a query of the admin API as both take it: they have a default for by, and the
// dashboard shows the first rows only unless told otherwise.
func sheetQuery(t *testing.T, query string) url.Values {
	t.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	if !values.Has("by") {
		values.Set("by", "")
	}
	return values
}

func (d *day) pageSheet(t *testing.T, values url.Values) *sheet {
	t.Helper()
	values = maps.Clone(values)
	values.Set("limit", "all")
	target := "/stats/report.csv?" + values.Encode()
	a := d.s.get(target)
	if a.status != 200 {
		t.Fatalf("GET %s: status %d %s", target, a.status, a.body)
	}
	return readSheet(t, "GET "+target, a.body)
}

func (d *day) commandSheet(t *testing.T, values url.Values) *sheet {
	t.Helper()
	args := []string{"capture", "report", "--format", "csv"}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		args = append(args, "--"+name+"="+values.Get(name))
	}
	return readSheet(t, "caddy "+strings.Join(args, " "), d.s.output(args...))
}

func readSheet(t *testing.T, name, text string) *sheet {
	t.Helper()
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) == 0 {
		t.Fatalf("%s: %v, %d lines", name, err, len(records))
	}
	// Both may have an order of their own.
	slices.SortFunc(records[1:], slices.Compare)
	return &sheet{name: name, heads: records[0], lines: records[1:]}
}

// checkSheets expects of dashboard and command what was expected of the admin API.
func (d *day) checkSheets(t *testing.T, q question, query string, rows map[string]string, total string) {
	t.Helper()
	values := sheetQuery(t, query)
	page, command := d.pageSheet(t, values), d.commandSheet(t, values)
	q.expectSheet(t, page, rows, total)
	q.expectSheet(t, command, rows, total)
	if !slices.Equal(page.heads, command.heads) || !slices.EqualFunc(page.lines, command.lines, slices.Equal) {
		t.Errorf("%s has\n%.2000q\n%.2000q\n%s has\n%.2000q\n%.2000q",
			page.name, page.heads, page.lines, command.name, command.heads, command.lines)
	}
}

// expectSheet compares a sheet with what the oracle has of the question.
func (q question) expectSheet(t *testing.T, s *sheet, rows map[string]string, total string) {
	t.Helper()
	if q.by == nil {
		rows = map[string]string{"": total}
	}
	if n := min(len(q.by), len(s.heads)); !slices.Equal(s.heads[:n], q.by) {
		t.Errorf("%s: the columns are %q", s.name, s.heads)
		return
	}
	got := make(map[string]figures)
	for _, line := range s.lines {
		values := slices.Clone(line[:len(q.by)])
		for i := range values {
			values[i] = unquoted(values[i])
		}
		key := strings.Join(values, "|")
		if _, twice := got[key]; twice {
			t.Errorf("%s: two rows for %q", s.name, key)
		}
		cells := make(map[string]string)
		for i, head := range s.heads[len(q.by):] {
			cells[head] = line[len(q.by)+i]
		}
		f, wrong := readFigures(cells)
		if wrong == "" {
			wrong = wrongMoney(t, f, cells)
		}
		if wrong != "" {
			t.Errorf("%s: row %.120q: %s", s.name, key, wrong)
		}
		got[key] = f
	}
	expectRows(t, s.name, got, rows)
}

// unquoted takes away the apostrophe that keeps a spreadsheet from computing a value.
func unquoted(cell string) string {
	if rest, ok := strings.CutPrefix(cell, "'"); ok && strings.IndexAny(rest, "=+-@") == 0 {
		return rest
	}
	return cell
}

// readFigures reads a row by the names of its columns, and says what is wrong with it.
func readFigures(cells map[string]string) (f figures, wrong string) {
	f.Revenue, f.Cost = make(map[string]string), make(map[string]string)
	counts := map[string]*int64{
		"clicks": &f.Clicks, "bot_clicks": &f.BotClicks, "conversions": &f.Conversions, "pending": &f.Pending,
		"approved": &f.Approved, "rejected": &f.Rejected, "reversed": &f.Reversed,
	}
	for name, count := range counts {
		n, err := strconv.ParseInt(cells[name], 10, 64)
		if err != nil {
			return f, fmt.Sprintf("%s is %q", name, cells[name])
		}
		*count = n
	}
	if conversions := big.NewRat(100*f.Conversions, 1); !isRounded(cells["rate"], perClick(conversions, f.Clicks)) {
		return f, fmt.Sprintf("%d of %d is a rate of %q", f.Conversions, f.Clicks, cells["rate"])
	}
	for name, text := range cells {
		if kind, currency, _ := strings.Cut(name, "_"); kind == "revenue" {
			f.Revenue[currency] = text
		} else if kind == "cost" {
			f.Cost[currency] = text
		}
	}
	return f, ""
}

// wrongMoney says what is wrong with profits and earnings per click, to which the figures lead.
func wrongMoney(t *testing.T, f figures, cells map[string]string) string {
	t.Helper()
	for currency, revenue := range f.Revenue {
		name := "epc_" + currency
		if epc, ok := cells[name]; !ok || !isRounded(epc, perClick(amount(t, revenue), f.Clicks)) {
			return fmt.Sprintf("%s is %q: %s from %d clicks", name, epc, revenue, f.Clicks)
		}
	}
	if len(f.Cost) == 0 {
		return "" // the profit would be the revenue again
	}
	for _, currency := range slices.Concat(slices.Collect(maps.Keys(f.Revenue)), slices.Collect(maps.Keys(f.Cost))) {
		want := amount(t, f.Revenue[currency])
		want.Sub(want, amount(t, f.Cost[currency]))
		name := "profit_" + currency
		if profit, ok := cells[name]; !ok || amount(t, profit).Cmp(want) != 0 {
			return fmt.Sprintf("%s is %q, want %s", name, profit, want.FloatString(6))
		}
	}
	return ""
}
