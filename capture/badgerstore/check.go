package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// check compares the store with itself, at one point in time. What it keeps in
// memory is the sums of one day at most.
type check struct {
	s      *Store
	ctx    context.Context
	txn    *transaction
	keys   keys
	result capture.CheckResult
	state  state
	swept  swept
	fold   fold
	loose  map[uint32]sums // by day; there are only some thousand
	// waiting is the quarantine as the store counts it in memory.
	waiting map[capture.Reason]int64

	progress    func(done, total int64)
	done, total int64
}

// Check compares sums with records and indexes with what they lead to.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (capture.CheckResult, error) {
	if err := ctx.Err(); err != nil {
		return capture.CheckResult{}, context.Cause(ctx)
	}
	c := &check{s: s, ctx: ctx, progress: progress}
	ts, err := c.begin()
	if err != nil {
		return c.result, err
	}
	defer s.gate.done(ts)
	c.txn = s.transaction(ts, false)
	defer c.txn.Discard()
	// In this order: a damaged table makes everything else look wrong.
	for _, step := range []func() error{
		c.verifyTables, c.prepare, c.notedDays, c.blocks, c.looseCells, c.days, c.conversions, c.listed(kindTest), c.listed(kindUnbooked),
		c.known, c.txids, c.journal, c.quarantine, c.entryIndexes,
	} {
		if err := step(); err != nil {
			return c.result, err
		}
	}
	if progress != nil {
		progress(c.total, c.total)
	}
	return c.result, nil
}

// begin takes the timestamp to read at, and what memory says at that moment.
func (c *check) begin() (uint64, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	ts, err := c.s.gate.read()
	if err != nil {
		return 0, err
	}
	if c.s.failed() == nil {
		c.s.quarantineMu.Lock()
		defer c.s.quarantineMu.Unlock()
		c.waiting = maps.Clone(c.s.quarantine)
	}
	return ts, nil
}

// verifyTables reads all tables: Badger's iterators end at damage as if there
// were nothing more. What is damaged stops the store, as at any other time.
func (c *check) verifyTables() error {
	err := c.s.verifyNow(c.ctx)
	if errors.Is(err, errDamaged) {
		c.result.Found("%v", err)
		return nil
	}
	return err
}

