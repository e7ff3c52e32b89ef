package caddymodule

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/mattn/go-colorable"
	"github.com/spf13/cobra"
)

// style is what a terminal is told before a text, by the numbers of ECMA-48.
// The eight colours are those of the user's own theme, so they can be read on
// light and dark.
type style string

const (
	stylePlain  style = ""
	styleBold   style = "1"
	styleDim    style = "2"
	styleRed    style = "31"
	styleGreen  style = "32"
	styleYellow style = "33"
	styleCyan   style = "36"
)

// painter paints texts, or leaves them plain.
type painter bool

func (p painter) paint(s style, text string) string {
	if !bool(p) || s == stylePlain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// wordStyles are the styles of outcomes, states and the like.
var wordStyles = map[string]style{
	"recorded": styleGreen, "approved": styleGreen, "ok": styleGreen,
	"updated":     styleCyan,
	"quarantined": styleYellow, "pending": styleYellow, "degraded": styleYellow, "note": styleYellow, "warning": styleYellow,
	"rejected": styleRed, "reversed": styleRed, "failed": styleRed, "stopped": styleRed, "FAIL": styleRed, "error": styleRed,
	"duplicate": styleDim, "ignored": styleDim, "hint": styleDim,
}

// wordStyle is the style of a cell with such a word, whatever stands after it.
func wordStyle(cell string) style {
	word, _, _ := strings.Cut(cell, " ")
	return wordStyles[word]
}

func dimStyle(string) style { return styleDim }

// colorChoice is the value of --color.
type colorChoice string

var colorChoices = []string{"auto", "always", "never"}

// Set implements pflag.Value.
func (c *colorChoice) Set(s string) error {
	for _, known := range colorChoices {
		if s == known {
			*c = colorChoice(s)
			return nil
		}
	}
	return fmt.Errorf("use %s", strings.Join(colorChoices, ", "))
}

// String implements pflag.Value.
func (c *colorChoice) String() string { return string(*c) }

// Type implements pflag.Value.
func (*colorChoice) Type() string { return "when" }

// painterFor paints what goes to w, if --color or, without it, the terminal and
// the user's environment (https://no-color.org) say so.
func painterFor(cmd *cobra.Command, w io.Writer) painter {
	choice := "auto"
	if f := cmd.Flag("color"); f != nil {
		choice = f.Value.String()
	}
	switch choice {
	case "always":
		return true
	case "never":
		return false
	}
	if os.Getenv("NO_COLOR") != "" || dumbTerminal() || !isTerminal(w) {
		return false
	}
	var on bool
	colorable.EnableColorsStdout(&on) // Windows has to be told; others know
	return painter(on)
}

// dumbTerminal tells of terminals that know no escape sequences.
func dumbTerminal() bool { return os.Getenv("TERM") == "dumb" }

// lookOf is how tables are shown on a command's output.
func lookOf(cmd *cobra.Command) look {
	out := cmd.OutOrStdout()
	return look{width: terminalWidth(out), paint: painterFor(cmd, out)}
}
