package capture

import (
	"context"
	"errors"
	"fmt"
)

// A store can be copied to a place of any engine. The copy is made of records in
// the forms that all stores have in common, in one order, piece by piece: each
// piece is durable together with how far it goes, so that a copy which was
// interrupted goes on from there. Indexes are made anew by the engine. At the end
// everything is read once more on both sides and compared; only then the copy
// can be opened as a store.

// Errors of copies.
var (
	// ErrUnfinished: the place holds a copy of another store that is not complete.
	ErrUnfinished = errors.New("the store is a copy that is not complete")
	// ErrAnotherCopy: the place holds an unfinished copy of something else, or of
	// what its source was before it changed.
	ErrAnotherCopy = errors.New("there is an unfinished copy of something else")
	// ErrCopyDiffers: the copy is not what it was made of.
	ErrCopyDiffers = errors.New("the copy differs from its source")
)

// CopyEngine is an engine whose stores can be copied, and can be copies.
type CopyEngine interface {
	Engine
	// OpenSource opens a store to read it as of one moment. A store that is in
	// use is refused (ErrLocked), and one that is not there.
	OpenSource(ctx context.Context) (CopySource, error)
	// OpenTarget makes an empty place the beginning of a copy, or goes on with
	// one that was begun with the same head (else ErrAnotherCopy). Until it is
	// finished, Open returns ErrUnfinished. A place that is in use is refused
	// (ErrLocked), and one that is not empty.
	OpenTarget(ctx context.Context, head *CopyHead) (CopyTarget, error)
}

// CopyReader reads all of a store.
type CopyReader interface {
	// Count tells how many records there are, or about how many.
	Count(ctx context.Context) (int64, error)
	// Records calls yield for the records after a key, in the order of their
	// keys, until it returns an error. The record is yield's to keep.
	Records(ctx context.Context, after CopyKey, yield func(*CopyRecord) error) error
	// Close gives the store back.
	Close() error
}

// CopySource is a store that is copied.
type CopySource interface {
	CopyReader
	// Head tells what there is besides records.
	Head() *CopyHead
	// Unchanged returns an error if anybody wrote to the store meanwhile.
	Unchanged(ctx context.Context) error
}

// CopyTarget is a copy that is made.
type CopyTarget interface {
	CopyReader
	// Done tells the last record that is there already, and how many there are.
	Done() (last CopyKey, n int64)
	// Put adds the records that come next. When it returns nil they are durable;
	// else the copy is where it was before, or may be closed and opened again.
	// With ErrTooLarge it would take fewer at once.
	Put(ctx context.Context, records []*CopyRecord) error
	// Check is that of the store which the copy will be.
	Check(ctx context.Context, progress func(done, total int64)) (CheckResult, error)
	// Finish makes the copy a store. To be called before Close.
	Finish(ctx context.Context) error
}

// CopyHead is what is to be known of a store besides its records.
type CopyHead struct {
	// Store is the name by which nodes know a shared store; "" if it never was
	// one.
	Store string
	// Secret signs click IDs.
	Secret []byte
	// Home is the epoch of the one that goes on in an engine without nodes.
	Home uint16
	// Nodes are all whose clicks there are or may be, by epoch.
	Nodes []CopyNode
	// NextSeq is the number of the next journal entry.
	NextSeq uint64
	// SweptClicks and SweptConversions are up to when records were deleted by
	// age, in ms since 1970; 0 is never.
	SweptClicks, SweptConversions int64
	// Erased are clicks that were erased, and may still come from a node that was
	// cut off, in the order of their keys. An engine without nodes keeps them for
	// who copies the store once more.
	Erased []CopyErased
}

// CopyErased is a click that was erased.
type CopyErased struct {
	_ struct{} `cbor:",toarray"`
	// Click is its [clickid.Ref.Key].
	Click [16]byte
	// At is when, in ms since 1970.
	At int64
}

// CopyNode is who gave out block numbers.
type CopyNode struct {
	Epoch uint16
	// Token and Host are how a shared store knows a node; "" if it was none.
	Token, Host string
	// Batch is the last one applied. Block numbers below Lease may be in use.
	Batch, Lease uint64
}

