package e2e

import (
	"fmt"
	"syscall"
	"testing"
)

// mountTmpfs mounts an empty file system of its own on dir until the test ends.
func mountTmpfs(t *testing.T, dir, options string) error {
	t.Helper()
	flags := uintptr(0)
	if options == "ro" {
		flags, options = syscall.MS_RDONLY, ""
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		return err
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return nil
}

// resizeTmpfs leaves that much room on a file system, which is as good as filling the rest.
func resizeTmpfs(t *testing.T, dir string, room uint64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	used := (fs.Blocks - fs.Bfree) * uint64(fs.Bsize)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", used+room)); err != nil {
		t.Fatal(err)
	}
}
