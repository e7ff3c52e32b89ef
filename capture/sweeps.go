package capture

import (
	"errors"
	"time"

	"go.uber.org/zap"
)

// Stores are swept every hour, but what has expired is deleted once a day. Each
// time it costs them the same, whether it is much or little: what is old lies far
// from what is new, and the embedded store writes much of what is between anew. The space is given back
// once a day in any case.
const (
	sweepEvery  = time.Hour
	deleteEvery = 24 * time.Hour
)

// deletions tells when what has expired is to be deleted.
type deletions struct {
	keep Retention
	last time.Time
}

// due returns the retention for a sweep at now: none if the last deletion under
// the same one was less than a day ago.
func (d *deletions) due(now time.Time, keep Retention) Retention {
	if since := now.Sub(d.last); keep == d.keep && since >= 0 && since < deleteEvery {
		return Retention{}
	}
	return keep
}

// sweepLoop keeps the retention.
func (l *Ledger) sweepLoop(store Store) {
	timer := time.NewTimer(time.Minute)
	defer timer.Stop()
	var deleted deletions
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-timer.C:
		}
		now := l.now()
		keep := deleted.due(now, l.current.Load().Retain)
		n, err := store.Sweep(l.ctx, now, keep)
		switch {
		case errors.Is(err, ErrNoSpace), errors.Is(err, ErrUnavailable): // which is said where it is noticed
		case err != nil && l.ctx.Err() == nil:
			l.log().Error("deleting expired records", zap.Error(err))
		case n != SweepResult{}:
			l.log().Info("expired records deleted", zap.Int("click_blocks", n.Blocks),
				zap.Int("journal_entries", n.Entries), zap.Int("conversions", n.Conversions))
		}
		if err == nil && keep != (Retention{}) {
			deleted = deletions{keep, now}
		}
		timer.Reset(sweepEvery)
	}
}
