package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

const (
	// attemptTimeout bounds one attempt to write a batch.
	attemptTimeout = 10 * time.Second
	// maxAttempts is how often a batch is tried that meets those of other nodes.
	maxAttempts = 12
	// turnAfter is how many attempts come to nothing before a batch waits for its
	// turn, and turnFor how long the batches after it do so from the start: where
	// nodes meet once, they will again.
	turnAfter = 2
	// staleAfter tells a connection that was gone already from a server that does
	// not answer.
	staleAfter = time.Second
	turnFor    = 2 * time.Second
	// firstPass are numbers that a batch's entries have until the database has
	// given them theirs. Nothing that is decided with them is kept.
	firstPass = math.MaxInt64 / 2
)

// attempts are the results of a batch of which it is not known whether it was
// written, of each attempt: nodes may have come in between.
type attempts struct {
	batch   uint64
	last    int64
	results map[int64][]capture.Result
}

func (a *attempts) note(b *capture.Batch) int64 {
	if a.batch != b.Number || a.results == nil {
		*a = attempts{batch: b.Number, last: a.last, results: make(map[int64][]capture.Result)}
	}
	a.last++
	results := make([]capture.Result, 0, len(b.Postbacks))
	for _, p := range b.Postbacks {
		results = append(results, p.Result)
	}
	a.results[a.last] = results
	return a.last
}

// errAgain: nothing was written, and the cause is gone.
var errAgain = errors.New("the batch is to be tried again")

// errUndone: the server ended the transaction otherwise than it was told to.
var errUndone = errors.New("the database undid the batch instead of committing it")

// errApplied: the batch was applied before.
var errApplied = errors.New("the batch was applied before")

// Commit decides a batch and makes it durable in one transaction. It gives up at
// the deadline of ctx, but not when ctx is cancelled.
func (s *Store) Commit(ctx context.Context, b *capture.Batch) (err error) {
	ctx, leave, err := s.enter(ctx)
	if err != nil {
		if !errors.Is(err, capture.ErrClosed) {
			err = fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
		}
		return err
	}
	defer leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if why := s.failure.Load(); why != nil {
		return fmt.Errorf("%w: %s", capture.ErrFatal, *why)
	}
	writing, cancel := context.WithoutCancel(ctx), context.CancelFunc(func() {})
	if end, ok := ctx.Deadline(); ok {
		writing, cancel = context.WithDeadline(writing, end)
	}
	defer cancel()
	err = s.commit(writing, b)
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	if s.why = ""; err != nil {
		s.why = err.Error()
	}
	return err
}

func (s *Store) commit(ctx context.Context, b *capture.Batch) error {
	var err error
	for n := range maxAttempts {
		if n >= turnAfter && collided(err) {
			s.contended = time.Now().Add(turnFor)
		}
		if err = s.ensureDays(ctx, b.Blocks); err != nil {
			return away("making room for clicks", err)
		}
		err = s.attempt(ctx, b)
		switch {
		case err == nil:
			s.batch, s.seqBehind = b.Number, false
			return nil
		case errors.Is(err, errApplied):
			return s.recall(ctx, b)
		case !errors.Is(err, errAgain):
			return err
		}
	}
	if codeOf(err) == codeNoPartition { // no other node keeps dropping it: somebody's own constraint is against it
		return fmt.Errorf("%w: %w", capture.ErrRefused, err)
	}
	return fmt.Errorf("%w: other nodes kept coming first: %w", capture.ErrUnavailable, err)
}

// attempt tries once to write the batch.
func (s *Store) attempt(ctx context.Context, b *capture.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if len(b.Postbacks) > 0 && time.Now().Before(s.contended) {
		done, err := s.turn(ctx)
		if err != nil {
			return away("waiting for the other nodes", err)
		}
		defer done()
	}
	conn, err := s.write.Acquire(ctx) // as it is; another one if that has ended
	if err != nil {
		return away("connecting to the database", err)
	}
	defer giveBack(conn)
	if err = s.attemptOn(ctx, conn, b); err != nil && !errors.Is(err, errAgain) && !errors.Is(err, errApplied) {
		// Whatever it is, it may be that of this connection, as where a replica
		// is at its other end now.
		hangUp(conn)
	}
	return err
}

func (s *Store) attemptOn(ctx context.Context, conn *pgxpool.Conn, b *capture.Batch) error {
	start := time.Now()
	t, err := s.decide(ctx, conn, b)
	if err != nil {
		if conn.Conn().IsClosed() && time.Since(start) < staleAfter {
			return fmt.Errorf("%w: %w", errAgain, err) // the server left while nobody looked, with or without a word; another connection may do
		}
		return s.notWritten(err)
	}
	return s.finish(ctx, conn, t, b)
}

// notWritten classifies an error before the batch was sent.
func (s *Store) notWritten(err error) error {
	switch {
	case errors.Is(err, errApplied), errors.Is(err, errAgain), errors.Is(err, capture.ErrFatal):
		return err
	case collided(err):
		return fmt.Errorf("%w: %w", errAgain, err)
	case errors.Is(err, errDamaged):
		// What is decided on damaged records would damage more. Batches that are
		// not about these can be decided.
		return fmt.Errorf("%w: reading what the batch is about: %w", capture.ErrRefused, err)
	}
	return away("reading what the batch is about", err)
}

// finish writes what was decided, and commits.
func (s *Store) finish(ctx context.Context, conn *pgxpool.Conn, t *tx, b *capture.Batch) error {
	var q pgx.Batch
	if err := t.put(&q); err != nil {
		return away("writing the batch", err)
	}
	attempt := s.attempts.note(b)
	if len(b.Postbacks) > 0 {
		seqs := make([]int64, 0, len(b.Postbacks))
		for _, p := range b.Postbacks {
			seqs = append(seqs, int64(p.Seq)) //nolint:gosec // of a sequence
		}
		q.Queue(s.q(noteAttempt), s.node, attempt, seqs)
	}
	q.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return errUndone
		}
		return nil
	})
	forgetWarnings(conn.Conn())
	err := conn.SendBatch(ctx, &q).Close()
	if err == nil {
		err = confirmed(conn.Conn())
	}
	switch {
	case err == nil:
		s.countChanges(t, b.Number)
		return nil
	case errors.Is(err, errUndone):
		return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
	case !refused(err) && !stillOpen(conn.Conn()):
		return fmt.Errorf("%w: %w", capture.ErrUnknown, err)
	case collided(err):
		return fmt.Errorf("%w: %w", errAgain, err)
	case codeOf(err) == codeNoPartition:
		clear(s.days) // another node has dropped one
		return fmt.Errorf("%w: %w", errAgain, err)
	case codeOf(err) == codeUnique && tableOf(err) == "journal":
		s.renumber(b)
		return fmt.Errorf("%w: %w", errAgain, err)
	case codeOf(err) == codeUnique && !s.checkAll:
		s.checkAll = true
		return fmt.Errorf("%w: %w", errAgain, err)
	}
	return away("writing the batch", err)
}

// countChanges counts what came into quarantine and left it.
func (s *Store) countChanges(t *tx, batch uint64) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	var changes quarantine
	if s.counting > 0 {
		changes = make(quarantine)
		s.changes = append(s.changes, counted{batch, changes})
	}
	count := func(e *capture.Entry, n int64) {
		if e != nil && e.Waiting() {
			s.quarantine.add(e.Reason, n)
			changes.add(e.Reason, n)
		}
	}
	for seq, e := range t.journal {
		count(t.entries.got[seq], -1)
		count(e, 1)
	}
}
