//go:build linux || darwin || freebsd

package pgstore

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// fileOf names a file by its number on its disk.
func fileOf(f *os.File) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "file"
	}
	return "file-" + strconv.FormatUint(uint64(st.Ino), 10) //nolint:unconvert // not the same type everywhere
}

// tryLock takes the lock or fails at once.
func tryLock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
