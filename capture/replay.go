package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// bulk is how many postbacks a replay or an import has under way at a time:
// enough to share the cost of a commit, few enough to leave room for others.
// bulkBytes bounds them where they are large.
const (
	bulk      = 256
	bulkBytes = maxQueuedPostbackBytes / 4
)

// Replayed is what a replay did with one entry.
type Replayed struct {
	// Entry is the one that waited.
	Entry *Entry
	// Result is what became of it; still quarantined ones say why today.
	Result Result
	// Err, if set, is why it could not be tried.
	Err error
	// Done of Total have been tried so far.
	Done, Total int
}

// Replay books again what waits in quarantine and q takes, in the order of
// arrival, under today's rules, which prepare applies to each entry. Each
// entry is booked at most once, however often a replay is interrupted and
// begun anew. A dry run decides the same and writes nothing; where it is of more
// than it can remember, it ends with an error that wraps [ErrTrialTooLarge]. It
// ends early if yield returns false.
func (l *Ledger) Replay(ctx context.Context, q JournalQuery, dry bool,
	prepare func(*Entry) (*Postback, error), yield func(Replayed) bool,
) error {
	r, err := l.Reader()
	if err != nil {
		return err
	}
	q.Open = true
	var seqs []uint64
	if err := r.Journal(ctx, q, func(e *Entry) bool {
		seqs = append(seqs, e.Seq)
		return ctx.Err() == nil
	}); err != nil {
		return err
	}
	slices.Reverse(seqs) // the journal is read newest first
	var trial *Trial
	if dry {
		trial = new(Trial)
	}
	done, total := 0, len(seqs)
	for chunk := range slices.Chunk(seqs, bulk) {
		lines := make([]Replayed, len(chunk))
		batch := make([]*Postback, len(chunk))
		for i, seq := range chunk {
			lines[i].Entry, err = r.Entry(ctx, seq)
			switch {
			case errors.Is(err, ErrNotFound):
				lines[i].Err = fmt.Errorf("entry %d is kept no longer", seq)
				lines[i].Entry = &Entry{Seq: seq}
			case err != nil:
				return err
			case !lines[i].Entry.Waiting(): // it was booked with one before it
				lines[i].Result = waitsNoLonger(seq)
			default:
				batch[i], lines[i].Err = prepare(lines[i].Entry)
			}
		}
		if err := l.bookAll(ctx, batch, trial); err != nil {
			return err
		}
		for i := range lines {
			done++
			if batch[i] != nil {
				lines[i].Result = batch[i].Result
			}
			lines[i].Done, lines[i].Total = done, total
			if !yield(lines[i]) {
				return nil
			}
		}
	}
	return ctx.Err()
}

// bookAll books postbacks in their order and waits for all; nil ones are
// passed over. With a trial, it only says what would become of them. An error
// means that some may not have been booked.
func (l *Ledger) bookAll(ctx context.Context, batch []*Postback, trial *Trial) error {
	s, err := l.open()
	if err != nil {
		return err // nobody would write what is queued
	}
	if trial != nil {
		tried := slices.DeleteFunc(slices.Clone(batch), func(p *Postback) bool { return p == nil })
		return s.Try(ctx, &Batch{Now: l.now(), Postbacks: tried}, trial)
	}
	var waiting []*queuedPostback
	queued := 0
	for _, p := range batch {
		if p == nil {
			continue
		}
		if queued > bulkBytes {
			if err := l.await(ctx, waiting); err != nil {
				return err
			}
			waiting, queued = waiting[:0], 0
		}
		w, err := l.queue.addPostback(p)
		if err != nil {
			return errors.Join(err, l.await(ctx, waiting))
		}
		waiting = append(waiting, w)
		queued += w.bytes
	}
	return l.await(ctx, waiting)
}

// await waits until postbacks are booked. When ctx ends, what the committer
// has not taken is not booked any more.
func (l *Ledger) await(ctx context.Context, waiting []*queuedPostback) (failed error) {
	for _, w := range waiting {
		select {
		case <-w.done:
			failed = errors.Join(failed, w.err)
		case <-ctx.Done():
			if !l.queue.withdraw(w) {
				<-w.done
			}
			failed = errors.Join(failed, context.Cause(ctx))
		}
	}
	return failed
}
