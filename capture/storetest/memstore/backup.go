package memstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// dump is the body of a backup. Blocks, conversions, entries and cells are in
// the forms in which other stores keep them.
type dump struct {
	Epoch                         uint16
	Secret                        []byte
	Lease, NextSeq, NextBatch     uint64
	SweptClicks, SweptConversions time.Time
	Blocks                        [][]byte
	Conversions, Entries          [][]byte
	Known                         []dumpKnown
	Cells                         []dumpCell
}

type dumpKnown struct {
	Ref  clickid.Ref
	List []capture.Known
}

type dumpCell struct {
	Cell   capture.Cell
	Counts []byte
}

const engineName, format = "memory", 1

// leaseJump keeps numbers from being used again that were handed out after the
// backup.
const leaseJump = 1 << 20

// Backup writes everything at once.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	var body []byte
	err := s.read(ctx, func() (err error) {
		var m dump
		if m, err = s.disk.dump(); err != nil {
			return err
		}
		id, err := s.engine.Identity()
		m.Epoch, m.Secret = id.Epoch, id.Secret
		if err == nil {
			body, err = cbor.Marshal(m)
		}
		return err
	})
	if err != nil {
		return err
	}
	b, err := capture.NewBackupWriter(w, capture.BackupHeader{Engine: engineName, Format: format})
	if err != nil {
		return err
	}
	if _, err := b.Write(body); err != nil {
		return err
	}
	return b.Close()
}

func (d *disk) dump() (m dump, err error) {
	m = dump{
		Lease: d.lease, NextSeq: d.nextSeq, NextBatch: d.nextBatch,
		SweptClicks: d.sweptClicks, SweptConversions: d.sweptConversions,
	}
	encode := func(v any) (data []byte) {
		if err == nil {
			data, err = capture.EncodeRecord(v)
		}
		return data
	}
	for _, b := range d.blocks {
		m.Blocks = append(m.Blocks, capture.EncodeBlock(b))
	}
	for _, c := range d.conversions {
		m.Conversions = append(m.Conversions, encode(c))
	}
	for _, e := range d.entries {
		m.Entries = append(m.Entries, encode(e))
	}
	for ref, list := range d.known {
		m.Known = append(m.Known, dumpKnown{ref, list})
	}
	for cell, c := range d.cells {
		m.Cells = append(m.Cells, dumpCell{cell, encode(c)})
	}
	return m, err
}

func (m *dump) disk() (*disk, error) {
	d := newDisk()
	d.lease, d.nextSeq, d.nextBatch = m.Lease+leaseJump, m.NextSeq, m.NextBatch
	d.sweptClicks, d.sweptConversions = m.SweptClicks, m.SweptConversions
	for _, data := range m.Blocks {
		b, err := capture.DecodeBlock(data)
		if err != nil {
			return nil, err
		}
		d.blocks[placeOf(b)] = b
	}
	for _, data := range m.Conversions {
		c := new(capture.Conversion)
		if err := capture.DecodeRecord(data, c); err != nil {
			return nil, err
		}
		d.conversions[c.ID] = c
	}
	for _, data := range m.Entries {
		e := new(capture.Entry)
		if err := capture.DecodeRecord(data, e); err != nil {
			return nil, err
		}
		d.entries[e.Seq] = e
	}
	for _, k := range m.Known {
		d.known[k.Ref] = k.List
	}
	for _, c := range m.Cells {
		counts := d.cells[c.Cell]
		if err := capture.DecodeRecord(c.Counts, &counts); err != nil {
			return nil, err
		}
		d.cells[c.Cell] = counts
	}
	return d, nil
}

// Restore fills the place if nothing was ever written to it.
func (e *Engine) Restore(_ context.Context, r io.ReadSeeker) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open != nil {
		return capture.ErrLocked
	}
	if e.disk.nextBatch != 1 || e.disk.lease != 1 {
		return errors.New("the place is not empty")
	}
	b, err := capture.OpenBackup(r, engineName, format)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	var m dump
	if err := cbor.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("%w: %w", capture.ErrBackupDamaged, err)
	}
	d, err := m.disk()
	if err != nil {
		return fmt.Errorf("%w: %w", capture.ErrBackupDamaged, err)
	}
	e.disk = d
	e.identity.Store(&capture.Identity{Epoch: m.Epoch, Secret: m.Secret})
	return nil
}
