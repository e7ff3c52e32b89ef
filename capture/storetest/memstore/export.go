package memstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Entry returns one journal entry.
func (s *Store) Entry(ctx context.Context, seq uint64) (e *capture.Entry, err error) {
	err = s.read(ctx, func() error {
		found := s.disk.entries[seq]
		if found == nil {
			return capture.ErrNotFound
		}
		c := *found
		e = &c
		return nil
	})
	return e, err
}

// Try decides postbacks and forgets what they would change.
func (s *Store) Try(ctx context.Context, b *capture.Batch, trial *capture.Trial) error {
	return s.read(ctx, func() error {
		t := &tx{base: &s.disk.records, changed: newRecords()}
		err := capture.Try(t, b, s.disk.nextSeq, trial)
		if err != nil && !errors.Is(err, capture.ErrTrialTooLarge) {
			return fmt.Errorf("%w: %w", capture.ErrUnavailable, err)
		}
		return err
	})
}

// Clicks lists clicks from a copy.
func (s *Store) Clicks(ctx context.Context, q capture.ClickQuery, yield func(*capture.Click) bool) error {
	var list []*capture.Click
	err := s.read(ctx, func() error {
		for _, number := range slices.SortedFunc(maps.Keys(s.disk.blocks), blockPlace.compare) {
			for _, c := range s.disk.blocks[number].Clicks {
				if q.Takes(c) {
					copied := *c
					list = append(list, &copied)
				}
			}
		}
		return nil
	})
	for _, c := range list {
		if !yield(c) {
			break
		}
	}
	return err
}
