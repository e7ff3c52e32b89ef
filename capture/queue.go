package capture

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Bounds of what waits in memory for the store. They are what a ledger can
// take when the disk stalls; beyond them clicks are redirected without being
// recorded, and postbacks are told to come again.
const (
	maxQueuedClickBytes    = 32 << 20
	maxQueuedPostbackBytes = 16 << 20
	// clickOverhead and postbackOverhead stand for the structs themselves.
	clickOverhead    = 640
	postbackOverhead = 2048
)

// Bounds of one batch. Larger ones gain nothing and make everybody in them
// wait; the bytes keep well below what a store's transaction takes.
const (
	maxBatchRequests = 2048
	maxBatchBytes    = 1 << 20
)

// leaseBlocks is how far ahead of use block numbers are leased. It bounds the
// gap that a crash leaves in them; at 64 clicks a block it lasts a second even
// at 200,000 clicks a second.
const leaseBlocks = 4096

// overdraft is how many block numbers beyond the lease may be used while the
// store takes nothing. After a crash such numbers are used again, which harms
// nobody: the clicks that had them are lost, and as a Ref has its second too,
// their IDs are not taken for the new ones.
const overdraft = 1 << 16

// queue is what waits for the committer.
type queue struct {
	mu     sync.Mutex
	wake   chan struct{} // holds one token
	closed bool
	// started: the position is known and IDs can be given places.
	started bool

	next  uint64 // next block number
	lease uint64 // block numbers below it are safe to use: durable
	open  *queuedBlock
	ready []*queuedBlock

	postbacks []*queuedPostback

	// flight is what the committer has taken and not come to an end with.
	flight load

	clicks, clickBytes, postbackBytes int
}

// queuedBlock is a block that is being filled or waits to be written.
type queuedBlock struct {
	Block
	bytes int
	done  chan struct{}
	lost  bool // set before done is closed: it will never be written
	// reserved: the ID of its one click was out before it was recorded.
	reserved bool
	waits    waits
}

// finish tells those who wait that the block is done with.
func (b *queuedBlock) finish() {
	close(b.done)
	b.waits.end()
}

