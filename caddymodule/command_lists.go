package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// timeHelp explains --from and --to.
const timeHelp = `
--from and --to take a date (the day of --to is included), a time like
2026-11-22T15:00:00Z, how long ago, like 7d or 12h, or one of today, yesterday,
7days (whole days, today included), this-week, last-week, this-month,
last-month, this-year and last-year: from its begin, or to its end. Days are
those of --tz.`

// addRange adds the flags of a range of time to a command that shows times in
// its zone.
func addRange(cmd *cobra.Command, what string) {
	addRangeIn(cmd, what, "Time zone of days, hours and months, and of times in tables, like Europe/Berlin")
}

// addRangeIn says with zone what the time zone is for.
func addRangeIn(cmd *cobra.Command, what, zone string) {
	f := cmd.Flags()
	f.String("from", "", "Only "+what+" from this time on")
	f.String("to", "", "Only "+what+" before this time")
	f.String("tz", "UTC", zone)
}

// zone is the time zone of --tz, in which a table or CSV has its times; JSON
// comes as Caddy sent it, in UTC.
func zone(cmd *cobra.Command) (*time.Location, error) {
	name := flagString(cmd, "tz")
	if name == "" {
		return time.UTC, nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("--tz is %q, which is no time zone: use an IANA name like Europe/Berlin or UTC", name)
	}
	return loc, nil
}

func conversionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use: "conversions [--from <time>] [--to <time>] [--campaign <name>] [--source <name>] [--event <name>] " +
			"[--status <status>] [--tz <zone>] [--limit <n>] [--follow] [--format table|csv|json]",
		Short: "Lists conversions, newest first",
		Long: `
Lists conversions, newest first. Their whole history is in --format json, where
times are in UTC; tables and CSV have them in the zone of --tz.

With --follow it shows the last conversions and then, until it is interrupted,
each one that is recorded or changes, as it is from then on; --format json then
writes one conversion a line.
` + timeHelp,
		Example: `  caddy capture conversions --campaign acme --from 7d
  caddy capture conversions --from last-month --to last-month --tz Europe/Berlin
  caddy capture conversions --status pending --limit 20
  caddy capture conversions --follow`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loc, err := zone(cmd)
			if err != nil {
				return err
			}
			q := query(cmd, "from", "to", "tz", "campaign", "source", "event", "status", "limit", "after")
			if on, _ := cmd.Flags().GetBool("test"); on {
				q.Set("test", "1")
			}
			if on, _ := cmd.Flags().GetBool("follow"); on {
				return follow(cmd, "/capture/conversions", q, conversionFollower(loc))
			}
			return show(cmd, "/capture/conversions", q, func(r io.Reader, format string) error {
				var answer conversionsAnswer
				if err := readAnswer(r, &answer); err != nil {
					return err
				}
				if err := conversionTable(answer.Conversions, loc).print(cmd, format, "no conversions"); err != nil {
					return err
				}
				return more(cmd, answer.Next)
			})
		},
	}
	addRange(cmd, "conversions")
	f := cmd.Flags()
	f.String("campaign", "", "Only this campaign")
	f.String("source", "", "Only this source")
	f.String("event", "", "Only this event")
	f.String("status", "", "Only this status: pending, approved, rejected or reversed")
	f.Int("limit", defaultLimit, "The most to list, up to 1000; with --follow, how many to begin with")
	f.String("after", "", "Go on after this place, as the page before named it")
	f.BoolP("follow", "f", false, "Show conversions as they come and change")
	f.Bool("test", false, "Only what \"caddy capture test\" made, instead of leaving it out")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

// more tells people, on the side, that a listing goes on.
func more(cmd *cobra.Command, next string) error {
	if next == "" {
		return nil
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "there is more: add --after %s\n", next)
	return err
}

