package caddymodule

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func sampleReport(t *testing.T) *attribution.Report {
	t.Helper()
	money := func(amount string, c attribution.Currency) attribution.Totals {
		a, err := attribution.ParseAmount(amount)
		if err != nil {
			t.Fatal(err)
		}
		var sum attribution.Totals
		sum.Add(attribution.Money{Amount: a, Currency: c})
		return sum
	}
	r := &attribution.Report{
		By: []string{"campaign", "source"},
		Rows: []attribution.Row{
			{Keys: []string{"acme", "newsletter"}, Counts: attribution.Counts{
				Clicks: 1200, Conversions: 12, Approved: 11, Reversed: 1, Revenue: money("137.5", "USD"), Cost: money("1.2", "EUR"),
			}},
			{Keys: []string{"shoes", "\x1b[31mred"}, Counts: attribution.Counts{Clicks: 7, Revenue: money("900", "JPY")}},
		},
	}
	for _, row := range r.Rows {
		r.Total.Add(row.Counts)
	}
	return r
}

func TestReportTable(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	if err := reportTable(sampleReport(t)).writeTable(&buf, 0); err != nil {
		t.Fatal(err)
	}
	want := `
CAMPAIGN  SOURCE       CLICKS  BOT CLICKS  CONVERSIONS  PENDING  APPROVED  REJECTED  REVERSED  REVENUE JPY  REVENUE USD  COST EUR
acme      newsletter     1200           0           12        0        11         0         1            0       137.50      1.20
shoes     \x1b[31mred       7           0            0        0         0         0         0          900         0.00      0.00
total                    1207           0           12        0        11         0         1          900       137.50      1.20
`
	if got := "\n" + buf.String(); got != want {
		t.Errorf("got%swant%s", got, want)
	}
}

func TestReportTableFits(t *testing.T) {
	t.Parallel()
	r := sampleReport(t)
	r.Rows[0].Keys[1] = strings.Repeat("söürce ", 12)
	for _, width := range []int{200, 130, 110, 100} {
		var buf bytes.Buffer
		if err := reportTable(r).writeTable(&buf, width); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(buf.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > width {
				t.Errorf("a line of %d in a terminal of %d: %s", n, width, line)
			}
		}
		if !strings.Contains(buf.String(), "REVERSED") || strings.Contains(buf.String(), "PENDING") != (width >= 200) {
			t.Errorf("in %d:\n%s", width, buf.String())
		}
	}
	// What cannot be made to fit is written whole.
	var buf bytes.Buffer
	if err := reportTable(r).writeTable(&buf, 10); err != nil || !strings.Contains(buf.String(), "137.50") {
		t.Errorf("%v:\n%s", err, buf.String())
	}
}

func TestReportCSV(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	if err := reportTable(sampleReport(t)).writeCSV(&buf); err != nil {
		t.Fatal(err)
	}
	want := "campaign,source,clicks,bot_clicks,conversions,pending,approved,rejected,reversed,revenue_JPY,revenue_USD,cost_EUR\n" +
		"acme,newsletter,1200,0,12,0,11,0,1,0,137.50,1.20\n" +
		"shoes,\x1b[31mred,7,0,0,0,0,0,0,900,0.00,0.00\n"
	if buf.String() != want {
		t.Errorf("got\n%q\nwant\n%q", buf.String(), want)
	}
}

func TestCSVCell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":              "",
		"acme":          "acme",
		"=1+1":          "'=1+1",
		"+49123":        "'+49123",
		"-":             "'-",
		"-12.50":        "-12.50",
		"-0.":           "'-0.",
		"-1.2.3":        "'-1.2.3",
		"--1":           "'--1",
		"-1e5":          "'-1e5",
		"@SUM(A1)":      "'@SUM(A1)",
		"\t=1":          "'\t=1",
		"\r=1":          "'\r=1",
		"12":            "12",
		"a=1":           "a=1",
		"-2+cmd|'/C'!A": "'-2+cmd|'/C'!A",
	} {
		if got := csvCell(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ünïcode 東京":    "plain ünïcode 東京",
		"\x1b]0;title\a":      `\x1b]0;title\a`,
		"a\nb":                `a\nb`,
		"bad \xff byte":       `bad \xff byte`,
		"rtl \u202e txet":     `rtl \u202e txet`,
		"it's \"quoted\"\x00": `it's "quoted"\x00`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
