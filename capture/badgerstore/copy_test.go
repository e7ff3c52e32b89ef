package badgerstore

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// TestCopy copies from and to a store in memory, and between two directories, of
// which the first has merged all it could: what is not merged is read in the copy
// to memory. The copies from and to a database are tested where that is.
func TestCopy(t *testing.T) {
	t.Parallel()
	memory := func(*testing.T) storetest.Fixture { return storetest.Fixture{Engine: memstore.New()} }
	disk := func(t *testing.T) storetest.Fixture {
		return storetest.Fixture{Engine: newEngine(t)}
	}
	merged := func(t *testing.T) storetest.Fixture {
		f := disk(t)
		f.Engine = mergingEngine{f.Engine.(*Engine)}
		return f
	}
	for _, c := range []struct {
		name     string
		from, to func(*testing.T) storetest.Fixture
	}{
		{"memory to disk", memory, disk},
		{"disk to memory", disk, memory},
		{"merged to disk", merged, disk},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storetest.RunCopy(t, c.from, c.to)
		})
	}
}

// Of the erasures of a large fleet the newest are kept, in their order.
func TestLastErased(t *testing.T) {
	t.Parallel()
	list := []capture.CopyErased{{Click: [16]byte{1}, At: 5}, {Click: [16]byte{2}, At: 9}, {Click: [16]byte{3}, At: 1}, {Click: [16]byte{4}, At: 9}}
	if got := lastErased(list, 4); !slices.Equal(got, list) {
		t.Errorf("of as many as there are %v are kept", got)
	}
	if got, want := lastErased(list, 3), []capture.CopyErased{list[0], list[1], list[3]}; !slices.Equal(got, want) {
		t.Errorf("%v are kept, want %v", got, want)
	}
	whole := capture.CopyHead{Erased: make([]capture.CopyErased, erasedKept)}
	for i := range whole.Erased {
		whole.Erased[i].At = math.MaxInt64
	}
	for i := range clickid.MaxEpoch {
		whole.Nodes = append(whole.Nodes, capture.CopyNode{
			Epoch: uint16(i + 1), Token: strings.Repeat("t", 32), Host: strings.Repeat("h", 63), Batch: math.MaxUint64, Lease: math.MaxUint64,
		})
	}
	data, err := whole.Encode()
	if err != nil || len(data) > maxValue {
		t.Errorf("with all nodes that there can be the record has %d bytes, of %d: %v", len(data), maxValue, err)
	}
	again, err := capture.DecodeCopyHead(data)
	if err != nil || !slices.Equal(again.Erased, whole.Erased) {
		t.Errorf("it is read as something else: %v", err)
	}
}
