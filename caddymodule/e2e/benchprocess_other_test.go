//go:build !linux

package e2e

import (
	"errors"
	"time"
)

var errNotLinux = errors.New("processor time is read from Linux")

func readProcess(int) (processReading, error) { return processReading{}, errNotLinux }
func syncTime(string) (time.Duration, error)  { return 0, errNotLinux }
func splitProcessors() (server, load []int)   { return nil, nil }
func machine(string) []string                 { return nil }
func busy([]int) (time.Duration, error)       { return 0, errNotLinux }
