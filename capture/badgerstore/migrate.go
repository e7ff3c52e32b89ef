package badgerstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// migrations lead from each format to the next one. There is none yet: format
// 1 is that of the first release. A store is migrated in its place when it is
// opened, step by step; the identity inside Badger, whose form is the same in
// all formats, has the format and is written when a step is through. So a step
// that was interrupted runs again from its beginning and has to find its way
// through what it has done already.
//
// A new format needs a step here, and a fixture of itself in testdata.
var migrations = map[int]migration{}

type migration func(m *migrator) error

// oldestFormat is the oldest format from which migrations lead here.
func oldestFormat() int {
	oldest := format
	for migrations[oldest-1] != nil {
		oldest--
	}
	return oldest
}

// migrate brings the store to the format of this program.
func (e *Engine) migrate(ctx context.Context, h *home, db *badger.DB, g *guard, id identityFile) error {
	for id.Format < format {
		e.log().Info("migrating the store to a newer format", zap.String("store", h.dir),
			zap.Int("from", id.Format), zap.Int("to", id.Format+1))
		m := &migrator{ctx: ctx, db: db, guard: g, ts: db.MaxVersion()}
		if err := migrations[id.Format](m); err != nil {
			return fmt.Errorf("migrating the store in %q from format %d to %d: %w; it goes on with the next start",
				h.dir, id.Format, id.Format+1, err)
		}
		id.Format++
		if err := saveIdentity(db, id); err != nil {
			return err
		}
	}
	file, err := readIdentity(h.dir)
	if err != nil || file.Format == id.Format {
		return err
	}
	return h.writeIdentity(id)
}

// migrator changes records before the store is opened.
type migrator struct {
	ctx   context.Context
	db    *badger.DB
	guard *guard
	ts    uint64
}

// pair is a key and its value; without a key there is to be no record.
type pair struct{ key, value []byte }

// migrateStep bounds the records read for one transaction, and rewriteBytes
// what is written in it.
const migrateStep = 1000

// rewrite replaces each record of a prefix by what convert makes of it, which
// may be the same. It may meet again what it has converted.
func (m *migrator) rewrite(prefix []byte, convert func(old pair) (pair, error)) error {
	for from := prefix; from != nil; {
		if err := m.ctx.Err(); err != nil {
			return context.Cause(m.ctx)
		}
		if err := m.guard.look(); err != nil {
			return err
		}
		if err := m.guard.check(); err != nil {
			return err
		}
		var err error
		if from, err = m.step(prefix, from, convert); err != nil {
			return err
		}
	}
	return nil
}

// step converts some records and returns where to go on, nil at the end.
func (m *migrator) step(prefix, from []byte, convert func(old pair) (pair, error)) (next []byte, err error) {
	txn := m.db.NewTransactionAt(m.ts, true)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = prefix
	it := txn.NewIterator(o)
	var old []pair
	size := 0
	for it.Seek(from); it.Valid(); it.Next() {
		if len(old) == migrateStep || size > rewriteBytes {
			next = it.Item().KeyCopy(nil)
			break
		}
		p := pair{key: it.Item().KeyCopy(nil)}
		if p.value, err = it.Item().ValueCopy(nil); err != nil {
			it.Close()
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		size += len(p.value)
		old = append(old, p)
	}
	it.Close()
	for _, p := range old {
		now, err := convert(p)
		if err != nil {
			return nil, err
		}
		same := bytes.Equal(now.key, p.key)
		if same && bytes.Equal(now.value, p.value) {
			continue
		}
		if !same {
			err = txn.Delete(p.key)
		}
		if err == nil && now.key != nil {
			err = txn.Set(now.key, now.value)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := commitSynced(m.db, txn, m.ts+1); err != nil {
		return nil, fmt.Errorf("%w: %w", capture.ErrFatal, err)
	}
	m.ts++
	return next, nil
}
