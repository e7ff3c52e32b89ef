package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture"
)

// maxReplayRows bounds the table that a replay shows to people.
const maxReplayRows = 1000

func replayCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use: "replay [--reason <reason>] [--route <route>] [--campaign <name>] [--from <time>] [--to <time>] [--tz <zone>] " +
			"[--dry-run] [--format table|csv|json]",
		Short: "Books again what is in quarantine",
		Long: `
Books again what waits in quarantine, in the order in which it arrived, as the
running configuration reads it today: after a status was mapped, a window made
longer or a currency set, for example.

Each postback is booked at most once, also if a replay is interrupted and begun
again. What still cannot be booked stays in quarantine with today's reason.

--dry-run shows what would become of it and changes nothing.

Printed is what changes; --format csv and json print everything. The exit
status is 0 if all was tried, also where something stays in quarantine.
` + timeHelp,
		Example: `  caddy capture replay --dry-run
  caddy capture replay --reason unmapped_status --route /postback/network
  caddy capture replay --from 2026-11-01 --campaign acme`,
		Args: cobra.NoArgs,
		RunE: runReplay,
	}
	addRangeIn(cmd, "what arrived", "Time zone of the days in --from and --to, like Europe/Berlin")
	f := cmd.Flags()
	f.String("reason", "", "Only this reason for quarantine, like unknown_click")
	f.String("route", "", "Only this postback route")
	f.String("campaign", "", "Only this campaign")
	f.Bool("dry-run", false, "Only show what would become of it")
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func runReplay(cmd *cobra.Command, _ []string) error {
	q := query(cmd, "reason", "route", "campaign", "from", "to", "tz")
	if on, _ := cmd.Flags().GetBool("dry-run"); on {
		q.Set("dry_run", "1")
	}
	resp, err := adminRequest(cmd, http.MethodPost, "/capture/journal/replay", q, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out := newReplayOutput(cmd)
	defer out.bar.clear()
	if err := readLines(resp.Body, out.line); err != nil {
		out.bar.clear()
		return fmt.Errorf("booking again: %w\nWhat is booked stays so; replay again for the rest", err)
	}
	return nil
}

// replayOutput writes the lines of a replay in the form asked for.
type replayOutput struct {
	cmd    *cobra.Command
	format string
	bar    *progress
	table  *table
	begun  bool
	more   int64 // rows that were left out
}

func newReplayOutput(cmd *cobra.Command) *replayOutput {
	return &replayOutput{
		cmd: cmd, format: flagString(cmd, "format"), bar: newProgress(cmd, "booking again", false),
		table: &table{columns: []column{
			{title: "seq", number: true},
			{title: "was"},
			{title: "outcome", id: true, style: wordStyle},
			{title: "reason", spare: true},
			{title: "conversion id", id: true, rank: 1},
			{title: "detail", spare: true},
		}},
	}
}

func (o *replayOutput) line(data []byte) (last bool, err error) {
	var line struct {
		replayLine
		replaySummary
	}
	if err := json.Unmarshal(data, &line); err != nil {
		return false, fmt.Errorf("reading Caddy's answer: %w", err)
	}
	if o.format == formatJSON {
		o.bar.clear()
		_, err := o.cmd.OutOrStdout().Write(data)
		return line.Summary != nil, err
	}
	if line.Summary != nil {
		return true, o.end(&line.replaySummary)
	}
	o.bar.set(int64(line.Done), int64(line.Total))
	return false, o.row(&line.replayLine)
}

func (o *replayOutput) row(l *replayLine) error {
	outcome, detail := string(l.Outcome), l.Detail
	if l.Error != "" {
		outcome, detail = "failed", l.Error
	}
	row := []string{strconv.FormatUint(l.Seq, 10), string(l.Was), outcome, string(l.Reason), l.ConversionID, detail}
	if o.format == formatCSV {
		rows := [][]string{row}
		if !o.begun {
			o.begun = true
			if err := o.table.writeCSV(o.cmd.OutOrStdout()); err != nil {
				return err
			}
		}
		o.bar.clear()
		return writeCSV(o.cmd.OutOrStdout(), rows)
	}
	switch {
	case l.Error == "" && l.Outcome == capture.Quarantined && l.Reason == l.Was:
	case len(o.table.rows) == maxReplayRows:
		o.more++
	default:
		o.table.rows = append(o.table.rows, row)
	}
	return nil
}

// end writes the table, and the sums on the side.
func (o *replayOutput) end(s *replaySummary) error {
	o.bar.clear()
	if o.format == formatCSV {
		if !o.begun {
			if err := o.table.writeCSV(o.cmd.OutOrStdout()); err != nil {
				return err
			}
		}
	} else if err := o.table.print(o.cmd, o.format, "nothing changes"); err != nil {
		return err
	}
	if o.more > 0 {
		if err := say(o.cmd, "and %s more: --format csv prints all", plural(o.more, "line")); err != nil {
			return err
		}
	}
	if s.DryRun {
		return say(o.cmd, "dry run, nothing was changed: %s", s.Summary)
	}
	return say(o.cmd, "%s", s.Summary)
}
