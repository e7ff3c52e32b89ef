package caddymodule

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/capture"
)

// entries is a journal in memory, oldest first.
type entries struct {
	capture.Reader
	list []*capture.Entry
	read int
}

func (j *entries) Journal(_ context.Context, q capture.JournalQuery, yield func(*capture.Entry) bool) error {
	for _, e := range slices.Backward(j.list) {
		if q.Takes(e) && (q.Before == 0 || e.Seq < q.Before) {
			if j.read++; !yield(e) {
				return nil
			}
		}
	}
	return nil
}

// TestCountEntries counts journals of which the oldest entries are gone.
func TestCountEntries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		j := &entries{}
		first := rapid.Uint64Range(1, 1<<40).Draw(t, "first")
		at := testNow
		for i := range rapid.Uint64Range(0, 50).Draw(t, "entries") {
			at = at.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "pause")) * time.Minute)
			j.list = append(j.list, &capture.Entry{Seq: first + i, Time: at})
		}
		bound := func(name string) time.Time {
			minutes := rapid.IntRange(-3, 120).Draw(t, name)
			if minutes == -3 {
				return time.Time{}
			}
			return testNow.Add(time.Duration(minutes) * time.Minute)
		}
		from, to := bound("from"), bound("to")
		var want int64
		for _, e := range j.list {
			if q := (capture.JournalQuery{From: from, To: to}); q.Takes(e) {
				want++
			}
		}
		got := countEntries(t.Context(), j, from, to)
		if got != want || j.read > 50 {
			t.Fatalf("counted %d of %d by reading %d", got, want, j.read)
		}
	})
}
