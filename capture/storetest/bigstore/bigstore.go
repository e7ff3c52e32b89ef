// Package bigstore fills a store of any kind with the clicks and postbacks of a
// busy month, fast: for tests and benchmarks of what the size of a store costs.
//
// A click's place, its time and all that is in it follow from its number, so
// that nothing has to be remembered of a hundred million of them: see
// [Past.Ref]. The same [Spec] makes the same past, but for the place in the
// store where it begins.
package bigstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Spec says what a past is to be like.
type Spec struct {
	// Clicks is how many there are, spread evenly over Span, of which End is
	// the end.
	Clicks int
	Span   time.Duration // zero means 30 days
	End    time.Time
	// Block is how many clicks arrived together: 1 on a slow site, up to
	// [capture.BlockClicks], which zero means, on a busy one.
	Block int
	// Postbacks is how many arrived for a hundred clicks, each of a click of the
	// two days before. They may be fewer than one.
	Postbacks float64
	Seed      uint64
	// Progress, if not nil, is told now and then how many clicks are stored.
	Progress func(clicks int) `json:"-"`
}

const (
	defaultSpan = 30 * 24 * time.Hour
	// longestWay is from a click to its postback.
	longestWay = 48 * time.Hour

	// A batch has at most twice the clicks of the ledger's largest, and no more
	// bytes than that.
	batchClicks = 4096
	batchBytes  = 1 << 20
	// What a click and a postback take in a batch, with the sums they change,
	// is rather less.
	clickBytes    = 256
	postbackBytes = 4 << 10
)

func (s *Spec) check() error {
	switch {
	case s.Clicks < 1:
		return fmt.Errorf("the past is to have %d clicks: make it at least one", s.Clicks)
	case s.Span < 0 || s.Span == 0 && defaultSpan/time.Duration(s.Clicks) == 0 || s.Span > 0 && s.Span/time.Duration(s.Clicks) == 0:
		return fmt.Errorf("%d clicks do not fit into %s", s.Clicks, s.Span)
	case s.End.IsZero() || s.End.Add(-s.span()).Unix() < 0:
		return fmt.Errorf("the past ends at %s: it must lie after 1970 as a whole", s.End)
	case s.Block < 0 || s.Block > capture.BlockClicks:
		return fmt.Errorf("%d clicks are to be in a block: at most %d can be", s.Block, capture.BlockClicks)
	case s.Postbacks < 0 || s.Postbacks > 100:
		return fmt.Errorf("there are to be %v postbacks for a hundred clicks: it can be 0 to 100", s.Postbacks)
	}
	return nil
}

func (s *Spec) span() time.Duration {
	if s.Span == 0 {
		return defaultSpan
	}
	return s.Span
}

func (s *Spec) block() int {
	if s.Block == 0 {
		return capture.BlockClicks
	}
	return s.Block
}

// Past is a past that is in a store. It can be kept as JSON, to know the store
// again.
type Past struct {
	Spec
	// Epoch and FirstBlock are where in the store the clicks begin.
	Epoch      uint16
	FirstBlock uint64
	// Booked is how many postbacks there are, each a conversion of its own.
	Booked int
}

func (p *Past) step() time.Duration { return p.span() / time.Duration(p.Clicks) }

// Time is when a click was made, of those numbered from 0.
func (p *Past) Time(n int) time.Time {
	begin := p.End.Add(-p.span())
	return begin.Add(time.Duration(n) * p.step()).Truncate(time.Millisecond).UTC()
}

// Ref is the place of a click, of those numbered from 0.
func (p *Past) Ref(n int) clickid.Ref {
	return clickid.Ref{
		Epoch: p.Epoch, Block: p.FirstBlock + uint64(n/p.block()), //nolint:gosec // not negative
		Slot: uint8(n % p.block()), Second: uint32(p.Time(n).Unix()), //nolint:gosec // small, and after 1970
	}
}

// ID is the ID of a click, of those numbered from 0, as its visitor got it.
func (p *Past) ID(codec *clickid.Codec, n int) string { return codec.Encode(p.Ref(n)) }

// booked is how many postbacks have arrived when there are so many clicks.
func (p *Past) booked(clicks int) int { return int(float64(clicks) * p.Postbacks / 100) }

// errStopped ends the making of batches that nobody wants any more.
var errStopped = errors.New("stopped")

// Fill puts the past into a store, beside what is there. Nothing else may be
// committed meanwhile.
func Fill(ctx context.Context, store capture.Store, id capture.Identity, spec Spec) (*Past, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	codec, err := clickid.New(id.Secret)
	if err != nil {
		return nil, err
	}
	position := store.Position()
	p := &Past{Spec: spec, Epoch: id.Epoch, FirstBlock: position.NextBlock, Booked: 0}
	m := newMaker(p, codec, position)
	// The next batch is made while one is written.
	ctx, cancel := context.WithCancelCause(ctx)
	batches := make(chan *capture.Batch)
	go func() {
		defer close(batches)
		for b := m.batch(); b != nil; b = m.batch() {
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel(errStopped)
		for range batches { // until its goroutine has ended
		}
	}()
	stored := 0
	for b := range batches {
		if err := store.Commit(ctx, b); err != nil {
			return nil, fmt.Errorf("storing batch %d: %w", b.Number, err)
		}
		for _, post := range b.Postbacks {
			if post.Result.Outcome != capture.Recorded {
				return nil, fmt.Errorf("postback %d is %q %q: all are to be new", post.Seq, post.Result.Outcome, post.Result.Detail)
			}
		}
		p.Booked += len(b.Postbacks)
		for _, block := range b.Blocks {
			stored += len(block.Clicks)
		}
		if p.Progress != nil {
			p.Progress(stored)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	// A site's store is swept every hour. What that leaves undone of so many
	// clicks in so short a time would cost whoever opens the store next.
	if _, err := store.Sweep(ctx, p.End, capture.Retention{}); err != nil {
		return nil, fmt.Errorf("sweeping the store: %w", err)
	}
	return p, nil
}

// NextBlock is the first block number after the past, for [capture.Store.Close].
func (p *Past) NextBlock() uint64 { return p.Ref(p.Clicks-1).Block + 1 }
