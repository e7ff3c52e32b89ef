package badgerstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// A month of a busy site has millions of cells, too many to be read for a
// report and to be kept as a key each. So the sums are kept as in a log-structured
// tree, all parts of which simply add up:
//
//   - Commits write cells of the newest generation.
//   - When there are some thousand of them, the next generation begins. Those
//     of the generations before, which nobody writes any more, are folded into
//     packs, some thousand cells at a time. How far that went is in the same
//     write, and reports read cells only from there on; the folded ones are
//     deleted afterwards. (Their deletions would hold up a report for longer
//     than the cells did if it had to step over them.)
//   - Packs of the same day are merged when there are many.
//
// So a sum can be changed long after its day, and what is changed is never
// more than a few records, each in one write.

const (
	// foldAt is how many cells make a generation: few enough that a report
	// reads them in some milliseconds, and that a small store need not fold
	// more often than it sweeps.
	foldAt = 4096
	// foldStep and foldBytes bound what one write folds.
	foldStep  = 4096
	foldBytes = 512 << 10
	// The packs of one part of a day are merged when there are mergeAt of them,
	// or when all but the largest have a quarter of its size, so that a report
	// reads little more than if there were but one, and each sum is written
	// four or five times in all. No pack grows beyond mergeBytes; without the
	// largest, mergeLeast have to be there.
	mergeAt    = 16
	mergeShare = 4
	mergeLeast = 8
	mergeBytes = 512 << 10
)

// fold is how far the folding went.
type fold struct {
	generation uint32 // the newest
	pack       uint64 // the number of the next pack
	dead       uint32 // the first generation that may still have folded cells
	from       []byte // the key of the first cell that is not folded, or below
}

func firstFold() fold {
	var k keys
	return fold{generation: 1, pack: 1, dead: 1, from: k.cellsFrom(1, 0)}
}

func (f *fold) encode() []byte {
	b := append(make([]byte, 0, 64), recordFormat)
	b = binary.AppendUvarint(b, uint64(f.generation))
	b = binary.AppendUvarint(b, f.pack)
	b = binary.AppendUvarint(b, uint64(f.dead))
	return append(b, f.from...)
}

func foldOf(txn *transaction) (f fold, err error) {
	data, err := getCopy(txn, keyFold)
	if err != nil {
		return f, err
	}
	if data == nil {
		return firstFold(), nil
	}
	var generation, dead uint64
	rest, err := readUvarints(data, "note of folding", &generation, &f.pack, &dead)
	if err != nil {
		return f, err
	}
	f.generation, f.dead, f.from = uint32(generation), uint32(dead), rest //nolint:gosec // as written
	if uint64(f.generation) != generation || uint64(f.dead) != dead || len(f.from) < 5 || f.from[0] != kindCell {
		return f, fmt.Errorf("%w: the note of folding is wrong", errDamaged)
	}
	return f, nil
}

// loadFold reads how far the folding went, and counts what is loose.
func (s *Store) loadFold(ctx context.Context, txn *transaction) (err error) {
	if s.fold, err = foldOf(txn); err != nil {
		return err
	}
	err = s.scan(ctx, txn, scan{prefix: []byte{kindCell}, from: s.fold.from}, func(*record) (bool, error) {
		s.loose++
		return true, nil
	})
	s.loosened(0)
	return err
}

// loosened counts new cells. The caller holds mu, or is alone.
func (s *Store) loosened(n int) {
	if s.loose += n; s.loose < foldAt {
		return
	}
	select {
	case s.foldNow <- struct{}{}:
	default:
	}
}

// foldLoop folds whenever there is enough to fold.
func (s *Store) foldLoop() {
	for {
		select {
		case <-s.stop:
			return
		case <-s.foldNow:
		}
		err := s.foldSums(context.Background())
		if err != nil && !errors.Is(err, capture.ErrClosed) && !errors.Is(err, capture.ErrNoSpace) && s.failed() == nil {
			s.log.Error("folding the sums of reports", zap.String("store", s.home.dir), zap.Error(err))
		}
	}
}

// foldSums begins a new generation and folds those before.
func (s *Store) foldSums(ctx context.Context) error {
	for !s.folding.TryLock() {
		if err := s.pause(ctx, sweepPause); err != nil {
			return err
		}
	}
	defer s.folding.Unlock()
	if err := s.nextGeneration(); err != nil {
		return err
	}
	for {
		more, err := s.foldSome(ctx)
		if err != nil {
			return err
		}
		if !more {
			return s.deleteFolded(ctx)
		}
	}
}

// nextGeneration freezes the cells written so far.
func (s *Store) nextGeneration() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loose == 0 {
		return nil
	}
	if s.guard.check() != nil {
		return nil // it can wait, until there is room
	}
	f := s.fold
	f.generation++
	if err := s.write(func(txn *transaction) error { return txn.Set(keyFold, f.encode()) }); err != nil {
		return err
	}
	s.fold, s.loose = f, 0
	clear(s.cells) // they are those of the generation before
	return nil
}

// part is a part of a day's names.
type part struct {
	day  uint32
	part byte
}

