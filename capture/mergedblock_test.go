package capture_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// sampleBlocks makes blocks of so many clicks each.
func sampleBlocks(blocks, clicks int) (list []*capture.Block) {
	all := sampleBlock(blocks * clicks).Clicks
	for i := range blocks {
		b := &capture.Block{Number: uint64(64 + i), Clicks: all[i*clicks : (i+1)*clicks]}
		for slot, c := range b.Clicks {
			c.Ref.Block, c.Ref.Slot = b.Number, uint8(slot)
		}
		list = append(list, b)
	}
	return list
}

// drawBlocks draws blocks that can be merged.
func drawBlocks(t *rapid.T) (list []*capture.Block) {
	number := rapid.Uint64Range(0, clickid.MaxBlock-1<<16).Draw(t, "first number")
	epoch := rapid.Uint16Range(0, clickid.MaxEpoch).Draw(t, "one epoch")
	left := capture.MergedClicks
	for range rapid.IntRange(1, capture.MergedBlocks).Draw(t, "blocks") {
		b := drawBlock(t)
		b.Clicks = b.Clicks[:min(len(b.Clicks), left, rapid.IntRange(1, 8).Draw(t, "at most"))]
		if len(b.Clicks) == 0 {
			continue
		}
		left -= len(b.Clicks)
		b.Number = number
		number += rapid.Uint64Range(1, 1000).Draw(t, "step")
		for _, c := range b.Clicks {
			c.Ref.Epoch, c.Ref.Block = epoch, b.Number
		}
		list = append(list, b)
	}
	return list
}

func checkBlocks(t rapid.TB, want []*capture.Block, data []byte) {
	t.Helper()
	got, err := capture.DecodeBlocks(data)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(a, b *capture.Block) bool {
		return a.Number == b.Number && slices.EqualFunc(a.Clicks, b.Clicks, sameClick)
	}) {
		t.Fatalf("the blocks are %+v, want %+v", got, want)
	}
	all := new(capture.Block)
	var r capture.BlockReader
	var c capture.Click
	if err := r.Reset(data); err != nil {
		t.Fatal(err)
	}
	i := 0
	for number, clicks := range r.Blocks() {
		if number != want[i].Number || clicks != len(want[i].Clicks) {
			t.Fatalf("block %d has %d clicks, want %d with %d", number, clicks, want[i].Number, len(want[i].Clicks))
		}
		all.Clicks = append(all.Clicks, want[i].Clicks...)
		i++
	}
	for i := range all.Clicks {
		if !r.Next(&c) || !sameClick(&c, all.Clicks[i]) {
			t.Fatalf("click %d is %+v (%v), want %+v", i, c, r.Err(), all.Clicks[i])
		}
	}
	if i != len(want) || r.Len() != len(all.Clicks) || r.Next(&c) || r.Err() != nil {
		t.Fatalf("%d blocks with %d clicks: %v", i, r.Len(), r.Err())
	}
	checkFronts(t, all, data)
	checkLookups(t, all.Clicks, data)
}

func TestMergedRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		blocks := drawBlocks(t)
		data := capture.EncodeBlocks(blocks)
		if len(blocks) == 0 {
			if data != nil {
				t.Fatal("nothing was packed")
			}
			return
		}
		if data == nil {
			t.Fatal("it cannot be packed")
		}
		checkBlocks(t, blocks, data)
		if b, err := capture.DecodeBlock(data); (err == nil) != (len(blocks) == 1) {
			t.Fatalf("taken for a single block it is %+v, %v", b, err)
		}
		for _, b := range blocks {
			single, err := capture.DecodeBlocks(capture.EncodeBlock(b))
			if err != nil || len(single) != 1 || !slices.EqualFunc(single[0].Clicks, b.Clicks, sameClick) {
				t.Fatalf("a single block is %+v: %v", single, err)
			}
		}
	})
}

func TestMergedIsSmaller(t *testing.T) {
	t.Parallel()
	blocks := sampleBlocks(capture.MergedBlocks, 1)
	single := 0
	for _, b := range blocks {
		single += len(capture.EncodeBlock(b))
	}
	whole := len(capture.EncodeBlock(sampleBlock(capture.BlockClicks)))
	if merged := len(capture.EncodeBlocks(blocks)); merged*4 > single || merged > whole+whole/8 {
		t.Errorf("64 clicks take %d bytes merged, %d in blocks of one, %d in one block", merged, single, whole)
	}
}

