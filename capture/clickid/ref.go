package clickid

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"
)

// The largest values of a Ref's fields.
const (
	MaxEpoch = 1<<12 - 1
	MaxBlock = 1<<40 - 1
	MaxSlot  = 254

	// Unrecorded, as a slot, says that the click was minted but could not be
	// kept: there is no record to look for.
	Unrecorded = 255
)

const (
	version        = 1
	redundancyBits = 32 + 4
)

// Ref names the place of a click, and when it was minted. It is comparable.
type Ref struct {
	Epoch  uint16 `cbor:"1,keyasint"`           // which store or node minted it, at most MaxEpoch
	Block  uint64 `cbor:"2,keyasint"`           // at most MaxBlock
	Slot   uint8  `cbor:"3,keyasint,omitempty"` // at most MaxSlot, or Unrecorded
	Second uint32 `cbor:"4,keyasint"`           // Unix seconds, good until the year 2106
}

// Time is when the click was minted, to the second, in UTC.
func (r Ref) Time() time.Time {
	return time.Unix(int64(r.Second), 0).UTC()
}

// Key is a stable form of the Ref for use as a map or hash key: epoch (2
// bytes), block (8), slot (1) and second (4), big endian, and a zero byte. It
// does not depend on any secret, so it outlives the rotation of keys, and it
// sorts by epoch, then block, then slot.
func (r Ref) Key() (key [16]byte) {
	binary.BigEndian.PutUint16(key[0:], r.Epoch)
	binary.BigEndian.PutUint64(key[2:], r.Block)
	key[10] = r.Slot
	binary.BigEndian.PutUint32(key[11:], r.Second)
	return key
}

// pack lays the Ref out as the two halves of a block. A field out of range
// would silently name another click, so it panics: it is a programming error.
func (r Ref) pack() (hi, lo uint64) {
	if r.Epoch > MaxEpoch || r.Block > MaxBlock {
		panic(fmt.Sprintf("clickid: epoch %d or block %d is out of range", r.Epoch, r.Block))
	}
	hi = version<<28 | uint64(r.Epoch)<<16 | r.Block>>24
	lo = r.Block<<40 | uint64(r.Slot)<<32 | uint64(r.Second)
	return hi, lo
}

// unpack is the inverse of pack; it does not check the redundancy.
func unpack(hi, lo uint64) Ref {
	return Ref{
		Epoch:  uint16(hi >> 16 & MaxEpoch),
		Block:  (hi<<24 | lo>>40) & MaxBlock,
		Slot:   uint8(lo >> 32),
		Second: uint32(lo),
	}
}

// redundancy counts the leading bits of a deciphered block that are as pack
// lays them out, at most redundancyBits. A random block has k or more of them
// right with a probability of 2^-k; a genuine one has them all.
func redundancy(hi uint64) int {
	return min(bits.LeadingZeros64(hi^version<<28), redundancyBits)
}
