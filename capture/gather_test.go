package capture_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// TestTogether looks whether those who come together share a commit where there
// is one processor, and the first of them wakes the committer.
func TestTogether(t *testing.T) { //nolint:paralleltest // it sets how many processors there are
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	e := memstore.New()
	l := openLedger(t, e)
	defer closeLedger(t, l)
	record(t, l, "the first")

	var mu sync.Mutex
	batches := 0
	e.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error {
		mu.Lock()
		defer mu.Unlock()
		batches++
		return nil
	}})
	const rounds, visitors = 20, 50
	for range rounds {
		var all sync.WaitGroup
		for range visitors {
			all.Go(func() {
				if got := l.Wait(l.Record(click("a")), 10*time.Second); got != capture.SavedOnDisk {
					t.Errorf("the click is saved as %d", got)
				}
			})
		}
		all.Wait()
	}
	if batches > rounds*visitors/5 {
		t.Errorf("%d clicks took %d commits", rounds*visitors, batches)
	}
	if got := total(t, l).Clicks; got != rounds*visitors+1 {
		t.Errorf("%d clicks are counted", got)
	}
}
