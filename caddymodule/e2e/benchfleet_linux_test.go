package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// pinDatabase keeps all of a database's processes on some processors, those to come as well.
func pinDatabase(db *pgtest.Server, processors []int) error {
	var set unix.CPUSet
	for _, n := range processors {
		set.Set(n)
	}
	pids, err := db.Processes()
	if err != nil || len(processors) == 0 {
		return err
	}
	for _, pid := range pids {
		// A worker may have ended meanwhile, the first process not.
		if err := unix.SchedSetaffinity(pid, &set); err != nil && pid == pids[0] {
			return fmt.Errorf("keeping the database on processors %s: %w", join(processors), err)
		}
	}
	return nil
}

// databaseTime is the processor time of all processes that a database has or had.
func databaseTime(db *pgtest.Server) (time.Duration, error) {
	var fault error
	for range 20 {
		pids, err := db.Processes()
		if err != nil {
			return 0, err
		}
		before, err := childrensTime(pids[0])
		if err != nil {
			return 0, err
		}
		total := before
		for _, pid := range pids {
			var used unix.Timespec
			if err := unix.ClockGettime(int32(^pid<<3|2), &used); err != nil {
				fault = fmt.Errorf("reading the processor time of process %d: %w", pid, err)
			}
			total += time.Duration(used.Nano())
		}
		after, err := childrensTime(pids[0])
		if err != nil {
			return 0, err
		}
		if fault == nil && before == after {
			return total, nil
		}
		// One has ended meanwhile, and may be counted twice or not at all.
		fault = nil
		time.Sleep(5 * time.Millisecond)
	}
	return 0, fmt.Errorf("the database's processes end faster than their processor time can be read")
}

// childrensTime is that of a process's children that have ended.
func childrensTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return endedTime(string(text))
}

// endedTime reads the same from what /proc/<pid>/stat says, in hundredths of a second.
func endedTime(stat string) (total time.Duration, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // the command may have anything in it
	if len(fields) < 15 {
		return 0, fmt.Errorf("the state of a process is %q", stat)
	}
	for _, field := range fields[13:15] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the state of a process is %q: %w", stat, err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total, nil
}
