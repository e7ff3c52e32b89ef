package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// transaction is one of Badger's in which records that are kept by day are
// found, and written, under their keys without it. One that writes is for one
// goroutine.
type transaction struct {
	*badger.Txn
	days   *days
	writes bool
	keys   keys
}

// transaction begins one at a timestamp.
func (s *Store) transaction(ts uint64, writes bool) *transaction {
	txn := s.db.NewTransactionAt(ts, writes)
	return &transaction{Txn: txn, days: s.days.Load(), writes: writes}
}

// dayBytes is by how much a key becomes longer by its day.
const dayBytes = 3

// placed returns the key under which a record is kept.
func (t *transaction) placed(key []byte) []byte {
	if len(key) == 0 || !byDay(key[0]) {
		return key
	}
	n := dayBytes + len(key)
	var b []byte
	if t.writes {
		b = t.keys.room(n)
	} else { // perhaps by several goroutines at once
		b = make([]byte, 0, n)
	}
	return append(appendDay(b, t.days.of(key)), key...)
}

// appendDay appends what the keys of a day begin with: the newest day first.
func appendDay(b []byte, n dayNumber) []byte {
	return binary.BigEndian.AppendUint16(append(b, kindByDay), ^uint16(n))
}

// placedOn reads the day of a key that has one.
func placedOn(key []byte) dayNumber { return dayNumber(^binary.BigEndian.Uint16(key[1:])) }

// Get returns a record, or badger.ErrKeyNotFound.
func (t *transaction) Get(key []byte) (*badger.Item, error) { return t.Txn.Get(t.placed(key)) }

// Delete removes a record.
func (t *transaction) Delete(key []byte) error { return t.Txn.Delete(t.placed(key)) }

// Set writes a record, and notes its day if that is new.
func (t *transaction) Set(key, value []byte) error {
	key = t.placed(key)
	if len(key) > dayBytes && key[0] == kindByDay {
		if n := placedOn(key); !t.days.has(n) {
			if err := t.begin(n, 0); err != nil {
				return err
			}
		}
	}
	return t.Txn.Set(key, value)
}

// arrived notes, before a new journal entry is written, that its day has begun.
func (t *transaction) arrived(seq uint64, at time.Time) error {
	n := dayOf(at)
	if last, began := t.days.last(); began && n <= last {
		return nil
	}
	return t.begin(n, seq)
}

// begin notes a day. A walk that finds nothing on a day ends at the mark of the
// next one, instead of going over all that was deleted there.
func (t *transaction) begin(n dayNumber, first uint64) error {
	t.days = t.days.with(n, first)
	if err := t.Txn.Set(keyOfDay(n), encodeDay(first)); err != nil {
		return err
	}
	return t.Txn.Set(appendDay(make([]byte, 0, dayBytes), n), nil)
}

// record is one that an iterator is at.
type record struct {
	*badger.Item
	skip int       // what its key has of its day
	day  dayNumber // of all records, if these are of one
}

// Key returns the key without its day, good until the iterator moves.
func (r *record) Key() []byte { return r.Item.Key()[r.skip:] }

// KeyCopy returns the key without its day.
func (r *record) KeyCopy(dst []byte) []byte { return append(dst[:0], r.Key()...) }

// misplaced tells whether the record would not be found by its key.
func (r *record) misplaced(t *transaction) bool {
	return r.skip > 0 && !bytes.Equal(t.placed(r.Key()), r.Item.Key())
}

// iterator walks records in the order of their keys without the day. Those that
// have the number of a click in their keys it walks day by day.
type iterator struct {
	*badger.Iterator
	at      record
	reverse bool

	// walk is set where what is kept by day is walked beyond one day.
	walk *walk
}

// walk is where an iterator is that goes from day to day.
type walk struct {
	days   *days
	i      int    // in days.list
	within []byte // what the keys begin with on that day
	key    []byte // scratch
}

// ofOneDay tells whether all keys with the prefix are of one day.
func ofOneDay(prefix []byte) bool {
	switch prefix[0] {
	case kindKnown, kindOfClick:
		return len(prefix) >= 16 // all of a click
	case kindPack:
		return len(prefix) >= 5
	}
	return false
}

// NewIterator returns an iterator over the prefix that the options have. Of what
// is kept by day that is a kind, or what only keys of one day begin with.
func (t *transaction) NewIterator(o badger.IteratorOptions) *iterator {
	it := &iterator{reverse: o.Reverse}
	if len(o.Prefix) > 0 && byDay(o.Prefix[0]) {
		it.at.skip = dayBytes
		switch {
		case len(o.Prefix) == 1:
			it.walk = &walk{days: t.days, within: append(make([]byte, dayBytes, dayBytes+1), o.Prefix...)}
			o.Prefix = []byte{kindByDay}
		case ofOneDay(o.Prefix):
			o.Prefix = t.placed(o.Prefix)
			it.at.day = placedOn(o.Prefix)
		default:
			panic(fmt.Sprintf("badgerstore: no day is known for the prefix %q", o.Prefix))
		}
	}
	it.Iterator = t.Txn.NewIterator(o)
	return it
}

// Item returns the record, good until the iterator moves.
func (it *iterator) Item() *record {
	it.at.Item = it.Iterator.Item()
	return &it.at
}

// Valid tells whether there is a record.
func (it *iterator) Valid() bool {
	return it.Iterator.Valid() && (it.walk == nil || it.walk.onDay())
}

// onDay tells whether there is a day left.
func (w *walk) onDay() bool { return w.i >= 0 && w.i < len(w.days.list) }

// Rewind goes to the first record.
func (it *iterator) Rewind() {
	if it.walk == nil {
		it.Iterator.Rewind()
		return
	}
	if it.walk.i = 0; it.reverse {
		it.walk.i = len(it.walk.days.list) - 1
	}
	it.enter(nil)
	it.settle()
}

// Seek goes to a key, or where there is none to the next one in the order of the
// walk.
func (it *iterator) Seek(key []byte) {
	w := it.walk
	switch {
	case it.at.skip == 0:
		it.Iterator.Seek(key)
		return
	case w == nil:
		it.Iterator.Seek(append(appendDay(make([]byte, 0, dayBytes+len(key)), it.at.day), key...))
		return
	}
	i, found := slices.BinarySearch(w.days.list, w.days.of(key))
	if it.reverse && !found {
		i--
	}
	if w.i = i; !found {
		key = nil
	}
	it.enter(key)
	it.settle()
}

// Next goes to the next record.
func (it *iterator) Next() {
	it.Iterator.Next()
	if it.walk != nil {
		it.settle()
	}
}

// enter goes to a key in the day that the walk has come to, nil for the first.
func (it *iterator) enter(key []byte) {
	w := it.walk
	if !w.onDay() {
		return
	}
	appendDay(w.within[:0], w.days.list[w.i])
	switch {
	case key != nil:
		w.key = append(append(w.key[:0], w.within[:dayBytes]...), key...)
	case it.reverse:
		w.key = append(append(w.key[:0], w.within...), after...)
	default:
		w.key = append(w.key[:0], w.within...)
	}
	it.Iterator.Seek(w.key)
}

// settle goes on to the next day that has a record, if this one has no more.
func (it *iterator) settle() {
	w := it.walk
	for w.onDay() && !(it.Iterator.Valid() && bytes.HasPrefix(it.Iterator.Item().Key(), w.within)) {
		if it.reverse {
			w.i--
		} else {
			w.i++
		}
		it.enter(nil)
	}
}
