package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"go.uber.org/zap"
)

const (
	// verifyFirst is how long opening spends on looking at tables: all of a
	// small store is verified in that time, some of a large one, and for
	// verifyLeast some in any case.
	verifyFirst = time.Second
	verifyLeast = time.Second / 4
	verifyEvery = 24 * time.Hour
	// verifyRest is how long the daily round rests for the time it worked.
	verifyRest = 9
)

// verifyAlways verifies all tables once the store is open, and again once a
// day.
//
// Badger checks a block's checksum when it reads it, but where that fails its
// iterators end as if there were nothing more: a look-up finds nothing, a sum
// begins again at zero, and a compaction leaves the rest of the table out for
// good. Nothing of that may happen unnoticed.
func (s *Store) verifyAlways() {
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	err := s.verify(0)
	for err == nil {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		err = s.verify(verifyRest)
	}
	err = s.fail(withRemedy(s.home.dir, err))
	s.log.Error("the store takes nothing any more: redirects go on, postbacks get 503",
		zap.String("store", s.home.dir), zap.Error(err))
}

// verify reads all tables and checks them. It rests so many times as long as
// it works.
func (s *Store) verify(rest time.Duration) error {
	for _, t := range s.db.Tables() {
		start := time.Now()
		if err := s.verifyListed(t.ID); err != nil {
			return err
		}
		select {
		case <-s.stop:
			return nil
		case <-time.After(rest * time.Since(start)):
		}
	}
	return nil
}

// verifyListed checks a table that was listed when the store looked. Badger cuts
// a table that was compacted off at zero bytes before it removes it, so what is
// found there is only damage if the table is still in use. (Badger takes it off
// its list first, and never uses a number again.)
func (s *Store) verifyListed(id uint64) error {
	err := verifyTable(table.NewFilename(id, s.home.dir), id)
	if err == nil || slices.ContainsFunc(s.db.Tables(), func(t badger.TableInfo) bool { return t.ID == id }) {
		return err
	}
	return nil
}

// verifyTable checks one table. It reads the file instead of mapping it, so
// that an error of the disk is an error and not a signal.
func verifyTable(name string, id uint64) (err error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // compacted meanwhile
	}
	if err != nil {
		return unreadable(name, err)
	}
	if err := checkTable(data, id); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, filepath.Base(name), err)
	}
	return nil
}

func checkTable(data []byte, id uint64) (err error) {
	// Badger's own check panics on a block that it cannot even take apart.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a block cannot be read: %v", p)
		}
	}()
	if err := checkFooter(bytes.NewReader(data), int64(len(data))); err != nil {
		return err
	}
	t, err := table.OpenInMemoryTable(data, id, &table.Options{
		ChkMode: options.NoVerification, Compression: compression, BlockSize: 4 << 10,
	})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}

// checkTables looks at the tables before Badger does, which ends the process
// where lengths in them lead astray, and leaves out without a word what it
// cannot read. Of all this looks at what Badger reads when it opens them, and in
// what is then left of verifyFirst it verifies as many as a whole as there is
// time for, others at each start.
// Tables that are not in the manifest are leftovers of a crash, which Badger
// removes; one that is missing it reports.
func checkTables(dir string, o badger.Options) error {
	name := filepath.Join(dir, badger.ManifestFilename)
	f, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a new store
	case err != nil:
		return unreadable(name, err)
	}
	defer f.Close()
	manifest, end, err := badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
	if err != nil {
		return nil //nolint:nilerr // Badger reports it as well
	}
	if err := checkManifestEnd(name, end); err != nil {
		return err
	}
	begin := time.Now()
	names := make([]string, 0, len(manifest.Tables))
	for id := range manifest.Tables {
		names = append(names, table.NewFilename(id, dir))
	}
	if err := checkAllEnds(names); err != nil {
		return err
	}
	limit := begin.Add(max(verifyFirst, time.Since(begin)+verifyLeast))
	for id := range manifest.Tables { // in any order, which differs between starts
		if !time.Now().Before(limit) {
			break
		}
		if err := verifyTable(table.NewFilename(id, dir), id); err != nil {
			return err
		}
	}
	return nil
}

