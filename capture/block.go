package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// BlockClicks is the most clicks in one block. Larger blocks pack better but
// make a single look-up dearer; 64 was measured as a good middle.
const BlockClicks = 64

// The stored form of a block: one format byte, then S2 of
//
//	uvarint epoch, number, base time (Unix ms)
//	uvarint count of strings; for each: uvarint length, bytes
//	uvarint count of clicks; for each:
//	  varint   time - base (ms)
//	  byte     flags; uvarint tag of the ID's key
//	  uvarint  indexes of campaign, source, destination, URL, cost, currency,
//	           host, path, user agent, referer, address
//	  uvarint  number of subs, their name and value indexes; the same for kept
//
// Strings are kept once per block, which is most of the packing: clicks of one
// campaign share nearly all of theirs. String 0 is always the empty one.
const blockFormat = 1

var errBlock = errors.New("the click block is damaged")

type blockEncoder struct {
	index   map[string]uint64
	strings []string
	rows    []byte
	plain   []byte
}

var blockEncoders = sync.Pool{New: func() any {
	return &blockEncoder{index: make(map[string]uint64, 256)}
}}

func (e *blockEncoder) str(s string) {
	e.rows = binary.AppendUvarint(e.rows, e.intern(s))
}

func (e *blockEncoder) intern(s string) uint64 {
	if s == "" {
		return 0
	}
	i, ok := e.index[s]
	if !ok {
		e.strings = append(e.strings, s)
		i = uint64(len(e.strings))
		e.index[s] = i
	}
	return i
}

func (e *blockEncoder) params(params []Param) {
	e.rows = binary.AppendUvarint(e.rows, uint64(len(params)))
	for i := range params {
		e.str(params[i].Name)
		e.str(params[i].Value)
	}
}

// EncodeBlock packs the clicks of a block for storage.
func EncodeBlock(b *Block) []byte {
	e := blockEncoders.Get().(*blockEncoder)
	defer func() {
		clear(e.index)
		clear(e.strings) // let the clicks go
		e.strings, e.rows, e.plain = e.strings[:0], e.rows[:0], e.plain[:0]
		blockEncoders.Put(e)
	}()

	var base int64
	var epoch uint16
	if len(b.Clicks) > 0 {
		base = b.Clicks[0].Time.UnixMilli()
		epoch = b.Clicks[0].Ref.Epoch
	}
	for _, c := range b.Clicks {
		e.rows = binary.AppendVarint(e.rows, c.Time.UnixMilli()-base)
		e.rows = append(e.rows, byte(c.Flags))
		e.rows = binary.AppendUvarint(e.rows, uint64(c.Key))
		e.str(c.Campaign)
		e.str(c.Source)
		e.str(c.Destination)
		e.str(c.URL)
		if c.Cost.Currency == "" {
			e.str("")
		} else {
			e.str(c.Cost.Amount.String())
		}
		e.str(string(c.Cost.Currency))
		e.str(c.Host)
		e.str(c.Path)
		e.str(c.UserAgent)
		e.str(c.Referer)
		e.str(c.Address)
		e.params(c.Subs)
		e.params(c.Kept)
	}

	p := binary.AppendUvarint(e.plain, uint64(epoch))
	p = binary.AppendUvarint(p, b.Number)
	p = binary.AppendVarint(p, base)
	p = binary.AppendUvarint(p, uint64(len(e.strings)))
	for _, s := range e.strings {
		p = binary.AppendUvarint(p, uint64(len(s)))
		p = append(p, s...)
	}
	p = binary.AppendUvarint(p, uint64(len(b.Clicks)))
	p = append(p, e.rows...)
	e.plain = p

	out := make([]byte, 1, 1+s2.MaxEncodedLen(len(p)))
	out[0] = blockFormat
	return append(out, s2.Encode(out[1:cap(out)], p)...)
}

// maxBlockPlain bounds what a damaged length may make us allocate.
const (
	maxBlockPlain   = 2 * BlockClicks * MaxClick * 4
	maxBlockStrings = BlockClicks * (11 + 4*MaxParams)
)

// DecodeBlock unpacks a stored block. An error wraps what is wrong with it.
func DecodeBlock(data []byte) (*Block, error) {
	r, err := openBlock(data)
	if err != nil {
		return nil, err
	}
	b := &Block{Number: r.number, Clicks: make([]*Click, 0, r.count)}
	for range r.count {
		c := new(Click)
		if err := r.next(c); err != nil {
			return nil, err
		}
		b.Clicks = append(b.Clicks, c)
	}
	return b, nil
}

