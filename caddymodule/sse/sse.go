// Package sse answers with server-sent events: what is stored first, and then
// what comes, for as long as the client follows.
package sse

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Event is one event of a stream.
type Event struct {
	Name, ID string
	Data     any // is written as JSON
}

// Stream is an answer that goes on.
type Stream struct {
	W http.ResponseWriter
	// Heartbeat is how often the stream says that it is still there, so that
	// proxies keep it and a follower that has gone is noticed.
	Heartbeat time.Duration
	// WriteLimit is how long a follower may take for what it is sent: one that
	// does not read must not hold its place for ever.
	WriteLimit time.Duration
	// Done ends the stream, as the client does; nil for never.
	Done <-chan struct{}
	// Greeting are the lines with which it begins.
	Greeting string
	// Stored are the events that it begins with.
	Stored []Event
}

// Follow sends what is stored and then what show makes of each that comes, until
// the context, the stream or the channel ends. show may leave one out.
func Follow[T any](ctx context.Context, s *Stream, live <-chan T, show func(T) (e Event, ok bool, err error)) error {
	control := http.NewResponseController(s.W)
	// Where deadlines are not supported, the connection's own limits hold.
	limit := func() { _ = control.SetWriteDeadline(time.Now().Add(s.WriteLimit)) }
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	limit()
	if err := s.begin(); err != nil {
		return err
	}
	if err := control.Flush(); err != nil {
		return err
	}
	tick := time.NewTicker(s.Heartbeat)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-s.Done:
			return nil
		case item, open := <-live:
			if !open {
				return nil
			}
			e, ok, showErr := show(item)
			if showErr != nil {
				return showErr
			}
			if !ok {
				continue
			}
			limit()
			err = s.send(e)
		case <-tick.C:
			limit()
			_, err = io.WriteString(s.W, ": still here\n\n")
		}
		if err == nil {
			err = control.Flush()
		}
		if err != nil {
			return err
		}
	}
}

func (s *Stream) begin() error {
	if _, err := fmt.Fprintf(s.W, "%s\n\n", s.Greeting); err != nil {
		return err
	}
	for _, e := range s.Stored {
		if err := s.send(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stream) send(e Event) error {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("writing %s %s: %w", e.Name, e.ID, err)
	}
	_, err = fmt.Fprintf(s.W, "event: %s\nid: %s\ndata: %s\n\n", e.Name, e.ID, data)
	return err
}
