package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// logRoom is how much Badger writes into a log: it ends one after the write
// with which it becomes as large as a memtable, and a write is far smaller.
const logRoom = memTableSize * 5 / 4

// logs takes room on the disk for Badger's logs. Badger makes them sparse and
// writes to them through memory, so a disk that somebody fills up at that
// moment would end the process. It belongs to the writer.
type logs struct {
	dir  string
	next int // number of the log that is not there yet
}

// newLogs begins with the logs that are there.
func newLogs(dir string) *logs {
	l := &logs{dir: dir}
	names, err := filepath.Glob(l.name("*"))
	if err != nil {
		return l
	}
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".mem")); err == nil {
			l.next = max(l.next, n)
		}
	}
	return l
}

func (l *logs) name(number string) string { return filepath.Join(l.dir, number+".mem") }

// allocate takes room for a log that Badger has begun since the last call. It
// is called before each write: a log is begun seldom, and by a write. Where
// that fails or cannot be had, all is as without it.
func (l *logs) allocate() {
	f, err := os.OpenFile(l.name(fmt.Sprintf("%05d", l.next)), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	l.next++
	if err != nil {
		return
	}
	_ = allocate(f, logRoom)
	_ = f.Close()
}
