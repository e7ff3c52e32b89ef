//go:build !unix

package badgerstore

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
