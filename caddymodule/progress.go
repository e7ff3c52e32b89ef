package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// drawEvery is how often the line of progress changes.
const drawEvery = 100 * time.Millisecond

// plainWidth is the width of a terminal that does not know its own.
const plainWidth = 80

// progress shows on one line of a terminal how far a command has got, how fast
// it is and how long it will take. Without a terminal it is silent.
type progress struct {
	w     io.Writer // nil: silent
	width int
	what  string
	bytes bool // what is counted; else it is records
	about bool // the total is an estimate
	now   func() time.Time

	started     time.Time
	drawn       time.Time
	done, total int64 // a total of zero is not known
	before      int64 // of done, what an earlier attempt did
	shown       int   // width of what stands on the line
}

// newProgress shows progress beside the output, if that is a terminal. It has
// to be cleared at the end and before anything else is written.
func newProgress(cmd *cobra.Command, what string, bytes bool) *progress {
	p := &progress{what: what, bytes: bytes, now: time.Now}
	if side := cmd.ErrOrStderr(); isTerminal(side) && !dumbTerminal() {
		p.w, p.width = side, terminalWidth(side)
		if p.width == 0 {
			p.width = plainWidth
		}
	}
	return p
}

// set says how far it has got.
func (p *progress) set(done, total int64) {
	if p.w == nil {
		return
	}
	p.done, p.total = done, total
	now := p.now()
	if p.started.IsZero() {
		p.started = now
	}
	if now.Sub(p.drawn) < drawEvery {
		return
	}
	p.drawn = now
	p.draw(p.text(now.Sub(p.started)))
}

// begin starts anew with something else to be done.
func (p *progress) begin(what string) {
	p.clear()
	p.what, p.started, p.drawn, p.done, p.total, p.before = what, time.Time{}, time.Time{}, 0, 0, 0
}

// clear takes the line away.
func (p *progress) clear() {
	if p.w == nil || p.shown == 0 {
		return
	}
	p.draw("")
	_, _ = io.WriteString(p.w, "\r")
	p.drawn = time.Time{}
}

func (p *progress) draw(text string) {
	if limit := max(0, p.width-1); len(text) > limit {
		text = text[:limit] // ASCII
	}
	n := len(text)
	_, _ = fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(0, p.shown-n)))
	p.shown = n
}

func (p *progress) text(took time.Duration) string {
	parts := []string{p.what}
	known := p.total > 0 && p.done <= p.total
	if known {
		of := " of "
		if p.about {
			of = " of about "
		}
		parts = append(parts, fmt.Sprintf("%3d%%", int64(float64(p.done)/float64(p.total)*100)),
			p.amount(p.done)+of+p.amount(p.total))
	} else {
		parts = append(parts, p.amount(p.done))
	}
	if took >= time.Second {
		rate := float64(p.done-p.before) / took.Seconds()
		parts = append(parts, p.amount(int64(rate))+"/s")
		if known && p.done > p.before {
			left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
			parts = append(parts, left.Round(time.Second).String()+" left")
		}
	}
	return strings.Join(parts, "  ")
}

func (p *progress) amount(n int64) string {
	if p.bytes {
		return humanize.IBytes(uint64(max(0, n))) //nolint:gosec // not negative
	}
	return humanize.Comma(n)
}

// countingReader tells how much was read of it, in bytes or in records.
type countingReader struct {
	r    io.Reader
	n    int64
	unit unit
	read func(n int64)

	quoted bool // in a cell that may have lines of its own
}

// unit is what is counted.
type unit int

const (
	unitBytes unit = iota
	unitLines      // of JSON
	unitRows       // of CSV
)

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	switch c.unit {
	case unitLines:
		c.n += int64(bytes.Count(b[:n], []byte{'\n'}))
	case unitRows:
		c.n += c.rows(b[:n])
	default:
		c.n += int64(n)
	}
	c.read(c.n)
	return n, err
}

// rows counts the ends of rows. A postback's body can have line breaks, which
// stand between quotes; a quote itself is written twice there.
func (c *countingReader) rows(b []byte) (n int64) {
	for {
		i := bytes.IndexAny(b, "\"\n")
		if i < 0 {
			return n
		}
		if b[i] == '"' {
			c.quoted = !c.quoted
		} else if !c.quoted {
			n++
		}
		b = b[i+1:]
	}
}
