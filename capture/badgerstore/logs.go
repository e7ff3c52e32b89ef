package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// logRoom is how much Badger writes into a log: it ends one after the write
// with which it becomes as large as a memtable, and a write is far smaller.
const logRoom = memTableSize * 5 / 4

// logs takes room on the disk for Badger's logs, and makes durable what is in
// them. It belongs to the writer.
//
// Badger makes its logs sparse and writes to them through memory, so a disk
// that somebody fills up at that moment would end the process: hence the room.
//
// Asked to sync (SyncWrites), Badger syncs its value log with every write as
// well, in which we never have anything: with small batches, a third of all
// that a click costs. One transaction is in one log, the newest, and there is
// one writer; so syncing that file after each commit is what Badger would do.
// Where ownSync is false, Badger does it.
type logs struct {
	dir    string
	next   int      // number of the log that is not there yet
	newest *os.File // nil if it could not be opened
	lost   bool     // there is one that could not be opened
}

// newLogs begins with the logs that are there.
func newLogs(dir string) *logs {
	l := &logs{dir: dir}
	l.find()
	return l
}

// find looks for the newest log there is.
func (l *logs) find() {
	names, _ := filesIn(l.dir, ".mem") // then it is not found by its number either
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".mem")); err == nil {
			l.next = max(l.next, n)
		}
	}
}

// filesIn lists the files of a directory by the end of their names, in order.
func filesIn(dir, suffix string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, err
}

func (l *logs) name(number string) string { return filepath.Join(l.dir, number+".mem") }

// follow takes room for a log that Badger has begun since the last call. It is
// called after each write: a log is begun seldom, and by a write. Where there
// is no room to be had, all is as without it.
func (l *logs) follow() error {
	if l.lost {
		l.find() // it may be gone by now, and others come
	}
	for {
		f, err := os.OpenFile(l.name(fmt.Sprintf("%05d", l.next)), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		l.close() // whatever it is, it is not the newest
		if l.lost = err != nil; l.lost {
			return err
		}
		l.next++
		_ = allocate(f, logRoom)
		l.newest = f
	}
}

// room takes room for a new log only.
func (l *logs) room() {
	_ = l.follow()
	l.close()
}

// sync makes durable what the last transaction wrote. Otherwise is what to do
// if the log cannot be had by its name, as when there are too many open files.
func (l *logs) sync(otherwise func() error) error {
	if err := l.follow(); err != nil || l.newest == nil {
		return otherwise()
	}
	return syncData(l.newest)
}

// commitSynced commits a transaction of before the store is open, and makes it
// durable.
func commitSynced(db *badger.DB, txn *badger.Txn, ts uint64) error {
	err := txn.CommitAt(ts, nil)
	if err == nil && ownSync {
		err = db.Sync()
	}
	return err
}

// close lets go of the newest log.
func (l *logs) close() {
	if l.newest != nil {
		_ = l.newest.Close()
		l.newest = nil
	}
}
