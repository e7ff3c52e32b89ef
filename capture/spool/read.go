package spool

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// reader returns the shared store, from which all is read: what waits on this
// machine is not decided yet. Where that store is away, a read does not hang: it
// has a moment, and then ends with the reason. done is to be called with the
// read's error.
func (s *Store) reader(ctx context.Context) (_ capture.Store, _ context.Context, done func(*error), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, nil, nil, capture.ErrClosed
	case s.shared == nil:
		return nil, nil, nil, fmt.Errorf("%w: %s", capture.ErrUnavailable, s.why)
	}
	reading, cancel := context.WithCancelCause(ctx)
	s.reading++
	n := s.reading
	s.reads[n] = cancel
	var timer *time.Timer
	if s.why != "" {
		timer = time.AfterFunc(readPatience, s.cutReads)
	}
	return s.shared, reading, func(err *error) {
		if timer != nil {
			timer.Stop()
		}
		s.mu.Lock()
		delete(s.reads, n)
		s.mu.Unlock()
		if cause := context.Cause(reading); *err != nil && ctx.Err() == nil && cause != nil {
			*err = cause
		}
		cancel(nil)
	}, nil
}

// cutReads ends all reads while the shared store is away.
func (s *Store) cutReads() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == "" {
		return
	}
	for _, cancel := range s.reads {
		cancel(fmt.Errorf("%w: %s", capture.ErrUnavailable, s.why))
	}
}

// Try decides postbacks as the shared store would now.
func (s *Store) Try(ctx context.Context, b *capture.Batch, t *capture.Trial) (err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer done(&err)
	return r.Try(ctx, b, t)
}

// ClickToBook reads a click ahead, if the shared store can be asked. Where it
// cannot, the postback goes on all the same: its click is read when it is
// decided.
func (s *Store) ClickToBook(ctx context.Context, ref clickid.Ref) (*capture.Click, error) {
	s.mu.Lock()
	shared, away, closed := s.shared, s.shared == nil || s.waiting() > 0 || s.why != "", s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return nil, capture.ErrClosed
	case away:
		return nil, capture.ErrNotFound
	}
	asked, cancel := context.WithTimeout(ctx, s.e.deadline())
	defer cancel()
	c, err := shared.ClickToBook(asked, ref)
	if err == nil || ctx.Err() != nil {
		return c, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, capture.ErrClosed
	}
	return nil, capture.ErrNotFound // also where it is reached in another way since
}

// Erase erases in the shared store. What waits on this machine cannot be erased
// yet, so there must be nothing.
func (s *Store) Erase(ctx context.Context, ref clickid.Ref) (_ capture.Erased, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return capture.Erased{}, err
	}
	defer done(&err)
	if err := s.noneAside(ref); err != nil {
		return capture.Erased{}, err
	}
	s.mu.Lock()
	waits := s.waiting() > 0
	s.mu.Unlock()
	if waits {
		return capture.Erased{}, fmt.Errorf("%w: clicks and postbacks of this machine are still on their way to the shared store; erase again when they are there",
			capture.ErrUnavailable)
	}
	return r.Erase(ctx, ref)
}

// Check checks the shared store.
func (s *Store) Check(ctx context.Context, progress func(done, total int64)) (_ capture.CheckResult, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return capture.CheckResult{}, err
	}
	defer done(&err)
	return r.Check(ctx, progress)
}

// Backup writes what the shared store has.
func (s *Store) Backup(ctx context.Context, w io.Writer) (err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer done(&err)
	return r.Backup(ctx, w)
}

// Sweep sweeps the shared store.
func (s *Store) Sweep(ctx context.Context, now time.Time, keep capture.Retention) (_ capture.SweepResult, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return capture.SweepResult{}, err
	}
	defer done(&err)
	return r.Sweep(ctx, now, keep)
}

// Click returns one click.
func (s *Store) Click(ctx context.Context, ref clickid.Ref) (_ *capture.Click, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	return r.Click(ctx, ref)
}

// ClickConversions returns the conversions of one click.
func (s *Store) ClickConversions(ctx context.Context, ref clickid.Ref) (_ []*capture.Conversion, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	return r.ClickConversions(ctx, ref)
}

// Conversion returns one conversion.
func (s *Store) Conversion(ctx context.Context, id attribution.ConversionID) (_ *capture.Conversion, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	return r.Conversion(ctx, id)
}

// Entry returns one journal entry.
func (s *Store) Entry(ctx context.Context, seq uint64) (_ *capture.Entry, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer done(&err)
	return r.Entry(ctx, seq)
}

// Clicks lists clicks.
func (s *Store) Clicks(ctx context.Context, q capture.ClickQuery, yield func(*capture.Click) bool) (err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer done(&err)
	return r.Clicks(ctx, q, yield)
}

// Conversions lists conversions.
func (s *Store) Conversions(ctx context.Context, q capture.ConversionQuery, yield func(*capture.Conversion) bool) (err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer done(&err)
	return r.Conversions(ctx, q, yield)
}

// Journal lists journal entries.
func (s *Store) Journal(ctx context.Context, q capture.JournalQuery, yield func(*capture.Entry) bool) (err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return err
	}
	defer done(&err)
	return r.Journal(ctx, q, yield)
}

// Report answers a report.
func (s *Store) Report(ctx context.Context, q attribution.Query) (_ attribution.Report, err error) {
	r, ctx, done, err := s.reader(ctx)
	if err != nil {
		return attribution.Report{}, err
	}
	defer done(&err)
	return r.Report(ctx, q)
}

// OthersWrite says that the journal has entries of other nodes, too.
func (s *Store) OthersWrite() bool { return true }

// Status is that of the shared store, and what waits for it here.
func (s *Store) Status() capture.StoreStatus {
	s.mu.Lock()
	shared, closed, full := s.shared, s.closed, s.room(s.wanted)
	st := capture.StoreStatus{Alarm: s.alarm}
	spool := &capture.SpoolStatus{
		State: capture.SpoolDraining, Why: s.why, Since: s.since,
		Clicks: s.clicks, Postbacks: s.postbacks, Bytes: s.bytes,
		RefusedClicks: s.aside.clicks, RefusedPostbacks: s.aside.postbacks,
	}
	switch {
	case s.why != "" || s.shared == nil:
		spool.State = capture.SpoolSpooling
	case s.waiting() == 0:
		spool.State = capture.SpoolShared
	}
	if s.waiting() > 0 {
		spool.Oldest = s.oldest
	}
	if s.aside.files > 0 {
		spool.RefusedWhy, spool.RefusedDir = s.aside.why, s.queue.AsideDir()
		if st.Alarm == "" {
			st.Alarm = fmt.Sprintf("the shared store refused %d clicks and %d postbacks, which are set aside in %q: %s",
				s.aside.clicks, s.aside.postbacks, spool.RefusedDir, s.aside.why)
		}
	}
	s.mu.Unlock()
	if shared != nil {
		of := shared.Status()
		st.Bytes, st.Quarantine = of.Bytes, of.Quarantine
	}
	st.Free, st.Reserve, _ = s.queue.Room()
	st.Writable, st.Spool = true, spool
	switch {
	case closed:
		st.Writable, st.Why = false, capture.ErrClosed.Error()
	case spool.State != capture.SpoolShared && full != nil:
		st.Writable, st.Why = false, full.Error()
		if spool.Why != "" {
			st.Why = spool.Why + "; and " + st.Why
		}
	}
	return st
}