// queuedPostback is a postback that waits for its batch.
type queuedPostback struct {
	*Postback
	bytes int
	done  chan struct{}
	err   error // set before done is closed
	taken bool  // by the committer; under the queue's lock
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

func (q *queue) start(p Position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next, q.lease, q.started = max(q.next, p.NextBlock), max(q.lease, p.NextBlock), true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close makes the queue take nothing more.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// number returns a block number, or false when none is safe to use. The lock
// is held.
func (q *queue) number() (uint64, bool) {
	if !q.started || q.closed || q.next >= q.lease+overdraft || q.next > clickid.MaxBlock {
		return 0, false
	}
	n := q.next
	q.next++
	if q.leaseShort() {
		q.signal() // a reservation by itself gives the committer nothing to do
	}
	return n, true
}

// leaseShort tells whether it is time for the next lease. The lock is held.
func (q *queue) leaseShort() bool {
	return q.started && q.lease-min(q.lease, q.next) < leaseBlocks/2
}

// takeLease returns a load that does nothing but extend the lease.
func (q *queue) takeLease() load {
	q.mu.Lock()
	defer q.mu.Unlock()
	return load{lease: q.next + leaseBlocks}
}

func (q *queue) nextBlock() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.next
}

// unrecorded is a Ref of a click that cannot be kept; the random block number
// only makes such IDs differ.
func unrecorded(at time.Time, epoch uint16) clickid.Ref {
	return clickid.Ref{
		Epoch: epoch, Block: rand.Uint64() & clickid.MaxBlock, Slot: clickid.Unrecorded,
		Second: second(at),
	}
}

func second(t time.Time) uint32 { return uint32(t.Unix()) } //nolint:gosec // good until 2106

// reserve returns a Ref in a block of its own.
func (q *queue) reserve(at time.Time, epoch uint16) clickid.Ref {
	q.mu.Lock()
	n, ok := q.number()
	q.mu.Unlock()
	if !ok {
		return unrecorded(at, epoch)
	}
	return clickid.Ref{Epoch: epoch, Block: n, Second: second(at)}
}

// add queues a click, giving it a Ref if it has none. It returns nil if there
// is no room; the Ref is valid all the same.
func (q *queue) add(c *Click, epoch uint16) *queuedBlock {
	size := c.size()
	q.mu.Lock()
	defer q.mu.Unlock()
	reserved := c.Ref != (clickid.Ref{})
	if q.closed || q.clickBytes+size > maxQueuedClickBytes || reserved && c.Ref.Slot == clickid.Unrecorded {
		if !reserved {
			c.Ref = unrecorded(c.Time, epoch)
		}
		return nil
	}
	var b *queuedBlock
	if reserved {
		c.Time = c.Ref.Time() // the ID says when the click was
		b = newQueuedBlock(c.Ref.Block)
		b.reserved = true
		q.ready = append(q.ready, b)
	} else {
		if q.open == nil {
			n, ok := q.number()
			if !ok {
				c.Ref = unrecorded(c.Time, epoch)
				return nil
			}
			q.open = newQueuedBlock(n)
		}
		b = q.open
		c.Ref = clickid.Ref{
			Epoch: epoch, Block: b.Number, Slot: uint8(len(b.Clicks)), //nolint:gosec // below BlockClicks
			Second: second(c.Time),
		}
	}
	b.Clicks = append(b.Clicks, c)
	b.bytes += size
	q.clicks++
	q.clickBytes += size
	if len(b.Clicks) == BlockClicks {
		q.ready = append(q.ready, b)
		q.open = nil
	}
	q.signal()
	return b
}

func newQueuedBlock(n uint64) *queuedBlock {
	return &queuedBlock{Block: Block{Number: n}, done: make(chan struct{})}
}

// size estimates what the click takes in memory.
func (c *Click) size() int {
	n := clickOverhead + len(c.Campaign) + len(c.Source) + len(c.Destination) + len(c.URL) + len(c.Host) + len(c.Path) +
		len(c.UserAgent) + len(c.Referer) + len(c.Address)
	for i := range c.Subs {
		n += len(c.Subs[i].Value) + 64
	}
	for i := range c.Kept {
		n += len(c.Kept[i].Value) + 64
	}
	return n
}

func newQueuedPostback(p *Postback) *queuedPostback {
	return &queuedPostback{Postback: p, done: make(chan struct{}), bytes: postbackOverhead + len(p.Raw.URI) + len(p.Raw.Body)}
}

// addPostback queues a postback; an error wraps ErrUnavailable.
func (q *queue) addPostback(p *Postback) (*queuedPostback, error) {
	w := newQueuedPostback(p)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ErrClosed)
	}
	if q.postbackBytes+w.bytes > maxQueuedPostbackBytes {
		return nil, fmt.Errorf("%w: %d postbacks are waiting already", ErrUnavailable, len(q.postbacks))
	}
	q.postbacks = append(q.postbacks, w)
	q.postbackBytes += w.bytes
	q.signal()
	return w, nil
}

// withdraw takes a postback back that the committer has not taken yet.
func (q *queue) withdraw(w *queuedPostback) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.taken {
		return false
	}
	i := slices.Index(q.postbacks, w)
	if i < 0 {
		return false
	}
	q.postbacks = slices.Delete(q.postbacks, i, i+1)
	q.postbackBytes -= w.bytes
	return true
}

func (q *queue) lengths() (clicks, postbacks int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.clicks, len(q.postbacks)
}

// requests tells how many wait for their batch.
func (q *queue) requests() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.clicks + len(q.postbacks)
}

// look tells whether anything waits and whether the queue is closed, both at
// one instant: what is closed and empty stays empty.
func (q *queue) look() (waiting, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.clicks > 0 || len(q.postbacks) > 0, q.closed
}

// about returns what tells when each click and postback that is queued or on
// its way to the disk now, and is about one click, is done with.
func (q *queue) about(ref clickid.Ref) (done []<-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	blocks := slices.Concat(q.flight.blocks, q.ready)
	if q.open != nil {
		blocks = append(blocks, q.open)
	}
	for _, b := range blocks {
		if b.Number == ref.Block && slices.ContainsFunc(b.Clicks, func(c *Click) bool { return c.Ref == ref }) {
			done = append(done, b.done)
		}
	}
	for _, p := range slices.Concat(q.flight.postbacks, q.postbacks) {
		if p.HasRef && p.Ref == ref {
			done = append(done, p.done)
		}
	}
	return done
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
