package baddisk

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Disk is a file system of its own until the test ends.
//
// One made by [New] is ext4 on a loop device whose image lies on a second
// ext4. While that one is frozen nothing reaches the image, so a copy made
// then is what the disk holds at one instant: what a power cut would leave.
type Disk struct {
	// Dir is where it is mounted.
	Dir string

	image string // "" for one in memory
	below string // where the file system that holds the image is mounted
}

// programs are what making a disk takes.
var programs = []string{"mkfs.ext4", "mount", "umount", "cp"}

// Require skips the test unless faults can be injected on this machine with
// these further programs, and says what is missing. With CAPTURE_FAULTS=must
// it fails instead, so that nobody takes what was not tested for tested.
func Require(t testing.TB, more ...string) {
	t.Helper()
	lacks := missing(append(more, programs...))
	switch {
	case os.Getenv("CAPTURE_FAULTS") == "off":
		t.Skip("not tested: CAPTURE_FAULTS=off leaves out the tests that break disks")
	case lacks == "":
	case os.Getenv("CAPTURE_FAULTS") == "must":
		t.Fatal("faults of the disk cannot be injected: " + lacks)
	default:
		t.Skip("not tested: faults of the disk cannot be injected: " + lacks)
	}
}

// missing says what injecting faults lacks, or "".
func missing(programs []string) string {
	if os.Geteuid() != 0 {
		return "mounting file systems takes root"
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Sprintf("%v: install e2fsprogs and strace", err)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Sprintf("no loop devices: %v", err)
	}
	return ""
}

// New makes a disk with room for about so many MiB. Its image is sparse: only
// what is written takes room.
func New(t testing.TB, mebibytes int) *Disk {
	t.Helper()
	dir := t.TempDir()
	below := mountNew(t, filepath.Join(dir, "below"), mebibytes+mebibytes/4+64)
	image := filepath.Join(below, "disk")
	d := &Disk{Dir: mountNew(t, image, mebibytes), image: image + ".img", below: below}
	return d
}

// NewInMemory makes a tmpfs with room for so many MiB.
func NewInMemory(t testing.TB, mebibytes int) *Disk {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(func() { unmount(t, dir) })
	return &Disk{Dir: dir}
}

// mountNew makes an ext4 in name.img and mounts it on the directory name.
func mountNew(t testing.TB, name string, mebibytes int) string {
	t.Helper()
	image := name + ".img"
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, int64(mebibytes)<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", image)
	mount(t, image, name)
	return name
}

// mount mounts an image on a new directory until the test ends.
func mount(t testing.TB, image, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { unmount(t, dir) })
}

// unmount waits a little for files that are still being closed.
func unmount(t testing.TB, dir string) {
	t.Helper()
	err := unix.Unmount(dir, 0)
	for end := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
		err = unix.Unmount(dir, 0)
	}
	if err != nil {
		t.Errorf("unmounting %s: %v", dir, err)
		_ = unix.Unmount(dir, unix.MNT_DETACH) // so that the test's directory can be removed
	}
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// CutPower returns a disk with what this one would hold if the power had been
// cut at one instant during the call. This one goes on.
func (d *Disk) CutPower(t testing.TB) *Disk {
	t.Helper()
	name := filepath.Join(t.TempDir(), "left")
	thaw := freeze(t, d.below)
	defer thaw()
	run(t, "cp", "--sparse=always", d.image, name+".img")
	thaw()
	mount(t, name+".img", name)
	return &Disk{Dir: name}
}

// Stall makes every write hang until resume is called.
func (d *Disk) Stall(t testing.TB) (resume func()) {
	t.Helper()
	return freeze(t, d.Dir)
}

// Hang makes the device itself answer nothing until resume is called: writes go
// into memory, and whoever wants them on the disk waits.
func (d *Disk) Hang(t testing.TB) (resume func()) {
	t.Helper()
	return freeze(t, d.below)
}

// What <linux/fs.h> calls FIFREEZE and FITHAW.
const (
	ioctlFreeze = 0xc0045877
	ioctlThaw   = 0xc0045878
)

// freeze freezes a file system until thaw is called or the test ends.
func freeze(t testing.TB, dir string) (thaw func()) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(f.Fd()), ioctlFreeze, 0); err != nil {
		f.Close()
		t.Fatalf("freezing the file system %s: %v", dir, err)
	}
	thaw = sync.OnceFunc(func() {
		if err := unix.IoctlSetInt(int(f.Fd()), ioctlThaw, 0); err != nil {
			t.Errorf("thawing the file system %s: %v", dir, err)
		}
		f.Close()
	})
	t.Cleanup(thaw)
	return thaw
}

// Fill takes all room but so many bytes at once, by a file of somebody else's,
// until free is called.
func (d *Disk) Fill(t testing.TB, left int64) (free func()) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(d.Dir, &fs); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d.Dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Others write meanwhile, so there may be less room than that.
	size, step := int64(0), int64(fs.Bavail)*fs.Bsize-left
	for step >= fs.Bsize {
		err := unix.Fallocate(int(f.Fd()), 0, size, step)
		switch {
		case err == nil && left > 0:
			step = 0
		case err == nil:
			size += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			t.Fatalf("filling %s: %v", d.Dir, err)
		}
	}
	return sync.OnceFunc(func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	})
}