// Node returns what is known of one.
func (h *CopyHead) Node(epoch uint16) *CopyNode {
	for i := range h.Nodes {
		if h.Nodes[i].Epoch == epoch {
			return &h.Nodes[i]
		}
	}
	return nil
}

// Encode returns the head as bytes, the same for the same.
func (h *CopyHead) Encode() ([]byte, error) {
	data, err := recordEnc.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encoding what a copy is made of: %w", err)
	}
	return data, nil
}

// DecodeCopyHead reads what Encode wrote.
func DecodeCopyHead(data []byte) (*CopyHead, error) {
	h := new(CopyHead)
	if err := recordDec.Unmarshal(data, h); err != nil {
		return nil, fmt.Errorf("reading what a copy is made of: %w", err)
	}
	return h, nil
}

// copyLeaseJump is how many block numbers a copy leaves out: the source may have
// given out some that it did not live to write down.
const copyLeaseJump = 1 << 28

// CopiedLease returns where a copy goes on with the block numbers of a node.
func (n *CopyNode) CopiedLease() uint64 {
	// The room is for some thousand copies; one more than fits goes on exactly.
	if n.Lease+copyLeaseJump <= maxCopiedLease {
		return n.Lease + copyLeaseJump
	}
	return n.Lease
}

// CopyStep is a part of the work.
type CopyStep string

// The steps of a copy.
const (
	CopyingStep   CopyStep = "copying"
	ComparingStep CopyStep = "comparing"
	CheckingStep  CopyStep = "checking"
)

// CopyResult is what was copied.
type CopyResult struct {
	// Resumed is how many records an earlier attempt had copied.
	Resumed int64
	// Clicks, Conversions, Entries and Sums were compared.
	Clicks, Conversions, Entries, Sums int64
	// Problems describes the first MaxProblems differences, or what the check of
	// the copy found; Wrong counts all.
	Problems []string
	Wrong    int64
}

// CopyStore copies the store of one engine to the place of another, and compares
// both. progress, if not nil, is told how many records of about how many each
// step has done.
func CopyStore(ctx context.Context, from, to Engine, progress func(step CopyStep, done, total int64)) (r CopyResult, err error) {
	source, ok := from.(CopyEngine)
	target, ok2 := to.(CopyEngine)
	switch {
	case !ok:
		return r, fmt.Errorf("stores such as %s cannot be copied", from.Key())
	case !ok2:
		return r, fmt.Errorf("stores such as %s cannot be copies", to.Key())
	case from.Key() == to.Key():
		return r, fmt.Errorf("the source and the target are the same: %s", from.Key())
	}
	src, err := source.OpenSource(ctx)
	if err != nil {
		return r, fmt.Errorf("opening the source: %w", err)
	}
	defer src.Close() //nolint:errcheck // it was only read
	dst, err := target.OpenTarget(ctx, src.Head())
	if err != nil {
		return r, fmt.Errorf("opening the target: %w", err)
	}
	defer func() {
		if closing := dst.Close(); err == nil && closing != nil {
			err = fmt.Errorf("closing the target: %w", closing)
		}
	}()
	if progress == nil {
		progress = func(CopyStep, int64, int64) {}
	}
	c := copier{src: src, dst: dst, progress: progress, result: &r}
	for _, step := range []func(context.Context) error{c.copy, c.unchanged, c.compare, c.check, c.unchanged} {
		if err := step(ctx); err != nil {
			return r, err
		}
	}
	return r, dst.Finish(ctx)
}

// copier does one copy.
type copier struct {
	src      CopySource
	dst      CopyTarget
	progress func(step CopyStep, done, total int64)
	result   *CopyResult
	total    int64
}

// A piece has at most so many records and about so many bytes.
const (
	copyPieceRecords = 2000
	copyPieceBytes   = 640 << 10
)

