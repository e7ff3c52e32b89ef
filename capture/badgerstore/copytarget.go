package badgerstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A copy is made in its place. A file in the directory says that it is not
// complete, and of what it is a copy; no server opens the store as long as it is
// there. How far the copy goes is inside the store, in the same write as the
// records.

// copyMark is the file.
const copyMark = "unfinished-copy"

// finished refuses a directory with an unfinished copy.
func finished(dir string) error {
	_, err := os.Stat(filepath.Join(dir, copyMark))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // whoever makes the directory says what is wrong
		return nil
	case err != nil:
		return dirError("read", dir, err)
	}
	return fmt.Errorf("%w: the directory %q holds what `caddy capture migrate` has copied so far: run it again to go on, "+
		"or move the directory away", capture.ErrUnfinished, dir)
}

// copyTarget is a store that is being made.
type copyTarget struct {
	*Store
	head *capture.CopyHead
	last capture.CopyKey
	n    int64
}

// OpenTarget begins a copy in a directory that is empty or missing, or goes on
// with it.
func (e *Engine) OpenTarget(ctx context.Context, head *capture.CopyHead) (_ capture.CopyTarget, err error) {
	h, err := e.claim(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.release()
		}
	}()
	if err := e.beginCopy(h, head); err != nil {
		return nil, err
	}
	s, err := e.openSafely(ctx, h)
	if err != nil {
		return nil, withRemedy(h.dir, err)
	}
	t := &copyTarget{Store: s, head: head}
	if err := t.begin(ctx); err != nil {
		_ = s.Close(0)
		return nil, err
	}
	return t, nil
}

