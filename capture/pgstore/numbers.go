package pgstore

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
)

// The sequence of journal numbers is no part of any transaction. So it can be
// behind: the server forgets in a crash which numbers it gave to a transaction
// that was not committed, and a standby that takes over may never have heard of
// them, while the batch is sent again and keeps them. Numbers that a batch has
// are therefore always taken out of the sequence; and where it was behind all the
// same, the journal's key says so, before any entry is replaced by another.

// maxNumbers is how many numbers a batch may be ahead of all others.
const maxNumbers = 100_000

// takeNumbers takes out of the sequence what is in use. It asks for numbers until
// there are enough, since to set the sequence is to set it back for whoever asks
// at the same moment.
const takeNumbers = `SELECT coalesce(max(n), 0) FROM (SELECT nextval('{s}.journal_seq') AS n FROM {s}.journal_seq q
CROSS JOIN LATERAL generate_series(q.last_value + CASE WHEN q.is_called THEN 1 ELSE 0 END, least(%s, q.last_value + $2))) AS taken`

// askNumbers gives numbers to the postbacks that have none, and makes the
// sequence go on behind those that were given. It returns the former.
func (s *Store) askNumbers(q *pgx.Batch, b *capture.Batch) (unnumbered []*capture.Postback) {
	top := uint64(0)
	for _, p := range b.Postbacks {
		if p.Seq == 0 {
			p.Seq = firstPass + uint64(len(unnumbered)) //nolint:gosec // not negative
			unnumbered = append(unnumbered, p)
		} else {
			top = max(top, p.Seq)
		}
	}
	if top > 0 || s.seqBehind {
		s.askToTake(q, top)
	}
	if len(unnumbered) > 0 {
		n, seq := 0, int64(0)
		each(q, s.q(`SELECT nextval('{s}.journal_seq') FROM generate_series(1, $1::int)`), []any{int32(len(unnumbered))}, []any{&seq}, func() error { //nolint:gosec // a batch
			unnumbered[n].Seq = uint64(seq) //nolint:gosec // never negative
			n++
			return nil
		})
	}
	return unnumbered
}

func (s *Store) askToTake(q *pgx.Batch, top uint64) {
	until := "$1::bigint"
	if s.seqBehind {
		until = "greatest($1::bigint, (SELECT max(seq) FROM {s}.journal))"
	}
	q.Queue(s.q(fmt.Sprintf(takeNumbers, until)), int64(top), int64(maxNumbers)).QueryRow(func(row pgx.Row) error { //nolint:gosec // of a sequence
		var last int64
		if err := row.Scan(&last); err != nil {
			return err
		}
		if last != 0 && uint64(last) < top { //nolint:gosec // never negative
			return fmt.Errorf("the number %d of a journal entry is too far beyond the last one", top)
		}
		return nil
	})
}

// renumber makes a batch get new numbers: others have those that it has.
func (s *Store) renumber(b *capture.Batch) {
	s.seqBehind = true
	for _, p := range b.Postbacks {
		p.Seq = 0
	}
}
