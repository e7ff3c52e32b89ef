package sheet

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCell(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":             "",
		"acme":         "acme",
		"=1+1":         "'=1+1",
		"+1":           "'+1",
		"-cmd":         "'-cmd",
		"@SUM(A1)":     "'@SUM(A1)",
		"\t=1":         "'\t'=1",
		"\r=1":         "'\r'=1",
		"\n=1":         "'\n'=1",
		"\ta":          "'\ta",
		" =1":          "' =1",
		"a;=1+1":       "a;'=1+1",
		"a; \"=1+1":    "a;' \"=1+1",
		"a;-5;b":       "a;-5;b", // a number
		"a;-5x;@b":     "a;'-5x;'@b",
		"a;b":          "a;b",
		"a\n+1":        "a\n'+1",
		"\uff1d1+1":    "'\uff1d1+1",
		"\uff0b1":      "'\uff0b1",
		"\uff0d1":      "'\uff0d1",
		"\uff20SUM":    "'\uff20SUM",
		"a;\uff1d1":    "a;'\uff1d1",
		"-12.50":       "-12.50",
		"-":            "'-",
		"-1.":          "'-1.",
		"-1-2":         "'-1-2",
		"12":           "12",
		`a,"b"`:        `a,"b"`,
		"2026-01-01":   "2026-01-01",
		"x=1":          "x=1",
		"-1.5e3":       "'-1.5e3",
		"-1|calc!A0":   "'-1|calc!A0",
		"=HYPERLINK()": "'=HYPERLINK()",
	} {
		if got := Cell(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Write(&b, [][]string{{"a", "b"}, {"=1", "x,y"}}); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "a,b\n'=1,\"x,y\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := Write(failing{}, [][]string{{"a"}}); !errors.Is(err, errFailing) {
		t.Errorf("got %v", err)
	}
}

var errFailing = errors.New("no room")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFailing }

// TestPartsAreHarmless wants no part of a cell, however it is taken apart, to
// begin a formula.
func TestPartsAreHarmless(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringOf(rapid.SampledFrom([]rune("=+-@\uff1d;\t\r\n \"'a1.,"))).Draw(t, "value")
		got := Cell(in)
		for _, part := range strings.FieldsFunc(got, func(r rune) bool { return strings.ContainsRune(breaks, r) }) {
			if bare := strings.TrimLeft(part, " \""); strings.IndexAny(bare, formula) == 0 && !plainNumber(part) {
				t.Fatalf("%q becomes %q, of which %q is a formula", in, got, part)
			}
		}
		if strings.ReplaceAll(got, "'", "") != strings.ReplaceAll(in, "'", "") {
			t.Fatalf("%q becomes %q, which says something else", in, got)
		}
	})
}
