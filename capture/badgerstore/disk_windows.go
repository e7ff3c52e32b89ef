package badgerstore

import (
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock leaves locking to Badger, which opens its own file exclusively.
func tryLock(*os.File) error { return nil }

// diskFree returns how many bytes are left for us on the disk of dir.
func diskFree(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	var free uint64
	if err == nil {
		err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	}
	if err != nil {
		return 0, fmt.Errorf("asking for the free space of %q: %w", dir, err)
	}
	return int64(free), nil //nolint:gosec // no disk is that large
}

func diskUsed(info fs.FileInfo) int64 { return info.Size() }

// syncDir does nothing: Windows cannot sync a directory.
func syncDir(string) error { return nil }