// foldSome folds some cells of the generations before the newest; more tells
// whether there may be others.
func (s *Store) foldSome(ctx context.Context) (more bool, err error) {
	packs := make(map[part]packWriter)
	f := s.fold // which only whoever folds changes
	if cellGeneration(f.from) == f.generation {
		return false, nil
	}
	err = s.view(ctx, func(txn *transaction) error {
		var r cellReader
		var counts attribution.Counts
		cells, size := 0, 0
		return s.scan(ctx, txn, scan{prefix: []byte{kindCell}, from: f.from}, func(item *record) (bool, error) {
			key := item.Key()
			if cellGeneration(key) >= f.generation {
				return false, nil
			}
			if cells == foldStep || size > foldBytes {
				more = true
				return false, nil
			}
			cells++
			size += int(item.EstimatedSize())
			cell := capture.Cell{Quarter: cellQuarter(key)}
			err := item.Value(func(v []byte) error { return r.all(v, &cell, &counts) })
			if err != nil {
				return false, err
			}
			to := part{cell.Quarter / dayQuarters, partOf(cellHash(key))}
			if packs[to] == nil {
				packs[to] = make(packWriter)
			}
			packs[to].at(namesOf(&cell), uint8(cell.Quarter%dayQuarters)).addCounts(&counts)
			f.from = append(append(f.from[:0:0], key...), 0)
			return true, nil
		})
	})
	if err != nil {
		return false, err
	}
	if !more {
		var k keys
		f.from = k.cellsFrom(f.generation, 0)
	}
	if err := s.putPacks(ctx, f, packs, nil); err != nil {
		return false, err
	}
	for to := range packs {
		if err := s.merge(ctx, to); err != nil {
			return false, err
		}
	}
	return more, nil
}

// putPacks writes packs in place of others, and how far the folding went.
func (s *Store) putPacks(ctx context.Context, f fold, packs map[part]packWriter, instead [][]byte) error {
	if err := s.guard.check(); err != nil {
		return err
	}
	encoded := make(map[part][]byte, len(packs))
	for to, w := range packs {
		if data := w.encode(); data != nil {
			encoded[to] = data
		}
	}
	err := s.eraseNow(func(d *eraser) error {
		for to, data := range encoded {
			if err := d.txn.Set(d.keys.pack(to.day, to.part, f.pack), data); err != nil {
				return err
			}
			f.pack++
		}
		for _, key := range instead {
			if err := d.txn.Delete(key); err != nil {
				return err
			}
		}
		return d.txn.Set(keyFold, f.encode())
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.fold = f
	s.mu.Unlock()
	return s.pause(ctx, sweepPause)
}

// packSize is a pack and its size.
type packSize struct {
	key  []byte
	size int64
}

// mergeable chooses among the packs of a part those to be merged.
func mergeable(list []packSize) []packSize {
	if len(list) < 2 {
		return nil
	}
	slices.SortFunc(list, func(a, b packSize) int { return cmp.Compare(a.size, b.size) })
	total := int64(0)
	fit := 0
	for _, p := range list {
		if total += p.size; total <= mergeBytes {
			fit++
		}
	}
	largest := list[len(list)-1].size
	if len(list) < mergeAt && (total-largest)*mergeShare < largest || fit < len(list) && fit < mergeLeast {
		return nil
	}
	return list[:fit]
}

// merge makes one pack of a part's many.
func (s *Store) merge(ctx context.Context, of part) error {
	merged := make(packWriter)
	var instead [][]byte
	err := s.view(ctx, func(txn *transaction) error {
		var k keys
		var list []packSize
		w := scan{prefix: bytes.Clone(k.packsOf(of.day, of.part))}
		err := s.scan(ctx, txn, w, func(item *record) (bool, error) {
			list = append(list, packSize{item.KeyCopy(nil), item.ValueSize()})
			return true, nil
		})
		if err != nil {
			return err
		}
		for _, p := range mergeable(list) {
			instead = append(instead, p.key)
			if _, err := get(txn, p.key, merged.addPack); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(instead) == 0 {
		return err
	}
	return s.putPacks(ctx, s.fold, map[part]packWriter{of: merged}, instead)
}

// deleteFolded deletes the cells that are in packs. Nobody reads them.
func (s *Store) deleteFolded(ctx context.Context) error {
	var k keys
	f := s.fold
	from := bytes.Clone(k.cellsFrom(f.dead, 0))
	for {
		var gone [][]byte
		err := s.view(ctx, func(txn *transaction) error {
			return s.scan(ctx, txn, scan{prefix: []byte{kindCell}, from: from}, func(item *record) (bool, error) {
				if bytes.Compare(item.Key(), f.from) >= 0 {
					return false, nil
				}
				gone = append(gone, item.KeyCopy(nil))
				return len(gone) < sweepStep, nil
			})
		})
		if err != nil {
			return err
		}
		if len(gone) == 0 {
			break
		}
		err = s.erase(ctx, func(d *eraser) error {
			for _, key := range gone {
				if err := d.txn.Delete(key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		from = append(gone[len(gone)-1], 0)
	}
	if f.dead == cellGeneration(f.from) {
		return nil
	}
	f.dead = cellGeneration(f.from)
	return s.putPacks(ctx, f, nil, nil)
}
