//go:build !linux

package e2e

import (
	"time"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

func pinDatabase(*pgtest.Server, []int) error            { return errNotLinux }
func databaseTime(*pgtest.Server) (time.Duration, error) { return 0, errNotLinux }
