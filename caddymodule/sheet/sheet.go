// Package sheet knows the columns of reports, and writes CSV that is safe to open
// in a spreadsheet. Visitors and senders choose some of the values, so all our
// CSV goes through it.
package sheet

import (
	"encoding/csv"
	"io"
	"strings"
)

// Write writes rows as CSV, each cell made safe by [Cell].
func Write(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range rows {
		safe := make([]string, len(row))
		for i, cell := range row {
			safe[i] = Cell(cell)
		}
		// The writer keeps its first error for Error below.
		_ = out.Write(safe)
	}
	out.Flush()
	return out.Error()
}

// formula begins what a spreadsheet would compute. Some take the wide forms of
// the characters for the same.
const formula = "=+-@\uff1d\uff0b\uff0d\uff20"

// breaks end a cell for a spreadsheet that does not read our commas: in half of
// the world it takes semicolons for them, or tabs, and then our quotes do not
// hold a line together either.
const breaks = ";\t\r\n"

// Cell makes a value harmless for spreadsheets, which would take it or a part
// of it for a formula: such a part gets an apostrophe in front.
func Cell(s string) string {
	if s == "" || !strings.ContainsAny(s, formula) && !strings.ContainsRune(breaks, rune(s[0])) || plainNumber(s) {
		return s
	}
	var b strings.Builder
	if strings.ContainsRune("\t\r\n", rune(s[0])) {
		b.WriteByte('\'')
	}
	for s != "" {
		part := s
		if i := strings.IndexAny(s, breaks); i >= 0 {
			part = s[:i+1]
		}
		// Blanks and quotes in front may be dropped.
		bare := strings.TrimLeft(part, " \u00a0\"")
		if strings.IndexAny(bare, formula) == 0 && !plainNumber(strings.TrimRight(part, breaks)) {
			b.WriteByte('\'')
		}
		b.WriteString(part)
		s = s[len(part):]
	}
	return b.String()
}

// plainNumber tells whether s is a decimal number as we write them.
func plainNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	whole, frac, point := strings.Cut(digits, ".")
	isDigits := func(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
	return isDigits(whole) && (!point || isDigits(frac))
}
