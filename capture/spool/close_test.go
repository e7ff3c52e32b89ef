package spool

import (
	"testing"
	"testing/synctest"
	"time"
)

// Closing does not wait for ever either where the shared store has fallen silent a
// moment ago, and nobody has noticed; nothing is lost.
func TestCloseSuddenSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		n := &network{Engine: r.shared}
		r.e.Shared = n
		r.open()
		r.commit(r.next())
		n.gone.Store(true)
		start := time.Now()
		if err := r.s.Close(r.block); err != nil || time.Since(start) > suddenPatience+time.Second {
			t.Errorf("after %s, closing gives %v", time.Since(start), err)
		}
		n.gone.Store(false)
		time.Sleep(time.Hour) // it comes to its end by itself
		r.open()
		r.exactly()
		_ = r.s.Close(0)
	})
}
