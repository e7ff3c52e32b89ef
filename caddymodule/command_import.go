package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/caddy-capture/caddy-capture/capture"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		DisableFlagsInUseLine: true,
		Use:                   "import <file>|- [--format csv|jsonl]",
		Short:                 "Books conversions and corrections from a file",
		Long: `
Books new conversions, changes of status and corrections that you write by hand,
one in a line; "-" reads them from standard input.

The columns of CSV are named in its first line, in any order; JSON lines have a
flat object in each line with these members:

  click_id       the click, or else
  conversion_id  the one known conversion that is corrected, whatever the rules
                 say; its event and txid stay, so leave these out
  txid           the transaction ID
  payout         an amount like 12.50, negative for a correction
  currency       of the payout, like USD
  event          default: conversion
  status         approved, pending, rejected or reversed; default: approved, and
                 with conversion_id what it is
  time           when it happened, like 2026-11-22T15:00:00Z; default: now, and
                 with conversion_id after everything that is known of it

Each line is booked by the same rules as a postback. A line that is wrong stops
nothing: it is printed with its number and what is wrong; so is one that changes
nothing because something final or newer stands. Pending never changes a final
status.

A line is known by what it says. What is booked stays booked, so the same file
can be imported again, after an interruption or by mistake, and changes nothing
the second time; two lines of one file that are alike are two messages, not one.
To say the same again later on purpose (reversed, approved, and now reversed
again), add the time from which it is to hold.

Whether a file is CSV or JSON lines is told by its ending (.jsonl, .ndjson and
.json are JSON lines), or by --format. The exit status is 0 only if every line
was booked.`,
		Example: `  caddy capture import corrections.csv
  printf 'conversion_id,status\n1a2b...,reversed\n' | caddy capture import -`,
		Args: cobra.ExactArgs(1),
		RunE: runImport,
	}
	cmd.Flags().String("format", "", "Form of the file: csv or jsonl; default: by its ending, else csv")
	return cmd
}

func runImport(cmd *cobra.Command, args []string) error {
	format := flagString(cmd, "format")
	if format == "" {
		format = formatOfFile(args[0])
	}
	header := http.Header{}
	switch format {
	case formatCSV:
		header.Set("Content-Type", "text/csv")
	case formatJSONLines:
		header.Set("Content-Type", typeJSONLines)
	default:
		return fmt.Errorf("--format is %q: use csv or jsonl", format)
	}
	in, size := cmd.InOrStdin(), int64(0)
	if args[0] != toStdout {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
		in = f
	}
	bar := newProgress(cmd, "importing", true)
	defer bar.clear()
	sent := &sentLines{r: in}
	resp, err := adminRequest(cmd, http.MethodPost, "/capture/conversions", nil, header, sent)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sum, err := readImport(cmd.OutOrStdout(), resp.Body, bar, func(line int) { bar.set(sent.answered(line), size) })
	bar.clear()
	if err != nil {
		return fmt.Errorf("importing: %w\nWhat is booked stays so; import the same file again for the rest", err)
	}
	if err := say(cmd, "%s", sum); err != nil {
		return err
	}
	if n := int64(sum.Failed + sum.Quarantined); n > 0 {
		return fmt.Errorf("%s not booked", wasWere(n, "line"))
	}
	return nil
}

// readImport prints the lines that were not booked, and those that change
// nothing because something else stands.
func readImport(w io.Writer, r io.Reader, bar *progress, progress func(line int)) (*tally, error) {
	var sum *tally
	err := readLines(r, func(data []byte) (last bool, err error) {
		var line struct {
			importLine
			importSummary
		}
		if err := json.Unmarshal(data, &line); err != nil {
			return false, fmt.Errorf("reading Caddy's answer: %w", err)
		}
		if line.Summary != nil {
			sum = line.Summary
			return true, nil
		}
		progress(line.Line)
		problem := line.Error
		switch {
		case line.Outcome == capture.Quarantined:
			problem = fmt.Sprintf("quarantined: %s: %s", line.Reason, line.Detail)
		case line.Outcome == capture.Duplicate && line.Detail != "":
			problem = "changes nothing: " + line.Detail
		}
		if problem == "" {
			return false, nil
		}
		bar.clear()
		_, err = fmt.Fprintf(w, "line %d: %s\n", line.Line, printable(problem))
		return false, err
	})
	if err == nil && sum == nil {
		err = errors.New("the answer has no end")
	}
	return sum, err
}

// sentLines knows which line was sent after how many bytes: the sender runs
// ahead of the answers by what the network holds, and only these are progress.
type sentLines struct {
	r io.Reader

	mu    sync.Mutex
	at    sentMark
	ahead []sentMark // not yet answered
	done  int64
}

// sentMark is a place in what was sent.
type sentMark struct {
	line   int
	offset int64
}

func (s *sentLines) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at.line += bytes.Count(b[:n], []byte{'\n'})
	s.at.offset += int64(n)
	if n > 0 {
		s.ahead = append(s.ahead, s.at)
	}
	return n, err
}

// answered returns how many bytes are answered when that line is.
func (s *sentLines) answered(line int) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.ahead) > 0 && s.ahead[0].line <= line {
		s.done, s.ahead = s.ahead[0].offset, s.ahead[1:]
	}
	return s.done
}

func wasWere(n int64, what string) string {
	if n == 1 {
		return plural(n, what) + " was"
	}
	return plural(n, what) + " were"
}
