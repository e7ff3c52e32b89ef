package attribution

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func amount(t testing.TB, s string) Amount {
	t.Helper()
	a, err := ParseAmount(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParseAmount(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0", "-0.0": "0", "12.50": "12.5", "+5": "5", "-5.00": "-5", "007": "7",
		"999999999999999999.999999999": "999999999999999999.999999999",
	} {
		a, err := ParseAmount(in)
		if err != nil || a.String() != want {
			t.Errorf("%q: got %v, %v, want %s", in, a, err, want)
		}
	}
	for _, in := range []string{
		"", "-", ".", "5.", ".5", "1e5", "1,5", " 5", "NaN", "0x10", "--5", "+-5", "1.2.3", "٣",
		"1234567890123456789", "0.1234567890",
	} {
		if a, err := ParseAmount(in); err == nil {
			t.Errorf("%q: accepted as %v", in, a)
		}
	}
}

func TestAmountArithmetic(t *testing.T) {
	t.Parallel()
	a, b := amount(t, "0.1"), amount(t, "0.20")
	if got := a.Add(b); !got.Equal(amount(t, "0.3")) || got.String() != "0.3" {
		t.Errorf("0.1 + 0.20 = %v", got)
	}
	if got := a.Sub(b); got.String() != "-0.1" || got.Sign() != -1 || got.Neg().Cmp(a) != 0 {
		t.Errorf("0.1 - 0.20 = %v", got)
	}
	var zero Amount
	if !zero.IsZero() || zero.String() != "0" || !zero.Add(a).Equal(a) {
		t.Error("the zero value is not 0")
	}
}

func TestAmountStorage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,40}(\.[0-9]{1,20})?`).Draw(t, "amount")
		var a, b Amount
		if err := a.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		data, err := a.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if err := b.UnmarshalBinary(data); err != nil || !a.Equal(b) || a.String() != b.String() {
			t.Fatalf("%q came back as %v, %v", text, b, err)
		}
	})
	for _, bad := range []string{"", "1e9", strings.Repeat("1", 65)} {
		if new(Amount).UnmarshalBinary([]byte(bad)) == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func TestMoneyFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ amount, currency, format, text string }{
		{"12.5", "USD", "12.50", "12.50 USD"},
		{"12", "USD", "12.00", "12.00 USD"},
		{"0.125", "USD", "0.125", "0.125 USD"},
		{"500", "JPY", "500", "500 JPY"},
		{"500.5", "JPY", "500.5", "500.5 JPY"},
		{"-1.5", "KWD", "-1.500", "-1.500 KWD"},
		{"0", "EUR", "0.00", "0.00 EUR"},
		{"3", "", "3.00", "3.00"},
	} {
		m := Money{amount(t, c.amount), Currency(c.currency)}
		if m.Format() != c.format || m.String() != c.text {
			t.Errorf("%s %s: got %q, %q", c.amount, c.currency, m.Format(), m.String())
		}
	}
}

func TestParseCurrency(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Currency{"USD": "USD", " eur\n": "EUR", "Jpy": "JPY", "VES": "VES", "sle": "SLE"} {
		if c, err := ParseCurrency(in); err != nil || c != want {
			t.Errorf("%q: got %q, %v", in, c, err)
		}
	}
	for _, in := range []string{"", " ", "XXX", "XTS", "XAU", "XDR", "CLF", "US", "USDT", "DEM", "ZZZ", "ſgd", "{c}"} {
		if c, err := ParseCurrency(in); err == nil {
			t.Errorf("%q: accepted as %q", in, c)
		}
	}
	for c, want := range map[Currency]int{"USD": 2, "JPY": 0, "BHD": 3, "IDR": 2, "": 2} {
		if c.Digits() != want {
			t.Errorf("%q has %d minor units", c, c.Digits())
		}
	}
	seen := map[string]bool{}
	for _, list := range isoCodes {
		for _, code := range strings.Fields(list) {
			if seen[code] || len(code) != 3 || !upper(code) {
				t.Errorf("%q is listed twice or malformed", code)
			}
			seen[code] = true
		}
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	var sums Totals
	sums.Add(Money{amount(t, "1"), ""})
	if sums != nil {
		t.Fatalf("money without currency was added: %v", sums)
	}
	sums.Add(Money{amount(t, "12.5"), "USD"})
	sums.Add(Money{amount(t, "500"), "JPY"})
	if got, _ := json.Marshal(sums); string(got) != `{"JPY":"500","USD":"12.50"}` {
		t.Errorf("got %s", got)
	}
	copied := sums.Clone()
	sums.Sub(Money{amount(t, "12.50"), "USD"})
	if got := sums.Currencies(); !reflect.DeepEqual(got, []Currency{"JPY"}) {
		t.Errorf("a zero sum stays: %v", got)
	}
	if len(copied) != 2 {
		t.Errorf("the clone changed: %v", copied)
	}
	sums.SubAll(sums)
	if got, _ := json.Marshal(sums); string(got) != "{}" {
		t.Errorf("got %s", got)
	}
	if got, _ := json.Marshal(Totals(nil)); string(got) != "{}" {
		t.Errorf("no totals: got %s", got)
	}
	for _, bad := range []string{`{"usd":"1"}`, `{"USD":"1e9"}`, `{"USD":1.5}`, `[]`} {
		if err := json.Unmarshal([]byte(bad), &sums); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func TestTotalsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var sums, back Totals
		for range rapid.IntRange(0, 8).Draw(t, "entries") {
			text := rapid.StringMatching(`-?[0-9]{1,18}(\.[0-9]{1,9})?`).Draw(t, "amount")
			a, err := ParseAmount(text)
			if err != nil {
				t.Fatal(err)
			}
			sums.Add(Money{a, rapid.SampledFrom([]Currency{"USD", "EUR", "JPY", "KWD"}).Draw(t, "currency")})
		}
		data, err := json.Marshal(sums)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		back.SubAll(sums)
		if len(back) != 0 {
			t.Fatalf("%s came back different by %v", data, back)
		}
	})
}