// checkAllEnds checks the ends of tables, many at once: a disk that has them to
// read answers so much sooner, and a large store has a thousand.
func checkAllEnds(names []string) error {
	const atOnce = 16
	var next atomic.Int64
	var work sync.WaitGroup
	errs := make([]error, atOnce)
	for i := range errs {
		work.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(names) {
					return
				}
				errs[i] = withFile(names[n], checkEnds)
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkManifestEnd looks behind where Badger takes the manifest to end. It does
// so where the length of a record is more than what is left, as it is after a
// crash in the middle of writing, and then removes all tables that only later
// records have. A record that is whole but for its length, or has others behind
// it, was damaged. Records have a length, a checksum and data.
func checkManifestEnd(name string, end int64) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return unreadable(name, err)
	}
	rest := data[min(end, int64(len(data))):]
	for at := 0; at+8 < len(rest); at++ {
		size, body := int64(binary.BigEndian.Uint32(rest[at:])), rest[at+8:]
		if at == 0 {
			size = int64(len(body))
		}
		if size > 0 && size <= int64(len(body)) &&
			crc32.Checksum(body[:size], y.CastagnoliCrcTable) == binary.BigEndian.Uint32(rest[at+4:]) {
			return fmt.Errorf("%w: %s cannot be read at byte %d, and goes on behind it", errDamaged, filepath.Base(name), end)
		}
	}
	return nil
}

// withFile checks a file, if it is there.
func withFile(name string, f func(r io.ReaderAt, size int64) error) error {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unreadable(name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return unreadable(name, err)
	}
	if err := f(file, info.Size()); err != nil {
		return fmt.Errorf("%w: %s: %w", errDamaged, filepath.Base(name), err)
	}
	return nil
}

// checkFooter checks the lengths at the end of a table: from the end, the
// length of a checksum, the checksum, the length of the index, the index.
func checkFooter(r io.ReaderAt, size int64) error {
	_, _, err := findIndex(r, size)
	return err
}

// findIndex returns where in a table its index is.
func findIndex(r io.ReaderAt, size int64) (at, n int64, err error) {
	at = size
	for _, what := range []string{"checksum", "index"} {
		var b [4]byte
		if at < 4 {
			return 0, 0, fmt.Errorf("the table is cut off at %d bytes", size)
		}
		if _, err := r.ReadAt(b[:], at-4); err != nil {
			return 0, 0, err
		}
		at -= 4
		n = int64(binary.BigEndian.Uint32(b[:]))
		if n == 0 || n > at {
			return 0, 0, fmt.Errorf("the table's %s has an impossible length of %d bytes", what, n)
		}
		at -= n
	}
	return at, n, nil
}

// checkEnds checks the lengths in what Badger reads of a table to open it: the
// footer and the last block. Their checksums Badger looks at itself.
func checkEnds(r io.ReaderAt, size int64) (err error) {
	at, n, err := findIndex(r, size)
	if err != nil {
		return err
	}
	data := make([]byte, n)
	if _, err := r.ReadAt(data, at); err != nil {
		return err
	}
	block, err := lastBlock(data, at)
	if err != nil {
		return err
	}
	data = make([]byte, block.last-block.first)
	if _, err := r.ReadAt(data, int64(block.first)); err != nil { //nolint:gosec // below size
		return err
	}
	return checkBlock(data)
}

// lastBlock reads from the index where the last block is, which ends below
// limit.
func lastBlock(index []byte, limit int64) (b span, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the index cannot be read: %v", p)
		}
	}()
	root := fb.GetRootAsTableIndex(index, 0)
	var last fb.BlockOffset
	if n := root.OffsetsLength(); n == 0 || !root.Offsets(&last, n-1) {
		return b, errors.New("the index names no block")
	}
	b.first = uint64(last.Offset())
	b.last = b.first + uint64(last.Len())
	if b.last > uint64(limit) { //nolint:gosec // not negative
		return b, fmt.Errorf("the last block ends at byte %d, behind the index at %d", b.last, limit)
	}
	return b, nil
}

// checkBlock checks the lengths at the end of a block: from the end, the length
// of a checksum, the checksum, the number of entries, four bytes for each.
func checkBlock(data []byte) error {
	at := uint64(len(data))
	for _, unit := range []uint64{1, 4} {
		if at < 4 {
			return fmt.Errorf("a block is cut off at %d bytes", len(data))
		}
		at -= 4
		n := uint64(binary.BigEndian.Uint32(data[at:])) * unit
		if n > at {
			return fmt.Errorf("a block has an impossible length of %d bytes in it", n)
		}
		at -= n
	}
	return nil
}