// BlockReader reads the clicks of stored blocks one after the other into the
// same Click, for scans.
type BlockReader struct {
	number  uint64
	epoch   uint16
	base    int64
	count   int
	read    int
	strings []string
	rest    []byte
	err     error
	ok      bool
}

// Reset makes r read another block.
func (r *BlockReader) Reset(data []byte) error {
	r.count, r.read, r.err = 0, 0, nil
	if len(data) == 0 || data[0] != blockFormat {
		return fmt.Errorf("%w: unknown format", errBlock)
	}
	n, err := s2.DecodedLen(data[1:])
	if err != nil || n > maxBlockPlain {
		return fmt.Errorf("%w: length %d", errBlock, n)
	}
	// The strings of the clicks read point into the plain text: a new one for
	// each block.
	plain, err := s2.Decode(nil, data[1:])
	if err != nil {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	text := string(plain)
	r.rest, r.ok = plain, true
	r.epoch = uint16(r.uvarint(clickid.MaxEpoch)) //nolint:gosec // bounded
	r.number = r.uvarint(clickid.MaxBlock)
	r.base = r.varint()
	n = int(r.uvarint(maxBlockStrings)) //nolint:gosec // bounded
	r.strings = append(r.strings[:0], "")
	for range n {
		l := int(r.uvarint(uint64(len(r.rest)))) //nolint:gosec // bounded
		if r.ok = r.ok && l <= len(r.rest); !r.ok {
			return errBlock
		}
		at := len(text) - len(r.rest)
		r.strings = append(r.strings, text[at:at+l])
		r.rest = r.rest[l:]
	}
	r.count = int(r.uvarint(BlockClicks)) //nolint:gosec // bounded
	if !r.ok {
		return errBlock
	}
	return nil
}

func openBlock(data []byte) (*BlockReader, error) {
	r := new(BlockReader)
	return r, r.Reset(data)
}

// Len returns how many clicks the block has.
func (r *BlockReader) Len() int { return r.count }

// Next reads the next click into c; false at the end or if the block is
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

// Err returns what ended the reading early.
func (r *BlockReader) Err() error { return r.err }

func (r *BlockReader) next(c *Click) error {
	ms := r.base + r.varint()
	c.Time = time.UnixMilli(ms).UTC()
	c.Ref = clickid.Ref{
		Epoch: r.epoch, Block: r.number, Slot: uint8(r.read), //nolint:gosec // below BlockClicks
		Second: uint32(ms / 1000), //nolint:gosec // good until 2106
	}
	r.read++
	c.Flags = ClickFlags(r.byte())
	c.Key = uint16(r.uvarint(math.MaxUint16)) //nolint:gosec // bounded
	c.Campaign = r.str()
	c.Source = r.str()
	c.Destination = r.str()
	c.URL = r.str()
	amount := r.str()
	c.Cost.Currency = attribution.Currency(r.str())
	if amount != "" {
		if err := c.Cost.Amount.UnmarshalText([]byte(amount)); err != nil {
			return fmt.Errorf("%w: cost %q: %w", errBlock, amount, err)
		}
	}
	c.Host = r.str()
	c.Path = r.str()
	c.UserAgent = r.str()
	c.Referer = r.str()
	c.Address = r.str()
	c.Subs = r.params(c.Subs)
	c.Kept = r.params(c.Kept)
	if !r.ok {
		return errBlock
	}
	return nil
}

func (r *BlockReader) params(dst []Param) []Param {
	n := r.uvarint(MaxParams)
	for range n {
		dst = append(dst, Param{Name: r.str(), Value: r.str()})
	}
	return dst
}

func (r *BlockReader) str() string {
	i := r.uvarint(uint64(len(r.strings) - 1)) //nolint:gosec // never empty
	return r.strings[i]
}

func (r *BlockReader) byte() byte {
	if len(r.rest) == 0 {
		r.ok = false
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

// uvarint reads a number of at most limit; anything else makes the block
// damaged and reads as 0.
func (r *BlockReader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > limit {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *BlockReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.ok = false
		return 0
	}
	r.rest = r.rest[n:]
	return v
}
