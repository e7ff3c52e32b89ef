package clickid

import (
	"encoding/base32"
	"encoding/binary"
	"strings"
	"testing"
)

func TestBase32IsThatOfRFC4648(t *testing.T) {
	t.Parallel()
	r := newRand(6)
	check := func(hi, lo uint64) {
		t.Helper()
		raw := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, hi), lo)
		want := strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
		text := format(hi, lo)
		if string(text[:]) != want {
			t.Fatalf("format(%x, %x) = %q, want %q", hi, lo, text, want)
		}
		if h, l, err := parse(want); err != nil || h != hi || l != lo {
			t.Fatalf("parse(%q) = %x, %x, %v; want %x, %x", want, h, l, err, hi, lo)
		}
	}
	for bit := range 64 {
		check(1<<bit, 0)
		check(0, 1<<bit)
	}
	for range 10_000 {
		check(r.Uint64(), r.Uint64())
	}
}

// Exactly one string, letter case aside, names a block: of the 32 possible last
// characters only the 8 with both spare bits zero are taken.
func TestOnlyTheCanonicalFormIsParsed(t *testing.T) {
	t.Parallel()
	seen := map[uint64]bool{}
	for i := range len(alphabet) {
		_, lo, err := parse(strings.Repeat("0", Length-1) + alphabet[i:i+1])
		if (err == nil) != (i%4 == 0) {
			t.Errorf("last character %q: %v", alphabet[i], err)
		}
		if err == nil {
			seen[lo] = true
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d blocks from the last character, want 8", len(seen))
	}
}
