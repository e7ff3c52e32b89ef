package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// followBacklog is how many entries --follow shows before those to come.
const followBacklog = 10

func journalCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use: "journal [--outcome <outcome>] [--reason <reason>] [--route <route>] [--campaign <name>] " +
			"[--from <time>] [--to <time>] [--open] [--limit <n>] [--follow] [--format table|csv|json]",
		Short: "Lists postbacks and what became of each, newest first",
		Long: `
Lists authentic postbacks and what became of each, newest first. The request as
it arrived, with its secrets masked, is in --format json.

With --follow it shows the last entries and then each new one as it comes,
until it is interrupted; --format json then writes one entry a line.
` + timeHelp,
		Example: `  caddy capture journal --outcome quarantined --open
  caddy capture journal --reason unresolved_macro --from 1d --format json
  caddy capture journal --follow`,
		Args: cobra.NoArgs,
		RunE: runJournal,
	}
	f := cmd.Flags()
	f.String("outcome", "", "Only this outcome: recorded, updated, duplicate or quarantined")
	f.String("reason", "", "Only this reason for quarantine, like unknown_click")
	f.String("route", "", "Only this postback route")
	f.String("campaign", "", "Only this campaign")
	f.String("from", "", "Only what arrived from this time on")
	f.String("to", "", "Only what arrived before this time")
	f.Bool("open", false, "Only what still waits in quarantine")
	f.Int("limit", defaultLimit, "The most to list, up to 1000; with --follow, how many to begin with")
	f.Uint64("after", 0, "Go on after this entry, as the page before named it")
	f.BoolP("follow", "f", false, "Show new entries as they come")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func runJournal(cmd *cobra.Command, _ []string) error {
	q := query(cmd, "outcome", "reason", "route", "campaign", "from", "to", "limit", "after")
	if on, _ := cmd.Flags().GetBool("open"); on {
		q.Set("open", "1")
	}
	if on, _ := cmd.Flags().GetBool("follow"); on {
		return followJournal(cmd, q)
	}
	return show(cmd, "/capture/journal", q, func(r io.Reader, format string) error {
		var answer journalAnswer
		if err := readAnswer(r, &answer); err != nil {
			return err
		}
		if err := journalTable(answer.Entries).print(cmd, format, "no entries"); err != nil || answer.Next == 0 {
			return err
		}
		return more(cmd, strconv.FormatUint(answer.Next, 10))
	})
}

func journalTable(entries []entryAnswer) *table {
	t := &table{columns: []column{
		{title: "seq", number: true},
		{title: "time", id: true},
		{title: "route"},
		{title: "outcome", id: true},
		{title: "reason"},
		{title: "campaign"},
		{title: "event"},
		{title: "status", id: true},
		{title: "payout", number: true},
		{title: "currency", id: true},
		{title: "txid"},
		{title: "detail"},
	}}
	for i := range entries {
		t.rows = append(t.rows, journalRow(&entries[i]))
	}
	return t
}

func journalRow(e *entryAnswer) []string {
	outcome := string(e.Outcome)
	switch {
	case e.Test:
		outcome += " (test)"
	case e.Resolved != 0:
		outcome += " (resolved)"
	}
	return []string{
		strconv.FormatUint(e.Seq, 10), cellTime(e.Time), e.Route, outcome, string(e.Reason), e.Campaign,
		e.Event, e.Status, e.Payout, e.Currency, e.TxID, withNotes(e.Detail, e.Notes),
	}
}

// withNotes adds what was repaired or assumed to a detail.
func withNotes(detail string, notes []string) string {
	if detail != "" {
		notes = append([]string{detail}, notes...)
	}
	return strings.Join(notes, "; ")
}

// followWidths are the columns of a table of which the rows are yet to come;
// the last one takes what it needs.
var followWidths = []int{6, 20, 16, 15, 16, 16, 12, 8, 8, 8, 17, 0}

// followJournal shows entries as they come. That it ends is an error: only an
// interruption by the user is meant to end it.
func followJournal(cmd *cobra.Command, q url.Values) error {
	if !q.Has("limit") {
		q.Set("limit", strconv.Itoa(followBacklog))
	}
	resp, err := adminRequest(cmd, http.MethodGet, "/capture/journal", q,
		http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	write, err := entryWriter(cmd)
	if err != nil {
		return err
	}
	if err := readEvents(resp.Body, write); err != nil {
		return fmt.Errorf("following the journal: %w", err)
	}
	return errors.New("following the journal: Caddy has ended the stream; it was stopped, or given another store")
}

// readEvents calls yield with the data of each server-sent event until the
// stream ends.
func readEvents(r io.Reader, yield func(data []byte) error) error {
	lines := bufio.NewReader(r)
	var data []byte
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if value, ok := strings.CutPrefix(text, "data:"); ok {
			data = append(data, strings.TrimPrefix(value, " ")...)
			continue
		}
		if text == "" && len(data) > 0 {
			if err := yield(data); err != nil {
				return err
			}
			data = nil
		}
	}
}

// entryWriter returns the function that writes one entry in the form asked
// for, after it has written the titles.
func entryWriter(cmd *cobra.Command) (func(data []byte) error, error) {
	out := cmd.OutOrStdout()
	if flagString(cmd, "format") == formatJSON {
		return func(data []byte) error {
			_, err := out.Write(append(data, '\n'))
			return err
		}, nil
	}
	var writeRow func([]string) error
	t := journalTable(nil)
	var err error
	if flagString(cmd, "format") == formatCSV {
		err = t.writeCSV(out)
		writeRow = func(row []string) error { return writeCSV(out, [][]string{row}) }
	} else {
		last := len(t.columns) - 1
		line := func(row []string) error {
			widths := append([]int(nil), followWidths...)
			for i := range widths {
				if t.columns[i].number || t.columns[i].id || i == last {
					widths[i] = max(widths[i], len(row[i]))
				}
			}
			return t.writeLine(out, row, widths)
		}
		err = line(t.titles())
		writeRow = func(row []string) error { return line(printableRow(row)) }
	}
	if err != nil {
		return nil, err
	}
	return func(data []byte) error {
		var e entryAnswer
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("reading an entry: %w", err)
		}
		return writeRow(journalRow(&e))
	}, nil
}
