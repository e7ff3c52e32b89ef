package badgerstore

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"

	"github.com/dustin/go-humanize"

	"github.com/caddy-capture/caddy-capture/capture"
)

// minReserve is the least that is kept free. Badger maps its files into
// memory, so a full disk is no error that could be handled but a SIGBUS that
// ends the process, and again at every start. What Badger may still write when
// we stop writing: four memtables (32 MiB) as tables, the rest of one sparse
// log (16 MiB), and two compactions of some ten tables each (up to 100 MiB)
// before the old ones go (of large stores see reserveShare); and at 100 MB/s 25 MiB come in between two looks.
// 256 MiB holds all of it. The gigabytes that are otherwise advised would lock
// the store out of the disks of small servers.
const minReserve = 256 << 20

// reserveShare is the part of a large store that is kept free: a fourth. Where
// postbacks of old clicks come among those of new ones, one compaction writes
// all conversions in between anew, which was a tenth of a store of a hundred
// million clicks with a conversion for each hundredth.
const reserveShare = 4

// guard watches the free space of the store's disk.
type guard struct {
	dir   string
	fixed int64 // Engine.Reserve
	// ask returns the free space; tests replace it.
	ask func(dir string) (int64, error)

	free, bytes, reserve atomic.Int64
	full                 atomic.Bool
}

func newGuard(dir string, fixed int64) *guard {
	return &guard{dir: dir, fixed: fixed, ask: diskFree}
}

// measure adds up what the store takes on disk, and with it what to keep free.
func (g *guard) measure() {
	var sum int64
	_ = filepath.WalkDir(g.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go
		}
		if info, err := d.Info(); err == nil {
			sum += diskUsed(info)
		}
		return nil
	})
	g.bytes.Store(sum)
	reserve := g.fixed
	if reserve == 0 {
		reserve = max(minReserve, sum/reserveShare, 10*memTableSize)
	}
	g.reserve.Store(reserve)
}

// look asks for the free space. Below the reserve the disk counts as full, and
// goes on doing so until there is a little more than the reserve, so that
// writing does not begin and end with every file that comes and goes.
func (g *guard) look() error {
	free, err := g.ask(g.dir)
	if err != nil {
		return err
	}
	g.free.Store(free)
	reserve := g.reserve.Load()
	if g.full.Load() {
		reserve += reserve / 20
	}
	g.full.Store(free < reserve)
	return nil
}

// check returns an error while the disk is too full to write.
func (g *guard) check() error {
	if !g.full.Load() {
		return nil
	}
	return fmt.Errorf("%w: %s", capture.ErrNoSpace, g.why())
}

// checkDelete is check for deletions: they make room in the end, so they may
// use half of the reserve.
func (g *guard) checkDelete() error {
	if g.free.Load() >= g.reserve.Load()/2 {
		return nil
	}
	return fmt.Errorf("%w: %s", capture.ErrNoSpace, g.why())
}

// checkRewrite is check for giving back the space of what was deleted. For that
// Badger may write all the store anew before the old files go: a deletion of
// what is old and a record that is new can come to be in one table, and that is
// merged with everything between the two. For a small store the reserve is enough.
func (g *guard) checkRewrite() error {
	bytes, free := g.bytes.Load(), g.free.Load()
	if bytes <= minReserve || free >= bytes {
		return nil
	}
	return fmt.Errorf("%w: the disk of %q has %s free, and to delete what has expired, and give back the space of it, "+
		"the store may need as much again as it takes, %s; make room on it", capture.ErrNoSpace, g.dir, size(free), size(bytes))
}

func (g *guard) why() string {
	return fmt.Sprintf("the disk of %q has %s free, and the store needs %s to be safe; make room on it",
		g.dir, size(g.free.Load()), size(g.reserve.Load()))
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) } //nolint:gosec // not negative
