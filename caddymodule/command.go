package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "capture",
		Usage: "<command>",
		Short: "Shows the clicks and conversions that Capture tracks",
		Long: `
Asks the running Caddy about the clicks and conversions that its track_click
and postback directives record, tests them, corrects and keeps the books.

Each command but restore, migrate, networks, url and version speaks to Caddy's admin API. Its address is taken
from --address if given, else from the file that --config names, else the default is assumed.

Tables are for people; --format csv and --format json are for programs. The
exit status is 0 only if the command did what it was asked.`,
		CobraFunc: setupCommand,
	})
}

// setupCommand adds the commands below `caddy capture`.
func setupCommand(cmd *cobra.Command) {
	cmd.Example = `  caddy capture report --by campaign,source --from 7d
  caddy capture journal --outcome quarantined
  caddy capture test
  caddy capture backup /var/backups/capture.backup`
	flags := cmd.PersistentFlags()
	flags.String("address", "", "Address of the administration listener, if different from config")
	flags.StringP("config", "c", "", "Configuration file from which the address of the administration listener is taken")
	flags.StringP("adapter", "a", "", "Name of the config adapter for that file")
	color := colorChoice("auto")
	flags.Var(&color, "color", "Colours: auto (on a terminal, unless NO_COLOR is set), always or never")
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q: see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
		}
		return cmd.Help()
	}
	cmd.AddCommand(reportCommand(), conversionsCommand(), journalCommand(), clickCommand(), healthCommand(),
		testCommand(), replayCommand(), importCommand(), exportCommand(), eraseCommand(), backupCommand(), restoreCommand(),
		migrateCommand(), checkCommand(), networksCommand(), urlCommand(), versionCommand())
	addCompletion(cmd)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "version",
		Short:                 "Prints the version of Capture in this Caddy",
		Args:                  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), Version())
			return err
		},
	}
}

// The forms of output.
const (
	formatTable = "table"
	formatCSV   = "csv"
	formatJSON  = "json"
)

// addFormat adds the flag that chooses the form of output.
func addFormat(cmd *cobra.Command, formats ...string) {
	cmd.Flags().String("format", formats[0], "Form of the output: "+strings.Join(formats, ", "))
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		f := flagString(cmd, "format")
		for _, allowed := range formats {
			if f == allowed {
				return run(cmd, args)
			}
		}
		return fmt.Errorf("--format is %q: use %s", f, strings.Join(formats, " or "))
	}
}

// flagString returns a flag's value; the flag is one of ours, so it exists.
func flagString(cmd *cobra.Command, name string) string {
	s, err := cmd.Flags().GetString(name)
	if err != nil {
		panic(err)
	}
	return s
}

// query collects the flags that were given as query parameters of the same
// name.
func query(cmd *cobra.Command, names ...string) url.Values {
	q := make(url.Values)
	for _, name := range names {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			q.Set(name, f.Value.String())
		}
	}
	return q
}

// adminRequest asks the running Caddy.
func adminRequest(cmd *cobra.Command, method, path string, q url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(
		flagString(cmd, "address"), nil, flagString(cmd, "config"), flagString(cmd, "adapter"))
	if err != nil {
		return nil, fmt.Errorf("finding the address of Caddy's admin API: %w", err)
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, path, header, body)
	if err != nil {
		return nil, explainRequest(err, address)
	}
	return resp, nil
}

// answerError is an answer of the admin API that is an error.
type answerError struct {
	status int
	body   string
}

func (e *answerError) Error() string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(e.body), &body) == nil && body.Error != "" {
		return body.Error
	}
	if e.status == http.StatusNotFound {
		return "the running Caddy does not know this command: it was built without Capture, or with another version of it"
	}
	return fmt.Sprintf("Caddy answered %d %s: %s", e.status, http.StatusText(e.status), strings.TrimSpace(e.body))
}

// explainRequest makes an error of caddycmd.AdminAPIRequest, which has only
// its text to tell one from another, useful to people.
func explainRequest(err error, address string) error {
	if rest, ok := strings.CutPrefix(err.Error(), "caddy responded with error: HTTP "); ok {
		code, body, _ := strings.Cut(rest, ": ")
		if status, err := strconv.Atoi(code); err == nil {
			return &answerError{status: status, body: body}
		}
	}
	return fmt.Errorf("asking Caddy's admin API at %s: %w\n"+
		"Is Caddy running? If its admin endpoint is somewhere else, say so with --address or --config", address, err)
}

// readAnswer decodes an answer.
func readAnswer(r io.Reader, v any) error {
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return fmt.Errorf("reading Caddy's answer: %w", err)
	}
	return nil
}

// show asks the admin API and writes the answer in the form that was asked
// for: JSON as it came, and what read makes of it otherwise.
func show(cmd *cobra.Command, path string, q url.Values, read func(r io.Reader, format string) error) error {
	resp, err := adminRequest(cmd, http.MethodGet, path, q, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	format := flagString(cmd, "format")
	if format != formatJSON {
		return read(resp.Body, format)
	}
	return copyAnswer(cmd, resp.Body)
}

func copyAnswer(cmd *cobra.Command, r io.Reader) error {
	if _, err := io.Copy(cmd.OutOrStdout(), r); err != nil {
		return fmt.Errorf("copying Caddy's answer: %w", err)
	}
	return nil
}

// print writes a table in the form that was asked for. Where there is no row
// it says so to people, on the side.
func (t *table) print(cmd *cobra.Command, format, none string) error {
	out := cmd.OutOrStdout()
	if format == formatCSV {
		return t.writeCSV(out)
	}
	if len(t.rows) == 0 && t.total == nil {
		_, err := fmt.Fprintln(cmd.ErrOrStderr(), none)
		return err
	}
	left, err := t.writeTable(out, lookOf(cmd))
	if err != nil || len(left) == 0 {
		return err
	}
	return sayLeftOut(cmd, left)
}

// sayLeftOut tells people what a narrow terminal keeps from them.
func sayLeftOut(cmd *cobra.Command, titles []string) error {
	return say(cmd, "no room for %s: make the terminal wider, or use --format csv", strings.Join(titles, ", "))
}
