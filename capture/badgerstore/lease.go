package badgerstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
)

// leaseName is a file with the lease, so that it is known while Badger cannot
// be opened. It is never below the lease inside Badger. It is made at its full
// size: writing it takes no room on the disk.
const leaseName = "lease"

const leaseSize = 12 // the number and its CRC-32, big endian

// leaseFile is the open file; the zero value keeps nothing.
type leaseFile struct {
	mu    sync.Mutex
	f     *os.File
	value uint64
}

// readLease returns the lease, or 0 if there is none that can be read.
func readLease(dir string) uint64 {
	data, err := os.ReadFile(filepath.Join(dir, leaseName))
	if err != nil || len(data) != leaseSize || crc32.ChecksumIEEE(data[:8]) != binary.BigEndian.Uint32(data[8:]) {
		return 0
	}
	return binary.BigEndian.Uint64(data)
}

func openLease(dir string) (*leaseFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, leaseName), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, dirError("written to", dir, err)
	}
	return &leaseFile{f: f, value: readLease(dir)}, nil
}

// raise makes a higher lease durable; to be called before anything is durable
// that relies on it.
func (l *leaseFile) raise(to uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to <= l.value {
		return nil
	}
	var b [leaseSize]byte
	binary.BigEndian.PutUint64(b[:], to)
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
	_, err := l.f.WriteAt(b[:], 0)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("writing the lease: %w", err)
	}
	l.value = to
	return nil
}

func (l *leaseFile) close() {
	if l != nil && l.f != nil {
		_ = l.f.Close()
	}
}
