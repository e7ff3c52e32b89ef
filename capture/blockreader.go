package capture

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// BlockReader reads the clicks of stored blocks, single or merged, one after the
// other into the same Click, for scans.
type BlockReader struct {
	runs   []blockRun // the blocks of the record
	run    int        // the one that is read by Next, and how far
	slot   int
	epoch  uint16
	merged bool
	base   int64
	count  int
	read   int
	first  blockPart
	second blockPart
	front  ClickFront
	want   FrontFields
	subs   []int  // the strings that are the names of those of want, or -1
	found  []bool // of these, for NextFront
	err    error
}

// blockRun is a block within a record.
type blockRun struct {
	number uint64
	clicks int
}

// FrontFields says what NextFront is to read besides time, flags and cost: a
// report has millions of clicks to read, and asks for one or two things.
type FrontFields struct {
	Campaign, Source, Destination bool
	Subs                          []string // names
}

var namesOnly = FrontFields{Campaign: true, Source: true, Destination: true}

// ClickFront is what reports want to know of a click. Amounts are added up by
// the million, so the cost is Cost / 10^Places, or what More says if that is
// not empty.
type ClickFront struct {
	Millis      int64
	Flags       ClickFlags
	Campaign    string
	Source      string
	Destination string
	Currency    attribution.Currency // none if no cost is known
	Cost        int64
	Places      uint8
	More        string
	Subs        []string // the values of those that were asked for, or ""
}

func (f *ClickFront) time() time.Time { return time.UnixMilli(f.Millis).UTC() }

// Reset makes r read another record.
func (r *BlockReader) Reset(data []byte) error {
	r.first.lent = false
	rest, err := r.reset(data)
	if err != nil {
		return err
	}
	if err := r.second.open(rest); err != nil {
		return err
	}
	return r.second.table(r.maxStrings())
}

// maxStrings bounds the strings of a part.
func (r *BlockReader) maxStrings() uint64 {
	if r.merged {
		return MergedClicks * maxClickStrings
	}
	return BlockClicks * maxClickStrings
}

// Want says what NextFront reads of the records that follow.
func (r *BlockReader) Want(f FrontFields) {
	r.want, r.subs, r.found = f, r.subs[:0], make([]bool, len(f.Subs))
}

// ResetFront makes r read another record, of which only NextFront can be read:
// it leaves the rest packed. The strings that NextFront reads are good only
// until the next reset: a report reads millions of them and keeps few.
func (r *BlockReader) ResetFront(data []byte) error {
	r.first.lent = true
	if _, err := r.reset(data); err != nil {
		return err
	}
	for _, name := range r.want.Subs {
		r.subs = append(r.subs, slices.Index(r.first.strings, name))
	}
	return nil
}

// FrontLength tells how many bytes of a stored block, from its beginning, are all
// that ResetFront needs.
func FrontLength(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	length, n := binary.Uvarint(data[1:])
	if n <= 0 || length > uint64(len(data)-1-n) { //nolint:gosec // not negative
		return len(data)
	}
	return 1 + n + int(length) //nolint:gosec // at most the length of data
}

// reset opens the first part and returns the second.
func (r *BlockReader) reset(data []byte) (rest []byte, err error) {
	r.count, r.read, r.run, r.slot, r.err, r.second.ok = 0, 0, 0, 0, nil, false
	r.runs, r.subs = r.runs[:0], r.subs[:0]
	if len(data) == 0 || data[0] != blockFormat && data[0] != mergedFormat {
		return nil, fmt.Errorf("%w: unknown format", errBlock)
	}
	r.merged = data[0] == mergedFormat
	length, n := binary.Uvarint(data[1:])
	if n <= 0 || length > uint64(len(data)-1-n) { //nolint:gosec // not negative
		return nil, errBlock
	}
	data = data[1+n:]
	p := &r.first
	if err := p.open(data[:length]); err != nil {
		return nil, err
	}
	r.epoch = uint16(p.uvarint(clickid.MaxEpoch)) //nolint:gosec // bounded
	number := p.uvarint(clickid.MaxBlock)
	r.base = p.varint()
	if r.merged && !r.resetRuns(number) {
		return nil, errBlock
	}
	if err := p.table(r.maxStrings()); err != nil {
		return nil, err
	}
	if !r.merged {
		r.runs = append(r.runs, blockRun{number, int(p.uvarint(BlockClicks))}) //nolint:gosec // bounded
	}
	if !p.ok {
		return nil, errBlock
	}
	for _, b := range r.runs {
		r.count += b.clicks
	}
	return data[length:], nil
}

