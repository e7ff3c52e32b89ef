package badgerstore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-capture/caddy-capture/capture"
)

// journal checks that every entry can be read, and is in quarantine's index if
// it waits.
func (c *check) journal() error {
	return c.each(kindEntry, func(item *record) error {
		c.result.Entries++
		seq := keyNumber(item.Key())
		if seq >= c.state.seq {
			c.result.Found("journal entry %d lies beyond the next number, which is %d: it could be used again", seq, c.state.seq)
		}
		e, err := decode[capture.Entry](item)
		switch {
		case err != nil:
			return fmt.Errorf("journal entry %d: %w", seq, err)
		case e.Seq != seq:
			return fmt.Errorf("journal entry %d: its record is of entry %d", seq, e.Seq)
		}
		return c.listedEntry(e)
	})
}

// listedEntry checks that an entry is where it is looked for.
func (c *check) listedEntry(e *capture.Entry) error {
	has := func(key []byte, what string) error {
		found, err := get(c.txn, key, func([]byte) error { return nil })
		if err == nil && !found {
			err = fmt.Errorf("journal entry %d %s", e.Seq, what)
		}
		return err
	}
	if e.HasClick {
		if err := has(c.keys.ofClick(e.Click, e.Seq), "is missing from the listing of its click: an erasure would not find it"); err != nil {
			return err
		}
	}
	if !e.Waiting() {
		return nil
	}
	if fp, ok := e.Fingerprint(); ok {
		if err := has(c.keys.repeatable(fp, e.Seq), "waits in quarantine but would not be found when it is repeated"); err != nil {
			return err
		}
	}
	for _, key := range e.AwaitedKeys() {
		if err := has(c.keys.awaiting(key, e.Seq), "awaits a transaction but would not be found by it"); err != nil {
			return err
		}
	}
	return has(c.keys.number(kindWaiting, e.Seq), "waits in quarantine but is missing from its listing")
}

// entryIndexes checks that the indexes of the journal lead to entries that
// belong there.
func (c *check) entryIndexes() error {
	for kind, wrong := range map[byte]func(e *capture.Entry, key []byte) bool{
		kindOfClick: func(e *capture.Entry, key []byte) bool {
			return !e.HasClick || string(c.keys.ofClick(e.Click, e.Seq)) != string(key)
		},
		kindRepeatable: func(e *capture.Entry, key []byte) bool {
			fp, ok := e.Fingerprint()
			return !ok || !e.Waiting() || string(c.keys.repeatable(fp, e.Seq)) != string(key)
		},
		kindAwaiting: func(e *capture.Entry, key []byte) bool {
			return len(key) != 25 || !slices.Contains(e.AwaitedKeys(), capture.TxKey(key[1:17]))
		},
	} {
		err := c.each(kind, func(item *record) error {
			seq := indexSeq(item.Key())
			e, err := getRecord[capture.Entry](c.txn, c.keys.number(kindEntry, seq))
			switch {
			case err != nil:
				return fmt.Errorf("journal entry %d: %w", seq, err)
			case e == nil:
				return fmt.Errorf("journal entry %d is listed under kind %q but not there", seq, kind)
			case wrong(e, item.Key()):
				return fmt.Errorf("journal entry %d is listed under kind %q where it does not belong", seq, kind)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// quarantine checks that its index leads to entries that wait for the same
// reason, and that the counts in memory are those of the index.
func (c *check) quarantine() error {
	counts := make(map[capture.Reason]int64)
	err := c.each(kindWaiting, func(item *record) error {
		seq := keyNumber(item.Key())
		reason, err := item.ValueCopy(nil)
		if err != nil {
			return err
		}
		counts[capture.Reason(reason)]++
		e, err := getRecord[capture.Entry](c.txn, c.keys.number(kindEntry, seq))
		switch {
		case err != nil:
			return fmt.Errorf("journal entry %d: %w", seq, err)
		case e == nil:
			return fmt.Errorf("journal entry %d is listed as in quarantine but not there", seq)
		case !e.Waiting():
			return fmt.Errorf("journal entry %d is listed as in quarantine but waits no longer", seq)
		case string(e.Reason) != string(reason):
			return fmt.Errorf("journal entry %d is listed as in quarantine for %q but waits for %q", seq, reason, e.Reason)
		}
		return nil
	})
	if err == nil && c.waiting != nil && !maps.Equal(counts, c.waiting) {
		c.result.Found("the quarantine is counted as %v, but %v are listed", c.waiting, counts)
	}
	return err
}
