package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// placing writes records of all kinds of days beside a list of their keys.
type placing struct {
	s    *Store
	rnd  *rand.Rand
	seq  uint64
	keys map[string]bool
}

// key draws a key of a kind; those of journal entries are numbers in order.
func (p *placing) key(txn *transaction, k *keys, kind byte) ([]byte, error) {
	at := day.Add(time.Duration(p.rnd.IntN(10*24)) * time.Hour)
	switch p.rnd.IntN(20) {
	case 0, 1:
		at = time.UnixMilli(-p.rnd.Int64N(1 << 50))
	case 2:
		if kind != kindEntry { // all later entries would be of that day
			at = time.UnixMilli(p.rnd.Int64N(1 << 55))
		}
	}
	var id attribution.ConversionID
	binary.BigEndian.PutUint64(id[8:], p.rnd.Uint64())
	binary.BigEndian.PutUint32(id[:], uint32(at.Unix()))                                  //nolint:gosec // as it is
	ref := clickid.Ref{Epoch: 1, Block: uint64(p.rnd.IntN(3)), Second: uint32(at.Unix())} //nolint:gosec // as it is
	switch kind {
	case kindConversion:
		return k.conversion(id), nil
	case kindKnown:
		return k.known(ref, id), nil
	case kindOfClick:
		return k.ofClick(ref, p.rnd.Uint64()), nil
	case kindEntry:
		p.seq += 1 + uint64(p.rnd.IntN(3))
		return k.number(kind, p.seq), txn.arrived(p.seq, at)
	case kindPack:
		return k.pack(uint32(dayOf(at)), byte(p.rnd.IntN(2)), p.rnd.Uint64()), nil
	case kindBlock, kindWaiting:
		return k.number(kind, p.rnd.Uint64N(1000)), nil
	}
	return k.index(kind, at, id), nil
}

var placedKinds = []byte{
	kindBlock, kindWaiting, kindConversion, kindKnown, kindOfClick, kindEntry, kindBooked, kindTest, kindUnbooked, kindPack,
}

