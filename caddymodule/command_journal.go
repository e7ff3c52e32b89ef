package caddymodule

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture"
)

func journalCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use: "journal [--outcome <outcome>] [--reason <reason>] [--route <route>] [--campaign <name>] " +
			"[--from <time>] [--to <time>] [--tz <zone>] [--open] [--limit <n>] [--follow] [--format table|csv|json]",
		Short: "Lists postbacks and what became of each, newest first",
		Long: `
Lists authentic postbacks and what became of each, newest first. The request as
it arrived, with its secrets masked, is in --format json, where times are in UTC;
tables and CSV have them in the zone of --tz.

A table has a status in quotes where it is only what the sender said: of what
waits in quarantine, was a duplicate or is ignored. CSV and JSON have no quotes.

With --follow it shows the last entries and then each new one as it comes,
until it is interrupted; --format json then writes one entry a line.
` + timeHelp,
		Example: `  caddy capture journal --outcome quarantined --open
  caddy capture journal --reason unresolved_macro --from 1d --format json
  caddy capture journal --follow`,
		Args: cobra.NoArgs,
		RunE: runJournal,
	}
	addRange(cmd, "what arrived")
	f := cmd.Flags()
	f.String("outcome", "", "Only this outcome: recorded, updated, duplicate, quarantined or ignored")
	f.String("reason", "", "Only this reason for quarantine, like unknown_click")
	f.String("route", "", "Only this postback route")
	f.String("campaign", "", "Only this campaign")
	f.Bool("open", false, "Only what still waits in quarantine")
	f.Int("limit", defaultLimit, "The most to list, up to 1000; with --follow, how many to begin with")
	f.Uint64("after", 0, "Go on after this entry, as the page before named it")
	f.BoolP("follow", "f", false, "Show new entries as they come")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func runJournal(cmd *cobra.Command, _ []string) error {
	loc, err := zone(cmd)
	if err != nil {
		return err
	}
	q := query(cmd, "outcome", "reason", "route", "campaign", "from", "to", "tz", "limit", "after")
	if on, _ := cmd.Flags().GetBool("open"); on {
		q.Set("open", "1")
	}
	if on, _ := cmd.Flags().GetBool("follow"); on {
		return follow(cmd, "/capture/journal", q, journalFollower(loc, flagString(cmd, "format")))
	}
	return show(cmd, "/capture/journal", q, func(r io.Reader, format string) error {
		var answer journalAnswer
		if err := readAnswer(r, &answer); err != nil {
			return err
		}
		if err := journalTable(answer.Entries, loc, format).print(cmd, format, "no entries"); err != nil || answer.Next == 0 {
			return err
		}
		return more(cmd, strconv.FormatUint(answer.Next, 10))
	})
}

func journalTable(entries []entryAnswer, loc *time.Location, format string) *table {
	t := &table{columns: []column{
		{title: "seq", number: true},
		{title: "time", id: true, style: dimStyle},
		{title: "route", rank: 6},
		{title: "outcome", id: true, style: wordStyle},
		{title: "reason", spare: true},
		{title: "campaign", rank: 1},
		{title: "event", rank: 5},
		{title: "status", id: true, rank: 4, style: wordStyle},
		{title: "payout", number: true, rank: 2},
		{title: "currency", id: true, rank: 2},
		{title: "txid", rank: 7},
		{title: "detail", rank: 3},
	}}
	for i := range entries {
		t.rows = append(t.rows, journalRow(&entries[i], loc, format))
	}
	return t
}

func journalRow(e *entryAnswer, loc *time.Location, format string) []string {
	outcome, status := string(e.Outcome), e.Status
	switch {
	case e.Test:
		outcome += " (test)"
	case e.Resolved != 0:
		outcome += " (resolved)"
	}
	if format == formatTable && status != "" && e.Outcome != capture.Recorded && e.Outcome != capture.Updated {
		// It became no conversion's status: in quotes it has no such colour either.
		status = strconv.Quote(status)
	}
	return []string{
		strconv.FormatUint(e.Seq, 10), cellTime(e.Time, loc), e.Route, outcome, string(e.Reason), e.Campaign,
		e.Event, status, e.Payout, e.Currency, e.TxID, withNotes(e.Detail, e.Notes),
	}
}

// withNotes adds what was repaired or assumed to a detail.
func withNotes(detail string, notes []string) string {
	if detail != "" {
		notes = append([]string{detail}, notes...)
	}
	return strings.Join(notes, "; ")
}
