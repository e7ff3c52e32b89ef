package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// readLines hands on each line of an answer of JSON lines until one is the
// last. An answer that ends before, or with an error, is an error.
func readLines(r io.Reader, yield func(line []byte) (last bool, err error)) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return fmt.Errorf("the answer was cut short: %w", err)
		}
		// Only the line that ends an answer has an error and nothing else.
		var failed map[string]json.RawMessage
		if json.Unmarshal(line, &failed) == nil && len(failed) == 1 && failed["error"] != nil {
			var end failedLine
			if err := json.Unmarshal(line, &end); err != nil {
				return fmt.Errorf("reading Caddy's answer: %w", err)
			}
			return errors.New(end.Error)
		}
		last, err := yield(line)
		if last || err != nil {
			return err
		}
	}
}

// toStdout is the file name that stands for standard output or input.
const toStdout = "-"

// isTerminal tells whether a person would see what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor fits
}

// writeWhole writes a file that appears under its name only when it is whole
// and on disk; one of that name is replaced then. The owner alone may read it.
// check, if not nil, has to accept what was written.
func writeWhole(path string, write func(w io.Writer) error, check func(io.Reader) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if check != nil {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := check(f); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// syncDir makes a rename durable where the system can do that.
func syncDir(dir string) {
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	_ = d.Sync()
}

// formatOfFile tells by its name how the lines of a file are written.
func formatOfFile(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson", ".json":
		return formatJSONLines
	}
	return formatCSV
}

// counter shows the progress of an answer: of its bytes where their number is
// known or estimated, else of its records, with what Caddy estimates of them.
type counter struct {
	bar   *progress
	total int64
	unit  unit
}

func newCounter(resp *http.Response, bar *progress) *counter {
	c := &counter{bar: bar, total: max(0, resp.ContentLength)}
	if c.total == 0 {
		switch resp.Header.Get("Content-Type") {
		case typeCSV:
			c.unit = unitRows
		case typeJSONLines:
			c.unit = unitLines
		}
		if n, err := strconv.ParseInt(resp.Header.Get(estimateHeader), 10, 64); err == nil {
			c.total, bar.about = n, true
			if c.unit == unitRows {
				c.total++ // the names of the columns
			}
		}
	}
	bar.bytes = c.unit == unitBytes
	return c
}

// copy returns how many bytes it has copied.
func (c *counter) copy(w io.Writer, r io.Reader) (int64, error) {
	from := &countingReader{r: r, unit: c.unit, read: func(n int64) { c.bar.set(n, c.total) }}
	n, err := io.Copy(w, from)
	if err != nil {
		c.bar.clear()
		return n, fmt.Errorf("copying Caddy's answer: %w", err)
	}
	return n, nil
}

// plural counts things in a sentence.
func plural(n int64, one string) string {
	many := one + "s"
	if stem, ok := strings.CutSuffix(one, "y"); ok {
		many = stem + "ies"
	}
	if n == 1 {
		many = one
	}
	return strconv.FormatInt(n, 10) + " " + many
}

// say writes a sentence for people, on the side.
func say(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
	return err
}
