package attribution

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"
)

func total(t *testing.T, sums ...string) Totals {
	t.Helper()
	var sum Totals
	for i := 0; i < len(sums); i += 2 {
		a, err := ParseAmount(sums[i])
		if err != nil {
			t.Fatal(err)
		}
		sum.Add(Money{a, Currency(sums[i+1])})
	}
	return sum
}

func TestRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		clicks, conversions int64
		want                string
	}{
		{3, 1, "33.33"},
		{3, 2, "66.67"},
		{800, 1, "0.13"}, // 0.125: halves away from zero
		{7, 0, "0.00"},
		{1, 3, "300.00"},
		{1 << 40, 1 << 40, "100.00"},
		{0, 3, ""},
	} {
		n := Counts{Clicks: c.clicks, Conversions: c.conversions, BotClicks: 1000}
		rate, ok := n.Rate()
		got := ""
		if ok {
			got = rate.Fixed(RateDigits())
		}
		if got != c.want {
			t.Errorf("%d of %d: got %q, want %q", c.conversions, c.clicks, got, c.want)
		}
	}
}

func TestProfitAndEPC(t *testing.T) {
	t.Parallel()
	c := Counts{
		Clicks:  3,
		Revenue: total(t, "10.00", "USD", "7", "JPY", "5", "EUR"),
		Cost:    total(t, "12.345", "USD", "5", "EUR", "1", "GBP"),
	}
	profit := c.Profit()
	for code, want := range map[Currency]string{"USD": "-2.345", "JPY": "7", "GBP": "-1"} {
		if got := profit[code].String(); got != want {
			t.Errorf("the profit in %s is %s, want %s", code, got, want)
		}
	}
	if _, ok := profit["EUR"]; ok {
		t.Error("a profit of nothing is listed")
	}
	if got := c.Revenue["USD"].String(); got != "10" {
		t.Errorf("the revenue has changed to %s", got)
	}
	epc := c.EPC()
	for code, want := range map[Currency]string{"USD": "3.3333", "JPY": "2.33", "EUR": "1.6667"} {
		if got := epc[code].Fixed(EPCDigits(code)); got != want {
			t.Errorf("a click earns %s %s, want %s", got, code, want)
		}
	}
	c.Clicks = 0
	if c.EPC() != nil {
		t.Error("no click earned something")
	}
	conv := Converted{Currency: "EUR", Revenue: total(t, "10", "EUR")["EUR"], Cost: total(t, "0.5", "EUR")["EUR"]}
	if got := conv.Profit().String(); got != "9.5" {
		t.Errorf("the converted profit is %s", got)
	}
	if a, ok := conv.EPC(3); !ok || a.String() != "3.3333" {
		t.Errorf("the converted earnings per click are %s", a)
	}
	if _, ok := conv.EPC(0); ok {
		t.Error("no click earned something")
	}
}

func TestPercentChange(t *testing.T) {
	t.Parallel()
	amount := func(s string) Amount {
		a, err := ParseAmount(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, c := range []struct{ then, now, want string }{
		{"4", "5", "25.00"}, {"3", "1", "-66.67"}, {"2", "2", "0.00"}, {"0.10", "12.50", "12400.00"}, {"0", "1", ""}, {"-1", "1", ""},
	} {
		p, ok := PercentChange(amount(c.then), amount(c.now))
		got := ""
		if ok {
			got = p.Fixed(2)
		}
		if got != c.want {
			t.Errorf("from %s to %s: got %q, want %q", c.then, c.now, got, c.want)
		}
	}
	if got := (Money{amount("2.345"), "USD"}).Rounded().Format(); got != "2.34" { // halves to even
		t.Errorf("got %s", got)
	}
}

func TestMergeExtra(t *testing.T) {
	t.Parallel()
	eur := func(s string) Amount { return total(t, s, "EUR")["EUR"] }
	part := Extra{Converted: &Converted{Currency: "EUR", Revenue: eur("2"), WithoutRate: []Currency{"USD"}}}
	var sum Extra
	sum.Merge(Extra{})
	sum.Merge(part)
	sum.Merge(part)
	sum.Merge(Extra{Converted: &Converted{Currency: "EUR", Cost: eur("1"), WithoutRate: []Currency{"GBP", "USD"}}})
	if c := sum.Converted; c.Revenue.String() != "4" || c.Cost.String() != "1" || len(c.WithoutRate) != 2 {
		t.Errorf("got %+v", c)
	}
	if part.Converted.Revenue.String() != "2" {
		t.Error("what was merged has changed")
	}
}

// TestConvertedIsRoundedOnce wants a report to be the same before and after it
// was written and read, with all that follows from it.
func TestConvertedIsRoundedOnce(t *testing.T) {
	t.Parallel()
	rates, err := ParseRates([]byte("EUR,1,2026-01-01\nUSD,0.5,2026-01-01\n"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	q := Query{By: []string{"campaign"}, From: at, To: at.Add(time.Hour), Rates: rates}
	report := func(q Query) Report {
		b := NewBuilder(q)
		for _, campaign := range []string{"a", "b", "c"} {
			b.Add(Dims{Campaign: campaign}, at, Counts{Clicks: 3, Revenue: total(t, "0.05", "USD"), Cost: total(t, "0.01", "EUR")})
		}
		return b.Report()
	}
	made := report(q)
	data, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	var read Report
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	for i := range made.Rows {
		x, y := made.Rows[i].Converted, read.Rows[i].Converted
		epcX, _ := x.EPC(3)
		epcY, _ := y.EPC(3)
		if x.Profit().Cmp(y.Profit()) != 0 || epcX.Cmp(epcY) != 0 || x.Profit().String() != "0.01" {
			t.Errorf("profit %s and %s, EPC %s and %s", x.Profit(), y.Profit(), epcX, epcY)
		}
	}
	// The total is rounded once, and not the sum of what is rounded.
	if got := made.TotalExtra.Converted.Revenue.String(); got != "0.08" {
		t.Errorf("the total is %s, want 0.075 rounded", got)
	}
	q.Exact = true
	if got := report(q).TotalExtra.Converted.Revenue.String(); got != "0.075" {
		t.Errorf("the exact total is %s", got)
	}
}

func TestRowBound(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	b := NewBuilder(Query{By: []string{"campaign"}, From: at, To: at.Add(time.Hour)})
	add := func(campaign string) { b.Add(Dims{Campaign: campaign}, at, Counts{Clicks: 1}) }
	for i := range MaxRows {
		add(strconv.Itoa(i))
	}
	add("0") // is there
	if err := b.Err(); err != nil || len(b.Report().Rows) != MaxRows {
		t.Fatalf("the rows that are allowed: %v", err)
	}
	add("one more")
	b.AddLag(Dims{Campaign: "and another"}, at, time.Second)
	if err := b.Err(); !errors.Is(err, ErrTooManyRows) || len(b.rows) != MaxRows {
		t.Errorf("got %v with %d rows", err, len(b.rows))
	}
}

func TestCompareKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		dimension, x, y string
		want            int
	}{
		{"hour", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", -1},
		{"hour", "2026-10-25T01:00:00+00:00", "2026-10-25T02:00:00+02:00", 1}, // set back by two hours
		{"hour", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z", -1},
		{"hour", "x", "2026-10-25T03:00:00Z", 1},
		{"campaign", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", 1},
		{"day", "2026-10-25", "2026-10-25", 0},
	} {
		if got := CompareKeys(c.dimension, c.x, c.y); got != c.want {
			t.Errorf("%s: %q and %q: got %d", c.dimension, c.x, c.y, got)
		}
	}
}
