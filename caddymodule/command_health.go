package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture"
)

func healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "health [--format table|csv|json]",
		Short:                 "Shows the state of the store",
		Long: `
Shows the state of the store: what waits to be written, the last write, the
disk, what waits on this machine for a shared store, and what waits in
quarantine. The exit status is 0 only if all is well.`,
		Example: `  caddy capture health || mail -s "tracking is in trouble" ops@example.com`,
		Args:    cobra.NoArgs,
		RunE:    runHealth,
	}
	addFormat(cmd, formatTable, formatCSV, formatJSON)
	return cmd
}

func runHealth(cmd *cobra.Command, _ []string) error {
	var body []byte
	resp, err := adminRequest(cmd, http.MethodGet, "/capture/health", nil, nil, nil)
	var failed *answerError
	switch {
	case errors.As(err, &failed) && failed.status == http.StatusServiceUnavailable:
		body = []byte(failed.body) // the same answer, with the status of trouble
	case err != nil:
		return err
	default:
		defer resp.Body.Close()
		if body, err = io.ReadAll(resp.Body); err != nil {
			return fmt.Errorf("reading Caddy's answer: %w", err)
		}
	}
	var h healthAnswer
	if err := readAnswer(bytes.NewReader(body), &h); err != nil {
		return err
	}
	if h.State == "" && failed != nil {
		return failed
	}
	if err := printHealth(cmd, &h, body); err != nil {
		return err
	}
	if h.State != "ok" {
		return fmt.Errorf("the store is %s: %s", h.State, h.Why)
	}
	return nil
}

func printHealth(cmd *cobra.Command, h *healthAnswer, body []byte) error {
	out := cmd.OutOrStdout()
	if flagString(cmd, "format") == formatJSON {
		_, err := out.Write(body)
		return err
	}
	csv := flagString(cmd, "format") == formatCSV
	size := func(n int64) string {
		if csv {
			return strconv.FormatInt(n, 10)
		}
		return humanize.IBytes(uint64(max(0, n))) //nolint:gosec // not negative
	}
	when := func(t *timestamp) string {
		if t == nil {
			return ""
		}
		return cellTime(*t, time.UTC)
	}
	rows := [][]string{
		{"state", h.State}, {"why", h.Why}, {"since", when(h.Since)},
		{"queued clicks", strconv.Itoa(h.Queue.Clicks)}, {"queued postbacks", strconv.Itoa(h.Queue.Postbacks)},
		{"last commit", when(h.LastCommit)},
		{"late clicks", strconv.FormatInt(h.LateClicks, 10)}, {"lost clicks", strconv.FormatInt(h.LostClicks, 10)},
		{"store", size(h.Store.Bytes)}, {"free disk", size(h.Store.FreeBytes)}, {"kept free", size(h.Store.ReserveBytes)},
	}
	if p := h.Store.Spool; p != nil {
		rows = append(rows, []string{"spool", string(p.State)}, []string{"spool why", p.Why}, []string{"spool since", when(p.Since)},
			[]string{"spooled clicks", strconv.Itoa(p.Clicks)}, []string{"spooled postbacks", strconv.Itoa(p.Postbacks)},
			[]string{"spooled", size(p.Bytes)}, []string{"oldest spooled", when(p.Oldest)})
		if r := p.Refused; r != nil {
			rows = append(rows, []string{"refused clicks", strconv.Itoa(r.Clicks)}, []string{"refused postbacks", strconv.Itoa(r.Postbacks)},
				[]string{"refused why", r.Why}, []string{"set aside in", r.Directory})
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(h.Quarantine)) {
		rows = append(rows, []string{"quarantine " + string(reason), strconv.FormatInt(h.Quarantine[capture.Reason(reason)], 10)})
	}
	rows = append(rows, []string{"version", h.Version})
	if csv {
		return writeCSV(out, append([][]string{{"field", "value"}}, rows...))
	}
	paint := painterFor(cmd, out)
	for i, row := range rows {
		if row[1] == "" {
			continue
		}
		value := printable(row[1])
		if i == 0 {
			value = paint.paint(wordStyle(value), value)
		}
		if _, err := fmt.Fprintf(out, "%-18s %s\n", row[0], value); err != nil {
			return err
		}
	}
	return nil
}
