package capture

import (
	"slices"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

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
