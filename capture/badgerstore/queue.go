package badgerstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	queueStateName = "spool.json"
	// chunkSize is how much of a batch is in one record.
	chunkSize = 512 << 10
	// maxQueued is what one transaction takes.
	maxQueued = memTableSize * 15 / 100 * 9 / 10
	// dropAfter is how much was appended when the files of an empty queue are
	// dropped: Badger itself would keep what was deleted for long, as the keys
	// only grow.
	dropAfter = 64 << 20

	kindQueueHead = 'h'
	kindQueueData = 'd'
)

// Queue is batches that wait on disk, in a directory of their own and with all
// the care of a store.
type Queue struct {
	home  *home
	db    *badger.DB
	guard *guard

	mu       sync.Mutex
	ts       uint64
	logs     *logs
	ownSync  bool
	failure  error
	appended int64 // since the queue was empty
	closed   bool

	stop chan struct{}
	work sync.WaitGroup
}

// OpenQueue opens the queue in the engine's directory, which is no store's.
func (e *Engine) OpenQueue(ctx context.Context) (_ *Queue, err error) {
	h, err := e.claim(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: opening the Badger files in %q: %v", errDamaged, h.dir, p)
		}
		if err != nil {
			h.release()
		}
	}()
	if _, err := os.Stat(filepath.Join(h.dir, identityName)); err == nil {
		return nil, fmt.Errorf("the directory %q is that of a store, not of a spool: name another one", h.dir)
	}
	db, g, err := e.openDB(h)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		home: h, db: db, guard: g, ts: db.MaxVersion(), logs: newLogs(h.dir), ownSync: ownSync && !e.noSync,
		stop: make(chan struct{}),
	}
	db.SetDiscardTs(q.ts)
	watcher := &Store{guard: g, stop: q.stop}
	q.work.Go(watcher.watch)
	return q, nil
}

func queueKey(kind byte, key uint64, chunk ...byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{kind}, key), chunk...)
}

