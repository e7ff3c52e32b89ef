package e2e

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskUse is what the files of a store take on its disk: some are made longer than they are used.
func diskUse(dir string) (sum int64, err error) {
	err = eachFile(dir, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			sum += s.Blocks * 512
		}
		return nil
	})
	return sum, err
}

// forgetCached makes the system read a store from the disk when it is opened next, as after a
// restart of the machine.
func forgetCached(dir string) error {
	return eachFile(dir, func(f *os.File) error {
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
