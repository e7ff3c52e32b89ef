package badgerstore

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// The kinds of keys; doc.go describes them.
const (
	kindBlock      = 'b'
	kindMerged     = 'a'
	kindQuarter    = 't'
	kindDay        = 'd'
	kindConversion = 'c'
	kindKnown      = 'x'
	kindTxID       = 'o'
	kindBooked     = 'v'
	kindTest       = 'w'
	kindUnbooked   = 'u'
	kindEntry      = 'j'
	kindWaiting    = 'q'
	kindOfClick    = 'e'
	kindRepeatable = 'p'
	kindAwaiting   = 'k'
	kindCell       = 'n'
	kindPack       = 's'
	kindRewritten  = 'r'
	kindByDay      = 'y'
	kindFiller     = 'z'
)

var (
	keyIdentity = []byte("mi")
	keyState    = []byte("ms")
	keyDeleted  = []byte("md")
	keySwept    = []byte("mw")
	keyFold     = []byte("mf")
	keyMerged   = []byte("mg")
	keyNodes    = []byte("mn")
	keyCopied   = []byte("mc")
)

// keys makes keys in few pieces of memory: Badger holds on to them until the
// transaction ends, and a transaction has one or many.
type keys struct{ arena []byte }

const leastArena, mostArena = 64, 4 << 10

// room returns an empty slice with room for n bytes of its own.
func (k *keys) room(n int) []byte {
	if cap(k.arena)-len(k.arena) < n {
		k.arena = make([]byte, 0, max(n, min(max(8*cap(k.arena), leastArena), mostArena)))
	}
	at := len(k.arena)
	k.arena = k.arena[:at+n]
	return k.arena[at:at:len(k.arena)]
}

// number is the key of what has a number: blocks, groups of blocks, entries,
// the waiting.
func (k *keys) number(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k.room(9), kind), n)
}

// merged is the key of the record that a block was merged into, if it was.
func (k *keys) merged(block uint64) []byte { return k.number(kindMerged, groupOf(block)) }

func (k *keys) quarter(q uint32) []byte {
	return binary.BigEndian.AppendUint32(append(k.room(5), kindQuarter), q)
}

// guestBlock is the key of a block of another epoch than the store's own.
func (k *keys) guestBlock(epoch uint16, number uint64) []byte {
	b := binary.BigEndian.AppendUint64(append(k.room(11), kindBlock), number)
	return binary.BigEndian.AppendUint16(b, epoch)
}

// marker is the key of a marker.
func (k *keys) marker(m markerOf) []byte {
	if m.guest == 0 {
		return k.quarter(m.quarter)
	}
	b := binary.BigEndian.AppendUint32(append(k.room(7), kindQuarter), m.quarter)
	return binary.BigEndian.AppendUint16(b, m.guest)
}

func (k *keys) conversion(id attribution.ConversionID) []byte {
	return append(append(k.room(17), kindConversion), id[:]...)
}

// known is the key by which a click knows one of its conversions.
func (k *keys) known(ref clickid.Ref, id attribution.ConversionID) []byte {
	return append(k.knownOf(ref), id[:]...)
}

// knownOf is what the keys of all conversions of a click begin with.
func (k *keys) knownOf(ref clickid.Ref) []byte {
	full := ref.Key()
	return append(append(k.room(32), kindKnown), full[:15]...)
}

// ofClick is the key by which a journal entry is known for one of its click.
func (k *keys) ofClick(ref clickid.Ref, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(k.ofClickFrom(ref), seq)
}

// ofClickFrom is what the keys of all entries of a click begin with.
func (k *keys) ofClickFrom(ref clickid.Ref) []byte {
	full := ref.Key()
	return append(append(k.room(24), kindOfClick), full[:15]...)
}

// repeatable is the key by which an entry in quarantine is found when its
// request is repeated.
func (k *keys) repeatable(fp, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(k.repeatableFrom(fp), seq)
}

func (k *keys) repeatableFrom(fp uint64) []byte {
	return binary.BigEndian.AppendUint64(append(k.room(17), kindRepeatable), fp)
}

