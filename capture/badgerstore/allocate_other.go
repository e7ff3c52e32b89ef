//go:build !linux

package badgerstore

import "os"

// allocate gives a sparse file all of its blocks, where the system can.
func allocate(*os.File, int64) error { return nil }
