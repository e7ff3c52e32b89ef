package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use: "export clicks|conversions|journal [--from <time>] [--to <time>] [--tz <zone>] [--campaign <name>] " +
			"[--format csv|jsonl] [-o <file>]",
		Short: "Writes all clicks, conversions or journal entries",
		Long: `
Writes clicks (oldest first), conversions or journal entries (newest first) as
CSV or as JSON lines, as many as there are, as of one moment.

JSON lines have everything, a conversion's history included. In CSV, sub-IDs
and kept parameters are JSON in one cell, and a cell that a spreadsheet would
take for a formula begins with an apostrophe. Requests in the journal have their
secrets masked. Tests are left out of clicks and conversions. Times are in UTC.

With -o the file appears when it is complete, readable for you alone.
` + timeHelp,
		Example: `  caddy capture export conversions --from 2026-11-01 --to 2026-11-30 -o november.csv
  caddy capture export journal --campaign acme --format jsonl | gzip > journal.jsonl.gz`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"clicks", "conversions", "journal"},
		RunE:      runExport,
	}
	addRangeIn(cmd, "what is", "Time zone of the days in --from and --to, like Europe/Berlin; what is written has UTC")
	f := cmd.Flags()
	f.String("campaign", "", "Only this campaign")
	f.StringP("output", "o", toStdout, "File to write to, instead of standard output")
	addFormat(cmd, formatCSV, formatJSONLines)
	return cmd
}

func runExport(cmd *cobra.Command, args []string) error {
	q := query(cmd, "from", "to", "tz", "campaign", "format")
	return download(cmd, "/capture/export/"+args[0], q, "exporting", flagString(cmd, "output"), nil)
}

// download writes an answer to a file or to standard output, with progress.
func download(cmd *cobra.Command, path string, q url.Values, what, file string, check func(io.Reader) error) error {
	resp, err := adminRequest(cmd, http.MethodGet, path, q, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	bar := newProgress(cmd, what, true)
	defer bar.clear()
	count := newCounter(resp, bar)
	if file == toStdout {
		if isTerminal(cmd.OutOrStdout()) {
			bar.w = nil // what is written shows the progress
		}
		_, err := count.copy(cmd.OutOrStdout(), resp.Body)
		return err
	}
	// Nothing is left behind where this is interrupted.
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = resp.Body.Close() })()
	var size int64
	err = writeWhole(file, func(w io.Writer) (err error) {
		size, err = count.copy(w, resp.Body)
		return err
	}, func(r io.Reader) error {
		if check == nil {
			return nil
		}
		bar.begin("verifying")
		bar.about = false
		return check(&countingReader{r: r, read: func(n int64) { bar.set(n, size) }})
	})
	bar.clear()
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return fmt.Errorf("%s to %q: %w", what, file, err)
	}
	return say(cmd, "%s: %s", printable(file), humanize.IBytes(uint64(max(0, size)))) //nolint:gosec // not negative
}