func (p *placing) write(t *testing.T, n int) {
	t.Helper()
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	var wrote, gone []string
	err := p.s.write(func(txn *transaction) error {
		var k keys
		for range n {
			key, err := p.key(txn, &k, placedKinds[p.rnd.IntN(len(placedKinds))])
			if err == nil {
				err = txn.Set(key, key)
			}
			if err != nil {
				return err
			}
			wrote = append(wrote, string(key))
		}
		for key := range p.keys {
			if len(gone) == n/4 {
				break
			}
			if err := txn.Delete([]byte(key)); err != nil {
				return err
			}
			gone = append(gone, key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range wrote {
		p.keys[key] = true
	}
	for _, key := range gone { // written before, and deleted after what was written now
		delete(p.keys, key)
	}
}

// sorted returns the keys of a kind in the order of a walk.
func (p *placing) sorted(txn *transaction, kind byte) (list []string) {
	for key := range p.keys {
		if key[0] == kind {
			list = append(list, key)
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		if kind == kindKnown || kind == kindOfClick {
			if d := int(txn.days.of([]byte(a))) - int(txn.days.of([]byte(b))); d != 0 {
				return d
			}
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	return list
}

func (p *placing) check(t *testing.T) {
	t.Helper()
	err := p.s.view(ctx, func(txn *transaction) error {
		for _, kind := range placedKinds {
			list := p.sorted(txn, kind)
			for _, key := range list {
				var got []byte
				if found, err := get(txn, []byte(key), func(v []byte) error { got = bytes.Clone(v); return nil }); !found || err != nil || string(got) != key {
					return fmt.Errorf("%q is %q, %v", key, got, err)
				}
			}
			if err := p.walk(txn, kind, list); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// walk compares walks from the ends and from anywhere, in both directions.
func (p *placing) walk(txn *transaction, kind byte, list []string) error {
	froms := []string{""}
	if kind != kindKnown && kind != kindOfClick {
		for range 10 {
			if len(list) > 0 {
				at := list[p.rnd.IntN(len(list))]
				froms = append(froms, at, at+"\x00", at[:len(at)-1]+"\xff")
			}
		}
		froms = append(froms, string(kind)+"\x00", string(kind)+string(after))
	}
	for _, reverse := range []bool{false, true} {
		for _, from := range froms {
			var want, got []string
			for _, key := range list {
				if from == "" || !reverse && key >= from || reverse && key <= from {
					want = append(want, key)
				}
			}
			w := scan{prefix: []byte{kind}, reverse: reverse}
			if reverse {
				slices.Reverse(want)
			}
			if from != "" {
				w.from = []byte(from)
			}
			err := p.s.scan(ctx, txn, w, func(item *record) (bool, error) {
				got = append(got, string(item.Key()))
				return true, item.Value(func(v []byte) error {
					if string(v) != string(item.Key()) {
						return fmt.Errorf("the value of %q is %q", item.Key(), v)
					}
					return nil
				})
			})
			if err != nil || !slices.Equal(got, want) {
				return fmt.Errorf("kind %q from %q, reverse %t: %d keys, want %d: %q instead of %q, %w",
					kind, from, reverse, len(got), len(want), got, want, err)
			}
		}
	}
	return nil
}

// Whatever is written by day is read as if there were no days.
func TestDaysAreNotSeen(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		e := newEngine(t)
		e.noSync = true
		p := &placing{s: openStore(t, e), rnd: rand.New(rand.NewPCG(seed, 1)), keys: make(map[string]bool)}
		p.check(t)
		for range 4 {
			p.write(t, 200)
			p.check(t)
		}
		closeStore(t, p.s, 0)
		p.s = openStore(t, e)
		p.check(t)
		p.write(t, 200)
		p.check(t)
	}
}

// What comes last is together: behind all blocks, the newest day first.
func TestNewestLieTogether(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	for i := range 3 {
		at := day.AddDate(0, 0, i)
		c := w.clicks(click(at, "spring"))[0]
		w.commit(nil, []*capture.Postback{postback(c, txid(i), at.Add(time.Minute))})
	}
	txn := s.db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.DefaultIteratorOptions)
	defer it.Close()
	kinds := make(map[dayNumber]string)
	var order []dayNumber
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		if key[0] != kindByDay {
			if byDay(key[0]) {
				t.Errorf("%q is not kept by day", key)
			}
			continue
		}
		n := placedOn(key)
		if len(key) == dayBytes {
			kinds[n] += "_" // its mark
		} else {
			kinds[n] += string(key[dayBytes])
		}
		order = append(order, n)
	}
	if !slices.IsSortedFunc(order, func(a, b dayNumber) int { return int(b) - int(a) }) {
		t.Errorf("the days lie in the order %v", order)
	}
	for i := range 3 {
		if n := dayOf(day.AddDate(0, 0, i)); kinds[n] != "_cejvx" {
			t.Errorf("day %d has the kinds %q", i, kinds[n])
		}
	}
}

// A clock that is set back, or was far ahead, moves no entry.
func TestDaysOfEntries(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	c := w.clicks(click(day, "spring"))[0]
	var want []uint64
	for i, days := range []int{0, 1, 0, 400, 2, 3, 401, 5} {
		p := postback(c, txid(i), day.AddDate(0, 0, days).Add(time.Hour))
		w.commit(nil, []*capture.Postback{p})
		want = append(want, p.Seq)
	}
	slices.Reverse(want)
	for range 2 {
		if began := s.days.Load().began; len(began) != 4 {
			t.Errorf("%d days began, want 4: %v", len(began), began)
		}
		if got := journal(t, s, capture.JournalQuery{}); !slices.Equal(got, want) {
			t.Errorf("the journal has %v, want %v", got, want)
		}
		for _, seq := range want {
			if _, err := s.Entry(ctx, seq); err != nil {
				t.Errorf("entry %d: %v", seq, err)
			}
		}
		checkHealthy(t, s)
		closeStore(t, s, 0)
		s = openStore(t, e)
	}
}

// A note of days that contradicts itself is damage, not a journal out of order.
func TestDaysDamaged(t *testing.T) {
	t.Parallel()
	for name, notes := range map[string]map[dayNumber][]byte{
		"falling":    {1: encodeDay(9), 2: encodeDay(3)},
		"unreadable": {1: {99}},
		"twice":      {1: encodeDay(3), 2: encodeDay(3)},
	} {
		e := newEngine(t)
		s := openStore(t, e)
		s.mu.Lock()
		err := s.write(func(txn *transaction) error {
			var errs []error
			for n, v := range notes {
				errs = append(errs, txn.Set(keyOfDay(n), v))
			}
			return errors.Join(errs...)
		})
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		closeStore(t, s, 0)
		if s, err := e.Open(ctx); !errors.Is(err, capture.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				_ = s.Close(0)
			}
		}
	}
}

// A transaction that comes to nothing leaves no day behind, and one that writes
// reads what it has written.
func TestDaysOfOneTransaction(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	s.mu.Lock()
	defer s.mu.Unlock()
	var k keys
	key := bytes.Clone(k.index(kindBooked, day, attribution.ConversionID{7}))
	count := func(txn *transaction) (n int) {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: key[:1]})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n++
		}
		return n
	}
	nothing := errors.New("nothing")
	before := s.days.Load()
	for _, end := range []error{nothing, nil} {
		err := s.write(func(txn *transaction) error {
			if n := count(txn); n != 0 {
				t.Errorf("%d records before there is one", n)
			}
			if err := txn.Set(key, nil); err != nil {
				return err
			}
			if n := count(txn); n != 1 {
				t.Errorf("the transaction sees %d of the record that it wrote", n)
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
		if (s.days.Load() == before) != (end != nil) {
			t.Errorf("the days are %v after %v", s.days.Load(), end)
		}
	}
	txn := s.transaction(s.ts-1, false) // with days of which it sees nothing
	defer txn.Discard()
	if n := count(txn); n != 0 {
		t.Errorf("an older reader sees %d records", n)
	}
}

// A walk that finds nothing on a day is stopped by the mark of the next, and does
// not go over what was deleted on all the others.
func TestMarksOfDays(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	s.mu.Lock()
	defer s.mu.Unlock()
	const days = 5
	change := func(f func(txn *transaction, key []byte) error) {
		t.Helper()
		if err := s.write(func(txn *transaction) error {
			var k keys
			for i := range days {
				if err := f(txn, k.index(kindBooked, day.AddDate(0, 0, i), attribution.ConversionID{1})); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	change(func(txn *transaction, key []byte) error { return txn.Set(key, nil) })
	change(func(txn *transaction, key []byte) error { return txn.Delete(key) })
	txn := s.transaction(s.ts, false)
	defer txn.Discard()
	for _, reverse := range []bool{false, true} {
		it := txn.Txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kindByDay}, Reverse: reverse})
		for i := range days - 1 {
			n, want := dayOf(day)+1+dayNumber(i), dayOf(day)+dayNumber(i) // behind a newer day is an older one
			if reverse {
				n, want = n-1, n-1
			}
			it.Seek(append(appendDay(nil, n), kindBooked))
			if !it.Valid() || !bytes.Equal(it.Item().Key(), appendDay(nil, want)) {
				t.Errorf("reverse %t: behind day %d comes %x", reverse, n, it.Item().Key())
			}
		}
		it.Close()
	}
}
