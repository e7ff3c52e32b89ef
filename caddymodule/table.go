package caddymodule

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// minCell is the least width to which a column of text is cut; below that it
// would say nothing.
const minCell = 12

// column is one column of a table.
type column struct {
	title string
	// number columns are aligned on the right and never cut.
	number bool
	// spare columns are left out where the table is too wide for the terminal
	// and all their cells are "0" or empty.
	spare bool
	// id columns are copied by their readers, so they are not cut either.
	id bool
}

// table is an answer for people or, as CSV, for programs.
type table struct {
	columns []column
	rows    [][]string
	// total is one more row for people, or nil; programs add up by themselves.
	total []string
}

// writeTable writes the table aligned for people, at most width characters
// wide if that can be done; zero means any width.
func (t *table) writeTable(w io.Writer, width int) error {
	lines := [][]string{t.titles()}
	for _, row := range t.rows {
		lines = append(lines, printableRow(row))
	}
	if t.total != nil {
		lines = append(lines, printableRow(t.total))
	}
	widths := make([]int, len(t.columns))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	if width > 0 {
		t.fit(widths, width)
	}
	for _, line := range lines {
		if err := t.writeLine(w, line, widths); err != nil {
			return err
		}
	}
	return nil
}

func (t *table) titles() []string {
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = strings.ToUpper(c.title)
	}
	return titles
}

// fit narrows the columns to the width: first it drops spare columns (their
// width becomes -1), then it takes from the widest columns of text.
func (t *table) fit(widths []int, width int) {
	for i, c := range t.columns {
		if c.spare && lineWidth(widths) > width && t.blank(i) {
			widths[i] = -1
		}
	}
	for lineWidth(widths) > width {
		widest := -1
		for i, c := range t.columns {
			if !c.number && !c.id && widths[i] > minCell && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return // it cannot be done: the terminal wraps the lines
		}
		widths[widest]--
	}
}

func (t *table) blank(col int) bool {
	for _, row := range t.rows {
		if row[col] != "" && row[col] != "0" {
			return false
		}
	}
	return true
}

func lineWidth(widths []int) int {
	n := -2
	for _, w := range widths {
		if w >= 0 {
			n += w + 2
		}
	}
	return n
}

func (t *table) writeLine(w io.Writer, line []string, widths []int) error {
	var b strings.Builder
	for i, cell := range line {
		if widths[i] < 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		cell = cutCell(cell, widths[i])
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell)))
		if t.columns[i].number {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	return err
}

func cutCell(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(0, width-1)]) + "…"
}

func printableRow(row []string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = printable(cell)
	}
	return out
}

// printable makes visitors' values harmless for a terminal, which would take
// escape sequences in them for its own.
func printable(s string) string {
	ok := func(r rune) bool { return unicode.IsPrint(r) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case ok(r):
			b.WriteRune(r)
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// writeCSV writes the table for programs.
func (t *table) writeCSV(w io.Writer) error {
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = strings.ReplaceAll(c.title, " ", "_")
	}
	return writeCSV(w, append([][]string{titles}, t.rows...))
}

func writeCSV(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			safe[i] = csvCell(cell)
		}
		// The writer keeps its first error for Error below.
		_ = out.Write(safe)
	}
	out.Flush()
	return out.Error()
}

// csvCell makes a value harmless for spreadsheets, which take what begins
// with one of these characters for a formula. Visitors choose some values.
func csvCell(s string) string {
	if s == "" || !strings.ContainsRune("=+-@\t\r", rune(s[0])) || plainNumber(s) {
		return s
	}
	return "'" + s
}

// plainNumber tells whether s is a decimal number as we write them.
func plainNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	whole, frac, point := strings.Cut(digits, ".")
	isDigits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return isDigits(whole) && (!point || isDigits(frac))
}

// terminalWidth returns the width of the terminal behind w; zero if there is
// none, so that nothing is cut that goes to a file or another program.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd())) //nolint:gosec // a file descriptor fits
	if err != nil {
		return 0
	}
	return width
}
