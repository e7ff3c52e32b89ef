package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/caddymodule/sse"
	"github.com/caddy-capture/caddy-capture/capture"
)

// heartbeat is how often a live stream says that it is still there, so that
// proxies keep it and a follower that has gone is noticed.
var heartbeat = 15 * time.Second

// liveStream is an answer that goes on: what is stored at first, then each new
// entry of the journal as what it means, as server-sent events.
type liveStream struct {
	name string // of its events
	// backlog returns the data of what is stored, oldest first, with the
	// number of the newest entry among it where that is known.
	backlog func() (stored []sse.Event, seen uint64, err error)
	// show returns what a new entry means; ok is false if it is not wanted.
	show func(e *capture.Entry) (item sse.Event, ok bool, err error)
}

// follow answers with a stream, until the client goes or the ledger closes.
func (c *adminCall) follow(s *liveStream) error {
	// Subscribing first leaves no gap between what is stored and what comes.
	entries, stop := c.lease.ledger.Follow()
	defer stop()
	stored, seen, err := s.backlog()
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
	err = sse.Follow(c.r.Context(), &sse.Stream{
		W: c.w, Heartbeat: heartbeat, WriteLimit: stallLimit, Greeting: ": following the " + s.name, Stored: stored,
	}, entries, func(e *capture.Entry) (sse.Event, bool, error) {
		if e.Seq <= seen {
			return sse.Event{}, false, nil
		}
		return s.show(e)
	})
	if err != nil {
		// The status is sent, so this can only be logged; most often the
		// follower has gone.
		caddy.Log().Named("capture.admin").Debug("following", zap.String("what", s.name), zap.Error(err))
	}
	return nil
}

// followJournal sends the last entries, if any are asked for, and then each
// new one.
func (c *adminCall) followJournal(reader capture.Reader, q capture.JournalQuery, last int) error {
	const name = "journal"
	item := func(e *capture.Entry) sse.Event {
		return sse.Event{Name: name, ID: strconv.FormatUint(e.Seq, 10), Data: c.lease.showEntry(e)}
	}
	return c.follow(&liveStream{
		name: name,
		backlog: func() (stored []sse.Event, seen uint64, err error) {
			if last == 0 {
				return nil, 0, nil
			}
			size := 0
			err = reader.Journal(c.r.Context(), q, func(e *capture.Entry) bool {
				stored = append(stored, item(e))
				seen = max(seen, e.Seq)
				size += rawSize(e)
				return len(stored) < last && size <= maxPageBytes
			})
			if err != nil {
				return nil, 0, fmt.Errorf("reading the journal: %w", err)
			}
			slices.Reverse(stored)
			return stored, seen, nil
		},
		show: func(e *capture.Entry) (sse.Event, bool, error) {
			if !q.Takes(e) {
				return sse.Event{}, false, nil
			}
			return item(e), true, nil
		},
	})
}

// followConversions sends the last conversions, if any are asked for, and then
// each one that is recorded or changes, as it is now.
func (c *adminCall) followConversions(reader capture.Reader, q capture.ConversionQuery, last int) error {
	const name = "conversion"
	item := func(conv *capture.Conversion) sse.Event {
		return sse.Event{Name: name, ID: conv.ID.String(), Data: c.lease.showConversion(conv)}
	}
	return c.follow(&liveStream{
		name: name,
		backlog: func() (stored []sse.Event, seen uint64, err error) {
			if last == 0 {
				return nil, 0, nil
			}
			err = reader.Conversions(c.r.Context(), q, func(conv *capture.Conversion) bool {
				stored = append(stored, item(conv))
				return len(stored) < last
			})
			if err != nil {
				return nil, 0, fmt.Errorf("reading conversions: %w", err)
			}
			slices.Reverse(stored)
			return stored, 0, nil
		},
		show: func(e *capture.Entry) (sse.Event, bool, error) {
			if e.Outcome != capture.Recorded && e.Outcome != capture.Updated {
				return sse.Event{}, false, nil
			}
			conv, err := reader.Conversion(c.r.Context(), e.Conversion)
			if errors.Is(err, capture.ErrNotFound) {
				return sse.Event{}, false, nil // it is gone already
			}
			if err != nil {
				return sse.Event{}, false, fmt.Errorf("reading conversion %s: %w", e.Conversion, err)
			}
			return item(conv), q.Takes(conv), nil
		},
	})
}
