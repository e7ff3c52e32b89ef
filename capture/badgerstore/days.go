package badgerstore

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Where records are.
//
// What is new of a kind of record has mostly the greatest keys of its kind. If
// the kinds simply followed each other, all that is old of one kind would lie
// between what is new of it and what is new of the kind before. A table that
// Badger makes of new records reaches from one to the other, and merging it with
// the next level writes all that old data once more: the cost of a postback
// would grow with what is stored.
//
// So the kinds that grow by the day come last, behind all others, and there by
// day, the newest first: under kindByDay, the day (2 bytes, inverted), and then
// the key as it would be without. Clicks have the greatest numbers of their kind
// when they are new and lie before. In between is only what is small, and the
// index by transaction, whose keys are as good as random wherever it lies. What is
// new of anything is together then, with little that is old in it.
//
// Under the day alone there is an empty record: the mark at which a walk over a
// day of which everything was deleted ends.
//
// A record is of the day of its click, or of its own time or day if it has one. Journal
// entries only have a number, in the order of arrival: a record of kindDay says
// with which number a day began. All others see keys without their day.

// dayNumber counts days from 1970, in UTC. Times before and after are of the first and the
// last day there is.
type dayNumber uint16

const daySeconds = 24 * 60 * 60

func dayOf(t time.Time) dayNumber {
	return dayNumber(min(max(t.Unix()/daySeconds, 0), math.MaxUint16)) //nolint:gosec // bounded
}

// byDay tells of which kinds the records are kept by day.
func byDay(kind byte) bool {
	switch kind {
	case kindConversion, kindKnown, kindBooked, kindTest, kindUnbooked, kindEntry, kindOfClick, kindPack:
		return true
	}
	return false
}

// days are those of which there is, or was, anything by day. They are never
// changed, but replaced.
type days struct {
	list []dayNumber // in order
	// began are the days on which journal entries came, in order, each with
	// the number of the first. The clock may have been set back: an entry is
	// of the last day that had begun.
	began []dayBegan
}

type dayBegan struct {
	day   dayNumber
	first uint64
}

// of returns the day of a key of a kind that is kept by day, or of the least key
// that begins with it.
func (d *days) of(key []byte) dayNumber {
	var whole [17]byte
	copy(whole[:], key)
	second := func(b []byte) dayNumber { return dayNumber(binary.BigEndian.Uint32(b) / daySeconds) } //nolint:gosec // fits
	switch key[0] {
	case kindConversion:
		return second(whole[1:]) // see attribution.NewConversionID
	case kindKnown, kindOfClick:
		return second(whole[12:])
	case kindPack:
		return dayNumber(min(binary.BigEndian.Uint32(whole[1:]), math.MaxUint16)) //nolint:gosec // bounded
	case kindEntry:
		return d.ofEntry(binary.BigEndian.Uint64(whole[1:]))
	}
	return dayOf(indexTime(whole[:]))
}

// ofEntry returns the day of a journal entry by its number.
func (d *days) ofEntry(seq uint64) dayNumber {
	later := sort.Search(len(d.began), func(i int) bool { return d.began[i].first > seq })
	if later == 0 {
		return 0
	}
	return d.began[later-1].day
}

// has tells whether a record may be of the day.
func (d *days) has(n dayNumber) bool {
	if last := len(d.list) - 1; last >= 0 && d.list[last] == n {
		return true
	}
	_, found := slices.BinarySearch(d.list, n)
	return found
}

// with adds a day. If first is not 0, entries from that number on are of it.
func (d *days) with(n dayNumber, first uint64) *days {
	grown := &days{list: slices.Clone(d.list), began: d.began}
	if i, found := slices.BinarySearch(grown.list, n); !found {
		grown.list = slices.Insert(grown.list, i, n)
	}
	if first > 0 {
		grown.began = append(slices.Clone(d.began), dayBegan{n, first})
	}
	return grown
}

// last returns the day of the newest journal entries.
func (d *days) last() (dayNumber, bool) {
	if len(d.began) == 0 {
		return 0, false
	}
	return d.began[len(d.began)-1].day, true
}

func keyOfDay(n dayNumber) []byte { return binary.BigEndian.AppendUint16([]byte{kindDay}, uint16(n)) }

func encodeDay(first uint64) []byte { return binary.AppendUvarint([]byte{recordFormat}, first) }

// loadDays reads which days there are.
func (s *Store) loadDays() error {
	txn := s.db.NewTransactionAt(s.ts, false)
	defer txn.Discard()
	d, err := daysOf(txn)
	s.days.Store(d)
	return err
}

func daysOf(txn *badger.Txn) (*days, error) {
	d := new(days)
	o := badger.DefaultIteratorOptions
	o.Prefix = []byte{kindDay}
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		var first uint64
		err := it.Item().Value(func(v []byte) error {
			_, err := readUvarints(v, "note of a day", &first)
			return err
		})
		if err == nil && len(key) != 3 {
			err = fmt.Errorf("its key has %d bytes instead of 3", len(key))
		}
		if err != nil {
			return nil, fmt.Errorf("%w: reading a record of kind %q: %w", errDamaged, kindDay, err)
		}
		n := dayNumber(binary.BigEndian.Uint16(key[1:]))
		if last := len(d.began) - 1; first > 0 && last >= 0 && first <= d.began[last].first {
			return nil, fmt.Errorf("%w: day %d of the journal begins with entry %d, but the day before with %d",
				errDamaged, n, first, d.began[last].first)
		}
		d.list = append(d.list, n)
		if first > 0 {
			d.began = append(d.began, dayBegan{n, first})
		}
	}
	return d, nil
}
