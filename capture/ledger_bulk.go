package capture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Imported is what became of one line of an import.
type Imported struct {
	Line   int // counted from 1
	Result Result
	// Err is why the line was not booked: nothing of it is on disk.
	Err error
}

// Import books lines that the owner wrote, in their order. A line that cannot
// be read stops nothing; each is answered. The error is that of the whole: the
// header is wrong, the reader or the store failed. It ends early if yield
// returns false.
func (l *Ledger) Import(ctx context.Context, r io.Reader, im *Importer, yield func(Imported) bool) error {
	waiting, err := l.waitingImports(ctx)
	if err != nil {
		return err
	}
	lines := newLineReader(r)
	for more := true; more; {
		answers := make([]Imported, 0, bulk)
		batch := make([]*Postback, 0, bulk)
		for len(answers) < bulk {
			line, err := lines.next()
			if errors.Is(err, io.EOF) {
				more = false
				break
			}
			var p *Postback
			switch {
			case errors.Is(err, errLongLine):
			case err != nil:
				return fmt.Errorf("reading line %d of the import: %w", lines.number, err)
			default:
				p, err = im.Line(line, l.now())
			}
			if errors.Is(err, ErrHeader) {
				return err
			}
			if p == nil && err == nil {
				continue // says nothing
			}
			if p != nil {
				if w, ok := waiting[p.Claim.Key]; ok {
					p.Replays, p.Claim.ReceivedAt = w.seq, w.received
				}
				if err = l.correct(ctx, p); err != nil {
					p = nil
				}
			}
			answers = append(answers, Imported{Line: lines.number, Err: err})
			batch = append(batch, p)
		}
		if err := l.bookAll(ctx, batch, nil); err != nil {
			return err
		}
		for i, p := range batch {
			if p != nil {
				answers[i].Result = p.Result
			}
			if !yield(answers[i]) {
				return nil
			}
		}
	}
	return ctx.Err()
}

// waitingLine is a line of an import before that waits in quarantine.
type waitingLine struct {
	seq      uint64
	received time.Time
}

// waitingImports returns the lines that wait in quarantine by their keys. Such
// a line, when it is imported again, is booked in the place of the one that
// waits rather than beside it.
func (l *Ledger) waitingImports(ctx context.Context) (map[string]waitingLine, error) {
	r, err := l.Reader()
	if err != nil {
		return nil, err
	}
	waiting := make(map[string]waitingLine)
	err = r.Journal(ctx, JournalQuery{Route: ImportRoute, Open: true}, func(e *Entry) bool {
		waiting[e.Claim.Key] = waitingLine{e.Seq, e.Claim.ReceivedAt}
		return true
	})
	return waiting, err
}

// correct finds the click of a line that names a conversion. The rest is decided
// when the line is booked, of what is known then.
func (l *Ledger) correct(ctx context.Context, p *Postback) error {
	if p.Correction == nil {
		return nil
	}
	r, err := l.Reader()
	if err != nil {
		return err
	}
	c, err := r.Conversion(ctx, *p.Correction)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("no conversion %s is known", *p.Correction)
	}
	if err != nil {
		return err
	}
	p.Ref, p.Key, p.HasRef = c.Click, c.Key, true
	return nil
}

// errLongLine says that a line was passed over because it is too long.
var errLongLine = fmt.Errorf("the line is longer than %d bytes", MaxImportLine)

// lineReader reads lines of bounded length; a longer one is an error of its
// own and does not stop the reading.
type lineReader struct {
	r      *bufio.Reader
	number int
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, MaxImportLine)}
}

func (l *lineReader) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	l.number++
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = l.r.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return nil, errLongLine
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return bytes.TrimRight(line, "\r\n"), err
}

// open returns the store to those who do more than read.
func (l *Ledger) open() (Store, error) {
	s := l.state.Load()
	if s.store == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnavailable, s.why)
	}
	return s.store, nil
}

// Erase removes what identifies the visitor of a click; see [Store]. What is
// queued of the click is written first, for what is not on disk yet could not
// be erased there. An error that wraps ErrUnavailable says that this did not
// come about: nothing was erased, and the caller is to try again.
func (l *Ledger) Erase(ctx context.Context, ref clickid.Ref) (Erased, error) {
	s, err := l.open()
	if err != nil {
		return Erased{}, err
	}
	if err := l.written(ctx, ref); err != nil {
		return Erased{}, err
	}
	return s.Erase(ctx, ref)
}

// written waits until nothing that is queued now is about the click.
func (l *Ledger) written(ctx context.Context, ref clickid.Ref) error {
	queued := l.queue.about(ref)
	if len(queued) == 0 {
		return nil
	}
	if why := l.state.Load().why; why != "" {
		return fmt.Errorf("%w: the click still waits in memory; try again when the store takes writes: %s", ErrUnavailable, why)
	}
	timer := time.NewTimer(BookTimeout)
	defer timer.Stop()
	for _, done := range queued {
		select {
		case <-done:
		case <-timer.C:
			return fmt.Errorf("%w: the click still waits in memory after %s; try again in a moment", ErrUnavailable, BookTimeout)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
	return nil
}

// Check compares the sums with the records; see [Store].
func (l *Ledger) Check(ctx context.Context, progress func(done, total int64)) (CheckResult, error) {
	s, err := l.open()
	if err != nil {
		return CheckResult{}, err
	}
	return s.Check(ctx, progress)
}

// Backup writes a consistent copy of the store; see [Store].
func (l *Ledger) Backup(ctx context.Context, w io.Writer) error {
	s, err := l.open()
	if err != nil {
		return err
	}
	return s.Backup(ctx, w)
}
