package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"go.uber.org/zap"
)

const (
	// verifyWait is how long opening waits for the tables to be verified: all
	// of a small store, the beginning of a large one.
	verifyWait  = time.Second
	verifyEvery = 24 * time.Hour
	// verifyRest is how long the daily round rests for the time it worked.
	verifyRest = 9
)

// verifyFirst verifies all tables, waiting a while for the result, and again
// once a day.
//
// Badger checks a block's checksum when it reads it, but where that fails its
// iterators end as if there were nothing more: a look-up finds nothing, a sum
// begins again at zero, and a compaction leaves the rest of the table out for
// good. Nothing of that may happen unnoticed.
func (s *Store) verifyFirst() error {
	first := make(chan error, 1)
	s.work.Go(func() {
		err := s.verify(0)
		first <- err
		tick := time.NewTicker(verifyEvery)
		defer tick.Stop()
		for err == nil {
			select {
			case <-s.stop:
				return
			case <-tick.C:
			}
			err = s.verify(verifyRest)
		}
		err = s.fail(err)
		s.log.Error("the store is damaged and takes nothing any more: restore it from a backup",
			zap.String("store", s.home.dir), zap.Error(err))
	})
	select {
	case err := <-first:
		return err
	case <-time.After(verifyWait):
		return nil
	}
}

// verify reads all tables and checks them. It rests so many times as long as
// it works.
func (s *Store) verify(rest time.Duration) error {
	for _, t := range s.db.Tables() {
		start := time.Now()
		if err := verifyTable(table.NewFilename(t.ID, s.home.dir), t.ID); err != nil {
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

// verifyTable checks one table. It reads the file instead of mapping it, so
// that an error of the disk is an error and not a signal.
func verifyTable(name string, id uint64) (err error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // compacted meanwhile
	}
	if err == nil {
		err = checkTable(data, id)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w; restore the store from a backup", errDamaged, filepath.Base(name), err)
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

// checkFooters looks at the ends of the tables before Badger does, which ends
// the process where the lengths in them lead astray. Tables that are not in
// the manifest are leftovers of a crash, which Badger removes.
func checkFooters(dir string, o badger.Options) error {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil // a new store, or an error that Badger reports as well
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
	if err != nil {
		return nil // the same
	}
	for id := range manifest.Tables {
		name := table.NewFilename(id, dir)
		err := withFile(name, checkFooter)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s: %w; restore the store from a backup", errDamaged, filepath.Base(name), err)
		}
	}
	return nil
}

func withFile(name string, f func(r io.ReaderAt, size int64) error) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return f(file, info.Size())
}

// checkFooter checks the lengths at the end of a table: from the end, the
// length of a checksum, the checksum, the length of the index, the index.
func checkFooter(r io.ReaderAt, size int64) error {
	at := size
	for _, what := range []string{"checksum", "index"} {
		var b [4]byte
		if at < 4 {
			return fmt.Errorf("the table is cut off at %d bytes", size)
		}
		if _, err := r.ReadAt(b[:], at-4); err != nil {
			return err
		}
		at -= 4
		n := int64(binary.BigEndian.Uint32(b[:]))
		if n == 0 || n > at {
			return fmt.Errorf("the table's %s has an impossible length of %d bytes", what, n)
		}
		at -= n
	}
	return nil
}
