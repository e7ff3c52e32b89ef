package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a sparse file all of its blocks.
func allocate(f *os.File, size int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
}
