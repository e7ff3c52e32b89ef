package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A store that was copied from a shared one has clicks of several nodes, each
// with an epoch and block numbers of its own. One of the epochs is the store's;
// the blocks of the others are guests: their keys, and those of their markers,
// have the epoch at the end. So they lie among the blocks of the same number,
// where all who walk along blocks come by them, and who looks for a block by its
// number alone does not. Guests are not merged: there will be no more of them,
// and retention takes them away.

// markerOf names a marker: guest is the epoch, or 0 for the store's own.
type markerOf struct {
	quarter uint32
	guest   uint16
}

// keyMarker reads the key of a marker.
func keyMarker(key []byte) markerOf {
	m := markerOf{quarter: keyQuarter(key)}
	if len(key) == 7 {
		m.guest = binary.BigEndian.Uint16(key[5:])
	}
	return m
}

// keyGuest reads the epoch of a guest's key, 0 of any other block's.
func keyGuest(key []byte) uint16 {
	if key[0] != kindBlock || len(key) != 11 {
		return 0
	}
	return binary.BigEndian.Uint16(key[9:])
}

// blockName describes the key of a block, or of a group, for people.
func blockName(key []byte) string {
	if guest := keyGuest(key); guest != 0 {
		return fmt.Sprintf("%d of epoch %d", keyNumber(key), guest)
	}
	return fmt.Sprint(keyNumber(key))
}

// skipGuests moves an iterator of blocks to the next one that is none.
func skipGuests(it *iterator) {
	for it.Valid() && keyGuest(it.Item().Key()) != 0 {
		it.Next()
	}
}

func nextOwn(it *iterator) {
	it.Next()
	skipGuests(it)
}

// spansByEpoch returns the spans of all markers, joined; 0 is our own epoch.
func (s *Store) spansByEpoch(ctx context.Context, txn *transaction) (map[uint16][]span, error) {
	all := make(map[uint16][]span)
	err := s.scan(ctx, txn, scan{prefix: []byte{kindQuarter}}, func(item *record) (bool, error) {
		guest := keyMarker(item.Key()).guest
		return true, item.Value(func(v []byte) error {
			sp, err := decodeSpan(v)
			all[guest] = append(all[guest], sp)
			return err
		})
	})
	for guest, spans := range all {
		all[guest] = joinSpans(spans)
	}
	return all, err
}

// putGuest stores a block of another epoch.
func (t *tx) putGuest(epoch uint16, b *capture.Block) error {
	for _, c := range b.Clicks {
		if err := t.mark(markerOf{capture.QuarterOf(c.Time), epoch}, b.Number); err != nil {
			return err
		}
	}
	return t.set(t.keys.guestBlock(epoch, b.Number), capture.EncodeBlock(b))
}

// erasedKept is how many of the erasures of a shared store are kept for the way
// back: they are in one record with its nodes.
const erasedKept = 4096

// lastErased returns the newest of some erasures, in the order that they were in.
func lastErased(list []capture.CopyErased, most int) []capture.CopyErased {
	if len(list) <= most {
		return list
	}
	newest := slices.Clone(list)
	slices.SortStableFunc(newest, func(a, b capture.CopyErased) int { return cmp.Compare(b.At, a.At) })
	newest = newest[:most]
	slices.SortFunc(newest, func(a, b capture.CopyErased) int { return bytes.Compare(a.Click[:], b.Click[:]) })
	return newest
}

// nodesOf returns who else gave out click IDs, the name by which their shared
// store was known, and what was erased there; nil if nobody did.
func nodesOf(txn *transaction) (*capture.CopyHead, error) {
	data, err := getCopy(txn, keyNodes)
	if err != nil || data == nil {
		return nil, err
	}
	h, err := capture.DecodeCopyHead(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return h, nil
}
