package capture

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestWaits(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	type waiter struct{ comes, limit, goes time.Duration }
	for name, c := range map[string]struct {
		ends    time.Duration // when the block is done with
		waiters []waiter
	}{
		"done before the limit": {20 * ms, []waiter{{0, 50 * ms, 20 * ms}, {10 * ms, 50 * ms, 20 * ms}}},
		"done after the limit":  {900 * ms, []waiter{{0, 50 * ms, 50 * ms}}},
		"the second shares the timer of the first": {
			900 * ms, []waiter{{0, 50 * ms, 50 * ms}, {3 * ms, 50 * ms, 50 * ms}, {3125 * time.Microsecond, 50 * ms, 50 * ms}},
		},
		"who comes later has another": {
			900 * ms, []waiter{{0, 50 * ms, 50 * ms}, {13 * ms, 50 * ms, 63 * ms}, {15 * ms, 50 * ms, 63 * ms}, {60 * ms, 50 * ms, 110 * ms}},
		},
		"another limit has a timer of its own": {
			900 * ms, []waiter{{0, 50 * ms, 50 * ms}, {20 * ms, 100 * ms, 120 * ms}, {60 * ms, 10 * ms, 70 * ms}},
		},
		"another limit, done before":      {80 * ms, []waiter{{0, 50 * ms, 50 * ms}, {20 * ms, 100 * ms, 80 * ms}}},
		"who comes afterwards waits not":  {20 * ms, []waiter{{30 * ms, 50 * ms, 30 * ms}}},
		"neither after who waited before": {20 * ms, []waiter{{0, 50 * ms, 20 * ms}, {30 * ms, 70 * ms, 30 * ms}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, start := newQueuedBlock(1), time.Now()
				var all sync.WaitGroup
				for _, w := range c.waiters {
					all.Go(func() {
						time.Sleep(w.comes)
						b.waits.wait(w.limit)
						if went := time.Since(start); went != w.goes {
							t.Errorf("%+v went after %s", w, went)
						}
					})
				}
				time.Sleep(c.ends)
				b.finish()
				all.Wait()
			})
		})
	}
}
