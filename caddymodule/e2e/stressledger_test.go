package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// A stressHealth is what a store says of itself under stress.
type stressHealth struct {
	State string
	Why   string
	Queue struct{ Clicks, Postbacks int }
	Late  int64 `json:"late_clicks"`
	Lost  int64 `json:"lost_clicks"`
}

func (s *server) stressHealth(t testing.TB) (h stressHealth) {
	t.Helper()
	decode(t, s.api("/capture/health").body, &h)
	return h
}

// settle waits until the store is in order and nothing waits any more.
func (l *stressLoad) settle(t testing.TB) (h stressHealth) {
	t.Helper()
	eventually(t, diskTimeout, func() error {
		if h = l.s.stressHealth(t); h.State != "ok" || h.Queue.Clicks > 0 || h.Queue.Postbacks > 0 {
			return fmt.Errorf("the store is %s (%s), %d clicks and %d postbacks wait", h.State, h.Why, h.Queue.Clicks, h.Queue.Postbacks)
		}
		return nil
	})
	return h
}

// verify wants each click whose visitor was redirected, and each postback that was answered with 200,
// exactly once, and everything else at most once. Clicks may be missing only as far as the server says
// that there was no room for them.
func (l *stressLoad) verify(t testing.TB) {
	t.Helper()
	lost := l.settle(t).Lost
	l.mu.Lock()
	defer l.mu.Unlock()
	wrong := complaints{t: t, limit: 10}
	for _, f := range l.faults {
		wrong.add("%s", f)
	}
	wrong.end()
	var found finding
	redirected := int64(0)
	for _, campaign := range slices.Sorted(maps.Keys(l.rounds)) {
		round := l.rounds[campaign].clone()
		for n, id := range round.clicks {
			if id == "" {
				continue
			}
			if redirected++; lost > 0 {
				round.clicks[n] = "" // no visitor can tell which it was
			}
		}
		found.clicks += round.verifyClicks(t, l.s)
	}
	if found.clicks < redirected-lost {
		t.Errorf("%d visitors were redirected and %d clicks given up, but there are %d", redirected, lost, found.clicks)
	}
	all := claims{sales: l.sales, since: l.begin.Add(-time.Second)}
	all.verifySales(t, l.s, &found)
	l.s.verifyTotal(t, found)
	if len(l.owed) > 0 {
		t.Errorf("%d postbacks were refused and not sent again", len(l.owed))
	}
}
