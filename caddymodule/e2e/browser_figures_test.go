package e2e

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// A table is a report as a page shows it: exact values, which are in the page beside those for
// people.
type table struct {
	Heads []string
	Rows  [][]string
	Total map[string]string
	Shown [][]string // as it can be read
}

func (b *tab) table() table {
	b.t.Helper()
	var t table
	b.evaluate(`({
		heads: [...document.querySelectorAll("#report thead th")].map((e) => e.dataset.column),
		rows: [...document.querySelectorAll("#report tbody tr")].map((r) => [...r.children].map((e) => e.dataset.value)),
		total: Object.fromEntries([...document.querySelectorAll("#report tfoot [data-figure]")].map((e) => [e.dataset.figure, e.dataset.value])),
		shown: [...document.querySelectorAll("#report tbody tr")].map((r) => [...r.children].map((e) => e.innerText.trim())),
	})`, &t)
	return t
}

// lastDays is the time that a report without a range has, for the admin API.
func lastDays() string {
	today := time.Now().UTC()
	return "from=" + today.AddDate(0, 0, -29).Format(time.DateOnly) + "&to=" + today.Format(time.DateOnly) + "&tz=UTC"
}

// compareCells orders what two cells of a column hold: by number, or else as text.
func compareCells(x, y string) int {
	a, okA := new(big.Rat).SetString(x)
	b, okB := new(big.Rat).SetString(y)
	if okA && okB {
		return a.Cmp(b)
	}
	return cmp.Compare(x, y)
}

// browserFigures compares what pages show with the admin API and with their CSV files. All are asked
// about the same days, also where a new one begins meanwhile.
func browserFigures(t *testing.T, s *site, b *tab) {
	days := lastDays()
	for _, by := range []string{"campaign", "campaign,source", "sub.creative,campaign", "event", "day", "destination,day", "month,sub.placement"} {
		b.open("/stats/report?limit=all&by="+by+"&"+days, 200)
		page := b.table()
		if len(page.Rows) == 0 {
			t.Fatalf("by %s: no rows", by)
		}
		b.expectRows(by, page, s.report("by="+by+"&"+days))
		b.expectCSV(by, page)
		for i, row := range page.Rows {
			for j, text := range row {
				// Thousands are apart and the minus is a real one, for people.
				shown := strings.NewReplacer("\u202f", "", "\u2212", "-").Replace(page.Shown[i][j])
				if text != shown && !(text == "" && (shown == "–" || shown == "none")) {
					t.Errorf("by %s: %q is shown as %q", by, text, page.Shown[i][j])
				}
			}
		}
	}
}

// expectRows compares each row, and the total, with a report of the admin API.
func (b *tab) expectRows(by string, page table, want report) {
	b.t.Helper()
	if len(page.Rows) != len(want.Rows) {
		b.t.Errorf("by %s: %d rows, the admin API has %d", by, len(page.Rows), len(want.Rows))
	}
	dimensions := len(want.By)
	for _, row := range page.Rows {
		key := strings.Join(row[:dimensions], "|")
		f, ok := want.Rows[key]
		if !ok {
			b.t.Errorf("by %s: the admin API has no row %q", by, key)
			continue
		}
		cells := make(map[string]string)
		for i := dimensions; i < len(row); i++ {
			cells[page.Heads[i]] = row[i]
		}
		b.expectFigures(by+" "+key, cells, f)
	}
	b.expectFigures(by+", total", page.Total, want.Total)
}

func (b *tab) expectTotal(want report) {
	b.t.Helper()
	if want.Total.Clicks == 0 || want.Total.Conversions == 0 {
		b.t.Errorf("nothing to compare: %v", want.Total)
	}
	b.expectRows(strings.Join(want.By, ","), b.table(), want)
}

// expectFigures compares all cells of a row with what the admin API says. Derived figures are made
// here once more.
func (b *tab) expectFigures(where string, cells map[string]string, f figures) {
	b.t.Helper()
	for key, count := range map[string]int64{
		"clicks": f.Clicks, "bots": f.BotClicks, "conversions": f.Conversions,
		"pending": f.Pending, "approved": f.Approved, "rejected": f.Rejected, "reversed": f.Reversed,
	} {
		if cells[key] != fmt.Sprint(count) {
			b.t.Errorf("%s: %s is %q, the admin API says %d", where, key, cells[key], count)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(cells)) {
		name, currency, _ := strings.Cut(key, ".")
		revenue, cost := amount(b.t, f.Revenue[currency]), amount(b.t, f.Cost[currency])
		var want *big.Rat
		switch name {
		case "revenue":
			want = revenue
		case "cost":
			want = cost
		case "profit":
			want = new(big.Rat).Sub(revenue, cost)
		case "epc":
			want = perClick(revenue, f.Clicks)
		case "rate":
			want = perClick(big.NewRat(100*f.Conversions, 1), f.Clicks)
		default:
			continue
		}
		if !isRounded(cells[key], want) {
			b.t.Errorf("%s: %s is %q, want %v", where, key, cells[key], want)
		}
	}
}

func amount(t testing.TB, text string) *big.Rat {
	t.Helper()
	if text == "" {
		return new(big.Rat)
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("an amount is %q", text)
	}
	return r
}

// perClick returns nil where there are no clicks.
func perClick(what *big.Rat, clicks int64) *big.Rat {
	if clicks == 0 {
		return nil
	}
	return new(big.Rat).Quo(what, big.NewRat(clicks, 1))
}

// isRounded tells whether text is want, to as many digits as it has. Without a number it is empty.
func isRounded(text string, want *big.Rat) bool {
	got, ok := new(big.Rat).SetString(text)
	if want == nil || !ok {
		return want == nil && text == ""
	}
	_, fraction, _ := strings.Cut(text, ".")
	half := big.NewRat(1, 2)
	for range len(fraction) {
		half.Quo(half, big.NewRat(10, 1))
	}
	return new(big.Rat).Abs(new(big.Rat).Sub(got, want)).Cmp(half) <= 0
}

// csvName is what a column of a page is called in CSV files.
func csvName(head string) string {
	if strings.HasPrefix(head, "sub.") {
		return head
	}
	return strings.NewReplacer("bots", "bot_clicks", "total_", "converted_", ".", "_").Replace(head)
}

// expectCSV compares a page with the file that it offers, and returns that.
func (b *tab) expectCSV(by string, page table) [][]string {
	b.t.Helper()
	var text string
	b.evaluate(`fetch(document.getElementById("csv").href).then((r) => r.text())`, &text)
	records, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(records) != len(page.Rows)+1 {
		b.t.Fatalf("by %s: the CSV file has %d lines: %v, want %d", by, len(records), err, len(page.Rows)+1)
	}
	for j, head := range page.Heads {
		at := slices.Index(records[0], csvName(head))
		if at < 0 {
			b.t.Errorf("by %s: the CSV file has no column %s but %q", by, csvName(head), records[0])
			continue
		}
		for i, row := range page.Rows {
			// What a spreadsheet would take for a formula is quoted.
			if got := records[i+1][at]; got != row[j] && got != "'"+row[j] {
				b.t.Errorf("by %s: the CSV file has %q for %s in line %d, the page %q", by, got, head, i+2, row[j])
			}
		}
	}
	return records
}
