package capture

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// BlockReader reads the clicks of stored blocks one after the other into the
// same Click, for scans.
type BlockReader struct {
	number uint64
	epoch  uint16
	base   int64
	count  int
	read   int
	first  blockPart
	second blockPart
	front  ClickFront
	err    error
}

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
	Subs        []Param
}

// Sub returns the sub-ID of that name, or "".
func (f *ClickFront) Sub(name string) string { return find(f.Subs, name) }

// Reset makes r read another block.
func (r *BlockReader) Reset(data []byte) error {
	rest, err := r.reset(data)
	if err != nil {
		return err
	}
	if err := r.second.open(rest); err != nil {
		return err
	}
	return r.second.table()
}

// ResetFront makes r read another block, of which only NextFront can be read:
// it leaves the rest packed.
func (r *BlockReader) ResetFront(data []byte) error {
	_, err := r.reset(data)
	return err
}

// reset opens the first part and returns the second.
func (r *BlockReader) reset(data []byte) (rest []byte, err error) {
	r.count, r.read, r.err, r.second.ok = 0, 0, nil, false
	if len(data) == 0 || data[0] != blockFormat {
		return nil, fmt.Errorf("%w: unknown format", errBlock)
	}
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
	r.number = p.uvarint(clickid.MaxBlock)
	r.base = p.varint()
	if err := p.table(); err != nil {
		return nil, err
	}
	count := int(p.uvarint(BlockClicks)) //nolint:gosec // bounded
	if !p.ok {
		return nil, errBlock
	}
	r.count = count
	return data[length:], nil
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

// NextFront reads the front of the next click; false as Next.
func (r *BlockReader) NextFront(f *ClickFront) bool {
	if r.read >= r.count || r.err != nil {
		return false
	}
	if !r.nextFront(f) {
		r.err = errBlock
		return false
	}
	return true
}

// Err returns what ended the reading early.
func (r *BlockReader) Err() error { return r.err }

func (r *BlockReader) nextFront(f *ClickFront) bool {
	r.read++
	p := &r.first
	f.Millis = r.base + p.varint()
	f.Flags = ClickFlags(p.byte())
	f.Campaign = p.str()
	f.Source = p.str()
	f.Destination = p.str()
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
	f.Subs = p.params(f.Subs[:0])
	return p.ok
}

func (r *BlockReader) next(c *Click) error {
	slot := uint8(r.read) //nolint:gosec // below BlockClicks
	f := &r.front
	f.Subs = c.Subs
	if !r.nextFront(f) || !r.second.ok {
		return errBlock
	}
	c.Time = time.UnixMilli(f.Millis).UTC()
	c.Ref = clickid.Ref{
		Epoch: r.epoch, Block: r.number, Slot: slot,
		Second: uint32(f.Millis / 1000), //nolint:gosec // good until 2106
	}
	c.Flags, c.Campaign, c.Source, c.Destination, c.Subs = f.Flags, f.Campaign, f.Source, f.Destination, f.Subs
	f.Subs = nil
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

// blockPart reads one part of a block.
type blockPart struct {
	plain   []byte // reused
	text    string
	strings []string
	at      int
	ok      bool
}

// open unpacks the part.
func (p *blockPart) open(data []byte) error {
	n, err := s2.DecodedLen(data)
	if err != nil || n > maxBlockPlain {
		return fmt.Errorf("%w: length %d", errBlock, n)
	}
	if p.plain, err = s2.Decode(p.plain[:cap(p.plain)], data); err != nil {
		return fmt.Errorf("%w: %w", errBlock, err)
	}
	// What is read points into the text: a new one for each block.
	p.text, p.at, p.ok = string(p.plain), 0, true
	return nil
}

// table reads the strings.
func (p *blockPart) table() error {
	n := int(p.uvarint(maxBlockStrings)) //nolint:gosec // bounded
	p.strings = append(p.strings[:0], "")
	for range n {
		l := int(p.uvarint(uint64(len(p.text)))) //nolint:gosec // bounded
		if p.ok = p.ok && l <= len(p.text)-p.at; !p.ok {
			return errBlock
		}
		p.strings = append(p.strings, p.text[p.at:p.at+l])
		p.at += l
	}
	if !p.ok {
		return errBlock
	}
	return nil
}

func (p *blockPart) params(dst []Param) []Param {
	n := p.uvarint(MaxParams)
	for range n {
		dst = append(dst, Param{Name: p.str(), Value: p.str()})
	}
	return dst
}

func (p *blockPart) str() string {
	// Most indexes have one byte or two, and this is where scans spend their time.
	if at := p.at; at+1 < len(p.text) {
		i := int(p.text[at])
		at++
		if i >= 0x80 {
			i = i&0x7f | int(p.text[at])<<7
			at++
		}
		if i < len(p.strings) && i < 0x80<<7 {
			p.at = at
			return p.strings[i]
		}
	}
	i := p.uvarint(uint64(len(p.strings) - 1)) //nolint:gosec // never empty
	return p.strings[i]
}

func (p *blockPart) byte() byte {
	if p.at >= len(p.text) {
		p.ok = false
		return 0
	}
	p.at++
	return p.text[p.at-1]
}

// uvarint reads a number of at most limit; anything else makes the block
// damaged and reads as 0.
func (p *blockPart) uvarint(limit uint64) uint64 {
	v := p.unlimited()
	if v > limit {
		p.ok = false
		return 0
	}
	return v
}

func (p *blockPart) unlimited() uint64 {
	if p.at < len(p.text) {
		if b := p.text[p.at]; b < 0x80 {
			p.at++
			return uint64(b)
		}
	}
	var v uint64
	for i := range binary.MaxVarintLen64 {
		b := p.byte()
		if i == binary.MaxVarintLen64-1 && b > 1 {
			break // more than 64 bits
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v
		}
	}
	p.ok = false
	return 0
}

func (p *blockPart) varint() int64 {
	u := p.unlimited()
	return int64(u>>1) ^ -int64(u&1) //nolint:gosec // zigzag, as binary.Varint
}
