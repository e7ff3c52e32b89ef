package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// marker is a quarter of an hour and the blocks that may have clicks of it.
type marker struct {
	markerOf
	span span
}

// sweepClicks deletes the blocks of which all clicks were before cutoff. A
// block is in the spans of all quarters it has clicks of, so it may go when it
// is in none of a quarter that is still kept. Spans say too much rather than
// too little, so some blocks go later than they could.
func (s *Store) sweepClicks(ctx context.Context, cutoff time.Time) (n int, err error) {
	var expired []marker
	gone, kept := make(map[uint16][]span), make(map[uint16][]span) // by epoch, 0 for our own
	var snapshot uint64
	err = s.view(ctx, func(txn *transaction) error {
		snapshot = txn.ReadTs()
		return s.scan(ctx, txn, scan{prefix: []byte{kindQuarter}}, func(item *record) (bool, error) {
			m := marker{markerOf: keyMarker(item.Key())}
			err := item.Value(func(v []byte) (err error) {
				m.span, err = decodeSpan(v)
				return err
			})
			end := time.Unix(int64(m.quarter)*int64(capture.CellSpan/time.Second), 0).Add(capture.CellSpan)
			if end.After(cutoff) {
				kept[m.guest] = append(kept[m.guest], m.span)
			} else {
				gone[m.guest] = append(gone[m.guest], m.span)
				expired = append(expired, m)
			}
			return err == nil, err
		})
	})
	if err != nil || len(expired) == 0 {
		return 0, err
	}
	if err := s.erase(ctx, func(d *eraser) error {
		return d.noteSwept(swept{clicks: cutoff.UnixMilli()})
	}); err != nil {
		return 0, err
	}
	for guest := range gone {
		for _, sp := range subtractSpans(joinSpans(gone[guest]), joinSpans(kept[guest])) {
			deleted, err := s.sweepBlocks(ctx, guest, sp, snapshot)
			n += deleted
			if err == nil && guest == 0 {
				deleted, err = s.sweepMerged(ctx, sp)
				n += deleted
			}
			if err != nil {
				return n, err
			}
		}
	}
	return n, s.sweepMarkers(ctx, expired)
}

// subtractSpans returns what is in a but not in b; both are joined.
func subtractSpans(a, b []span) []span {
	var rest []span
	for _, sp := range a {
		for len(b) > 0 && b[0].last < sp.first {
			b = b[1:]
		}
		for i := 0; i < len(b) && b[i].first <= sp.last && sp.first <= sp.last; i++ {
			if b[i].first > sp.first {
				rest = append(rest, span{sp.first, b[i].first - 1})
			}
			if b[i].last >= sp.last {
				sp.first, sp.last = 1, 0 // nothing is left
				break
			}
			sp.first = b[i].last + 1
		}
		if sp.first <= sp.last {
			rest = append(rest, sp)
		}
	}
	return rest
}

