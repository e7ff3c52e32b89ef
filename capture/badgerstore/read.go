package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// reader is a transaction, Badger's or ours.
type reader interface {
	Get(key []byte) (*badger.Item, error)
}

// get calls f with the value of a key; found is false if there is none.
func get(txn reader, key []byte, f func(value []byte) error) (found bool, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	if err == nil {
		err = item.Value(f)
	}
	if err != nil && !errors.Is(err, errDamaged) {
		err = fmt.Errorf("%w: reading a record of kind %q: %w", errDamaged, key[0], err)
	}
	return true, err
}

// getCopy returns the value of a key, never nil if there is one.
func getCopy(txn reader, key []byte) (value []byte, err error) {
	_, err = get(txn, key, func(v []byte) error {
		value = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	return value, err
}

// getRecord returns a decoded record, or nil.
func getRecord[T any](txn *transaction, key []byte) (*T, error) {
	var r *T
	_, err := get(txn, key, func(v []byte) error {
		r = new(T)
		return capture.DecodeRecord(v, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// eachKnown calls f with the conversions of a click, in the order of their IDs,
// until it returns false.
func eachKnown(txn *transaction, k *keys, ref clickid.Ref, f func(capture.Known) bool) error {
	prefix := bytes.Clone(k.knownOf(ref))
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = prefix, false
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(prefix); it.Valid(); it.Next() {
		item := it.Item()
		var known capture.Known
		err := item.Value(func(v []byte) (err error) {
			known, err = decodeKnown(attribution.ConversionID(item.Key()[len(prefix):]), v)
			return err
		})
		if err != nil {
			return fmt.Errorf("%w: reading a record of kind %q: %w", errDamaged, kindKnown, err)
		}
		if !f(known) {
			break
		}
	}
	return nil
}

func getKnown(txn *transaction, k *keys, ref clickid.Ref) (list []capture.Known, err error) {
	err = eachKnown(txn, k, ref, func(known capture.Known) bool {
		list = append(list, known)
		return true
	})
	return list, err
}

// getClick returns the click in the place that ref names, or nil; find reads it
// from its record. The place must hold the very same Ref: after a restore from a
// backup a number could have been used twice. The click is in a block by itself
// or in a merged one, or in one of another epoch.
func getClick(txn *transaction, k *keys, ref clickid.Ref,
	find func(record []byte, ref clickid.Ref) (*capture.Click, error),
) (*capture.Click, error) {
	if ref.Slot >= capture.BlockClicks {
		return nil, nil
	}
	var found *capture.Click
	look := func(v []byte) (err error) {
		found, err = find(v, ref)
		return err
	}
	_, err := get(txn, k.number(kindBlock, ref.Block), look)
	if err == nil && found == nil {
		_, err = get(txn, k.merged(ref.Block), look)
	}
	if err == nil && found == nil {
		_, err = get(txn, k.guestBlock(ref.Epoch, ref.Block), look)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// wholeClick reads all that a record has of the click.
func wholeClick(record []byte, ref clickid.Ref) (*capture.Click, error) {
	var r capture.BlockReader
	if err := r.Reset(record); err != nil {
		return nil, err
	}
	for c := new(capture.Click); r.Next(c); {
		if c.Ref == ref {
			return c, nil
		}
	}
	return nil, r.Err()
}

// Click returns one click.
func (s *Store) Click(ctx context.Context, ref clickid.Ref) (*capture.Click, error) {
	return s.click(ctx, ref, wholeClick)
}

// ClickToBook returns what booking wants of one click.
func (s *Store) ClickToBook(ctx context.Context, ref clickid.Ref) (*capture.Click, error) {
	return s.click(ctx, ref, capture.LookupClick)
}

func (s *Store) click(ctx context.Context, ref clickid.Ref,
	find func(record []byte, ref clickid.Ref) (*capture.Click, error),
) (c *capture.Click, err error) {
	err = s.view(ctx, func(txn *transaction) (err error) {
		var k keys
		if c, err = getClick(txn, &k, ref, find); err == nil && c == nil {
			err = capture.ErrNotFound
		}
		return err
	})
	return c, err
}

// Conversion returns one conversion.
func (s *Store) Conversion(ctx context.Context, id attribution.ConversionID) (c *capture.Conversion, err error) {
	err = s.view(ctx, func(txn *transaction) (err error) {
		var k keys
		if c, err = getRecord[capture.Conversion](txn, k.conversion(id)); err == nil && c == nil {
			err = capture.ErrNotFound
		}
		return err
	})
	return c, err
}

// ClickConversions returns the booked conversions of one click.
func (s *Store) ClickConversions(ctx context.Context, ref clickid.Ref) (list []*capture.Conversion, err error) {
	err = s.view(ctx, func(txn *transaction) error {
		var k keys
		known, err := getKnown(txn, &k, ref)
		if err != nil {
			return err
		}
		for _, n := range known {
			c, err := getRecord[capture.Conversion](txn, k.conversion(n.ID))
			if err != nil {
				return err
			}
			if c != nil && c.State.Booked {
				list = append(list, c)
			}
		}
		slices.SortFunc(list, func(a, b *capture.Conversion) int {
			return cmp.Or(a.State.Time.Compare(b.State.Time), bytes.Compare(a.ID[:], b.ID[:]))
		})
		return nil
	})
	return list, err
}

// scan says which keys to walk, in which order.
type scan struct {
	prefix []byte
	// from is the first key to visit, or where there is none the next one in
	// the order of the walk; nil begins at the end of the prefix.
	from    []byte
	reverse bool
}

// after is a key behind all of a prefix.
var after = bytes.Repeat([]byte{0xff}, 32)

// scan calls visit for each key until it returns false. Values are in the
// tables beside their keys, so fetching them ahead would only cost.
func (s *Store) scan(ctx context.Context, txn *transaction, w scan, visit func(*record) (bool, error)) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = w.prefix
	o.Reverse = w.reverse
	it := txn.NewIterator(o)
	defer it.Close()
	p := pace{ctx: ctx, closing: s.gate.closing}
	from := w.from
	if from == nil {
		from = w.prefix
		if w.reverse {
			from = append(bytes.Clone(w.prefix), after...)
		}
	}
	for it.Seek(from); it.Valid(); it.Next() {
		if err := p.step(); err != nil {
			return err
		}
		item := it.Item()
		more, err := visit(item)
		if err != nil {
			return err
		}
		if !more {
			return nil
		}
	}
	return p.now()
}

// decode reads the record of an item.
func decode[T any](item *record) (*T, error) {
	r := new(T)
	err := item.Value(func(v []byte) error { return capture.DecodeRecord(v, r) })
	if err != nil {
		return nil, fmt.Errorf("%w: reading a record of kind %q: %w", errDamaged, item.Key()[0], err)
	}
	return r, nil
}
