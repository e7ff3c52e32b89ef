package capture

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"github.com/klauspost/compress/s2"
)

// blockPart reads one part of a block.
type blockPart struct {
	plain   []byte // reused
	text    string
	lent    bool // text is plain itself, so good only until the next block
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
	// What is read points into the text.
	p.at, p.ok = 0, true
	if p.lent {
		p.text = unsafe.String(unsafe.SliceData(p.plain), len(p.plain))
	} else {
		p.text = string(p.plain) // a new one for each block
	}
	return nil
}

// table reads the strings.
func (p *blockPart) table(limit uint64) error {
	n := int(p.uvarint(limit)) //nolint:gosec // bounded
	if n > len(p.text)-p.at {  // each takes a byte at least
		return errBlock
	}
	p.strings = append(slices.Grow(p.strings[:0], n+1), "")
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

func (p *blockPart) skipParams() {
	for n := p.uvarint(MaxParams); n > 0 && p.ok; n-- {
		p.index()
		p.index()
	}
}

// pick reads parameters, and puts into values those whose names have the indexes
// in names; of several of one name the first, as find does.
func (p *blockPart) pick(names []int, found []bool, values []string) {
	clear(found)
	clear(values)
	for n := p.uvarint(MaxParams); n > 0 && p.ok; n-- {
		name, value := p.index(), p.index()
		for i, wanted := range names {
			if wanted == name && !found[i] {
				found[i], values[i] = true, p.strings[value]
			}
		}
	}
}

func (p *blockPart) str() string { return p.strings[p.index()] }

// strIf reads a string if it is wanted.
func (p *blockPart) strIf(wanted bool) string {
	if i := p.index(); wanted {
		return p.strings[i]
	}
	return ""
}

// index reads the index of a string.
func (p *blockPart) index() int {
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
			return i
		}
	}
	return int(p.uvarint(uint64(len(p.strings) - 1))) //nolint:gosec // never empty
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
