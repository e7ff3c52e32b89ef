package signature

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxRemembered bounds a Memory: at 200 bytes each some 13 MB. Only authentic
// messages get in, so it takes a sender 64 k messages within the tolerance to
// have the oldest forgotten.
const maxRemembered = 64 << 10

// Memory knows the messages that were taken, so that nobody can send one
// again. The zero value is ready; it is safe for concurrent use. What it holds
// is gone with the process: then a replay meets the ledger, which books
// nothing twice.
type Memory struct {
	mu  sync.Mutex
	lru *simplelru.LRU[string, time.Time] // until when
}

// Seen reports whether once is remembered and has not expired.
func (m *Memory) Seen(once string, now time.Time) bool {
	if once == "" {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lru == nil {
		return false
	}
	// Peek, so that sending replays does not keep an entry from its turn.
	expires, ok := m.lru.Peek(once)
	return ok && !now.After(expires)
}

// Remember keeps once until it expires, or until so many newer ones came that
// it is the oldest.
func (m *Memory) Remember(once string, expires, now time.Time) {
	if once == "" || now.After(expires) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lru == nil {
		m.lru, _ = simplelru.NewLRU[string, time.Time](maxRemembered, nil) // it fails only if the size is not positive
	}
	// Tolerances differ little within one Memory, so what came first is about
	// what expires first; the rest goes when its turn comes.
	for {
		oldest, until, ok := m.lru.GetOldest()
		if !ok || !now.After(until) {
			break
		}
		m.lru.Remove(oldest)
	}
	m.lru.Add(once, expires)
}
