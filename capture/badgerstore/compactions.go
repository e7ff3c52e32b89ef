package badgerstore

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// compactions lets Badger's compactions, its merges of tables, stand back for
// whoever is to be served.
//
// When five tables have gathered on the first level, Badger merges them with up
// to five goroutines at once, each of which computes without a pause. Go runs
// whoever is ready to in turns of ten milliseconds: on two processors a request,
// which needs several turns, then took up to 190 ms. Badger has no setting for
// it. But it tells its logger of each table that it has built, on the goroutine
// that built it and with no lock held, so that is where they pause: for three
// times as long as they worked, so that all of them are about one together.
// Under a flood of postbacks (two runs of each) the longest wait for a processor
// fell by an eighth and by half, the memory of the process by a twentieth and by a
// seventh, and commits were faster.
type compactions struct {
	db     atomic.Pointer[badger.DB] // nil until it is open
	paused atomic.Int64              // how often
	hurry  atomic.Int32              // how many wait for them
}

const (
	// mergeLine is how the line begins that Badger logs of each table, of which
	// the last value is how long it took.
	mergeLine = "[%d] LOG Compact. Added"
	// pauseFactor is how many times longer than it worked a merge pauses.
	pauseFactor = 3
	// maxPause is for a machine on which all takes long.
	maxPause = 250 * time.Millisecond
	// hurryFrom is how many tables on the first level make merges hurry, and
	// hurryScore how many times larger than it should be another level is. From
	// 15 tables on Badger lets commits wait for them.
	hurryFrom  = 8
	hurryScore = 3
)

// built is called with each line of Badger's debugging log.
func (c *compactions) built(format string, args []any) {
	if !strings.HasPrefix(format, mergeLine) || len(args) == 0 {
		return
	}
	worked, ok := args[len(args)-1].(time.Duration)
	db := c.db.Load()
	if !ok || db == nil || db.IsClosed() || c.hurry.Load() > 0 {
		return
	}
	if pause := pauseAfter(worked, db.Levels()); pause > 0 {
		c.paused.Add(1)
		// Not all at the same time.
		time.Sleep(time.Duration(float64(pause) * (0.5 + rand.Float64()))) //nolint:gosec // no secret
	}
}

// hurry tells the compactions of a database that so many more wait for them, or
// fewer. While anybody does, they do not pause.
func hurry(db *badger.DB, more int32) {
	if l, ok := db.Opts().Logger.(logger); ok {
		l.compactions.hurry.Add(more)
	}
}

// pauseAfter returns how long a merge pauses while the levels are as they are.
func pauseAfter(worked time.Duration, levels []badger.LevelInfo) time.Duration {
	for i, l := range levels {
		if i == 0 && l.NumTables >= hurryFrom || i > 0 && l.Score >= hurryScore {
			return 0
		}
	}
	return min(pauseFactor*max(0, worked), maxPause)
}
