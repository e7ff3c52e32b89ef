package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use: "report [--by <dimensions>] [--from <time>] [--to <time>] [--campaign <name>] [--source <name>] " +
			"[--tz <zone>] [--lag] [--sort [-]<column>] [--limit <n>] [--format table|csv|json]",
		Short: "Counts clicks and conversions and sums revenue and cost",
		Long: `
Counts clicks and conversions and sums revenue and cost.

A conversion counts under its click's campaign, source and sub-IDs, at its own
time. Revenue is the payout of approved conversions. Bots and prefetches are
counted apart, tests not at all. Each currency has its own columns; if the
configuration names a file of exchange rates, there is one converted total more,
at the rates of the days. Currencies without a rate are named and left out of it.

The rate is the number of conversions for each hundred clicks, the profit is the
revenue less the cost, and epc is what a click earned.

--lag adds how long after their clicks the conversions came: half of them
within the median, nine tenths within the other. CSV has them in seconds.

Dimensions are campaign, source, sub.<name>, event, destination, hour, day and
month; several are separated by commas. An empty --by shows the total only.

--sort names a column as --format csv does ("revenue" is enough where there is
one currency or a converted total); with a - in front the order falls. --limit
shows the first rows only; the total remains that of all.

Without --from and --to the report is of the last 30 days including today.
` + timeHelp,
		Example: `  caddy capture report
  caddy capture report --by source --from this-month --sort -profit --limit 10
  caddy capture report --by source,sub.creative --campaign acme --from 2026-11-01 --to 2026-11-15
  caddy capture report --by day --from 14d --tz Europe/Berlin
  caddy capture report --by campaign,event --lag
  caddy capture report --by campaign,month --from 2026-01-01 --format csv > year.csv`,
		Args: cobra.NoArgs,
		RunE: runReport,
	}
	addRange(cmd, "what happened")
	f := cmd.Flags()
	f.String("by", "campaign", "Dimensions, separated by commas")
	f.String("campaign", "", "Only this campaign")
	f.String("source", "", "Only this source")
	f.Bool("lag", false, "Add the time from click to conversion")
	f.String("sort", "", "Column to sort by, with - in front for falling order")
	f.Int("limit", 0, "The most rows to show; 0 for all")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func runReport(cmd *cobra.Command, _ []string) error {
	q := query(cmd, "by", "from", "to", "campaign", "source", "tz")
	lag, _ := cmd.Flags().GetBool("lag")
	if lag {
		q.Set("lag", "1")
	}
	limit, _ := cmd.Flags().GetInt("limit")
	if limit < 0 {
		return fmt.Errorf("--limit is %d: use 0 for all rows, or how many", limit)
	}
	resp, err := adminRequest(cmd, http.MethodGet, "/capture/report", q, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	by := flagString(cmd, "sort")
	if by == "" && limit == 0 && flagString(cmd, "format") == formatJSON {
		return copyAnswer(cmd, resp.Body) // with whatever else it says
	}
	var report attribution.Report
	if err := readAnswer(resp.Body, &report); err != nil {
		return err
	}
	if by != "" && len(report.By) > 0 {
		if err := sortReport(&report, by, lag); err != nil {
			return err
		}
	}
	all := len(report.Rows)
	if limit > 0 && limit < all && len(report.By) > 0 {
		report.Rows = report.Rows[:limit]
	}
	if err := printReport(cmd, &report, lag); err != nil {
		return err
	}
	if rows := len(report.Rows); rows < all {
		return say(cmd, "the first %d of %s", rows, plural(int64(all), "row"))
	}
	return nil
}

func printReport(cmd *cobra.Command, report *attribution.Report, lag bool) error {
	format, out := flagString(cmd, "format"), cmd.OutOrStdout()
	if format == formatJSON {
		data, err := json.Marshal(report)
		if err != nil {
			return err
		}
		_, err = out.Write(append(data, '\n'))
		return err
	}
	t := reportTable(report, format == formatCSV)
	t.addExtras(report, lag, format == formatCSV)
	if format == formatCSV {
		if len(report.By) == 0 {
			t.rows = [][]string{t.total}
		}
		return t.print(cmd, format, "")
	}
	if _, err := fmt.Fprintf(out, "From %s to %s\n\n",
		report.From.Format(time.RFC3339), report.To.Format(time.RFC3339)); err != nil {
		return err
	}
	return t.print(cmd, format, "")
}

// reportTable lays a report out, with columns of its own for each currency.
// Programs get figures without signs.
func reportTable(r *attribution.Report, programs bool) *table {
	t := &table{}
	for _, name := range r.By {
		t.columns = append(t.columns, column{title: name})
	}
	if len(r.By) == 0 {
		t.columns = append(t.columns, column{title: "sum"})
	}
	columns := figureColumns(r, programs)
	for i := range columns {
		t.columns = append(t.columns, columns[i].column)
	}
	cells := func(keys []string, c *attribution.Counts) []string {
		row := slices.Clone(keys)
		for i := range columns {
			row = append(row, columns[i].cell(c))
		}
		return row
	}
	if len(r.By) > 0 { // else the total says it all
		for i := range r.Rows {
			t.rows = append(t.rows, cells(r.Rows[i].Keys, &r.Rows[i].Counts))
		}
	}
	keys := make([]string, max(1, len(r.By)))
	keys[0] = "total"
	t.total = cells(keys, &r.Total)
	return t
}

// figureColumn is a column that follows from the counts of a row.
type figureColumn struct {
	column
	cell func(*attribution.Counts) string
}

// figureColumns are the counts, the money and what follows from them.
func figureColumns(r *attribution.Report, programs bool) []figureColumn {
	count := func(title string, spare bool, rank int, of func(*attribution.Counts) int64) figureColumn {
		return figureColumn{
			column{title: title, number: true, spare: spare, rank: rank},
			func(c *attribution.Counts) string { return strconv.FormatInt(of(c), 10) },
		}
	}
	columns := []figureColumn{
		count("clicks", false, 0, func(c *attribution.Counts) int64 { return c.Clicks }),
		count("bot clicks", true, 9, func(c *attribution.Counts) int64 { return c.BotClicks }),
		count("conversions", false, 0, func(c *attribution.Counts) int64 { return c.Conversions }),
		count("pending", true, 8, func(c *attribution.Counts) int64 { return c.Pending }),
		count("approved", false, 5, func(c *attribution.Counts) int64 { return c.Approved }),
		count("rejected", true, 7, func(c *attribution.Counts) int64 { return c.Rejected }),
		count("reversed", true, 6, func(c *attribution.Counts) int64 { return c.Reversed }),
	}
	revenue := r.Currencies(func(c *attribution.Counts) attribution.Totals { return c.Revenue })
	cost := r.Currencies(func(c *attribution.Counts) attribution.Totals { return c.Cost })
	money := func(title string, rank int, currency attribution.Currency, of func(*attribution.Counts) attribution.Totals) {
		columns = append(columns, figureColumn{
			column{title: title + " " + string(currency), number: true, rank: rank},
			func(c *attribution.Counts) string {
				return attribution.Money{Amount: of(c)[currency], Currency: currency}.Format()
			},
		})
	}
	for _, currency := range revenue {
		money("revenue", 0, currency, func(c *attribution.Counts) attribution.Totals { return c.Revenue })
	}
	for _, currency := range cost {
		money("cost", 3, currency, func(c *attribution.Counts) attribution.Totals { return c.Cost })
	}
	columns = append(columns, figureColumn{
		column{title: "rate", number: true, rank: 2}, func(c *attribution.Counts) string { return rateCell(c, programs) },
	})
	if len(cost) > 0 {
		for _, currency := range union(revenue, cost) {
			money("profit", 1, currency, (*attribution.Counts).Profit)
		}
	}
	for _, currency := range revenue {
		columns = append(columns, figureColumn{
			column{title: "epc " + string(currency), number: true, rank: 4},
			func(c *attribution.Counts) string {
				if c.Clicks <= 0 {
					return ""
				}
				return c.EPC()[currency].Fixed(attribution.EPCDigits(currency))
			},
		})
	}
	return columns
}

// rateCell is empty where there are no clicks.
func rateCell(c *attribution.Counts, programs bool) string {
	percent, ok := c.Rate()
	if !ok {
		return ""
	}
	text := percent.Fixed(attribution.RateDigits())
	if !programs {
		text += "%"
	}
	return text
}

func union(a, b []attribution.Currency) []attribution.Currency {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
