package e2e

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// converted is what a row of a report says of all currencies in one.
type converted struct {
	Currency    string   `json:"currency"`
	Revenue     string   `json:"revenue"`
	Cost        string   `json:"cost"`
	WithoutRate []string `json:"without_rate"`
}

// converted returns the converted totals of a report of the admin API, those of all under "total".
func (s *server) converted(query string) map[string]*converted {
	s.t.Helper()
	type row = map[string]any
	var raw struct {
		By    []string
		Rows  []row
		Total row
	}
	var totals struct {
		Rows  []struct{ Converted *converted }
		Total struct{ Converted *converted }
	}
	a := s.api("/capture/report?" + query)
	decode(s.t, a.body, &raw)
	decode(s.t, a.body, &totals)
	all := map[string]*converted{"total": totals.Total.Converted}
	for i, r := range raw.Rows {
		var key []string
		for _, dimension := range raw.By {
			key = append(key, fmt.Sprint(r[dimension]))
		}
		all[strings.Join(key, "|")] = totals.Rows[i].Converted
	}
	return all
}

// A rate is what one unit of a currency is worth in EUR from a day on.
type rate struct{ currency, day, worth string }

// dayRates are rates that change within the past that the site has. Of GBP there is none.
func dayRates(today time.Time) []rate {
	day := func(back int) string { return today.AddDate(0, 0, -back).Format(time.DateOnly) }
	return []rate{
		{"EUR", day(60), "1"}, {"USD", day(60), "0.9137"}, {"USD", day(9), "0.88115"}, {"USD", day(1), "0.9"},
	}
}

// worth returns the rate of a currency on a day.
func worth(t testing.TB, rates []rate, currency, day string) (*big.Rat, bool) {
	t.Helper()
	for _, r := range slices.Backward(rates) {
		if r.currency == currency && r.day <= day {
			return amount(t, r.worth), true
		}
	}
	return nil, false
}

// browserConverted gives the site exchange rates, and compares the converted columns of pages and
// their CSV files with the admin API, and that with sums of its own, day by day.
func browserConverted(t *testing.T, s *site, b *tab) {
	rates := dayRates(time.Now().UTC())
	file := "currency,rate,date\n"
	for _, r := range rates {
		file += r.currency + "," + r.worth + "," + r.day + "\n"
	}
	if err := os.WriteFile(filepath.Join(s.dir, "rates.csv"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	s.reload(strings.Replace(browserSite, "store badger $STORE\n", "store badger $STORE\n\t\trates $DIR/rates.csv\n", 1))
	s.network("recorded", s.click, "txid=pounds&event=sale&payout=7.77&currency=GBP")
	days := lastDays()
	for _, by := range []string{"campaign", "source,campaign", "day", "sub.creative"} {
		query := "by=" + by + "&" + days
		got := s.converted(query)
		want := s.convertByDay(rates, by, days)
		if len(got) != len(want) || len(got) < 3 {
			t.Fatalf("by %s: %d rows, want %d", by, len(got), len(want))
		}
		for key, sum := range want {
			c := got[key]
			if c == nil || c.Currency != "EUR" || !isRounded(c.Revenue, sum.revenue) || !isRounded(c.Cost, sum.cost) ||
				slices.Contains(c.WithoutRate, "GBP") != sum.pounds || len(c.WithoutRate) > 1 {
				t.Errorf("by %s %s: the admin API says %+v, want %v and %v, pounds %v", by, key, c, sum.revenue, sum.cost, sum.pounds)
			}
		}
		b.open("/stats/report?limit=all&"+query, 200)
		page, all := b.table(), s.report(query)
		b.expectRows(by, page, all)
		b.expectConverted(by, page, got, all)
		records := b.expectCSV(by, page)
		at := slices.Index(records[0], "converted_without_rate")
		for i, row := range page.Rows {
			key := strings.Join(row[:len(all.By)], "|")
			if at < 0 || records[i+1][at] != strings.Join(got[key].WithoutRate, " ") {
				t.Errorf("by %s %s: the CSV file leaves out %q, the admin API %q", by, key, records[i+1], got[key].WithoutRate)
			}
		}
	}
}

// A worthy is what a row's money comes to in EUR, unrounded.
type worthy struct {
	revenue, cost *big.Rat
	pounds        bool // there were some, too
}

// convertByDay converts a report with the day as one dimension more: a rate holds for a day.
func (s *server) convertByDay(rates []rate, by, days string) map[string]*worthy {
	s.t.Helper()
	all := map[string]*worthy{"total": {new(big.Rat), new(big.Rat), false}}
	query := "by=" + by + ",day&" + days
	if by == "day" {
		query = "by=day&" + days
	}
	daily := s.report(query)
	for key, f := range daily.Rows {
		row, day := key, key
		if by != "day" {
			row, day = key[:strings.LastIndexByte(key, '|')], key[strings.LastIndexByte(key, '|')+1:]
		}
		if all[row] == nil {
			all[row] = &worthy{new(big.Rat), new(big.Rat), false}
		}
		for _, w := range []*worthy{all[row], all["total"]} {
			for currency, text := range f.Revenue {
				if r, ok := worth(s.t, rates, currency, day); ok {
					w.revenue.Add(w.revenue, r.Mul(r, amount(s.t, text)))
				} else {
					w.pounds = true
				}
			}
			for currency, text := range f.Cost {
				if r, ok := worth(s.t, rates, currency, day); ok {
					w.cost.Add(w.cost, r.Mul(r, amount(s.t, text)))
				}
			}
		}
	}
	return all
}

// expectConverted compares the converted columns of a page with the admin API.
func (b *tab) expectConverted(by string, page table, want map[string]*converted, all report) {
	b.t.Helper()
	check := func(key string, cells map[string]string, clicks int64) {
		b.t.Helper()
		c := want[key]
		revenue, cost := amount(b.t, c.Revenue), amount(b.t, c.Cost)
		if cells["total_revenue.EUR"] != c.Revenue || cells["total_cost.EUR"] != c.Cost ||
			amount(b.t, cells["total_profit.EUR"]).Cmp(new(big.Rat).Sub(revenue, cost)) != 0 ||
			!isRounded(cells["total_epc.EUR"], perClick(revenue, clicks)) {
			b.t.Errorf("by %s %s: the page says %v, the admin API %+v", by, key, cells, c)
		}
	}
	for _, row := range page.Rows {
		cells := make(map[string]string)
		for i, head := range page.Heads {
			cells[head] = row[i]
		}
		key := strings.Join(row[:len(all.By)], "|")
		check(key, cells, all.Rows[key].Clicks)
	}
	check("total", page.Total, all.Total.Clicks)
}
