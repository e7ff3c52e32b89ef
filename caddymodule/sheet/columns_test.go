package sheet

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func sample() *attribution.Report {
	usd := attribution.Totals{"USD": attribution.AmountOf(1250, 2)}
	eur := attribution.Totals{"EUR": attribution.AmountOf(100, 2)}
	counts := attribution.Counts{Clicks: 4, BotClicks: 1, Conversions: 2, Pending: 1, Approved: 1, Revenue: usd, Cost: eur}
	extra := attribution.Extra{
		Converted: &attribution.Converted{
			Currency: "EUR", Revenue: attribution.AmountOf(1000, 2), Cost: attribution.AmountOf(100, 2),
			WithoutRate: []attribution.Currency{"GBP", "JPY"},
		},
		Lag: &attribution.Lag{Conversions: 2, Median: 1.5, P90: 60},
	}
	return &attribution.Report{
		Rows:  []attribution.Row{{Counts: counts, Extra: extra}, {Counts: attribution.Counts{BotClicks: 3}}},
		Total: counts, TotalExtra: extra,
	}
}

func TestColumns(t *testing.T) {
	t.Parallel()
	r := sample()
	var got []string
	for _, c := range ForPrograms(r, true) {
		got = append(got, c.Name+" "+c.Cell(&r.Rows[0])+" "+c.Cell(&r.Rows[1]))
	}
	want := []string{
		"clicks 4 0", "bot_clicks 1 3", "conversions 2 0", "pending 1 0", "approved 1 0", "rejected 0 0", "reversed 0 0",
		"revenue_USD 12.50 0.00", "cost_EUR 1.00 0.00", "rate 50.00 ", "profit_EUR -1.00 0.00", "profit_USD 12.50 0.00",
		"epc_USD 3.1250 ", "converted_revenue_EUR 10.00 ", "converted_cost_EUR 1.00 ", "converted_profit_EUR 9.00 ",
		"converted_epc_EUR 2.5000 ", "converted_without_rate GBP JPY ",
		"lag_conversions 2 ", "lag_median_seconds 1.5 ", "lag_p90_seconds 60 ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// Names and keys lead to one column each, and what is not there has no column.
func TestColumnsAreDistinct(t *testing.T) {
	t.Parallel()
	names, keys := make(map[string]bool), make(map[string]bool)
	for _, c := range ForPrograms(sample(), true) {
		if names[c.Name] || keys[c.Key] || c.Title == "" || c.Help == "" || strings.HasSuffix(c.Help, ".") {
			t.Errorf("%s is there twice or says nothing", c.Name)
		}
		names[c.Name], keys[c.Key] = true, true
		name, _, money := strings.Cut(c.Key, ".")
		if money && !slices.Contains(MoneyKeys, name) {
			t.Errorf("%s is not among the keys of money", name)
		}
		if kind := c.Kind(); money == (kind == c.Name) || strings.Contains(kind, "EUR") {
			t.Errorf("%s is of the kind %s", c.Name, kind)
		}
	}
	plain := &attribution.Report{Total: attribution.Counts{Clicks: 1}}
	if got := Names(ForPrograms(plain, false)); len(got) != len(Counts)+1 || got[len(got)-1] != "rate" {
		t.Errorf("without money there are %q", got)
	}
}