// TestNotMerged: what makes no good record is refused.
func TestNotMerged(t *testing.T) {
	t.Parallel()
	large := sampleBlocks(capture.MergedBlocks, 4)
	for _, b := range large {
		for _, c := range b.Clicks {
			c.URL = string(bytes.Repeat([]byte{byte(c.Ref.Block), c.Ref.Slot}, 1<<16))
		}
	}
	empty, order, twice, epochs := sampleBlocks(3, 1), sampleBlocks(3, 1), sampleBlocks(3, 1), sampleBlocks(3, 1)
	empty[1].Clicks = nil
	order[0], order[1] = order[1], order[0]
	twice[1].Number = twice[0].Number
	epochs[2].Clicks[0].Ref.Epoch++
	for name, blocks := range map[string][]*capture.Block{
		"none": {}, "too many blocks": sampleBlocks(capture.MergedBlocks+1, 1), "too many clicks": sampleBlocks(capture.MergedBlocks, 5),
		"too large": large, "an empty one": empty, "another order": order, "the same number": twice, "two epochs": epochs,
	} {
		if capture.EncodeBlocks(blocks) != nil {
			t.Errorf("%s: packed", name)
		}
	}
	if capture.EncodeBlocks(sampleBlocks(capture.MergedBlocks, 4)) == nil {
		t.Error("as many as are allowed: refused")
	}
}

// mergedPart is a merged record of a first part alone.
func mergedPart(plain ...byte) []byte {
	packed := s2.Encode(nil, plain)
	return append(binary.AppendUvarint([]byte{2}, uint64(len(packed))), packed...)
}

// TestDamagedMerged: a record says less or more than it can.
func TestDamagedMerged(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string][]byte{
		"no blocks": {0, 1, 0, 0, 0}, "too many blocks": {0, 1, 0, 65, 1, 1, 1}, "an empty block": {0, 1, 0, 2, 1, 1, 0, 0},
		"the same number": {0, 1, 0, 2, 1, 0, 1, 0}, "too many clicks of one": {0, 1, 0, 1, 65, 0},
		"too many clicks":        {0, 1, 0, 5, 60, 1, 60, 1, 60, 1, 60, 1, 60, 0},
		"beyond the last number": append(binary.AppendUvarint([]byte{0}, clickid.MaxBlock), 0, 2, 1, 1, 1, 0),
		"cut off":                {0, 1, 0, 2, 1},
		"no clicks":              {0, 1, 0, 1, 1, 0},
	} {
		var r capture.BlockReader
		var c capture.Click
		var f capture.ClickFront
		data := append(mergedPart(plain...), s2.Encode(nil, []byte{0})...)
		if err := r.Reset(data); err == nil && (r.Next(&c) || r.Err() == nil) {
			t.Errorf("%s: read as %+v", name, c)
		}
		if err := r.ResetFront(data); err == nil && (r.NextFront(&f) || r.Err() == nil) {
			t.Errorf("%s: read as %+v", name, f)
		} else if err != nil && (r.Next(&c) || r.NextFront(&f)) {
			t.Errorf("%s: read although refused", name)
		}
	}
}

func FuzzDecodeBlocks(f *testing.F) {
	for _, n := range []int{1, 2, 3, capture.MergedBlocks} {
		f.Add(capture.EncodeBlocks(sampleBlocks(n, 1)))
		f.Add(capture.EncodeBlocks(sampleBlocks(n, 4)))
	}
	slow := sampleBlocks(3, 1)
	slow[1].Clicks[0].Time, slow[2].Number = time.Unix(1<<32-1, 0), clickid.MaxBlock
	f.Add(capture.EncodeBlocks(slow))
	f.Add(capture.EncodeBlock(sampleBlock(3)))
	f.Add(mergedPart(0, 1, 0, 5, 60, 1, 60, 1, 60, 1, 60, 1, 60, 0))
	f.Add(mergedPart(append([]byte{0, 0, 0, 1, 1, 0x80, 0x80, 0x80, 1}, make([]byte, 1<<16)...)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		blocks, err := capture.DecodeBlocks(data)
		if err != nil {
			return
		}
		clicks := 0
		for i, b := range blocks {
			clicks += len(b.Clicks)
			if i > 0 && b.Number <= blocks[i-1].Number || len(b.Clicks) > capture.BlockClicks {
				t.Fatalf("block %d has %d clicks and number %d", i, len(b.Clicks), b.Number)
			}
		}
		if len(blocks) > capture.MergedBlocks || clicks > capture.MergedClicks {
			t.Fatalf("%d blocks with %d clicks", len(blocks), clicks)
		}
		var r capture.BlockReader
		var front capture.ClickFront
		if r.ResetFront(data) != nil || r.Len() != clicks {
			t.Fatal("the fronts cannot be read")
		}
		for range clicks {
			if !r.NextFront(&front) {
				t.Fatalf("a front cannot be read: %v", r.Err())
			}
		}
		if _, err := capture.LookupClick(data, clickid.Ref{Epoch: 1, Block: 1}); err != nil {
			t.Fatalf("a click cannot be looked up: %v", err)
		}
		// What was read can be written and read again, and is then stable.
		first := capture.EncodeBlocks(blocks)
		if first == nil {
			return // an empty block, or strings that were shared do not fit apart
		}
		again, err := capture.DecodeBlocks(first)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if second := capture.EncodeBlocks(again); !bytes.Equal(first, second) {
			t.Fatal("writing again gives something else")
		}
	})
}