// Len returns how many clicks the record has.
func (r *BlockReader) Len() int { return r.count }

// Blocks lists the numbers of the record's blocks, and how many clicks each has.
func (r *BlockReader) Blocks() iter.Seq2[uint64, int] {
	return func(yield func(uint64, int) bool) {
		for _, b := range r.runs {
			if !yield(b.number, b.clicks) {
				return
			}
		}
	}
}

// Next reads the next click into c; false at the end or if the record is
// damaged, which Err tells.
func (r *BlockReader) Next(c *Click) bool {
	if r.read >= r.count || r.err != nil {
		return false
	}
	subs, kept := c.Subs[:0], c.Kept[:0]
	*c = Click{Subs: subs, Kept: kept}
	if err := r.next(c); err != nil {
		r.err = err
		return false
	}
	return true
}

// NextFront reads the front of the next click; false as Next.
func (r *BlockReader) NextFront(f *ClickFront) bool {
	if r.read >= r.count || r.err != nil {
		return false
	}
	r.nextFront(f, &r.want)
	f.Subs = slices.Grow(f.Subs[:0], len(r.subs))[:len(r.subs)]
	r.first.pick(r.subs, r.found, f.Subs)
	if !r.first.ok {
		r.err = errBlock
	}
	return r.first.ok
}

// Err returns what ended the reading early.
func (r *BlockReader) Err() error { return r.err }

// nextFront reads all but the sub-IDs.
func (r *BlockReader) nextFront(f *ClickFront, want *FrontFields) {
	r.read++
	p := &r.first
	f.Millis = r.base + p.varint()
	if r.merged {
		r.base = f.Millis
	}
	f.Flags = ClickFlags(p.byte())
	f.Campaign = p.strIf(want.Campaign)
	f.Source = p.strIf(want.Source)
	f.Destination = p.strIf(want.Destination)
	f.Currency = attribution.Currency(p.str())
	f.Cost, f.Places, f.More = 0, 0, ""
	if f.Currency != "" {
		if f.Places = p.byte(); f.Places == costAsText {
			f.Places, f.More = 0, p.str()
		} else {
			f.Cost = p.varint()
			p.ok = p.ok && f.Places <= attribution.MaxPlaces
		}
	}
}

func (r *BlockReader) next(c *Click) error {
	for r.slot == r.runs[r.run].clicks { // there are more clicks, so there are more blocks
		r.run, r.slot = r.run+1, 0
	}
	number, slot := r.runs[r.run].number, uint8(r.slot) //nolint:gosec // below BlockClicks
	r.slot++
	f := &r.front
	r.nextFront(f, &namesOnly)
	c.Subs = r.first.params(c.Subs)
	if !r.first.ok || !r.second.ok {
		return errBlock
	}
	c.Time = f.time()
	c.Ref = clickid.Ref{
		Epoch: r.epoch, Block: number, Slot: slot,
		Second: uint32(f.Millis / 1000), //nolint:gosec // good until 2106
	}
	c.Flags, c.Campaign, c.Source, c.Destination = f.Flags, f.Campaign, f.Source, f.Destination
	if c.Cost.Currency = f.Currency; f.More != "" {
		if err := c.Cost.Amount.UnmarshalText([]byte(f.More)); err != nil {
			return fmt.Errorf("%w: cost %q: %w", errBlock, f.More, err)
		}
	} else if f.Currency != "" {
		c.Cost.Amount = attribution.AmountOf(f.Cost, f.Places)
	}
	p := &r.second
	c.Key = uint16(p.uvarint(math.MaxUint16)) //nolint:gosec // bounded
	c.URL = p.str()
	c.Host = p.str()
	c.Path = p.str()
	c.UserAgent = p.str()
	c.Referer = p.str()
	c.Address = p.str()
	c.Kept = p.params(c.Kept)
	if !p.ok {
		return errBlock
	}
	return nil
}