// sweepBlocks deletes the blocks of a span of an epoch. Those that are newer than the
// snapshot in which the markers were read stay: they may be of any quarter.
func (s *Store) sweepBlocks(ctx context.Context, guest uint16, sp span, snapshot uint64) (n int, err error) {
	for sp.first <= sp.last {
		var blocks [][]byte // keys
		var bytes int64
		next := sp.last + 1
		err := s.view(ctx, func(txn *transaction) error {
			var k keys
			w := scan{prefix: []byte{kindBlock}, from: k.number(kindBlock, sp.first)}
			return s.scan(ctx, txn, w, func(item *record) (bool, error) {
				number := keyNumber(item.Key())
				if number > sp.last {
					return false, nil
				}
				if keyGuest(item.Key()) != guest {
					return true, nil
				}
				if len(blocks) == sweepStep {
					next = number
					return false, nil
				}
				if item.Version() <= snapshot {
					blocks = append(blocks, item.KeyCopy(nil))
					bytes += item.EstimatedSize()
				}
				return true, nil
			})
		})
		if err != nil {
			return n, err
		}
		if len(blocks) > 0 {
			err = s.erase(ctx, func(d *eraser) error {
				d.bytes = bytes
				for _, key := range blocks {
					if err := d.txn.Delete(key); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return n, err
			}
			n += len(blocks)
		}
		sp.first = next
	}
	return n, nil
}

// sweepMerged takes the blocks of a span out of the records that they were
// merged into. (All of these are older than the markers: only sweeps merge.)
func (s *Store) sweepMerged(ctx context.Context, sp span) (n int, err error) {
	for from, more := groupOf(sp.first), true; more; {
		var batch []shortened
		size := 0
		err := s.view(ctx, func(txn *transaction) error {
			var k keys
			w := scan{prefix: []byte{kindMerged}, from: k.number(kindMerged, from)}
			more = false
			return s.scan(ctx, txn, w, func(item *record) (bool, error) {
				group := keyNumber(item.Key())
				if group > groupOf(sp.last) {
					return false, nil
				}
				if more = len(batch) == rewriteStep || size > rewriteBytes; more {
					from = group
					return false, nil
				}
				rest := shortened{key: item.KeyCopy(nil), bytes: item.EstimatedSize()}
				err := item.Value(func(v []byte) error { return rest.cut(v, sp) })
				if err != nil {
					return false, fmt.Errorf("%w: the click blocks of group %d: %w", errDamaged, group, err)
				}
				if rest.gone > 0 {
					batch = append(batch, rest)
					size += len(rest.value)
				}
				return true, nil
			})
		})
		if err != nil {
			return n, err
		}
		if len(batch) == 0 {
			continue
		}
		if err := s.erase(ctx, func(d *eraser) error { return d.shorten(batch) }); err != nil {
			return n, err
		}
		for _, rest := range batch {
			n += rest.gone
		}
	}
	return n, nil
}

// shortened is what is left of a record of merged blocks.
type shortened struct {
	key   []byte
	value []byte // nil: nothing
	bytes int64  // that the record took
	gone  int    // blocks
}

// cut leaves out the blocks of a span.
func (rest *shortened) cut(record []byte, sp span) error {
	var r capture.BlockReader
	if err := r.ResetFront(record); err != nil {
		return err
	}
	left := 0
	for number := range r.Blocks() {
		if number < sp.first || number > sp.last {
			left++
		} else {
			rest.gone++
		}
	}
	if left == 0 || rest.gone == 0 {
		return nil
	}
	blocks, err := capture.DecodeBlocks(record)
	if err != nil {
		return err
	}
	blocks = slices.DeleteFunc(blocks, func(b *capture.Block) bool { return b.Number >= sp.first && b.Number <= sp.last })
	if rest.value = capture.EncodeBlocks(blocks); rest.value == nil {
		return errors.New("what is left cannot be written anew")
	}
	return nil
}

func (d *eraser) shorten(batch []shortened) error {
	for _, rest := range batch {
		if rest.value != nil {
			if err := d.replace(rest.key, rest.value); err != nil {
				return err
			}
			continue
		}
		d.bytes += rest.bytes
		if err := d.txn.Delete(rest.key); err != nil {
			return err
		}
	}
	return nil
}

// sweepMarkers deletes the markers of expired quarters, but not those that
// changed meanwhile: they have new blocks, which the next sweep deletes.
func (s *Store) sweepMarkers(ctx context.Context, expired []marker) error {
	for len(expired) > 0 {
		step := expired[:min(sweepStep, len(expired))]
		expired = expired[len(step):]
		err := s.erase(ctx, func(d *eraser) error {
			for _, m := range step {
				key := d.keys.marker(m.markerOf)
				data, err := getCopy(d.txn, key)
				if err != nil {
					return err
				}
				if string(data) != string(m.span.encode()) {
					continue
				}
				if err := d.txn.Delete(key); err != nil {
					return err
				}
				delete(s.spans, m.markerOf)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
