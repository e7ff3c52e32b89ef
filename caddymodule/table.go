package caddymodule

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// minCell is the least width to which a column of text is cut; below that it
// would say nothing.
const minCell = 8

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
	// rank orders what else is left out where a terminal is too narrow even
	// for columns that are cut: the highest first, and zero never.
	rank int
	// style chooses how a cell is painted on a terminal; nil is plain.
	style func(cell string) style
}

// table is an answer for people or, as CSV, for programs.
type table struct {
	columns []column
	rows    [][]string
	// total is one more row for people, or nil; programs add up by themselves.
	total []string
}

// look is how a table is shown to people.
type look struct {
	width int // the most characters of a line; zero means any number
	paint painter
}

// writeTable writes the table aligned for people, and returns the titles of
// the columns that say something and had to be left out to make it fit.
func (t *table) writeTable(w io.Writer, l look) (left []string, err error) {
	var lines [][]string
	for _, row := range t.rows {
		lines = append(lines, printableRow(row))
	}
	if t.total != nil {
		lines = append(lines, printableRow(t.total))
	}
	titles := t.titles()
	widths := make([]int, len(t.columns))
	for _, line := range append([][]string{titles}, lines...) {
		for i, cell := range line {
			widths[i] = max(widths[i], textWidth(cell))
		}
	}
	left = t.fit(widths, l.width)
	if err := t.writeTitles(w, widths, l.paint); err != nil {
		return nil, err
	}
	for i, line := range lines {
		p := rowPainter{l.paint, t.total != nil && i == len(lines)-1}
		if err := t.writeLine(w, line, widths, p); err != nil {
			return nil, err
		}
	}
	return left, nil
}

func (t *table) titles() []string {
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = strings.ToUpper(c.title)
	}
	return titles
}

// leftOut is the width of a column that is not shown.
const leftOut = -1

// fit narrows the columns to the width: it leaves out spare columns, then those
// that can be missed until the rest can be cut enough, and then takes from the
// widest columns of text. Where that is not enough the terminal wraps lines.
func (t *table) fit(widths []int, width int) (left []string) {
	if width <= 0 {
		return nil
	}
	for i, c := range t.columns {
		if (c.spare || c.rank > 0) && lineWidth(widths) > width && t.blank(i) {
			widths[i] = leftOut
		}
	}
	for t.leastWidth(widths) > width {
		highest := 0
		for i, c := range t.columns {
			if widths[i] >= 0 {
				highest = max(highest, c.rank)
			}
		}
		if highest == 0 {
			break
		}
		for i, c := range t.columns { // those of one rank belong together
			if widths[i] >= 0 && c.rank == highest {
				widths[i] = leftOut
				left = append(left, c.title)
			}
		}
	}
	for lineWidth(widths) > width {
		widest := -1
		for i := range t.columns {
			if t.cuttable(i) && widths[i] > minCell && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	slices.Sort(left)
	return left
}

func (t *table) cuttable(col int) bool { return !t.columns[col].number && !t.columns[col].id }

// leastWidth is that of a line whose columns of text are cut as far as can be.
func (t *table) leastWidth(widths []int) int {
	least := slices.Clone(widths)
	for i := range least {
		if t.cuttable(i) {
			least[i] = min(least[i], minCell)
		}
	}
	return lineWidth(least)
}

func (t *table) blank(col int) bool {
	for _, row := range t.rows {
		if row[col] != "" && row[col] != "0" {
			return false
		}
	}
	return t.total == nil || t.total[col] == "" || t.total[col] == "0"
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

func (t *table) writeTitles(w io.Writer, widths []int, p painter) error {
	bold := make([]column, len(t.columns))
	for i, c := range t.columns {
		c.style = func(string) style { return styleBold }
		bold[i] = c
	}
	return (&table{columns: bold}).writeLine(w, t.titles(), widths, rowPainter{painter: p})
}

// rowPainter paints the cells of one row.
type rowPainter struct {
	painter
	total bool
}

func (p rowPainter) cell(c *column, full, shown string) string {
	switch {
	case p.total:
		return p.paint(styleBold, shown)
	case c.style != nil:
		return p.paint(c.style(full), shown)
	}
	return shown
}

func (t *table) writeLine(w io.Writer, line []string, widths []int, p rowPainter) error {
	var b strings.Builder
	gap := 0 // blanks that are written only if something follows
	for i, full := range line {
		if widths[i] < 0 {
			continue
		}
		cell := cutText(full, widths[i])
		pad := max(0, widths[i]-textWidth(cell))
		if t.columns[i].number {
			gap, pad = gap+pad, 0
		}
		if cell != "" {
			b.WriteString(strings.Repeat(" ", gap))
			b.WriteString(p.cell(&t.columns[i], full, cell))
			gap = 0
		}
		gap += pad + 2
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

func printableRow(row []string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = printable(cell)
	}
	return out
}

// names are the columns' names for programs.
func (t *table) names() []string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = strings.ReplaceAll(c.title, " ", "_")
	}
	return names
}

// writeCSV writes the table for programs.
func (t *table) writeCSV(w io.Writer) error {
	return writeCSV(w, append([][]string{t.names()}, t.rows...))
}

func writeCSV(w io.Writer, rows [][]string) error { return sheet.Write(w, rows) }

// csvCell makes a value harmless for spreadsheets. Visitors choose some values.
func csvCell(s string) string { return sheet.Cell(s) }

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
