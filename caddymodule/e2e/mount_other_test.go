//go:build !linux

package e2e

import (
	"errors"
	"testing"
)

func mountTmpfs(*testing.T, string, string) error { return errors.New("not on this system") }

func resizeTmpfs(*testing.T, string, uint64) {}
