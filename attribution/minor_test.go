package attribution

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFromMinor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		amount   string
		currency Currency
		want     string
	}{
		{"1250", "USD", "12.50 USD"}, {"1", "EUR", "0.01 EUR"}, {"-2950", "USD", "-29.50 USD"}, {"0", "USD", "0.00 USD"},
		{"1250", "JPY", "1250 JPY"}, {"10950", "KWD", "10.950 KWD"}, {"1250.00", "USD", "12.50 USD"}, {"5000", "", "50.00"},
		{"999999999999999999", "USD", "9999999999999999.99 USD"},
	} {
		a, err := ParseAmount(c.amount)
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromMinor(Money{a, c.currency})
		if err != nil || got.String() != c.want {
			t.Errorf("%s %s: got %v, %v, want %s", c.amount, c.currency, got, err, c.want)
		}
	}
	for _, text := range []string{"12.5", "0.01", "-0.5"} {
		a, err := ParseAmount(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := FromMinor(Money{a, "JPY"}); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "JPY") {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

// The minor unit is exact: as many of it as make one of the currency make it,
// and sums come out the same on either side.
func TestFromMinorIsExact(t *testing.T) {
	t.Parallel()
	units := map[int]string{0: "1", 2: "100", 3: "1000"}
	rapid.Check(t, func(t *rapid.T) {
		c := Currency(rapid.SampledFrom([]string{"JPY", "USD", "EUR", "KWD", "BHD", "ISK"}).Draw(t, "currency"))
		amount := func(label string) Amount {
			a, err := ParseAmount(rapid.StringMatching(`-?[0-9]{1,16}`).Draw(t, label))
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		minor := func(a Amount) Amount {
			m, err := FromMinor(Money{a, c})
			if err != nil || m.Currency != c {
				t.Fatalf("%v: %v", m, err)
			}
			return m.Amount
		}
		a, b := amount("a"), amount("b")
		if !minor(a.Add(b)).Equal(minor(a).Add(minor(b))) {
			t.Fatalf("%s and %s do not add up", a, b)
		}
		one, err := ParseAmount(units[c.Digits()])
		if err != nil || minor(one).String() != "1" {
			t.Fatalf("%s of %s: %v", one, c, err)
		}
	})
}
