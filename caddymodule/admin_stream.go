package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// heartbeat is how often a live stream says that it is still there, so that
// proxies keep it and a follower that has gone is noticed.
var heartbeat = 15 * time.Second

// followJournal sends the last entries, if any are asked for, and then each
// new one as a server-sent event, until the client goes or the ledger closes.
func (c *adminCall) followJournal(reader capture.Reader, q capture.JournalQuery, last int) error {
	// Subscribing first leaves no gap between what is stored and what comes.
	entries, stop := c.lease.ledger.Follow()
	defer stop()
	var backlog []*capture.Entry
	if last > 0 {
		size := 0
		err := reader.Journal(c.r.Context(), q, func(e *capture.Entry) bool {
			backlog = append(backlog, e)
			size += rawSize(e)
			return len(backlog) < last && size <= maxPageBytes
		})
		if err != nil {
			return fmt.Errorf("reading the journal: %w", err)
		}
		slices.Reverse(backlog)
	}
	c.w.Header().Set("Content-Type", "text/event-stream")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
	if err := c.stream(backlog, entries, q); err != nil {
		// The status is sent, so this can only be logged; most often the
		// follower has gone.
		caddy.Log().Named("capture.admin").Debug("following the journal", zap.Error(err))
	}
	return nil
}

func (c *adminCall) stream(backlog []*capture.Entry, live <-chan *capture.Entry, q capture.JournalQuery) error {
	flush := http.NewResponseController(c.w).Flush
	if _, err := io.WriteString(c.w, ": following the journal\n\n"); err != nil {
		return err
	}
	var seen uint64
	for _, e := range backlog {
		if err := c.sendEntry(e); err != nil {
			return err
		}
		seen = e.Seq
	}
	if err := flush(); err != nil {
		return err
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-c.r.Context().Done():
			return nil
		case e, ok := <-live:
			if !ok {
				return nil
			}
			if e.Seq <= seen || !q.Takes(e) {
				continue
			}
			err = c.sendEntry(e)
		case <-tick.C:
			_, err = io.WriteString(c.w, ": still here\n\n")
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
}

func (c *adminCall) sendEntry(e *capture.Entry) error {
	data, err := json.Marshal(c.lease.showEntry(e))
	if err != nil {
		return fmt.Errorf("writing entry %d: %w", e.Seq, err)
	}
	_, err = fmt.Fprintf(c.w, "event: journal\nid: %d\ndata: %s\n\n", e.Seq, data)
	return err
}
