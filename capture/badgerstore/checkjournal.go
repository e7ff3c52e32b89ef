package badgerstore

import (
	"fmt"
	"maps"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// journal checks that every entry can be read, and is in quarantine's index if
// it waits.
func (c *check) journal() error {
	return c.each(kindEntry, func(item *badger.Item) error {
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
		case !e.Waiting():
			return nil
		}
		found, err := get(c.txn, c.keys.number(kindWaiting, seq), func([]byte) error { return nil })
		if err == nil && !found {
			err = fmt.Errorf("journal entry %d waits in quarantine but is missing from its listing", seq)
		}
		return err
	})
}

// quarantine checks that its index leads to entries that wait for the same
// reason, and that the counts in memory are those of the index.
func (c *check) quarantine() error {
	counts := make(map[capture.Reason]int64)
	err := c.each(kindWaiting, func(item *badger.Item) error {
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