func (c *copier) copy(ctx context.Context) (err error) {
	if c.total, err = c.src.Count(ctx); err != nil {
		return fmt.Errorf("counting the records of the source: %w", err)
	}
	after, done := c.dst.Done()
	c.result.Resumed = done
	c.progress(CopyingStep, done, max(done, c.total))
	read := readAhead(ctx, c.src, after)
	defer read.stop()
	for {
		piece, err := read.next()
		if err != nil {
			return fmt.Errorf("reading the source: %w", err)
		}
		if len(piece) == 0 {
			return nil
		}
		if err := c.put(ctx, piece); err != nil {
			return fmt.Errorf("writing the target: %w", err)
		}
		done += int64(len(piece))
		c.progress(CopyingStep, done, max(done, c.total))
	}
}

// put writes a piece, in halves if that is what the target takes.
func (c *copier) put(ctx context.Context, piece []*CopyRecord) error {
	err := c.dst.Put(ctx, piece)
	if !errors.Is(err, ErrTooLarge) || len(piece) < 2 {
		return err
	}
	half := len(piece) / 2
	if err := c.put(ctx, piece[:half]); err != nil {
		return err
	}
	return c.put(ctx, piece[half:])
}

func (c *copier) unchanged(ctx context.Context) error {
	if err := c.src.Unchanged(ctx); err != nil {
		return fmt.Errorf("reading the source: %w", err)
	}
	return nil
}

// compare reads both sides once more, record by record.
func (c *copier) compare(ctx context.Context) error {
	var done int64
	c.progress(ComparingStep, 0, c.total)
	left, right := readAhead(ctx, c.src, CopyKey{}), readAhead(ctx, c.dst, CopyKey{})
	defer left.stop()
	defer right.stop()
	for {
		a, err := left.peek()
		if err != nil {
			return fmt.Errorf("reading the source: %w", err)
		}
		b, err := right.peek()
		if err != nil {
			return fmt.Errorf("reading the target: %w", err)
		}
		order := 0
		switch {
		case a == nil && b == nil:
			c.progress(ComparingStep, done, max(done, c.total))
			return c.differs("differences", "what was copied stays unfinished, and no server opens it: empty the place and copy again")
		case a == nil:
			order = 1
		case b == nil:
			order = -1
		default:
			order = a.Key.Compare(b.Key)
		}
		switch {
		case order < 0:
			c.found("%s is missing from the copy", a.Key)
			left.drop()
			continue
		case order > 0:
			c.found("%s is in the copy, but not in the source", b.Key)
			right.drop()
			continue
		}
		if why := a.differs(b); why != "" {
			c.found("%s differs: %s", a.Key, why)
		}
		c.count(a)
		left.drop()
		right.drop()
		if done++; done%256 == 0 {
			c.progress(ComparingStep, done, max(done, c.total))
		}
	}
}

func (c *copier) count(r *CopyRecord) {
	switch r.Key.Kind {
	case CopyBlock:
		c.result.Clicks += int64(r.clicks())
	case CopyConversion:
		c.result.Conversions++
	case CopyEntry:
		c.result.Entries++
	case CopySum:
		c.result.Sums++
	}
}

func (c *copier) found(format string, args ...any) {
	check := CheckResult{Problems: c.result.Problems, Wrong: c.result.Wrong}
	check.Found(format, args...)
	c.result.Problems, c.result.Wrong = check.Problems, check.Wrong
}

// differs returns an error if anything was found.
func (c *copier) differs(what, remedy string) error {
	if c.result.Wrong == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d %s; the first: %s; %s", ErrCopyDiffers, c.result.Wrong, what, c.result.Problems[0], remedy)
}

// check lets the copy check itself: the indexes were not compared, which each
// engine has of its own.
func (c *copier) check(ctx context.Context) error {
	r, err := c.dst.Check(ctx, func(done, total int64) { c.progress(CheckingStep, done, total) })
	if err != nil {
		return fmt.Errorf("checking the target: %w", err)
	}
	c.result.Problems, c.result.Wrong = r.Problems, r.Wrong
	return c.differs("problems found by the check of the copy", "run `caddy capture check` on the source, which may have them too")
}
