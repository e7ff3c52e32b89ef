package badgerstore

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Repeated returns the entries in quarantine that e repeats. An ordinary
// postback costs one hash and one look into memory.
func (t *tx) Repeated(e *capture.Entry, limit int) (list []*capture.Entry, err error) {
	if t.s != nil {
		if err := t.s.repeatable.load(t.txn); err != nil {
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
	seqs, err := t.indexed(t.keys.repeatableFrom(fp))
	for _, seq := range seqs {
		if len(list) == limit || err != nil {
			break
		}
		var w *capture.Entry
		if w, err = t.Entry(seq); err == nil && w != nil && e.Repeats(w) {
			list = append(list, w)
		}
	}
	return list, err
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
	for it.Seek(prefix); it.ValidForPrefix(prefix) && len(seqs) < indexedMax; it.Next() {
		seqs = append(seqs, indexSeq(it.Item().Key()))
	}
	return seqs, nil
}

// filter tells most requests that were never seen apart from those that wait
// in quarantine: a bit for each, never one too few. It is read from the index
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

func (f *filter) load(txn *badger.Txn) error {
	if f.bits != nil && f.added < filterFull {
		return nil
	}
	f.bits, f.added = make([]uint64, filterBits/64), 0
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{kindRepeatable}, false
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
