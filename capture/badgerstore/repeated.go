package badgerstore

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Repeated returns the entries in quarantine that e repeats. An ordinary
// postback costs one hash and one look into memory.
func (t *tx) Repeated(e *capture.Entry, limit int) (list []*capture.Entry, err error) {
	if t.s != nil {
		if err := t.s.repeatable.load(t.txn, kindRepeatable); err != nil {
			return nil, err
		}
		if t.s.repeatable.empty() {
			return nil, nil
		}
	}
	fp, ok := e.Fingerprint()
	if !ok || t.s != nil && !t.s.repeatable.has(fp) {
		return nil, nil
	}
	return t.indexedEntries(t.keys.repeatableFrom(fp), limit, e.Repeats)
}

// Awaiting returns the entries in quarantine that await the transaction.
func (t *tx) Awaiting(key capture.TxKey, limit int) ([]*capture.Entry, error) {
	if t.s != nil {
		if err := t.s.awaiting.load(t.txn, kindAwaiting); err != nil {
			return nil, err
		}
		if t.s.awaiting.empty() || !t.s.awaiting.has(hashOf(key)) {
			return nil, nil
		}
	}
	return t.indexedEntries(t.keys.awaitingOf(key), limit, func(w *capture.Entry) bool {
		return slices.Contains(w.AwaitedKeys(), key)
	})
}

// hashOf is what the filter knows a transaction by.
func hashOf(key capture.TxKey) uint64 { return binary.BigEndian.Uint64(key[:]) }

// indexedEntries lists the entries in an index's keys of one prefix that fit.
func (t *tx) indexedEntries(prefix []byte, limit int, fits func(*capture.Entry) bool) (list []*capture.Entry, err error) {
	seqs, err := t.indexed(prefix)
	for _, seq := range seqs {
		if len(list) == limit || err != nil {
			break
		}
		var w *capture.Entry
		if w, err = t.Entry(seq); err == nil && w != nil && fits(w) {
			list = append(list, w)
		}
	}
	return list, err
}

// putWaiting lists an entry that waits in quarantine where it is looked for. Was
// is the entry as it was, nil if it is new or did not wait.
func (t *tx) putWaiting(e, was *capture.Entry) error {
	if was != nil {
		if err := unlist(&t.keys, was, t.delete); err != nil {
			return err
		}
	}
	if !e.Waiting() {
		return nil
	}
	if fp, ok := e.Fingerprint(); ok {
		t.s.repeatable.add(fp)
		if err := t.set(t.keys.repeatable(fp, e.Seq), nil); err != nil {
			return err
		}
	}
	for _, key := range e.AwaitedKeys() {
		t.s.awaiting.add(hashOf(key))
		if err := t.set(t.keys.awaiting(key, e.Seq), nil); err != nil {
			return err
		}
	}
	return nil
}

// unlist removes an entry that waits from where it is looked for.
func unlist(k *keys, e *capture.Entry, remove func(key []byte) error) error {
	if fp, ok := e.Fingerprint(); ok {
		if err := remove(k.repeatable(fp, e.Seq)); err != nil {
			return err
		}
	}
	for _, key := range e.AwaitedKeys() {
		if err := remove(k.awaiting(key, e.Seq)); err != nil {
			return err
		}
	}
	return nil
}

// indexedMax bounds what one postback reads of an index. More entries than
// that of one request wait only where something is badly wrong.
const indexedMax = 1024

// indexed lists the journal numbers in an index's keys of one prefix.
func (t *tx) indexed(prefix []byte) (seqs []uint64, err error) {
	prefix = bytes.Clone(prefix)
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = prefix, false
	it := t.txn.NewIterator(o)
	defer it.Close()
	for it.Seek(prefix); it.Valid() && len(seqs) < indexedMax; it.Next() {
		seqs = append(seqs, indexSeq(it.Item().Key()))
	}
	return seqs, nil
}

// filter tells most of what was never seen, requests or transactions, apart from
// that for which something waits in quarantine: a bit for each, never one too few. It is read from the index
// when it is first asked, and again when it has become too full to be of use.
// It belongs to the writer.
type filter struct {
	bits  []uint64 // nil: not read yet
	added int
}

const (
	filterBits = 1 << 20 // 128 KiB
	filterFull = filterBits / 8
)

func (f *filter) load(txn *transaction, kind byte) error {
	if f.bits != nil && f.added < filterFull {
		return nil
	}
	f.bits, f.added = make([]uint64, filterBits/64), 0
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{kind}, false
	it := txn.NewIterator(o)
	defer it.Close()
	n := 0
	for it.Rewind(); it.Valid(); it.Next() {
		f.add(keyNumber(it.Item().Key()))
		n++
	}
	if n > 0 {
		f.added = 1 // those that wait do not count towards reading it again
	}
	return nil
}

func (f *filter) add(fp uint64) {
	if f.bits != nil {
		f.bits[fp%filterBits/64] |= 1 << (fp % 64)
		f.added++
	}
}

func (f *filter) has(fp uint64) bool { return f.bits[fp%filterBits/64]&(1<<(fp%64)) != 0 }

// empty tells whether nothing has waited since the index was read.
func (f *filter) empty() bool { return f.added == 0 }
