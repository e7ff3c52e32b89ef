package attribution

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParsePayout(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"12.5": "12.5", "12,50": "12.5", "$1,234.56": "1234.56", "1.234,56 EUR": "1234.56 EUR",
		"USD 12.5": "12.5 USD", "usd12.5": "12.5 USD", "12.5usd": "12.5 USD", "-5.00": "-5", "+5": "5", "1 234,56": "1234.56",
		"1\u00a0234,56\u00a0€": "1234.56 EUR", "1\u2009234\u202f567": "1234567", "1'234.50 CHF": "1234.5 CHF",
		"1’234’567.5": "1234567.5", "1.234": "1.234", "-1.250": "-1.25", "+1.250": "1.25",
		"0.125 EUR": "0.125 EUR", "€.125": "0.125 EUR", "1234.567 EUR": "1234.567 EUR", "$1.2345": "1.2345", "1.23 €": "1.23 EUR",
		"1.234 KWD": "1.234 KWD", "1.234.567 EUR": "1234567 EUR", "1,2345": "1.2345", "1,234,567": "1234567",
		"1.234.567": "1234567", "1.234.567,89": "1234567.89", "₹12,34,567.00": "1234567 INR", "0,500": "0.5", "0": "0",
		".5": "0.5", ",5": "0.5", "-.5": "-0.5", "$.50": "0.5", " 7 ": "7", "\u22125": "-5", "-$5": "-5", "$-5": "-5",
		"-5 €": "-5 EUR", "US$12": "12 USD", "$12 USD": "12 USD", "USD $12": "12 USD", "¥500": "500", "¥500 JPY": "500 JPY",
		"kr.500": "500", "500 kr.": "500", "500 kr": "500", "500 kr SEK": "500 SEK", "Rs.500": "500", "12 zł": "12 PLN",
		"12,345.678": "12345.678", "R$ 1.234,50": "1234.5 BRL", "£3": "3 GBP",
		"999.999.999.999.999.999,999999999": "999999999999999999.999999999",
	} {
		a, c, err := ParsePayout(in)
		got := a.String()
		if c != "" {
			got += " " + string(c)
		}
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for in, why := range map[string]string{
		"": "empty", " \u00a0": "empty", "1,234": "1234 or 1.234",
		"1.234 EUR": "1234 or 1.234", "€1.234": "1234 or 1.234", "-$12.345": "12345 or 12.345", "¥123.456": "can mean", "JPY 1.234": "can mean",
		"kr.1.234": "can mean", "1.234 kr": "can mean", "1,234 KWD": "can mean", "12,345": "12345 or 12.345", "$1,234": "can mean",
		"012,345": "can mean", "(5.00)": "brackets", "NaN": "no number", "inf": "no number", "1e5": `"e" is not`, "0x1F": "beside", "0x11": `"x" is not`, "1_000": `"_" is not`,
		"5.": "beside", "5,-": "beside", "5-": "beside", "--5": "beside", "+-5": "beside", "5%": "beside", "12 50": "group",
		"1,23,45": "group", "1.234,567,8": "group", "1 234'567": "group", "1  234": "group", "0 123": "group",
		"1234,567,890": "group", "12.5 XXX": "no currency", "12.5 bananas": "no currency", "€5 USD": "different", "$5 EUR": "different",
		"¥5 kr": "different", "USD 5 EUR": "different", "US USD 5 USD": "more around", "٣": "no number", "5 ٣": "beside",
		"1234567890123456789": "18", "1.0000000000": "9 decimals", "1\x00": "beside", "5\xff": "UTF-8", "{payout}": "no number",
		strings.Repeat("1", 97): "longer", "12\n34": "not understood", "USD.5": "no currency", "/5": "beside",
	} {
		a, c, err := ParsePayout(in)
		switch {
		case err == nil:
			t.Errorf("%q: accepted as %v %q", in, a, c)
		case !strings.Contains(err.Error(), why):
			t.Errorf("%q: the error does not say %q: %v", in, why, err)
		}
	}
}

// Whatever style a number is written in, it is read right or refused.
func TestParsePayoutStyles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.StringMatching(`0|[1-9][0-9]{0,17}`).Draw(t, "whole")
		frac := rapid.StringMatching(`[0-9]{0,9}`).Draw(t, "frac")
		mark := rapid.SampledFrom([]string{".", ","}).Draw(t, "mark")
		group := rapid.SampledFrom([]string{"", ",", ".", " ", "'", "\u00a0"}).Draw(t, "group")
		if group == mark {
			group = ""
		}
		var b strings.Builder
		for i, r := range whole {
			if i > 0 && (len(whole)-i)%3 == 0 {
				b.WriteString(group)
			}
			b.WriteRune(r)
		}
		plain := whole
		if frac != "" {
			b.WriteString(mark + frac)
			plain += "." + frac
		}
		text := b.String()
		want, err := ParseAmount(plain)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := ParsePayout(text)
		switch {
		case err == nil && got.Equal(want):
		case err != nil && strings.Contains(err.Error(), "can mean") && strings.Count(text, ",") == 1:
		case err == nil && group == "." && frac == "" && strings.Count(text, ".") == 1: // a plain decimal
		default:
			t.Fatalf("%q: got %v, %v, want %v", text, got, err, want)
		}
	})
}

func FuzzParsePayout(f *testing.F) {
	for _, s := range []string{
		"12.5", "12,50", "$1,234.56", "1.234,56 EUR", "1\u00a0234,5", "kr.500", "1,234", "(5)", "1e9", "-.5", "¥5 JPY", "NaN", "{payout}",
		"₹12,34,567.00", "\u22125", "1’000", "1.234 EUR", "€1.234", "1.234 KWD",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, c, err := ParsePayout(s)
		if err != nil {
			if !a.IsZero() || c != "" {
				t.Fatalf("%q: an error and a value", s)
			}
			return
		}
		// No digit is lost, added or moved.
		keep := func(s string) string {
			return strings.Trim(strings.Map(func(r rune) rune {
				if r < '0' || r > '9' {
					return -1
				}
				return r
			}, s), "0")
		}
		if got := a.String(); keep(got) != keep(s) {
			t.Fatalf("%q was read as %s", s, got)
		}
		if b, err := ParseAmount(a.String()); err != nil || !a.Equal(b) {
			t.Fatalf("%q was read as %v, which cannot be stored: %v", s, a, err)
		}
		if c != "" {
			if _, err := ParseCurrency(string(c)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"0", "-12.50", "+1", "1.", ".1", "999999999999999999.999999999", "1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount(s)
		if err != nil {
			return
		}
		if b, err := ParseAmount(a.String()); err != nil || !a.Equal(b) {
			t.Fatalf("%q: %v came back as %v, %v", s, a, b, err)
		}
		if p, c, err := ParsePayout(s); err != nil || c != "" || !a.Equal(p) {
			t.Fatalf("%q: a plain decimal was read as %v %q, %v", s, p, c, err)
		}
	})
}