// beginCopy makes the directory that of a copy.
func (e *Engine) beginCopy(h *home, head *capture.CopyHead) error {
	text, err := head.Encode()
	if err != nil {
		return err
	}
	mark := filepath.Join(h.dir, copyMark)
	was, err := os.ReadFile(mark)
	switch {
	case err == nil && !bytes.Equal(was, text):
		return fmt.Errorf("%w, or its source has changed since, in the directory %q: move that away, and copy again", capture.ErrAnotherCopy, h.dir)
	case errors.Is(err, fs.ErrNotExist):
		names, err := os.ReadDir(h.dir)
		if err != nil {
			return dirError("read", h.dir, err)
		}
		for _, n := range names {
			if n.Name() != lockName && n.Name() != copyMark+".new" {
				return fmt.Errorf("the directory %q is not empty (there is %q): a store is copied only into an empty directory; "+
					"move what is there away, or name another one", h.dir, n.Name())
			}
		}
		if err := writeSynced(mark+".new", text); err != nil {
			return dirError("written to", h.dir, err)
		}
		if err := os.Rename(mark+".new", mark); err != nil {
			return dirError("written to", h.dir, err)
		}
	case err != nil:
		return dirError("read", h.dir, err)
	}
	if _, err := readIdentity(h.dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return h.writeIdentity(identityFile{format, head.Home, e.now().UTC(), head.Secret})
}

// begin reads how far the copy goes, or writes what it begins with.
func (t *copyTarget) begin(ctx context.Context) error {
	home := t.head.Node(t.head.Home)
	if home == nil {
		return fmt.Errorf("the source says nothing of epoch %d, its own", t.head.Home)
	}
	var data []byte
	err := t.view(ctx, func(txn *transaction) (err error) {
		data, err = getCopy(txn, keyCopied)
		return err
	})
	if err != nil {
		return err
	}
	if data != nil {
		return t.resume(data)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	st := state{batch: home.Batch, seq: max(t.head.NextSeq, 1), lease: max(home.CopiedLease(), 1)}
	if err := t.lease.raise(st.lease); err != nil {
		return err
	}
	w := swept{t.head.SweptClicks, t.head.SweptConversions}
	others := capture.CopyHead{Store: t.head.Store, Nodes: t.head.Nodes, Erased: lastErased(t.head.Erased, erasedKept)}
	nodes, err := others.Encode()
	if err != nil {
		return err
	}
	copied, err := t.copied(t.last, 0)
	if err != nil {
		return err
	}
	pairs := []pair{{keyState, st.encode()}, {keyCopied, copied}}
	if w != (swept{}) {
		pairs = append(pairs, pair{keySwept, w.encode()})
	}
	if len(t.head.Nodes) > 1 || t.head.Store != "" {
		pairs = append(pairs, pair{keyNodes, nodes})
	}
	err = t.write(func(txn *transaction) error {
		for _, p := range pairs {
			if err := txn.Set(p.key, p.value); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		t.state, t.swept = st, w
	}
	return err
}

// copied is the record of how far the copy goes.
func (t *copyTarget) copied(last capture.CopyKey, n int64) ([]byte, error) {
	key, err := last.Encode()
	if err != nil {
		return nil, err
	}
	return append(state{batch: uint64(n)}.encode(), key...), nil //nolint:gosec // never negative
}

func (t *copyTarget) resume(data []byte) error {
	var n, none uint64
	rest, err := readUvarints(data, "note of a copy", &n, &none, &none, &none)
	if err == nil {
		t.last, err = capture.DecodeCopyKey(rest)
	}
	t.n = int64(n) //nolint:gosec // as written
	return err
}

// Done tells how far the copy goes.
func (t *copyTarget) Done() (capture.CopyKey, int64) { return t.last, t.n }

// Put adds records in one transaction.
func (t *copyTarget) Put(ctx context.Context, records []*capture.CopyRecord) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := t.gate.enter(); err != nil {
		return err
	}
	defer t.gate.leave()
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.guard.look() // the last answer holds on
	if err := t.guard.check(); err != nil {
		return err
	}
	tx := newTx(t.Store)
	defer tx.txn.Discard()
	tx.fresh = 0 // they come in order, so none is there already
	for _, r := range records {
		if err := tx.copied(r, t.head.Home); err != nil {
			return fmt.Errorf("%s: %w", r.Key, err)
		}
	}
	last, n := records[len(records)-1].Key, t.n+int64(len(records))
	note, err := t.copied(last, n)
	if err != nil {
		return err
	}
	if err := tx.putState(); err != nil {
		return err
	}
	if err := tx.set(keyCopied, note); err != nil {
		return err
	}
	if err := t.lease.raise(tx.state.lease); err != nil {
		return err
	}
	if err := t.finish(tx.txn); err != nil {
		return err
	}
	tx.done()
	t.last, t.n = last, n
	return nil
}

// copied puts a record as it would have come to be here.
func (t *tx) copied(r *capture.CopyRecord, home uint16) error {
	switch r.Key.Kind {
	case capture.CopyBlock:
		b, err := capture.DecodeBlock(r.Data)
		switch {
		case err != nil:
			return err
		case r.Key.Epoch == home:
			return t.PutBlock(b)
		}
		return t.putGuest(r.Key.Epoch, b)
	case capture.CopyConversion:
		c := new(capture.Conversion)
		if err := capture.DecodeRecord(r.Data, c); err != nil {
			return err
		}
		return t.PutConversion(c, nil)
	case capture.CopyEntry:
		e := new(capture.Entry)
		if err := capture.DecodeRecord(r.Data, e); err != nil {
			return err
		}
		return t.PutEntry(e)
	case capture.CopySum:
		return t.AddCounts(r.Key.Cell, r.Counts)
	}
	return fmt.Errorf("there are no records of kind %d", r.Key.Kind)
}

// Count counts the records.
func (t *copyTarget) Count(ctx context.Context) (int64, error) { return t.countRecords(ctx) }

// Records reads them.
func (t *copyTarget) Records(ctx context.Context, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	return t.records(ctx, t.head, after, yield)
}

// Finish makes the copy a store.
func (t *copyTarget) Finish(context.Context) error {
	if err := os.Remove(filepath.Join(t.home.dir, copyMark)); err != nil {
		return dirError("written to", t.home.dir, err)
	}
	if err := syncDir(t.home.dir); err != nil {
		return err
	}
	// Without the file nobody reads it any more; in the other order a crash in
	// between would make the copy begin anew on top of itself.
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(func(txn *transaction) error { return txn.Delete(keyCopied) })
}

// Close closes the copy, finished or not.
func (t *copyTarget) Close() error { return t.Store.Close(0) }
