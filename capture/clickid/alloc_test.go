//go:build !race

// Under the race detector sync.Pool drops buffers at random, so allocations
// are counted without it only.

package clickid

import (
	"errors"
	"testing"
)

func TestAllocations(t *testing.T) {
	c := newCodec(t, secretB, secretA)
	id := c.Encode(benchRef)
	forged := newCodec(t, secretC).Encode(benchRef)
	buf := make([]byte, 0, Length)
	for _, tc := range []struct {
		name string
		run  func()
	}{
		{"Append", func() { buf = c.Append(buf[:0], benchRef) }},
		{"Decode of a genuine ID", func() {
			if _, err := c.Decode(id); err != nil {
				t.Fatal(err)
			}
		}},
		{"Decode of a forged ID", func() {
			if _, err := c.Decode(forged); !errors.Is(err, ErrForged) {
				t.Fatal(err)
			}
		}},
		{"Decode of a cut ID", func() {
			if _, err := c.Decode(id[:20]); !errors.Is(err, ErrLength) {
				t.Fatal(err)
			}
		}},
	} {
		if got := testing.AllocsPerRun(1000, tc.run); got != 0 {
			t.Errorf("%s allocates %.0f times, want 0", tc.name, got)
		}
	}
}
