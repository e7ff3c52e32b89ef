package badgerstore

import (
	"bytes"
	"context"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// This file holds the index by which a transaction leads to its conversions.

// eachOfTxID calls f with the conversions of a transaction until it returns
// false.
func eachOfTxID(txn *transaction, k *keys, key capture.TxKey, f func(attribution.ConversionID) bool) {
	prefix := bytes.Clone(k.txidOf(key))
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = prefix, false
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(prefix); it.Valid(); it.Next() {
		if !f(attribution.ConversionID(it.Item().Key()[len(prefix):])) {
			return
		}
	}
}

// ByTxID lists conversions by a transaction. An iterator of a transaction that
// writes would sort all that the batch has written, each time, so what was
// there before is read apart from what the batch adds.
func (t *tx) ByTxID(key capture.TxKey, limit int) (ids []attribution.ConversionID, err error) {
	txn := t.txn
	if t.s != nil {
		txn = t.s.transaction(t.s.ts, false)
		defer txn.Discard()
	}
	ids = append(ids, t.txids[key]...)
	eachOfTxID(txn, &t.keys, key, func(id attribution.ConversionID) bool {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
		return len(ids) < limit
	})
	return ids[:min(len(ids), limit)], nil
}

// putTxIDs keeps the index of transactions in step.
func (t *tx) putTxIDs(c, old *capture.Conversion) error {
	var had []capture.TxKey
	if old != nil {
		had = old.TxKeys
	}
	for _, key := range c.TxKeys {
		if slices.Contains(had, key) {
			continue
		}
		if t.txids == nil {
			t.txids = make(map[capture.TxKey][]attribution.ConversionID)
		}
		t.txids[key] = append(t.txids[key], c.ID)
		if err := t.set(t.keys.txid(key, c.ID), nil); err != nil {
			return err
		}
	}
	for _, key := range had {
		if slices.Contains(c.TxKeys, key) {
			continue
		}
		if err := t.delete(t.keys.txid(key, c.ID)); err != nil {
			return err
		}
	}
	return nil
}

// txidsOf returns the transactions that lead to the conversions.
func txidsOf(txn *transaction, k *keys, known []capture.Known) (map[capture.TxKey]bool, error) {
	txids := make(map[capture.TxKey]bool)
	for _, n := range known {
		c, err := getRecord[capture.Conversion](txn, k.conversion(n.ID))
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		for _, key := range c.TxKeys {
			txids[key] = true
		}
	}
	return txids, nil
}

// findClickless adds what waits without a click, but names a transaction of the
// click's conversions: it is about the same visitor.
func (s *Store) findClickless(ctx context.Context, txn *transaction, found *erasable) error {
	var k keys
	txids, err := txidsOf(txn, &k, found.known)
	if err != nil || len(txids) == 0 {
		return err
	}
	return s.scan(ctx, txn, scan{prefix: []byte{kindWaiting}}, func(item *record) (bool, error) {
		seq := indexSeq(item.Key())
		e, err := getRecord[capture.Entry](txn, k.number(kindEntry, seq))
		if err != nil {
			return false, err
		}
		if e != nil && e.About(func(key capture.TxKey) bool { return txids[key] }) {
			found.entries = append(found.entries, seq)
		}
		return true, nil
	})
}

// hasTxIDs checks that the transactions of a conversion lead to it.
func (c *check) hasTxIDs(conv *capture.Conversion) error {
	for _, key := range conv.TxKeys {
		found, err := get(c.txn, c.keys.txid(key, conv.ID), func([]byte) error { return nil })
		if err != nil {
			return err
		}
		if !found {
			c.result.Found("conversion %s is not found by its transaction %x", conv.ID, key[:])
		}
	}
	return nil
}

// txids checks that every transaction leads to a conversion that has it.
func (c *check) txids() error {
	return c.each(kindTxID, func(item *record) error {
		key, id := capture.TxKey(item.Key()[1:17]), attribution.ConversionID(item.Key()[17:])
		conv, err := getRecord[capture.Conversion](c.txn, c.keys.conversion(id))
		switch {
		case err != nil:
			return err
		case conv == nil:
			c.result.Found("transaction %x leads to conversion %s, which is not there", key[:], id)
		case !slices.Contains(conv.TxKeys, key):
			c.result.Found("transaction %x leads to conversion %s, which does not have it", key[:], id)
		}
		return nil
	})
}
