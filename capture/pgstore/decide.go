package pgstore

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-capture/caddy-capture/capture"
)

// decide begins a transaction and passes over the batch until nothing is missing.
func (s *Store) decide(ctx context.Context, conn *pgxpool.Conn, b *capture.Batch) (_ *tx, err error) {
	r := &reader{s: s}
	var first pgx.Batch
	first.Queue("BEGIN ISOLATION LEVEL SERIALIZABLE")
	s.e.queueBounds(&first)
	s.askNode(&first, b)
	unnumbered := s.askNumbers(&first, b)
	defer func() {
		for _, p := range unnumbered {
			if err != nil && p.Seq >= firstPass {
				p.Seq = 0
			}
		}
	}()
	known := s.askBlocks(&first, b)
	if len(b.Postbacks) > 0 || len(b.Blocks) > 0 {
		if err := capture.Apply(newTx(r), b); err != nil { // to learn what it will ask
			return nil, err
		}
		r.ask(&first)
	}
	if err := conn.SendBatch(ctx, &first).Close(); err != nil {
		if errors.Is(err, errNotNext) {
			err = s.whyNotNext(ctx, conn, b)
		}
		return nil, err
	}
	r.settle()
	batch := *b
	batch.Blocks = slices.DeleteFunc(slices.Clone(b.Blocks), func(block *capture.Block) bool { return known[block] })
	for {
		t := newTx(r)
		if err := capture.Apply(t, &batch); err != nil {
			return nil, err
		}
		var more pgx.Batch
		if !r.ask(&more) {
			return t, nil
		}
		if err := conn.SendBatch(ctx, &more).Close(); err != nil {
			return nil, err
		}
		r.settle()
	}
}

// askBlocks finds out which blocks are there already: those whose numbers were
// in use before this process began, or any where an insert met one.
func (s *Store) askBlocks(q *pgx.Batch, b *capture.Batch) map[*capture.Block]bool {
	known := make(map[*capture.Block]bool)
	var at places
	asked := make(map[[2]uint64]*capture.Block)
	for _, block := range b.Blocks {
		if len(block.Clicks) > 0 && (s.checkAll || block.Number < s.position.NextBlock) {
			ref := block.Clicks[0].Ref
			asked[[2]uint64{uint64(ref.Epoch), block.Number}] = block
			at.add(ref)
		}
	}
	if len(asked) == 0 {
		return known
	}
	var node int32
	var number int64
	each(q, s.q(`SELECT node, number FROM {s}.blocks WHERE (node, number) IN (SELECT * FROM unnest($1::int[], $2::bigint[]))`),
		[]any{at.nodes, at.numbers}, []any{&node, &number}, func() error {
			known[asked[[2]uint64{uint64(node), uint64(number)}]] = true //nolint:gosec // never negative
			return nil
		})
	return known
}
