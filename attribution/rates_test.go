package attribution

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const someRates = "currency,rate,date\n# the base first\nEUR,1,2026-01-01\nUSD,0.9,2026-01-01\nUSD,0.8,2026-02-01\nJPY,0.006125,2026-01-01\n"

func day(s string) time.Time {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return t
}

func money(amount string, c Currency) Money {
	a, err := ParseAmount(amount)
	if err != nil {
		panic(err)
	}
	return Money{Amount: a, Currency: c}
}

func TestRatesConvert(t *testing.T) {
	r, err := ParseRates([]byte(someRates))
	if err != nil {
		t.Fatal(err)
	}
	if r.Base() != "EUR" {
		t.Fatalf("base is %q, want EUR", r.Base())
	}
	for _, tc := range []struct {
		money Money
		at    time.Time
		want  string // "" = no rate
	}{
		{money("10", "USD"), day("2026-01-01"), "9"},
		{money("10", "USD"), day("2026-01-31").Add(23 * time.Hour), "9"},
		{money("10", "USD"), day("2026-02-01"), "8"},
		{money("10", "USD"), day("2030-01-01"), "8"},
		{money("10", "USD"), day("2025-12-31"), ""},
		{money("10", "EUR"), day("2020-01-01"), "10"},
		{money("1000", "JPY"), day("2026-03-01"), "6.125"},
		{money("-3.33", "USD"), day("2026-01-05"), "-2.997"},
		{money("10", "GBP"), day("2026-01-05"), ""},
	} {
		got, ok := r.Convert(tc.money, tc.at)
		if ok != (tc.want != "") || ok && got.String() != tc.want {
			t.Errorf("Convert(%v, %s) = %s, %t; want %q", tc.money, tc.at, got, ok, tc.want)
		}
	}
}

func TestParseRatesRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "no line has the rate 1",
		"USD,0.9,2026-01-01":                 "no line has the rate 1",
		"EUR,1,2026-01-01\nUSD,x,2026-01-01": "line 2",
		"EUR,1,2026-01-01\nUSX,1,2026-01-01": "line 2",
		"EUR,1,2026-01-01\nUSD,0,2026-01-01": "more than 0",
		"EUR,1,01.02.2026":                   "not one like",
		"EUR,1":                              "wrong number of fields",
		// On one day any two currencies can be worth the same.
		"USD,1,2022-07-13\nEUR,1,2022-01-01\nUSD,0.92,2022-07-14": "", // EUR
		"EUR,1,2026-01-01\nEUR,1.1,2026-01-02":                    "no currency has the rate 1 on all its lines",
		"USD,1,2026-01-01\nBSD,1,2026-01-01\nEUR,1.1,2026-01-01":  "BSD and USD have the rate 1 on all their lines",
		"currency,USD,date\nUSD,1.1,2026-01-01":                   "the heading names USD",
		"currency,dollars,date\nUSD,1,2026-01-01":                 `second column is "dollars"`,
		"EUR,1,2026-01-01\nIRR,0.0000000000000000001,2026-01-01":  "more than 18 decimals",
		"EUR,1,2026-01-01\nIRR,1234567890123,2026-01-01":          "more than 12 digits",
		"EUR,1,2026-01-01\nUSD,2,2026-01-01\nUSD,3,2026-01-01":    "two rates",
	} {
		r, err := ParseRates([]byte(in))
		if want == "" {
			if err != nil || r.Base() != "EUR" {
				t.Errorf("ParseRates(%q) = %v, %v, want the base EUR", in, r, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRates(%q) = %v, want an error with %q", in, err, want)
		}
	}
}

func TestRatesOfPeggedAndWeakCurrencies(t *testing.T) {
	r, err := ParseRates([]byte("Currency, USD ,date\nUSD,1,2026-01-01\nBSD,1,2026-01-01\nIRR,0.000000951234567891,2026-01-01\n"))
	if err != nil || r.Base() != "USD" {
		t.Fatalf("the base is %v: %v", r, err)
	}
	if got, ok := r.Convert(money("1000000000", "IRR"), day("2026-01-02")); !ok || got.String() != "951.234567891" {
		t.Errorf("a milliard rials are %s, %t", got, ok)
	}
	if r, err = ParseRates([]byte("currency,EUR,date\nUSD,0.9,2026-01-01\n")); err != nil || r.Base() != "EUR" {
		t.Errorf("the base needs no line of its own if the heading names it: %v, %v", r, err)
	}
}

func FuzzParseRates(f *testing.F) {
	f.Add([]byte(someRates))
	f.Add([]byte("EUR,1,2026-01-01"))
	f.Add([]byte("currency,USD,date\nUSD,1,2026-01-01\nBSD,1,2026-01-01\nIRR,0.000000000000000001,2026-01-01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRates(data)
		if (err == nil) == (r == nil) || err == nil && r.Base() == "" {
			t.Fatalf("ParseRates(%q) = %v, %v", data, r, err)
		}
	})
}

func TestReportConvertsAndMeasuresLag(t *testing.T) {
	rates, err := ParseRates([]byte(someRates))
	if err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(Query{By: []string{"campaign"}, From: day("2026-01-01"), To: day("2026-03-01"), Rates: rates, Lags: true})
	add := func(campaign string, at time.Time, m Money, lag time.Duration) {
		var c Counts
		c.Conversions, c.Approved = 1, 1
		c.Revenue.Add(m)
		b.Add(Dims{Campaign: campaign}, at, c)
		b.AddLag(Dims{Campaign: campaign}, at, lag)
	}
	add("a", day("2026-01-05"), money("10", "USD"), time.Minute)
	add("a", day("2026-02-05"), money("10", "USD"), time.Hour)
	add("a", day("2026-02-05"), money("0.005", "EUR"), 2*time.Hour)
	add("b", day("2026-02-05"), money("7", "GBP"), 3*time.Hour)
	got, err := json.Marshal(b.Report())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"converted":{"currency":"EUR","revenue":"17.00","cost":"0.00"},"lag":{"conversions":3,"median_seconds":3600,"p90_seconds":7200}`,
		`"converted":{"currency":"EUR","revenue":"0.00","cost":"0.00","without_rate":["GBP"]},"lag":{"conversions":1,`,
		`"without_rate":["GBP"]},"lag":{"conversions":4,"median_seconds":3600,"p90_seconds":10800}}}`,
		`"revenue":{"EUR":"0.005","USD":"20.00"}`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("the report lacks %s:\n%s", want, got)
		}
	}
	var back Report
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(got) {
		t.Errorf("read and written again (%v):\n%s\nwant\n%s", err, again, got)
	}
}
