package caddymodule

import (
	"fmt"
	"io"
	"maps"
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
			"[--tz <zone>] [--lag] [--format table|csv|json]",
		Short: "Counts clicks and conversions and sums revenue and cost",
		Long: `
Counts clicks and conversions and sums revenue and cost.

A conversion counts under its click's campaign, source and sub-IDs, at its own
time. Revenue is the payout of approved conversions. Bots and prefetches are
counted apart, tests not at all. Each currency has its own columns; if the
configuration names a file of exchange rates, there is one converted total more,
at the rates of the days. Currencies without a rate are named and left out of it.

--lag adds how long after their clicks the conversions came: half of them
within the median, nine tenths within the other. CSV has them in seconds.

Dimensions are campaign, source, sub.<name>, event, destination, hour, day and
month; several are separated by commas. An empty --by shows the total only.

--from and --to take a date (the day of --to is included), a time like
2026-11-22T15:00:00Z, or how long ago, like 7d or 12h. Without them the report
is of the last 30 days including today.`,
		Example: `  caddy capture report
  caddy capture report --by source,sub.creative --campaign acme --from 2026-11-01 --to 2026-11-15
  caddy capture report --by day --from 14d --tz Europe/Berlin
  caddy capture report --by campaign,event --lag
  caddy capture report --by campaign,month --from 2026-01-01 --format csv > year.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := query(cmd, "by", "from", "to", "campaign", "source", "tz")
			lag, _ := cmd.Flags().GetBool("lag")
			if lag {
				q.Set("lag", "1")
			}
			return show(cmd, "/capture/report", q, func(r io.Reader, format string) error {
				return printReport(cmd, r, format, lag)
			})
		},
	}
	f := cmd.Flags()
	f.String("by", "campaign", "Dimensions, separated by commas")
	f.String("from", "", "Begin of the report")
	f.String("to", "", "End of the report")
	f.String("campaign", "", "Only this campaign")
	f.String("source", "", "Only this source")
	f.String("tz", "UTC", "Time zone of days, hours and months, like Europe/Berlin")
	f.Bool("lag", false, "Add the time from click to conversion")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func printReport(cmd *cobra.Command, r io.Reader, format string, lag bool) error {
	var report attribution.Report
	if err := readAnswer(r, &report); err != nil {
		return err
	}
	t := reportTable(&report)
	t.addExtras(&report, lag, format == formatCSV)
	if format == formatCSV {
		if len(report.By) == 0 {
			t.rows = [][]string{t.total}
		}
		return t.print(cmd, format, "")
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "From %s to %s\n\n",
		report.From.Format(time.RFC3339), report.To.Format(time.RFC3339)); err != nil {
		return err
	}
	return t.print(cmd, format, "")
}

// reportTable lays a report out, with columns of its own for each currency.
func reportTable(r *attribution.Report) *table {
	t := &table{}
	for _, name := range r.By {
		t.columns = append(t.columns, column{title: name})
	}
	if len(r.By) == 0 {
		t.columns = append(t.columns, column{title: "sum"})
	}
	for _, c := range []column{
		{title: "clicks"},
		{title: "bot clicks", spare: true},
		{title: "conversions"},
		{title: "pending", spare: true},
		{title: "approved"},
		{title: "rejected", spare: true},
		{title: "reversed", spare: true},
	} {
		c.number = true
		t.columns = append(t.columns, c)
	}
	revenue := currencies(r, func(c *attribution.Counts) attribution.Totals { return c.Revenue })
	cost := currencies(r, func(c *attribution.Counts) attribution.Totals { return c.Cost })
	for _, c := range revenue {
		t.columns = append(t.columns, column{title: "revenue " + string(c), number: true})
	}
	for _, c := range cost {
		t.columns = append(t.columns, column{title: "cost " + string(c), number: true})
	}
	for i := range r.Rows {
		row := append([]string(nil), r.Rows[i].Keys...)
		if len(r.By) == 0 {
			row = []string{"total"}
		}
		t.rows = append(t.rows, append(row, countCells(&r.Rows[i].Counts, revenue, cost)...))
	}
	keys := make([]string, max(1, len(r.By)))
	keys[0] = "total"
	t.total = append(keys, countCells(&r.Total, revenue, cost)...)
	if len(r.By) == 0 {
		t.rows = nil // the total says it all
	}
	return t
}

// currencies lists those that occur anywhere in one of the sums of a report.
func currencies(r *attribution.Report, sums func(*attribution.Counts) attribution.Totals) []attribution.Currency {
	all := make(map[attribution.Currency]bool)
	add := func(c *attribution.Counts) {
		for currency := range sums(c) {
			all[currency] = true
		}
	}
	add(&r.Total)
	for i := range r.Rows {
		add(&r.Rows[i].Counts)
	}
	return slices.Sorted(maps.Keys(all))
}

func countCells(c *attribution.Counts, revenue, cost []attribution.Currency) []string {
	var cells []string
	for _, n := range []int64{c.Clicks, c.BotClicks, c.Conversions, c.Pending, c.Approved, c.Rejected, c.Reversed} {
		cells = append(cells, strconv.FormatInt(n, 10))
	}
	money := func(t attribution.Totals, currencies []attribution.Currency) {
		for _, currency := range currencies {
			cells = append(cells, attribution.Money{Amount: t[currency], Currency: currency}.Format())
		}
	}
	money(c.Revenue, revenue)
	money(c.Cost, cost)
	return cells
}
