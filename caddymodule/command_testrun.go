package caddymodule

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func testCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "test [--click <path or address>] [--postback <path or address>] [--format table|json]",
		Short:                 "Sends a test click and its postback through the live server",
		Long: `
Sends a click and its postback through the live server, as a visitor and an
advertiser would, and says at each step what was done and what is wrong.

Without flags every track_click and every postback of the running configuration
is tested, each by an address that its matchers take. --click and --postback
choose one by its path or its address; that is needed where an address cannot
be made up, for example behind a regular expression.

The requests start on the server itself and go straight to its listener, so
firewalls, DNS and proxies in front of Caddy are not tested. Certificates are
not checked. What the test records is flagged and never counts in reports; it
is listed by "caddy capture conversions --test".

The exit status is 0 only if nothing is wrong.`,
		Example: `  caddy capture test
  caddy capture test --click /go/acme
  caddy capture test --click https://example.com/go/acme --postback /postback/network`,
		Args: cobra.NoArgs,
		RunE: runTest,
	}
	f := cmd.Flags()
	f.String("click", "", "Test only the track_click with this path or address")
	f.String("postback", "", "Test only the postback with this path or address")
	addFormat(cmd, formatTable, formatJSON)
	return cmd
}

func runTest(cmd *cobra.Command, _ []string) error {
	body, err := json.Marshal(testRequest{Click: flagString(cmd, "click"), Postback: flagString(cmd, "postback")})
	if err != nil {
		return err
	}
	resp, err := adminRequest(cmd, http.MethodPost, "/capture/test", nil, nil, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	paint := painterFor(cmd, cmd.OutOrStdout())
	show := func(w io.Writer, s *testStep, _ []byte) error { return printStep(w, paint, s) }
	if flagString(cmd, "format") == formatJSON {
		show = printStepJSON
	}
	failed, err := readSteps(resp.Body, func(s *testStep, line []byte) error { return show(cmd.OutOrStdout(), s, line) })
	switch {
	case err != nil:
		return err
	case failed:
		return errors.New("the test failed")
	}
	return nil
}

// readSteps hands on each step and tells whether the test failed. A test that
// does not come to its result has failed, too.
func readSteps(r io.Reader, yield func(s *testStep, line []byte) error) (failed bool, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return true, fmt.Errorf("the test was cut short: %w", err)
		}
		var s testStep
		if err := json.Unmarshal(line, &s); err != nil {
			return true, fmt.Errorf("reading a step of the test: %w", err)
		}
		failed = failed || !s.OK
		if err := yield(&s, line); err != nil {
			return true, err
		}
		if s.Step == testResult {
			return failed, nil
		}
	}
}

func printStepJSON(w io.Writer, _ *testStep, line []byte) error {
	_, err := w.Write(line)
	return err
}

func printStep(w io.Writer, p painter, s *testStep) error {
	mark := "ok"
	switch {
	case s.Note:
		mark = "note"
	case !s.OK:
		mark = "FAIL"
	}
	_, err := fmt.Fprintf(w, "%s %-10s  %s\n", p.paint(wordStyle(mark), fmt.Sprintf("%-5s", mark)), s.Step, printable(s.Text))
	if err == nil && s.Detail != "" {
		_, err = fmt.Fprintf(w, "%19s%s\n", "", printable(s.Detail))
	}
	return err
}