// State returns what SaveState wrote, or nil.
func (q *Queue) State() ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(q.home.dir, queueStateName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// SaveState replaces the state, all of it or nothing.
func (q *Queue) SaveState(data []byte) error {
	name := filepath.Join(q.home.dir, queueStateName)
	err := writeSynced(name+".new", append(data, '\n'))
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	if err == nil {
		err = syncDir(q.home.dir)
	}
	if err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

func (q *Queue) view() *badger.Txn {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.db.NewTransactionAt(q.ts, false)
}

// Heads lists what waits.
func (q *Queue) Heads(yield func(key uint64, head []byte, size int64) error) error {
	txn := q.view()
	defer txn.Discard()
	prefix := []byte{kindQueueHead}
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(prefix); it.ValidForPrefix(prefix); it.Next() {
		key, v := it.Item().Key(), []byte(nil)
		v, err := it.Item().ValueCopy(v)
		if err == nil && (len(key) != 9 || len(v) < 8) {
			err = errDamaged
		}
		if err == nil {
			err = yield(binary.BigEndian.Uint64(key[1:]), v[8:], int64(binary.BigEndian.Uint64(v))) //nolint:gosec // a length
		}
		if err != nil {
			return fmt.Errorf("reading the spool in %q: %w", q.home.dir, err)
		}
	}
	return nil
}

// Append adds a batch and makes it durable.
func (q *Queue) Append(key uint64, head, data []byte) error {
	if len(head)+len(data) > maxQueued {
		return fmt.Errorf("%w: it is %d bytes", capture.ErrTooLarge, len(data))
	}
	if err := q.guard.check(); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.appended += int64(len(data))
	return q.write(true, func(txn *badger.Txn) error { return putBatch(txn, key, head, data) })
}

func putBatch(txn *badger.Txn, key uint64, head, data []byte) error {
	rest := data
	for chunk := byte(0); len(rest) > 0; chunk++ {
		n := min(len(rest), chunkSize)
		if err := txn.Set(queueKey(kindQueueData, key, chunk), rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	v := binary.BigEndian.AppendUint64(nil, uint64(len(data)))
	return txn.Set(queueKey(kindQueueHead, key), append(v, head...))
}

func deleteBatch(txn *badger.Txn, key uint64, size int) error {
	for chunk := range (size + chunkSize - 1) / chunkSize {
		if err := txn.Delete(queueKey(kindQueueData, key, byte(chunk))); err != nil { //nolint:gosec // a few
			return err
		}
	}
	return txn.Delete(queueKey(kindQueueHead, key))
}

// write runs f in a transaction, durable if sync. The lock is held. An error
// that says nothing else leaves it open whether it was written, and ends all
// writing.
func (q *Queue) write(sync bool, f func(txn *badger.Txn) error) error {
	switch {
	case q.closed:
		return capture.ErrClosed
	case q.failure != nil:
		return q.failure
	}
	txn := q.db.NewTransactionAt(q.ts, true)
	defer txn.Discard()
	if err := f(txn); err != nil {
		if errors.Is(err, badger.ErrTxnTooBig) {
			return fmt.Errorf("%w: %w", capture.ErrTooLarge, err)
		}
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	}
	q.home.touch()
	err := txn.CommitAt(q.ts+1, nil)
	switch {
	case err != nil:
	case sync && q.ownSync:
		err = q.logs.sync(q.db.Sync)
	default:
		q.logs.room()
	}
	if err != nil {
		q.failure = fmt.Errorf("writing to the disk of %q: %w", q.home.dir, err)
		return q.failure
	}
	q.ts++
	q.db.SetDiscardTs(q.ts)
	return nil
}

// Read returns a batch.
func (q *Queue) Read(key uint64) (head, data []byte, err error) {
	txn := q.view()
	defer txn.Discard()
	head, err = getCopy(txn, queueKey(kindQueueHead, key))
	switch {
	case err != nil:
		return nil, nil, err
	case head == nil:
		return nil, nil, capture.ErrNotFound
	case len(head) < 8:
		return nil, nil, errDamaged
	}
	size := binary.BigEndian.Uint64(head)
	for chunk := byte(0); uint64(len(data)) < size; chunk++ {
		part, err := getCopy(txn, queueKey(kindQueueData, key, chunk))
		if err != nil {
			return nil, nil, err
		}
		if len(part) == 0 {
			return nil, nil, fmt.Errorf("%w: a part of a batch is missing", errDamaged)
		}
		data = append(data, part...)
	}
	if uint64(len(data)) != size {
		return nil, nil, fmt.Errorf("%w: a batch has %d bytes instead of %d", errDamaged, len(data), size)
	}
	return head[8:], data, nil
}

// Remove removes a batch. Should a power cut undo that, the shared store knows
// that it has it.
func (q *Queue) Remove(key uint64) error {
	txn := q.view()
	head, err := getCopy(txn, queueKey(kindQueueHead, key))
	txn.Discard()
	if err != nil || head == nil {
		return err
	}
	size := 0
	if len(head) >= 8 {
		size = int(min(binary.BigEndian.Uint64(head), maxQueued)) //nolint:gosec // bounded
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.write(false, func(txn *badger.Txn) error { return deleteBatch(txn, key, size) })
}

// Emptied gives space back after much was in the queue.
func (q *Queue) Emptied() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.failure != nil || q.appended < dropAfter {
		return nil
	}
	q.appended = 0
	hurry(q.db, 1)
	defer hurry(q.db, -1)
	if err := q.db.DropAll(); err != nil {
		q.failure = fmt.Errorf("giving back the space of %q: %w", q.home.dir, err)
		return q.failure
	}
	q.logs.close()
	q.logs.find()
	return nil
}

// Room tells why nothing can be appended now, or nil.
func (q *Queue) Room() (free, reserve int64, full error) {
	return q.guard.free.Load(), q.guard.reserve.Load(), q.guard.check()
}

// Close closes the files.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return capture.ErrClosed
	}
	q.closed = true
	q.mu.Unlock()
	close(q.stop)
	q.work.Wait()
	q.logs.close()
	err := q.db.Close()
	q.home.release()
	if err != nil {
		return fmt.Errorf("closing the spool in %q: %w", q.home.dir, err)
	}
	return nil
}
