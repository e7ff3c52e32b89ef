package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// BlockClicks is the most clicks in one block. Larger blocks pack better but
// make a single look-up dearer; 64 was measured as a good middle.
const BlockClicks = 64

// The stored form of a block (of merged ones see EncodeBlocks): one format byte, uvarint length of the first
// part, and two parts, each S2 of some strings and a row for each click. The
// first part is what reports read:
//
//	uvarint epoch, number; varint base time (Unix ms)
//	strings: uvarint count; for each: uvarint length, bytes
//	uvarint count of clicks; for each:
//	  varint   time - base (ms)
//	  byte     flags
//	  uvarint  indexes of campaign, source, destination, currency
//	  with a currency: byte places, varint n, for a cost of n / 10^places;
//	           or byte 255, uvarint index of the cost as text
//	  uvarint  number of subs, their name and value indexes
//
// and the second the rest:
//
//	strings, as above
//	for each click:
//	  uvarint  tag of the ID's key
//	  uvarint  indexes of URL, host, path, user agent, referer, address
//	  uvarint  number of what else is kept, name and value indexes
//
// Strings are kept once per part, which is most of the packing: clicks of one
// campaign share nearly all of theirs. String 0 is always the empty one. Reports
// do not unpack the second part, which is the larger one.
const (
	blockFormat = 1
	costAsText  = 255
)

var errBlock = errors.New("the click block is damaged")

// blockEncoder writes one part.
type blockEncoder struct {
	index   map[string]uint64
	strings []string
	rows    []byte
	plain   []byte
}

var blockEncoders = sync.Pool{New: func() any {
	return &blockEncoder{index: make(map[string]uint64, 256)}
}}

// free gives the encoder back.
func (e *blockEncoder) free() {
	clear(e.index)
	clear(e.strings) // let the clicks go
	e.strings, e.rows, e.plain = e.strings[:0], e.rows[:0], e.plain[:0]
	blockEncoders.Put(e)
}

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

func (e *blockEncoder) cost(m attribution.Money) {
	e.str(string(m.Currency))
	if m.Currency == "" {
		return
	}
	if n, places, ok := m.Amount.Scaled(); ok {
		e.rows = binary.AppendVarint(append(e.rows, places), n)
		return
	}
	e.rows = append(e.rows, costAsText)
	e.str(m.Amount.String())
}

// pack returns S2 of the part; clicks is written before the rows, unless it is
// negative.
func (e *blockEncoder) pack(clicks int) []byte {
	p := binary.AppendUvarint(e.plain, uint64(len(e.strings)))
	for _, s := range e.strings {
		p = binary.AppendUvarint(p, uint64(len(s)))
		p = append(p, s...)
	}
	if clicks >= 0 {
		p = binary.AppendUvarint(p, uint64(clicks))
	}
	p = append(p, e.rows...)
	e.plain = p
	return s2.Encode(nil, p)
}

// clickEncoder writes both parts.
type clickEncoder struct{ first, second *blockEncoder }

func newClickEncoder() clickEncoder {
	return clickEncoder{blockEncoders.Get().(*blockEncoder), blockEncoders.Get().(*blockEncoder)}
}

func (e clickEncoder) free() {
	e.first.free()
	e.second.free()
}

// click writes the rows of a click of so many ms after another.
func (e clickEncoder) click(c *Click, after int64) {
	first, second := e.first, e.second
	first.rows = binary.AppendVarint(first.rows, after)
	first.rows = append(first.rows, byte(c.Flags))
	first.str(c.Campaign)
	first.str(c.Source)
	first.str(c.Destination)
	first.cost(c.Cost)
	first.params(c.Subs)
	second.rows = binary.AppendUvarint(second.rows, uint64(c.Key))
	second.str(c.URL)
	second.str(c.Host)
	second.str(c.Path)
	second.str(c.UserAgent)
	second.str(c.Referer)
	second.str(c.Address)
	second.params(c.Kept)
}

// record packs both parts.
func (e clickEncoder) record(format byte, clicks int) []byte {
	front := e.first.pack(clicks)
	rest := e.second.pack(-1)
	out := make([]byte, 1, 1+binary.MaxVarintLen32+len(front)+len(rest))
	out[0] = format
	out = binary.AppendUvarint(out, uint64(len(front)))
	return append(append(out, front...), rest...)
}

// EncodeBlock packs the clicks of a block for storage.
func EncodeBlock(b *Block) []byte {
	e := newClickEncoder()
	defer e.free()
	var base int64
	var epoch uint16
	if len(b.Clicks) > 0 {
		base = b.Clicks[0].Time.UnixMilli()
		epoch = b.Clicks[0].Ref.Epoch
	}
	head := binary.AppendUvarint(e.first.plain, uint64(epoch))
	head = binary.AppendUvarint(head, b.Number)
	e.first.plain = binary.AppendVarint(head, base)
	for _, c := range b.Clicks {
		e.click(c, c.Time.UnixMilli()-base)
	}
	return e.record(blockFormat, len(b.Clicks))
}

// What a damaged record may make us allocate is bounded.
const (
	maxBlockPlain   = 2 * BlockClicks * MaxClick * 4
	maxClickStrings = 11 + 4*MaxParams
)

// DecodeBlock unpacks a stored block. An error wraps what is wrong with it.
func DecodeBlock(data []byte) (*Block, error) {
	blocks, err := DecodeBlocks(data)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("%w: it is a record of %d blocks", errBlock, len(blocks))
	}
	return blocks[0], nil
}
