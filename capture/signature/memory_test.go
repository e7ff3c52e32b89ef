package signature

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	var m Memory
	until := now.Add(time.Minute)
	if m.Seen("a", now) {
		t.Error("an empty memory has seen something")
	}
	m.Remember("a", until, now)
	m.Remember("", until, now)
	m.Remember("late", now.Add(-1), now)
	for _, c := range []struct {
		once string
		at   time.Time
		want bool
	}{
		{"a", now, true}, {"a", until, true}, {"a", until.Add(1), false}, {"b", now, false}, {"", now, false}, {"late", now.Add(-2), false},
	} {
		if got := m.Seen(c.once, c.at); got != c.want {
			t.Errorf("seen %q at %s: %t", c.once, c.at, got)
		}
	}
}

func TestMemoryForgetsExpired(t *testing.T) {
	t.Parallel()
	var m Memory
	for i := range 100 {
		m.Remember(fmt.Sprint(i), now.Add(time.Second), now)
	}
	m.Remember("new", now.Add(time.Minute), now.Add(2*time.Second))
	if n := m.lru.Len(); n != 1 {
		t.Errorf("%d entries are left, want the one that has not expired", n)
	}
}

func TestMemoryBounded(t *testing.T) {
	t.Parallel()
	var m Memory
	until := now.Add(time.Hour)
	for i := range maxRemembered + 10 {
		m.Remember(fmt.Sprint(i), until, now)
		m.Seen("10", now) // asking for the oldest must not keep it
	}
	if n := m.lru.Len(); n != maxRemembered {
		t.Errorf("%d entries, want %d", n, maxRemembered)
	}
	if m.Seen("9", now) || !m.Seen("10", now) || !m.Seen(fmt.Sprint(maxRemembered+9), now) {
		t.Error("it was not the oldest that were forgotten")
	}
}

func TestMemoryConcurrent(t *testing.T) {
	t.Parallel()
	var m Memory
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				once := fmt.Sprint(g, i)
				m.Remember(once, now.Add(time.Second), now)
				if !m.Seen(once, now) {
					t.Errorf("%s is not remembered", once)
				}
			}
		})
	}
	wg.Wait()
}
