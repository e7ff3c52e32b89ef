package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

func eraseCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "erase <id> [--format table|json]",
		Short:                 "Erases what identifies the visitor of a click",
		Long: `
Erases what identifies the visitor of a click: address, browser, referrer,
sub-IDs and all parameters, from the click, from its conversions and from the
postbacks in the journal. Campaign, source, destination, time, money and
transaction IDs stay, and so do all sums.

It cannot be undone. Backups made before still hold the data.`,
		Example: `  caddy capture erase 2g8l1c0v9k4t5r6o7n3mabcde4`,
		Args:    cobra.ExactArgs(1),
		RunE:    runErase,
	}
	addFormat(cmd, formatTable, formatJSON)
	return cmd
}

func runErase(cmd *cobra.Command, args []string) error {
	resp, err := adminRequest(cmd, http.MethodDelete, "/capture/clicks/"+url.PathEscape(args[0]), nil, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var a eraseAnswer
	if err := readAnswer(resp.Body, &a); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if flagString(cmd, "format") == formatJSON {
		return json.NewEncoder(out).Encode(a)
	}
	click := "the click's own record was not there (any more)"
	if a.Erased.Click {
		click = "the click"
	}
	if _, err := fmt.Fprintf(out, "erased: %s, %s, %s\n", click, plural(int64(a.Erased.Conversions), "conversion"),
		plural(int64(a.Erased.Entries), "journal entry")); err != nil {
		return err
	}
	if a.Erased.Pending {
		_, err = fmt.Fprintln(out, "The disk still holds the old data until expired records are deleted the next time, within the hour.")
	}
	return err
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "check [--format table|json]",
		Short:                 "Compares the sums with the records",
		Long: `
Compares the sums of reports with the clicks and conversions that they count,
and the indexes with what they lead to, while the server goes on. It changes
nothing. The exit status is 0 only if everything agrees.`,
		Example: `  caddy capture check`,
		Args:    cobra.NoArgs,
		RunE:    runCheck,
	}
	addFormat(cmd, formatTable, formatJSON)
	return cmd
}

func runCheck(cmd *cobra.Command, _ []string) error {
	resp, err := adminRequest(cmd, http.MethodGet, "/capture/check", nil, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	bar := newProgress(cmd, "checking", false)
	defer bar.clear()
	var result *checkFindings
	err = readLines(resp.Body, func(data []byte) (last bool, err error) {
		var line checkLine
		if err := json.Unmarshal(data, &line); err != nil {
			return false, fmt.Errorf("reading Caddy's answer: %w", err)
		}
		bar.set(line.Done, line.Total)
		result = line.Result
		return result != nil, nil
	})
	bar.clear()
	if err != nil {
		return fmt.Errorf("checking: %w", err)
	}
	if err := printCheck(cmd, result); err != nil {
		return err
	}
	if result.Wrong > 0 {
		return errors.New(plural(result.Wrong, "problem") + " found")
	}
	return nil
}

func printCheck(cmd *cobra.Command, r *checkFindings) error {
	out := cmd.OutOrStdout()
	if flagString(cmd, "format") == formatJSON {
		return json.NewEncoder(out).Encode(r)
	}
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(out, printable(p)); err != nil {
			return err
		}
	}
	if more := r.Wrong - int64(len(r.Problems)); more > 0 {
		if _, err := fmt.Fprintf(out, "and %d more\n", more); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "checked: %s, %s, %s, %s\n", plural(r.Clicks, "click"), plural(r.Conversions, "conversion"),
		plural(r.Entries, "journal entry"), plural(r.Sums, "sum"))
	return err
}
