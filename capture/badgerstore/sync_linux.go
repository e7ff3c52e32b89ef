package badgerstore

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// ownSync: on Linux, syncing a file writes what came to it through mapped
// memory as well. It is what msync does with MS_SYNC (mm/msync.c).
const ownSync = true

// syncData makes the content of a file durable.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd())) //nolint:gosec // a descriptor is small
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
