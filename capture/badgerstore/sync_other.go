//go:build !linux

package badgerstore

import "os"

// ownSync: elsewhere it is not said that syncing a file writes what came to it
// through mapped memory.
const ownSync = false

func syncData(f *os.File) error { return f.Sync() }
