package caddymodule

import (
	"context"
	"sort"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// estimate is about how many records an export will have, or 0 where that is
// not known cheaply.
func (e *exporter) estimate(what string, reader capture.Reader) int64 {
	if what == "journal" {
		if e.campaign != "" {
			// No sum says how many postbacks a campaign had, only reading all
			// of them does: the client shows how much has come, and how fast.
			return 0
		}
		return countEntries(e.c.r.Context(), reader, e.from, e.to)
	}
	q := attribution.Query{From: e.from, To: e.to, Campaign: e.campaign}
	if q.From.IsZero() {
		q.From = time.Unix(0, 0)
	}
	if q.To.IsZero() {
		q.To = e.c.now.Add(capture.CellSpan)
	}
	// Where the sums have no boundary the records would have to be counted.
	q.From, q.To = q.From.Truncate(capture.CellSpan), q.To.Add(capture.CellSpan-1).Truncate(capture.CellSpan)
	if q.Validate() != nil {
		return 0
	}
	report, err := reader.Report(e.c.r.Context(), q)
	switch {
	case err != nil:
		return 0 // whatever it is, the export itself will say so
	case what == "clicks":
		return report.Total.Clicks + report.Total.BotClicks
	}
	return report.Total.Conversions
}

// countEntries is about how many journal entries there are from a time to
// another, either of which may be zero. Entries are numbered one by one as they
// come, so it is the difference of two numbers, found by halving: some twenty
// entries are read.
func countEntries(ctx context.Context, reader capture.Reader, from, to time.Time) int64 {
	newest, ok := newestEntry(ctx, reader, capture.JournalQuery{To: to})
	if !ok || newest.Time.Before(from) {
		return 0
	}
	oldest := uint64(sort.Search(int(newest.Seq), func(seq int) bool { //nolint:gosec // no journal has that many
		if ctx.Err() != nil {
			return true // nobody waits any more
		}
		e, ok := newestEntry(ctx, reader, capture.JournalQuery{Before: uint64(seq) + 1}) //nolint:gosec // not negative
		return ok && !e.Time.Before(from)
	}))
	return int64(newest.Seq - oldest + 1) //nolint:gosec // oldest is not beyond newest
}

// newestEntry returns the first entry of a listing, if there is one.
func newestEntry(ctx context.Context, reader capture.Reader, q capture.JournalQuery) (e *capture.Entry, ok bool) {
	err := reader.Journal(ctx, q, func(found *capture.Entry) bool {
		e = found
		return false
	})
	return e, err == nil && e != nil
}