func conversionTable(conversions []conversionAnswer, loc *time.Location) *table {
	t := &table{columns: []column{
		{title: "time", id: true, style: dimStyle},
		{title: "campaign"},
		{title: "source", rank: 1},
		{title: "event", rank: 2},
		{title: "txid", rank: 3},
		{title: "status", id: true, style: wordStyle},
		{title: "payout", number: true},
		{title: "currency", id: true},
		{title: "click id", id: true, rank: 4},
	}}
	for i := range conversions {
		t.rows = append(t.rows, conversionRow(&conversions[i], loc))
	}
	return t
}

func conversionRow(c *conversionAnswer, loc *time.Location) []string {
	return []string{
		cellTime(c.Time, loc), c.Campaign, c.Source, c.Event, c.TxID, c.Status, c.Payout, c.Currency, c.ClickID,
	}
}

// cellTime writes a time with its distance to UTC, or Z in UTC itself.
func cellTime(t timestamp, loc *time.Location) string {
	if t.IsZero() {
		return ""
	}
	return t.In(loc).Format(time.RFC3339)
}

// timeWidth is how wide a time is in a zone.
func timeWidth(loc *time.Location) int {
	if loc == time.UTC {
		return len("2006-01-02T15:04:05Z")
	}
	return len("2006-01-02T15:04:05+07:00")
}

func clickCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "click <id> [--tz <zone>] [--format table|csv|json]",
		Short:                 "Shows one click and its conversions",
		Long: `
Shows everything that is kept of one click, and its conversions. The click ID
is taken in letters of any case. Times are in the zone of --tz, in JSON in UTC.`,
		Example: `  caddy capture click 2g8l1c0v9k4t5r6o7n3mabcde4`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			loc, err := zone(cmd)
			if err != nil {
				return err
			}
			return show(cmd, "/capture/clicks/"+url.PathEscape(args[0]), nil, func(r io.Reader, format string) error {
				var answer clickAnswer
				if err := readAnswer(r, &answer); err != nil {
					return err
				}
				return printClick(cmd, &answer, format, loc)
			})
		},
	}
	cmd.Flags().String("tz", "UTC", "Time zone of times in tables, like Europe/Berlin")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func printClick(cmd *cobra.Command, a *clickAnswer, format string, loc *time.Location) error {
	out := cmd.OutOrStdout()
	rows := clickRows(a, loc)
	if format == formatCSV {
		return writeCSV(out, append([][]string{{"field", "value"}}, rows...))
	}
	if a.Gone {
		if _, err := fmt.Fprintln(out, "The click itself is no longer kept; this is what its conversions know of it."); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if row[1] == "" {
			continue
		}
		if _, err := fmt.Fprintf(out, "%-12s %s\n", printable(row[0]), printable(row[1])); err != nil {
			return err
		}
	}
	if len(a.Conversions) == 0 {
		_, err := fmt.Fprintln(out, "\nno conversions")
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return conversionTable(a.Conversions, loc).print(cmd, format, "")
}

// clickRows lists what is known of a click as names and values.
func clickRows(a *clickAnswer, loc *time.Location) [][]string {
	rows := [][]string{
		{"id", a.ID}, {"time", cellTime(a.Time, loc)}, {"campaign", a.Campaign}, {"source", a.Source},
	}
	for _, name := range slices.Sorted(maps.Keys(a.Subs)) {
		rows = append(rows, []string{"sub." + name, a.Subs[name]})
	}
	for _, name := range slices.Sorted(maps.Keys(a.Kept)) {
		rows = append(rows, []string{"kept." + name, a.Kept[name]})
	}
	rows = append(rows, []string{"destination", a.Destination}, []string{"url", a.URL})
	for _, currency := range a.Cost.Currencies() {
		rows = append(rows, []string{"cost " + string(currency), a.Cost[currency].String()})
	}
	return append(rows,
		[]string{"host", a.Host}, []string{"path", a.Path}, []string{"user agent", a.UserAgent},
		[]string{"referer", a.Referer}, []string{"address", a.Address}, []string{"flags", strings.Join(a.Flags, " ")},
		[]string{"notes", strings.Join(a.Notes, "; ")},
		[]string{"conversions", strconv.Itoa(len(a.Conversions))})
}
