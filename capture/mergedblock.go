package capture

import (
	"encoding/binary"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Blocks that are nearly empty, as those of a site with few clicks a second
// are, can be merged: packed together they share their strings, and there is one
// record instead of many.
//
// The stored form is that of a block, with format byte 2; what is before the
// strings of the first part is
//
//	uvarint epoch, number of the first block; varint base time (Unix ms)
//	uvarint count of blocks; for each:
//	  uvarint  number less that of the block before, not for the first
//	  uvarint  count of clicks
//
// and no count of clicks follows the strings. A click's time is written as ms
// after the click before, as a record may span days.
const mergedFormat = 2

const (
	// MergedBlocks is the most blocks in one record.
	MergedBlocks = 64
	// MergedClicks is the most clicks in one record of merged blocks: a look-up
	// unpacks all of it.
	MergedClicks = 256
)

// EncodeBlocks packs blocks for storage in one record. They have to be of one
// epoch, in the order of their numbers, and none of them empty. It returns nil
// if they are not, or are too many or too large for one record.
func EncodeBlocks(blocks []*Block) []byte {
	clicks := 0
	for i, b := range blocks {
		clicks += len(b.Clicks)
		if len(b.Clicks) == 0 || len(b.Clicks) > BlockClicks || i > 0 && b.Number <= blocks[i-1].Number ||
			b.Clicks[0].Ref.Epoch != blocks[0].Clicks[0].Ref.Epoch {
			return nil
		}
	}
	if len(blocks) == 0 || len(blocks) > MergedBlocks || clicks > MergedClicks {
		return nil
	}
	e := newClickEncoder()
	defer e.free()
	last := blocks[0].Clicks[0].Time.UnixMilli()
	before := blocks[0].Number
	head := binary.AppendUvarint(e.first.plain, uint64(blocks[0].Clicks[0].Ref.Epoch))
	head = binary.AppendUvarint(head, before)
	head = binary.AppendVarint(head, last)
	head = binary.AppendUvarint(head, uint64(len(blocks)))
	for i, b := range blocks {
		if i > 0 {
			head = binary.AppendUvarint(head, b.Number-before)
			before = b.Number
		}
		head = binary.AppendUvarint(head, uint64(len(b.Clicks)))
		for _, c := range b.Clicks {
			ms := c.Time.UnixMilli()
			e.click(c, ms-last)
			last = ms
		}
	}
	e.first.plain = head
	data := e.record(mergedFormat, -1)
	if len(e.first.plain) > maxBlockPlain || len(e.second.plain) > maxBlockPlain {
		return nil
	}
	return data
}

// resetRuns reads which blocks are in the record, of which the first has the
// number given.
func (r *BlockReader) resetRuns(number uint64) bool {
	p := &r.first
	blocks, sum := p.uvarint(MergedBlocks), 0
	for i := range blocks {
		if i > 0 {
			step := p.uvarint(clickid.MaxBlock - number)
			p.ok = p.ok && step > 0
			number += step
		}
		clicks := int(p.uvarint(BlockClicks)) //nolint:gosec // bounded
		if sum += clicks; !p.ok || clicks == 0 || sum > MergedClicks {
			return false
		}
		r.runs = append(r.runs, blockRun{number, clicks})
	}
	return p.ok && blocks > 0
}

// DecodeBlocks unpacks the blocks of a record, single or merged. An error wraps
// what is wrong with it.
func DecodeBlocks(data []byte) ([]*Block, error) {
	var r BlockReader
	if err := r.Reset(data); err != nil {
		return nil, err
	}
	blocks := make([]*Block, 0, len(r.runs))
	for number, clicks := range r.Blocks() {
		b := &Block{Number: number, Clicks: make([]*Click, 0, clicks)}
		for range clicks {
			c := new(Click)
			if err := r.next(c); err != nil {
				return nil, err
			}
			b.Clicks = append(b.Clicks, c)
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}
