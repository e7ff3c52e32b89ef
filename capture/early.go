package capture

import (
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// An upstream that is handed a reserved click ID can report a conversion before
// it answers its visitor, so that the postback comes before the click is
// recorded. It waits in quarantine then, as of an unknown click, and is booked
// again with the batch that records the click: so on disk there is both or none,
// unless it is very much.

// Bounds of what is remembered of such postbacks. What falls out goes on
// waiting, until somebody replays it.
const (
	maxEarly      = 4096
	maxEarlyBytes = 8 << 20
	// earlyFor is longer than upstreams are waited for.
	earlyFor = 15 * time.Minute
	// maxEarlyBatch and maxEarlyBatchBytes bound what one batch takes.
	maxEarlyBatch      = 256
	maxEarlyBatchBytes = 256 << 10
)

// early is the postbacks that may have come before their click, in the order
// of arrival. It belongs to the committer.
type early struct {
	list  []*queuedPostback // each as it is to be booked again
	of    map[clickid.Ref]int
	bytes int
}

// note remembers a postback whose click is unknown, unless it cannot be one
// that was reserved lately.
func (e *early) note(p *Postback, epoch uint16) {
	if r := &p.Result; r.Outcome != Quarantined || r.Reason != UnknownClick || p.Replays != 0 || p.Correction != nil ||
		p.Ref.Epoch != epoch || p.Ref.Slot != 0 || p.Time.Sub(p.Ref.Time()) > earlyFor {
		return
	}
	again := *p
	again.Replays, again.Result = p.Seq, Result{}
	if e.of == nil {
		e.of = make(map[clickid.Ref]int)
	}
	e.list = append(e.list, newQueuedPostback(&again))
	e.of[p.Ref]++
	e.bytes += e.list[len(e.list)-1].bytes
	n := 0
	for bytes := e.bytes; n < len(e.list); n++ {
		oldest := e.list[n]
		if len(e.list)-n <= maxEarly && bytes <= maxEarlyBytes && p.Time.Sub(oldest.Time) <= earlyFor {
			break
		}
		bytes -= oldest.bytes
	}
	e.forget(e.list[:n])
}

// due returns the postbacks that came before the clicks of a batch: those that
// are to be booked with it, and where these are too many, the others, which are
// to be booked after it. It costs nothing worth mentioning where there are none.
func (e *early) due(blocks []*queuedBlock, now time.Time) (with, after []*queuedPostback) {
	if len(e.list) == 0 {
		return nil, nil
	}
	var refs []clickid.Ref
	for _, b := range blocks {
		if b.reserved && e.of[b.Clicks[0].Ref] > 0 {
			refs = append(refs, b.Clicks[0].Ref)
		}
	}
	if len(refs) == 0 {
		return nil, nil
	}
	bytes := 0
	for _, p := range e.list {
		if !slices.Contains(refs, p.Ref) {
			continue
		}
		p.Time = now
		if bytes += p.bytes; len(with) < maxEarlyBatch && bytes <= maxEarlyBatchBytes {
			with = append(with, p)
		} else {
			after = append(after, p)
		}
	}
	return with, after
}

// forget drops postbacks.
func (e *early) forget(gone []*queuedPostback) {
	if len(gone) == 0 {
		return
	}
	gone = slices.Clone(gone) // it may be a part of the list
	for _, p := range gone {
		e.bytes -= p.bytes
		if e.of[p.Ref]--; e.of[p.Ref] == 0 {
			delete(e.of, p.Ref)
		}
	}
	e.list = slices.DeleteFunc(e.list, func(p *queuedPostback) bool { return slices.Contains(gone, p) })
}