// indexSeq reads the journal number at the end of a key of an index.
func indexSeq(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// txid is the key by which a transaction leads to one of its conversions.
func (k *keys) txid(key capture.TxKey, id attribution.ConversionID) []byte {
	return append(k.txidOf(key), id[:]...)
}

// txidOf is what the keys of all conversions of a transaction begin with.
func (k *keys) txidOf(key capture.TxKey) []byte {
	return append(append(k.room(33), kindTxID), key[:]...)
}

// awaiting is the key by which an entry in quarantine is found when a
// transaction that it awaits leads to a conversion.
func (k *keys) awaiting(key capture.TxKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(k.awaitingOf(key), seq)
}

// awaitingOf is what the keys of all entries begin with that await a
// transaction.
func (k *keys) awaitingOf(key capture.TxKey) []byte {
	return append(append(k.room(25), kindAwaiting), key[:]...)
}

// index is the key of a conversion in a listing by time.
func (k *keys) index(kind byte, at time.Time, id attribution.ConversionID) []byte {
	b := binary.BigEndian.AppendUint64(append(k.room(25), kind), sortable(at))
	return append(b, id[:]...)
}

// indexOf is the index key of a conversion in its present state.
func (k *keys) indexOf(c *capture.Conversion) []byte {
	kind := byte(kindUnbooked)
	switch {
	case !c.State.Booked:
	case c.Test:
		kind = kindTest
	default:
		kind = kindBooked
	}
	return k.index(kind, c.State.Time, c.ID)
}

// sortable maps milliseconds to numbers that sort the same way, those before
// 1970 included.
func sortable(t time.Time) uint64 {
	return uint64(t.UnixMilli()) ^ 1<<63 //nolint:gosec // the bits are what is wanted
}

func indexID(key []byte) attribution.ConversionID { return attribution.ConversionID(key[9:25]) }

func indexTime(key []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(key[1:9]) ^ 1<<63)).UTC() //nolint:gosec // as above
}

// keyNumber reads the number of a key made by number.
func keyNumber(key []byte) uint64 { return binary.BigEndian.Uint64(key[1:9]) }

// keyQuarter reads the quarter of a marker's key.
func keyQuarter(key []byte) uint32 { return binary.BigEndian.Uint32(key[1:5]) }

// quarterAt is capture.QuarterOf for any time, however far away.
func quarterAt(t time.Time) uint32 {
	n := t.Unix() / int64(capture.CellSpan/time.Second)
	return uint32(min(max(n, 0), math.MaxUint32)) //nolint:gosec // bounded
}

// state is what moves with every batch. It is one key, written once a batch.
type state struct {
	batch uint64 // the last one applied
	seq   uint64 // the next journal number
	lease uint64 // no block number from here on was ever used
	modes uint64 // bits of the dedup rules under which conversions were made
}

// modeMixed is set beside these once a conversion took in a claim under another
// rule than its own.
const modeMixed = 1 << 7

const recordFormat = 1

func (s state) encode() []byte {
	b := append(make([]byte, 0, 32), recordFormat)
	b = binary.AppendUvarint(b, s.batch)
	b = binary.AppendUvarint(b, s.seq)
	b = binary.AppendUvarint(b, s.lease)
	return binary.AppendUvarint(b, s.modes)
}

func decodeState(data []byte) (s state, err error) {
	err = decodeUvarints(data, "state", &s.batch, &s.seq, &s.lease, &s.modes)
	return s, err
}

// span is a range of block numbers, both ends included.
type span struct{ first, last uint64 }

// spanRound is how far the end of a span is rounded up: a busy quarter's
// marker is then written once in so many blocks. What is too many in a span
// costs a reader at most so many blocks.
const spanRound = 256

func (s span) encode() []byte {
	b := append(make([]byte, 0, 16), recordFormat)
	b = binary.AppendUvarint(b, s.first)
	return binary.AppendUvarint(b, s.last)
}

func decodeSpan(data []byte) (s span, err error) {
	err = decodeUvarints(data, "marker", &s.first, &s.last)
	return s, err
}

func decodeUvarints(data []byte, what string, to ...*uint64) error {
	_, err := readUvarints(data, what, to...)
	return err
}

// readUvarints is decodeUvarints, and returns what follows.
func readUvarints(data []byte, what string, to ...*uint64) ([]byte, error) {
	if len(data) == 0 || data[0] != recordFormat {
		return nil, fmt.Errorf("%w: a %s of unknown format", errDamaged, what)
	}
	data = data[1:]
	for _, p := range to {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, fmt.Errorf("%w: a %s is cut off", errDamaged, what)
		}
		*p, data = v, data[n:]
	}
	return data, nil
}

// knownMixed marks a conversion that took in a claim under another rule.
const knownMixed = 0x80

// encodeKnown writes what a click knows of a conversion beside its ID.
func encodeKnown(k capture.Known) []byte {
	b := byte(k.Dedup)
	if k.Mixed {
		b |= knownMixed
	}
	return []byte{b}
}

// decodeKnown reads what a click knows of a conversion: under which rule it
// was made, and whether another one added to it.
func decodeKnown(id attribution.ConversionID, value []byte) (capture.Known, error) {
	if len(value) != 1 || value[0]&^knownMixed > byte(attribution.DedupClick) {
		return capture.Known{}, fmt.Errorf("%w: a click knows a conversion by %x", errDamaged, value)
	}
	return capture.Known{ID: id, Dedup: attribution.Dedup(value[0] &^ knownMixed), Mixed: value[0]&knownMixed != 0}, nil
}
