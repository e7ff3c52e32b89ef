package pgstore

import (
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestSweepWholeDays: of clicks that are kept for long nothing is deleted but whole
// days; those that are kept for hours do not stay for days.
func TestSweepWholeDays(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	n := open(t, fresh(t))
	evening := n.block(1)
	evening.Clicks[0].Time = noon.Add(8 * time.Hour)
	evening.Clicks[0].Ref.Second = uint32(evening.Clicks[0].Time.Unix())
	n.must(n.commit([]*capture.Block{n.block(1), evening}))
	for _, step := range []struct {
		after, keep time.Duration
		blocks      int
	}{
		{30*day + time.Hour, 30 * day, 0},
		{2*day + time.Hour, 2 * day, 0},
		{day + time.Hour, day, 1},
		{31 * day, 30 * day, 1},
	} {
		r, err := n.s.Sweep(t.Context(), noon.Add(step.after), capture.Retention{Clicks: step.keep})
		n.must(err)
		if r.Blocks != step.blocks {
			t.Errorf("%s after the clicks, which are kept for %s, %d blocks are deleted, want %d", step.after, step.keep, r.Blocks, step.blocks)
		}
	}
	n.healthy()
}
