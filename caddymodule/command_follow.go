package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// followBacklog is how many lines --follow shows before those to come.
const followBacklog = 10

// follower knows how to show one kind of live stream as a table.
type follower struct {
	what  string
	table *table // without rows
	// widths are those of the columns, as what is to come is not known. What
	// must not be cut makes room for itself; so does the last column.
	widths []int
	row    func(data []byte) ([]string, error)
}

func journalFollower(loc *time.Location, format string) *follower {
	return &follower{
		what:   "the journal",
		table:  journalTable(nil, loc, format),
		widths: []int{6, timeWidth(loc), 16, 15, 16, 16, 12, 10, 8, 8, 17, 0},
		row: func(data []byte) ([]string, error) {
			var e entryAnswer
			if err := json.Unmarshal(data, &e); err != nil {
				return nil, fmt.Errorf("reading an entry: %w", err)
			}
			return journalRow(&e, loc, format), nil
		},
	}
}

func conversionFollower(loc *time.Location) *follower {
	return &follower{
		what:   "the conversions",
		table:  conversionTable(nil, loc),
		widths: []int{timeWidth(loc), 16, 16, 12, 17, 8, 8, 8, 26},
		row: func(data []byte) ([]string, error) {
			var c conversionAnswer
			if err := json.Unmarshal(data, &c); err != nil {
				return nil, fmt.Errorf("reading a conversion: %w", err)
			}
			return conversionRow(&c, loc), nil
		},
	}
}

// follow shows a live stream as it comes. That it ends is an error: only an
// interruption by the user is meant to end it.
func follow(cmd *cobra.Command, path string, q url.Values, f *follower) error {
	if !q.Has("limit") {
		q.Set("limit", strconv.Itoa(followBacklog))
	}
	resp, err := adminRequest(cmd, http.MethodGet, path, q, http.Header{"Accept": {"text/event-stream"}}, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	write, err := f.writer(cmd)
	if err != nil {
		return err
	}
	if err := readEvents(resp.Body, write); err != nil {
		return fmt.Errorf("following %s: %w", f.what, err)
	}
	return fmt.Errorf("following %s: Caddy has ended the stream; it was stopped, or given another store", f.what)
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

// writer returns the function that writes one event in the form asked for,
// after it has written the titles.
func (f *follower) writer(cmd *cobra.Command) (func(data []byte) error, error) {
	out := cmd.OutOrStdout()
	if flagString(cmd, "format") == formatJSON {
		return func(data []byte) error {
			_, err := out.Write(append(data, '\n'))
			return err
		}, nil
	}
	writeRow, err := f.lines(cmd, out)
	if err != nil {
		return nil, err
	}
	return func(data []byte) error {
		row, err := f.row(data)
		if err != nil {
			return err
		}
		return writeRow(row)
	}, nil
}

func (f *follower) lines(cmd *cobra.Command, out io.Writer) (func(row []string) error, error) {
	if flagString(cmd, "format") == formatCSV {
		return func(row []string) error { return writeCSV(out, [][]string{row}) }, f.table.writeCSV(out)
	}
	look := lookOf(cmd)
	base, left := f.layout(look.width)
	if len(left) > 0 {
		if err := sayLeftOut(cmd, left); err != nil {
			return nil, err
		}
	}
	write := func(row []string) error {
		row = printableRow(row)
		return f.table.writeLine(out, row, f.room(base, row, look.width), rowPainter{painter: look.paint})
	}
	return write, f.table.writeTitles(out, f.room(base, f.table.titles(), look.width), look.paint)
}

// layout fits the columns to a terminal before anything has come.
func (f *follower) layout(width int) (widths []int, left []string) {
	widths = slices.Clone(f.widths)
	for i, title := range f.table.titles() {
		widths[i] = max(widths[i], textWidth(title))
	}
	// Nothing is blank yet: what has a rank may still come to say something.
	full := &table{columns: f.table.columns, total: make([]string, len(widths))}
	for i := range full.total {
		full.total[i] = "?"
	}
	left = full.fit(widths, width)
	return widths, left
}

// room widens columns to what a row has in them, as far as the line still fits
// or must not be cut.
func (f *follower) room(base []int, row []string, width int) []int {
	widths := slices.Clone(base)
	for i := range widths {
		if widths[i] >= 0 && !f.table.cuttable(i) {
			widths[i] = max(widths[i], textWidth(row[i]))
		}
	}
	last := len(widths) - 1
	if widths[last] >= 0 && f.table.cuttable(last) {
		room := textWidth(row[last])
		if width > 0 {
			room = min(room, widths[last]+width-lineWidth(widths))
		}
		widths[last] = max(widths[last], room)
	}
	return widths
}
