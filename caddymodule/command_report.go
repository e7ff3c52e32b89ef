package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

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

CSV has the same columns as on the pages: named as in the JSON, where the members
that lead to a figure and the currency are joined by _ (converted_revenue_EUR).

Dimensions are campaign, source, sub.<name>, event, destination, hour, day and
month; several are separated by commas. An empty --by shows the total only.

--sort names a column as --format csv does ("revenue" is enough where there is
one currency or a converted total); with a - in front the order falls. --limit
shows the first rows only; the total remains that of all.

Without --from and --to the report is of the last 30 days including today. A
report has 200,000 rows at most.
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
	if format == formatCSV {
		t := reportTable(report, programColumns(report, lag))
		if len(report.By) == 0 {
			t.dropSum()
		}
		return t.print(cmd, format, "")
	}
	loc, err := zone(cmd)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "From %s to %s\n\n",
		cellTime(timestamp{report.From}, loc), cellTime(timestamp{report.To}, loc)); err != nil {
		return err
	}
	return reportTable(report, peopleColumns(report, lag)).print(cmd, format, "")
}

// reportTable lays a report out. Without dimensions the total says it all.
func reportTable(r *attribution.Report, columns []reportColumn) *table {
	t := &table{}
	for _, name := range r.By {
		t.columns = append(t.columns, column{title: name})
	}
	if len(r.By) == 0 {
		t.columns = append(t.columns, column{title: "sum"})
	}
	for i := range columns {
		t.columns = append(t.columns, columns[i].column)
	}
	cells := func(keys []string, row *attribution.Row) []string {
		line := slices.Clone(keys)
		for i := range columns {
			line = append(line, columns[i].cell(row))
		}
		return line
	}
	if len(r.By) > 0 {
		for i := range r.Rows {
			t.rows = append(t.rows, cells(r.Rows[i].Keys, &r.Rows[i]))
		}
	}
	keys := make([]string, max(1, len(r.By)))
	keys[0] = "total"
	t.total = cells(keys, &attribution.Row{Counts: r.Total, Extra: r.TotalExtra})
	return t
}

// dropSum makes the total the one row, without a name in front: for programs
// a report without dimensions has figures only.
func (t *table) dropSum() {
	t.columns = t.columns[1:]
	t.rows = [][]string{t.total[1:]}
}
