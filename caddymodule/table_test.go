package caddymodule

import (
	"bytes"
	"strings"
	"testing"
	"time"

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
			{Keys: []string{"shoes", "\x1b[31mred"}, Counts: attribution.Counts{BotClicks: 5, Revenue: money("900", "JPY")}},
		},
	}
	for _, row := range r.Rows {
		r.Total.Add(row.Counts)
	}
	return r
}

func tableText(t *testing.T, table *table, l look) string {
	t.Helper()
	var buf bytes.Buffer
	if _, err := table.writeTable(&buf, l); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func TestReportTable(t *testing.T) {
	t.Parallel()
	want := `
CAMPAIGN  SOURCE       CLICKS  BOT CLICKS  CONVERSIONS  PENDING  APPROVED  REJECTED  REVERSED  REVENUE JPY  REVENUE USD  COST EUR   RATE  PROFIT EUR  PROFIT JPY  PROFIT USD  EPC JPY  EPC USD
acme      newsletter     1200           0           12        0        11         0         1            0       137.50      1.20  1.00%       -1.20           0      137.50     0.00   0.1146
shoes     \x1b[31mred       0           5            0        0         0         0         0          900         0.00      0.00               0.00         900        0.00
total                    1200           5           12        0        11         0         1          900       137.50      1.20  1.00%       -1.20         900      137.50     0.75   0.1146
`
	if got := "\n" + tableText(t, reportTable(sampleReport(t), peopleColumns(sampleReport(t), false)), look{}); got != want {
		t.Errorf("got%swant%s", got, want)
	}
}

func TestTablesFit(t *testing.T) {
	t.Parallel()
	report := sampleReport(t)
	report.Rows[0].Keys[1] = strings.Repeat("söürce 東京 ", 12)
	at := timestamp{testNow}
	claim := claimAnswer{Event: "purchase", TxID: strings.Repeat("tx", 20), Status: "approved", Payout: "1234.50", Currency: "USD"}
	conversions := conversionTable([]conversionAnswer{{
		Time: at, Campaign: "шубы и шапки", Source: "ニュースレター 🗞️", ClickID: strings.Repeat("x", 26), claimAnswer: claim,
	}}, time.UTC)
	journal := journalTable([]entryAnswer{
		{Seq: 123456, Time: at, Route: "/postback/network", Outcome: "recorded", Campaign: "acme", claimAnswer: claim},
		{Seq: 123457, Time: at, Route: "/postback/network", Outcome: "quarantined", Reason: "unresolved_macro", Detail: strings.Repeat("why ", 50)},
	}, time.UTC, formatTable)
	for _, tc := range []struct {
		name  string
		table *table
		width int
		keeps string // titles that are not to be missed
		left  string
	}{
		{"report", reportTable(report, peopleColumns(report, false)), 200, "CAMPAIGN SOURCE CLICKS APPROVED EPC", ""},
		{"report", reportTable(report, peopleColumns(report, false)), 120, "CAMPAIGN SOURCE CLICKS REVENUE RATE PROFIT", "approved bot clicks epc JPY epc USD reversed"},
		{"report", reportTable(report, peopleColumns(report, false)), 80, "CAMPAIGN SOURCE CLICKS CONVERSIONS REVENUE",
			"approved bot clicks cost EUR epc JPY epc USD profit EUR profit JPY profit USD rate reversed"},
		{"conversions", conversions, 200, "TIME CAMPAIGN SOURCE EVENT TXID STATUS PAYOUT CURRENCY CLICK", ""},
		{"conversions", conversions, 80, "TIME CAMPAIGN SOURCE STATUS PAYOUT CURRENCY", "click id txid"},
		{"journal", journal, 200, "TIME ROUTE OUTCOME REASON DETAIL", ""},
		{"journal", journal, 80, "SEQ TIME OUTCOME REASON CAMPAIGN PAYOUT CURRENCY", "detail event route status txid"},
		{"networks", networksTable(), 200, "NAME TITLE KIND SENDS VERIFY GRADE CHECKED", ""},
		{"networks", networksTable(), 80, "NAME TITLE VERIFY", "kind"},
	} {
		var buf bytes.Buffer
		left, err := tc.table.writeTable(&buf, look{width: tc.width})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(left, " "); got != tc.left {
			t.Errorf("%s in %d leaves out %q, want %q", tc.name, tc.width, got, tc.left)
		}
		for line := range strings.Lines(buf.String()) {
			if n := textWidth(strings.TrimRight(line, "\n")); n > tc.width {
				t.Errorf("%s: a line of %d in a terminal of %d: %s", tc.name, n, tc.width, line)
			}
		}
		titles, _, _ := strings.Cut(buf.String(), "\n")
		for title := range strings.FieldsSeq(tc.keeps) {
			if !strings.Contains(titles, title) {
				t.Errorf("%s in %d has no %s: %s", tc.name, tc.width, title, titles)
			}
		}
	}
	// What cannot be made to fit is written whole.
	if got := tableText(t, reportTable(report, peopleColumns(report, false)), look{width: 10}); !strings.Contains(got, "137.50") {
		t.Errorf("in 10:\n%s", got)
	}
}

func TestReportCSV(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	r := sampleReport(t)
	if err := reportTable(r, programColumns(r, false)).writeCSV(&buf); err != nil {
		t.Fatal(err)
	}
	want := "campaign,source,clicks,bot_clicks,conversions,pending,approved,rejected,reversed,revenue_JPY,revenue_USD,cost_EUR," +
		"rate,profit_EUR,profit_JPY,profit_USD,epc_JPY,epc_USD\n" +
		"acme,newsletter,1200,0,12,0,11,0,1,0,137.50,1.20,1.00,-1.20,0,137.50,0.00,0.1146\n" +
		"shoes,\x1b[31mred,0,5,0,0,0,0,0,900,0.00,0.00,,0.00,900,0.00,,\n"
	if buf.String() != want {
		t.Errorf("got\n%q\nwant\n%q", buf.String(), want)
	}
}

func TestSortReport(t *testing.T) {
	t.Parallel()
	names := func(r *attribution.Report) string {
		var s []string
		for _, row := range r.Rows {
			s = append(s, row.Keys[0])
		}
		return strings.Join(s, " ")
	}
	sample := func() *attribution.Report {
		r := sampleReport(t)
		r.Rows = append(r.Rows, attribution.Row{Keys: []string{"last", "x"}, Counts: attribution.Counts{Clicks: 200, Conversions: 4}})
		return r
	}
	for by, want := range map[string]string{
		"campaign":    "acme last shoes",
		"-campaign":   "shoes last acme",
		"clicks":      "shoes last acme",
		"-clicks":     "acme last shoes", // 1200 is more than 200
		"rate":        "acme last shoes", // nothing is last
		"-rate":       "last acme shoes", // and remains so
		"revenue_USD": "shoes last acme",
		"revenue.jpy": "acme last shoes",
		"-cost":       "acme shoes last", // one currency
		"Bot clicks":  "acme last shoes",
		"-bots":       "shoes acme last", // as in the address of a page
	} {
		r := sample()
		if err := sortReport(r, by, false); err != nil || names(r) != want {
			t.Errorf("by %s: %s, %v; want %s", by, names(r), err, want)
		}
	}
	for by, want := range map[string]string{
		"revenue": `"revenue" could be one of several columns: name the currency, as in revenue_JPY`,
		"weather": "use one of campaign, source, clicks, bot_clicks, ",
	} {
		if err := sortReport(sample(), by, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("by %s: %v", by, err)
		}
	}
}

// TestSortHours wants the two hours of one name as they passed.
func TestSortHours(t *testing.T) {
	t.Parallel()
	first, second := "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"
	r := &attribution.Report{By: []string{"hour"}, Rows: []attribution.Row{{Keys: []string{second}}, {Keys: []string{first}}}}
	for by, want := range map[string]string{"hour": first, "-hour": second} {
		if err := sortReport(r, by, false); err != nil || r.Rows[0].Keys[0] != want {
			t.Errorf("by %s: %v %v", by, r.Rows, err)
		}
	}
}

func TestTextWidth(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text  string
		width int
		cut   string // to 5
	}{
		{"", 0, ""},
		{"plain", 5, "plain"},
		{"plainer", 7, "plai…"},
		{"東京都", 6, "東京…"},
		{"a東京", 5, "a東京"},
		{"a東京b", 6, "a東…"},
		{"e\u0301e\u0301e\u0301e\u0301e\u0301", 5, "e\u0301e\u0301e\u0301e\u0301e\u0301"},
		{"👍👍👍", 6, "👍👍…"},
		{"한국어", 6, "한국…"},
		{"\u1112\u1161\u11ab", 2, "\u1112\u1161\u11ab"}, // 한 in its parts
		{"ｆｕｌｌ", 8, "ｆｕ…"},
		{"ﾊﾝｶｸｶﾅ", 6, "ﾊﾝｶｸ…"},
	} {
		if got := textWidth(tc.text); got != tc.width {
			t.Errorf("%q is %d wide, want %d", tc.text, got, tc.width)
		}
		if got := cutText(tc.text, 5); got != tc.cut {
			t.Errorf("%q is cut to %q, want %q", tc.text, got, tc.cut)
		}
	}
	if got := cutText("abc", 0); got != "" {
		t.Errorf("cut to nothing: %q", got)
	}
}

func TestColors(t *testing.T) {
	t.Parallel()
	table := &table{
		columns: []column{{title: "time", style: dimStyle}, {title: "outcome", style: wordStyle}, {title: "n", number: true}},
		rows: [][]string{
			{"now", "recorded", "1"}, {"東京", "quarantined (resolved)", "22"}, {"", "unheard of", ""},
			{"\x1b[31m", "rejected", "3"},
		},
		total: []string{"total", "", "26"},
	}
	want := `
#1TIME#0      #1OUTCOME#0                  #1N#0
#2now#0       #32recorded#0                 1
#2東京#0      #33quarantined (resolved)#0  22
          unheard of
#2\x1b[31m#0  #31rejected#0                 3
#1total#0                             #126#0
`
	got := "\n" + tableText(t, table, look{paint: true})
	got = strings.ReplaceAll(strings.ReplaceAll(got, "\x1b[", "#"), "m", "")
	if want = strings.ReplaceAll(want, "m", ""); got != want {
		t.Errorf("got%swant%s", got, want)
	}
	if plain := tableText(t, table, look{}); strings.Contains(plain, "\x1b") {
		t.Errorf("plain: %q", plain)
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
		"\t=1":          "'\t'=1",
		"\r=1":          "'\r'=1",
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
