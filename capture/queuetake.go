package capture

import (
	"slices"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// load is what the committer took for one batch.
type load struct {
	blocks    []*queuedBlock
	postbacks []*queuedPostback
	lease     uint64 // to be made durable, or 0
	requests  int
}

func (w *load) empty() bool { return len(w.blocks) == 0 && len(w.postbacks) == 0 && w.lease == 0 }

// take removes the next batch from the queue. limit is the most requests.
func (q *queue) take(limit int) load {
	q.mu.Lock()
	defer q.mu.Unlock()
	var w load
	q.takeStored(&w, limit)
	first, bytes := w.requests, 0
	room := func(size int) bool { return w.requests == first || w.requests < limit && bytes+size <= maxBatchBytes }
	n := 0
	for ; n < len(q.ready) && room(q.ready[n].bytes); n++ {
		w.addBlock(q.ready[n], &bytes)
	}
	q.ready = slices.Delete(q.ready, 0, n)
	if q.open != nil && len(q.ready) == 0 && room(q.open.bytes) {
		w.addBlock(q.open, &bytes)
		q.open = nil
	}
	// A postback may be of a click that is queued before it: clicks first.
	if q.open == nil && len(q.ready) == 0 {
		n = 0
		for ; n < len(q.postbacks) && room(q.postbacks[n].bytes); n++ {
			bytes += q.postbacks[n].bytes
			q.takePostback(&w, q.postbacks[n])
		}
		q.postbacks = slices.Delete(q.postbacks, 0, n)
	}
	if q.leaseShort() {
		w.lease = q.next + leaseBlocks
	}
	q.flight = w
	return w
}

func (w *load) addBlock(b *queuedBlock, bytes *int) {
	w.blocks = append(w.blocks, b)
	w.requests += len(b.Clicks)
	*bytes += b.bytes
}

// putBack returns what could not be written to the head of the queue.
func (q *queue) putBack(w load) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flight = load{}
	q.ready = slices.Concat(w.blocks, q.ready)
	for _, p := range w.postbacks {
		p.taken = false
		q.postbackBytes += p.bytes
	}
	q.postbacks = slices.Concat(w.postbacks, q.postbacks)
}

// drain removes all that waits.
func (q *queue) drain() load {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := load{blocks: q.ready, postbacks: q.postbacks}
	if q.open != nil {
		w.blocks = append(w.blocks, q.open)
	}
	q.ready, q.open, q.postbacks, q.postbackBytes = nil, nil, nil, 0
	for _, p := range w.postbacks {
		p.taken = true
	}
	return w
}

// settle accounts for a batch that is done with, one way or the other.
func (q *queue) settle(w load, applied bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flight = load{}
	for _, b := range w.blocks {
		q.clicks -= len(b.Clicks)
		q.clickBytes -= b.bytes
	}
	if applied && w.lease > q.lease {
		q.lease = w.lease
	}
}

// postbackShare is the part of a batch that postbacks may have before any
// click. A postback may be of a click that is queued before it, so clicks are
// written first; but where clicks come faster than the disk takes them, their
// queue never ends, and no postback would be booked for as long as that lasts.
// Clicks can wait in memory, senders of postbacks give up one day.
const postbackShare = 4 // one in so many

// takeStored adds to w the postbacks of clicks that are stored already, which
// need to wait for none of those in the queue. Those about one click keep their
// order: what comes after one that has to wait, waits, too. The lock is held.
func (q *queue) takeStored(w *load, limit int) {
	bytes := 0
	var waiting map[clickid.Ref]bool
	q.postbacks = slices.DeleteFunc(q.postbacks, func(p *queuedPostback) bool {
		if p.Click == nil || waiting[p.Ref] || w.requests >= limit/postbackShare || bytes+p.bytes > maxBatchBytes/postbackShare {
			if p.HasRef {
				if waiting == nil {
					waiting = make(map[clickid.Ref]bool)
				}
				waiting[p.Ref] = true
			}
			return false
		}
		bytes += p.bytes
		q.takePostback(w, p)
		return true
	})
}

// takePostback adds one to w. The lock is held.
func (q *queue) takePostback(w *load, p *queuedPostback) {
	p.taken = true
	w.postbacks = append(w.postbacks, p)
	w.requests++
	q.postbackBytes -= p.bytes
}
