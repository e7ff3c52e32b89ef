package pgstore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// This file writes records as rows: one statement for each table, whatever the
// number of rows, from arrays with an element for each row.

// put queues all that the pass changes, in the order of the keys, so that nodes
// which write the same do not wait for each other in a circle.
func (t *tx) put(b *pgx.Batch) error {
	node := t.s.node
	var blocks blockRows
	for _, block := range t.blocks {
		if len(block.Clicks) > 0 {
			if err := blocks.add(int32(block.Clicks[0].Ref.Epoch), block); err != nil {
				return err
			}
		}
	}
	blocks.insert(t.s.schema, b, false)
	var convs conversionRows
	var leads, misleads pairs
	for _, id := range slices.SortedFunc(maps.Keys(t.changed), attribution.ConversionID.Compare) {
		c := t.changed[id]
		if err := convs.add(c); err != nil {
			return err
		}
		for _, key := range c.TxKeys {
			leads.add(key, id) // also again: a sweep may have deleted them with the conversion
		}
		for _, key := range t.had[id] {
			if !slices.Contains(c.TxKeys, key) {
				misleads.add(key, id)
			}
		}
	}
	convs.put(t.s.schema, b)
	leads.put(t.s.schema, b)
	misleads.remove(t.s.schema, b)
	var entries, replaced entryRows
	for _, seq := range slices.Sorted(maps.Keys(t.journal)) {
		rows, was := &entries, t.entries.got[seq] != nil
		if was {
			rows = &replaced
		}
		if err := rows.add(node, t.journal[seq], was); err != nil {
			return err
		}
	}
	replaced.put(t.s.schema, b)
	entries.put(t.s.schema, b)
	var sums sumRows
	for _, cell := range slices.SortedFunc(maps.Keys(t.cells), compareCells) {
		c := t.cells[cell]
		sums.add(node, &cell, &c)
	}
	sums.put(t.s.schema, b)
	return nil
}

func compareCells(a, b capture.Cell) int {
	return cmp.Or(cmp.Compare(a.Quarter, b.Quarter), strings.Compare(a.Campaign, b.Campaign), strings.Compare(a.Source, b.Source),
		strings.Compare(a.Destination, b.Destination), strings.Compare(a.Event, b.Event))
}

// exec runs a batch of statements of which nothing is read but what they count.
func exec(ctx context.Context, q interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return q.SendBatch(ctx, b).Close()
}
