package badgerstore

import (
	"bytes"
	"encoding/binary"
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

// Get returns a record, or badger.ErrKeyNotFound.
func (t *transaction) Get(key []byte) (*badger.Item, error) { return t.Txn.Get(t.placed(key)) }

// Delete removes a record.
func (t *transaction) Delete(key []byte) error { return t.Txn.Delete(t.placed(key)) }

// Set writes a record, and notes its day if that is new.
func (t *transaction) Set(key, value []byte) error {
	if len(key) > 0 && byDay(key[0]) {
		if n := t.days.of(key); !t.days.has(n) {
			if err := t.begin(n, 0); err != nil {
				return err
			}
		}
	}
	return t.Txn.Set(t.placed(key), value)
}

// arrived notes, before a new journal entry is written, that its day has begun.
func (t *transaction) arrived(seq uint64, at time.Time) error {
	n := dayOf(at)
	if last, any := t.days.last(); any && n <= last {
		return nil
	}
	return t.begin(n, seq)
}

func (t *transaction) begin(n dayNumber, first uint64) error {
	t.days = t.days.with(n, first)
	return t.Txn.Set(keyOfDay(n), encodeDay(first))
}

// record is one that an iterator is at.
type record struct {
	*badger.Item
	skip int
}

// Key returns the key without its day, good until the iterator moves.
func (r *record) Key() []byte { return r.Item.Key()[r.skip:] }

// KeyCopy returns the key without its day.
func (r *record) KeyCopy(dst []byte) []byte { return append(dst[:0], r.Key()...) }

// iterator walks records in the order of their keys without the day. Those that
// have the number of a click in their keys it walks day by day.
type iterator struct {
	*badger.Iterator
	at      record
	reverse bool

	// Of what is kept by day; without days, nothing else is:
	days   *days
	list   []dayNumber
	i      int    // in list
	prefix []byte // of keys without their day
	within []byte // and with it
}

// NewIterator returns an iterator over the prefix that the options have. Of what
// is kept by day that is a kind, or what the keys of one click begin with.
func (t *transaction) NewIterator(o badger.IteratorOptions) *iterator {
	it := &iterator{reverse: o.Reverse}
	if len(o.Prefix) > 0 && byDay(o.Prefix[0]) {
		it.at.skip = dayBytes
		it.days, it.list, it.prefix = t.days, t.days.list, bytes.Clone(o.Prefix)
		if o.Prefix = []byte{kindByDay}; len(it.prefix) > 1 {
			it.list = []dayNumber{t.days.of(it.prefix)}
			o.Prefix = t.placed(it.prefix)
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
	return it.Iterator.Valid() && (it.days == nil || it.onDay())
}

// onDay tells whether there is a day left.
func (it *iterator) onDay() bool { return it.i >= 0 && it.i < len(it.list) }

// Rewind goes to the first record.
func (it *iterator) Rewind() {
	switch {
	case it.days == nil:
		it.Iterator.Rewind()
	case it.reverse:
		it.Seek(append(bytes.Clone(it.prefix), after...))
	default:
		it.Seek(it.prefix)
	}
}

// Seek goes to a key, or where there is none to the next one in the order of the
// walk.
func (it *iterator) Seek(key []byte) {
	if it.days == nil {
		it.Iterator.Seek(key)
		return
	}
	i, found := slices.BinarySearch(it.list, it.days.of(key))
	if it.reverse && !found {
		i--
	}
	if it.i = i; !found {
		key = nil
	}
	it.enter(key)
	it.settle()
}

// Next goes to the next record.
func (it *iterator) Next() {
	it.Iterator.Next()
	if it.days != nil {
		it.settle()
	}
}

// enter goes to a key in the day that the walk has come to, nil for the first.
func (it *iterator) enter(key []byte) {
	if !it.onDay() {
		return
	}
	it.within = append(appendDay(it.within[:0], it.list[it.i]), it.prefix...)
	switch {
	case key != nil:
		key = append(bytes.Clone(it.within[:dayBytes]), key...)
	case it.reverse:
		key = append(bytes.Clone(it.within), after...)
	default:
		key = it.within
	}
	it.Iterator.Seek(key)
}

// settle goes on to the next day that has a record, if this one has no more.
func (it *iterator) settle() {
	for it.onDay() && !(it.Iterator.Valid() && bytes.HasPrefix(it.Iterator.Item().Key(), it.within)) {
		if it.reverse {
			it.i--
		} else {
			it.i++
		}
		it.enter(nil)
	}
}
