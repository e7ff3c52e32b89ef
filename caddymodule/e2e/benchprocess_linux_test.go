package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readProcess says what a process has used so far, to the nanosecond: its threads that have ended
// are in it.
func readProcess(pid int) (processReading, error) {
	var r processReading
	var used unix.Timespec
	// The clock of another process, as clock_getcpuclockid(3) makes its name.
	if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil {
		return r, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
	}
	r.at, r.cpu = time.Now(), time.Duration(used.Nano())
	for name, into := range map[string]*int64{"io write_bytes": &r.written, "status VmRSS": &r.resident} {
		file, field, _ := strings.Cut(name, " ")
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			return r, err
		}
		if *into, err = procField(string(text), field); err != nil {
			return r, err
		}
	}
	return r, nil
}

// syncTime is how long the disk takes to make 4 KiB in a directory durable: the median of many.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	var took []float64
	for i := range 101 {
		page[0] = byte(i)
		begin := time.Now()
		if _, err := f.WriteAt(page, 0); err != nil {
			return 0, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		if i > 0 { // the first one makes the file longer
			took = append(took, float64(time.Since(begin)))
		}
	}
	return time.Duration(median(took)), nil
}

// splitProcessors gives the server one half of the processors that this process may use, and the
// load the other. Threads of one core stay together. With one processor there is nothing to split.
func splitProcessors() (server, load []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil, nil
	}
	var all []int
	for n := range len(set) * 64 {
		if set.IsSet(n) {
			all = append(all, n)
		}
	}
	core := func(n int) (id int) {
		for _, name := range []string{"physical_package_id", "core_id"} {
			text, err := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/%s", n, name))
			if err != nil {
				return 0
			}
			part, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			id = id<<16 | part
		}
		return id
	}
	slices.SortStableFunc(all, func(a, b int) int { return core(a) - core(b) })
	if len(all) < 2 {
		return all, all
	}
	return all[:len(all)/2], all[len(all)/2:]
}

// busy is for how long some processors have run processes so far, all of them together.
func busy(processors []int) (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return busyTime(string(text), processors)
}

// machine describes what the benchmark runs on, and where the directory lies.
func machine(dir string) []string {
	read := func(name string) string {
		text, _ := os.ReadFile(name) // what cannot be read is left out
		return string(text)
	}
	model := "unknown processor"
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	memory, _ := procField(read("/proc/meminfo"), "MemTotal")
	load, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	kernel, _, _ := strings.Cut(strings.TrimSpace(read("/proc/sys/kernel/osrelease")), "-") // without whose build it is
	return []string{
		fmt.Sprintf("machine: %s, %.1f GB of memory, Linux %s, load average at the start %s",
			model, float64(memory)/1e9, kernel, load),
		fmt.Sprintf("store:   on %s", fileSystem(read("/proc/self/mountinfo"), dir)),
	}
}