// prepare counts what there is to do.
func (c *check) prepare() (err error) {
	if c.state, err = stateOf(c.txn); err != nil {
		return err
	}
	if c.swept, err = sweptOf(c.txn); err != nil {
		return err
	}
	for _, kind := range []byte{
		kindBlock, kindBlock, kindMerged, kindMerged, kindConversion, kindBooked, kindTest, kindUnbooked, kindKnown, kindTxID, kindEntry, kindWaiting, kindOfClick,
		kindRepeatable, kindAwaiting, kindPack,
	} {
		if err := c.s.scan(c.ctx, c.txn, scan{prefix: []byte{kind}}, func(*record) (bool, error) {
			c.total++
			return true, nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// notedDays checks that all days of which there is anything are noted: walks go
// to no others.
func (c *check) notedDays() error {
	// Those in memory may have become more since the moment that is checked.
	noted, err := daysOf(c.txn.Txn)
	if err != nil {
		return err
	}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{kindByDay}, false
	it := c.txn.Txn.NewIterator(o)
	defer it.Close()
	marked := 0
	for it.Rewind(); it.Valid(); {
		key := it.Item().KeyCopy(nil)
		if len(key) < dayBytes {
			c.result.Found("a record of no day: %x", key)
			return nil
		}
		n := placedOn(key)
		if len(key) == dayBytes {
			marked++
		}
		if !noted.has(n) {
			c.result.Found("what is kept under day %d is not found, as that is not noted", n)
		}
		if n == 0 {
			break
		}
		it.Seek(appendDay(key[:0], n-1))
	}
	if days := len(noted.list); marked != days {
		c.result.Found("%d days are noted, but %d marked", days, marked)
	}
	return nil
}

// each visits all keys of a kind. What visit returns is a problem of the item.
func (c *check) each(kind byte, visit func(item *record) error) error {
	return c.eachFrom(scan{prefix: []byte{kind}}, func(item *record) (bool, error) { return true, visit(item) })
}

func (c *check) eachFrom(w scan, visit func(item *record) (bool, error)) error {
	return c.s.scan(c.ctx, c.txn, w, func(item *record) (bool, error) {
		more, err := visit(item)
		if !more {
			return false, nil
		}
		if err == nil && item.misplaced(c.txn) {
			err = fmt.Errorf("a record of kind %q is kept under another day than its own: %x", item.Key()[0], item.Item.Key())
		}
		if err != nil {
			c.result.Found("%v", err)
		}
		if c.done++; c.progress != nil && c.done%4096 == 0 {
			c.progress(min(c.done, c.total), c.total) // blocks may be read more than twice
		}
		return true, nil
	})
}

func stampOf(quarter uint32) string {
	return capture.Cell{Quarter: quarter}.Time().Format("2006-01-02T15:04Z07:00")
}

// conversions checks that every conversion is in its listing and in that of
// its click.
func (c *check) conversions() error {
	return c.each(kindConversion, func(item *record) error {
		c.result.Conversions++
		id := attribution.ConversionID(item.Key()[1:17])
		conv, err := decode[capture.Conversion](item)
		switch {
		case err != nil:
			return fmt.Errorf("conversion %s: %w", id, err)
		case conv.ID != id:
			return fmt.Errorf("conversion %s: its record is of conversion %s", id, conv.ID)
		}
		c.result.CheckConversion(conv)
		found, err := get(c.txn, c.keys.indexOf(conv), func(v []byte) error {
			if len(v) == 0 {
				return nil
			}
			says, err := saysOf(c.keys.indexOf(conv), v, conv)
			if err == nil && !says {
				err = fmt.Errorf("conversion %s: what the listing says of it is not what its record says", id)
			}
			if err != nil {
				c.result.Found("%v", err)
			}
			return nil
		})
		if err != nil || !found {
			c.result.Found("conversion %s of %s is missing from the listing", id, conv.State.Time.Format("2006-01-02T15:04:05Z07:00"))
		}
		known, err := get(c.txn, c.keys.known(conv.Click, id), func(v []byte) error {
			known, err := decodeKnown(id, v)
			if err == nil && known.Dedup != conv.Dedup {
				c.result.Found("conversion %s is known to its click as made under dedup %s, not %s", id, known.Dedup, conv.Dedup)
			} else if err == nil && known != conv.Known() {
				c.result.Found("conversion %s: whether claims came to it under another dedup than %s is not what its click knows", id, conv.Dedup)
			}
			return err
		})
		if err != nil {
			return err
		}
		if !known {
			c.result.Found("conversion %s is not known to its click", id)
		}
		return c.hasTxIDs(conv)
	})
}

// listed checks that every key of a listing leads to its conversion.
func (c *check) listed(kind byte) func() error {
	return func() error {
		return c.each(kind, func(item *record) error {
			_, err := c.follow(item.Key())
			return err
		})
	}
}

// follow returns the conversion that a key of a listing leads to.
func (c *check) follow(key []byte) (*capture.Conversion, error) {
	id := indexID(key)
	conv, err := getRecord[capture.Conversion](c.txn, c.keys.conversion(id))
	switch {
	case err != nil:
		return nil, fmt.Errorf("conversion %s: %w", id, err)
	case conv == nil:
		return nil, fmt.Errorf("conversion %s is listed but not there", id)
	case string(c.keys.indexOf(conv)) != string(key):
		return nil, fmt.Errorf("conversion %s is listed where it does not belong, under kind %q at %s", id, key[0], indexTime(key))
	}
	return conv, nil
}

// known checks that what clicks know of their conversions leads to them.
func (c *check) known() error {
	return c.each(kindKnown, func(item *record) error {
		ref := refOf(item.Key())
		id := attribution.ConversionID(item.Key()[16:])
		conv, err := getRecord[capture.Conversion](c.txn, c.keys.conversion(id))
		switch {
		case err != nil:
			return err
		case conv == nil:
			c.result.Found("conversion %s is known to click %+v but not there", id, ref)
		case conv.Click != ref:
			c.result.Found("conversion %s is known to click %+v but belongs to %+v", id, ref, conv.Click)
		}
		return nil
	})
}

// refOf reads the click in the key of one of its conversions.
func refOf(key []byte) clickid.Ref {
	return clickid.Ref{
		Epoch: binary.BigEndian.Uint16(key[1:]), Block: binary.BigEndian.Uint64(key[3:]), Slot: key[11],
		Second: binary.BigEndian.Uint32(key[12:]),
	}
}
