package e2e

import (
	"testing"
	"time"
)

func TestBenchEndedTime(t *testing.T) {
	t.Parallel()
	const stat = "17 (post) (gres) S 1 17 17 0 -1 4194560 100 200 3 4 50 60 700 80 20 0 1 0 99 1000 10\n"
	if got, err := endedTime(stat); err != nil || got != 7800*time.Millisecond {
		t.Errorf("children that have ended took %v, %v", got, err)
	}
	for _, bad := range []string{"", "17 (postgres) S 1", "17 (postgres) S 1 2 3 4 5 6 7 8 9 10 11 12 x 14 15"} {
		if got, err := endedTime(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}
