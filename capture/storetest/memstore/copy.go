package memstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// copyState is an unfinished copy.
type copyState struct {
	head []byte
	last capture.CopyKey
	n    int64
}

// copyReader reads a place record by record.
type copyReader struct {
	*Store
	home uint16
}

// copySource is a place that is copied.
type copySource struct {
	copyReader
	head *capture.CopyHead
}

// OpenSource opens the place to read it.
func (e *Engine) OpenSource(ctx context.Context) (capture.CopySource, error) {
	s, err := e.Open(ctx)
	if err != nil {
		return nil, err
	}
	id, err := e.Identity()
	if err != nil {
		return nil, err
	}
	d := e.disk
	h := &capture.CopyHead{
		Secret: id.Secret, Home: id.Epoch, NextSeq: d.nextSeq, SweptClicks: millis(d.sweptClicks), SweptConversions: millis(d.sweptConversions),
		Store: d.sharedAs, Nodes: slices.Clone(d.nodes), Erased: d.erasedThere,
	}
	if h.Node(id.Epoch) == nil {
		h.Nodes = append(h.Nodes, capture.CopyNode{Epoch: id.Epoch})
	}
	own := h.Node(id.Epoch)
	own.Batch, own.Lease = d.nextBatch-1, d.lease
	slices.SortFunc(h.Nodes, func(a, b capture.CopyNode) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return &copySource{copyReader{s.(*Store), id.Epoch}, h}, nil //nolint:forcetypeassert // our own
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (c *copySource) Head() *capture.CopyHead { return c.head }

func (c *copySource) Unchanged(context.Context) error { return nil }

// Close closes the place.
func (c *copyReader) Close() error { return c.Store.Close(0) }

// Count counts the records.
func (c *copyReader) Count(ctx context.Context) (n int64, err error) {
	err = c.Records(ctx, capture.CopyKey{}, func(*capture.CopyRecord) error { n++; return nil })
	return n, err
}

// Records sorts all records and gives those after the key.
func (c *copyReader) Records(ctx context.Context, after capture.CopyKey, yield func(*capture.CopyRecord) error) error {
	var list []*capture.CopyRecord
	err := c.read(ctx, func() (err error) {
		add := func(key capture.CopyKey, v any) {
			var data []byte
			if b, ok := v.(*capture.Block); ok {
				data = capture.EncodeBlock(b)
			} else if err == nil {
				data, err = capture.EncodeRecord(v)
			}
			list = append(list, &capture.CopyRecord{Key: key, Data: data})
		}
		for at, b := range c.disk.blocks {
			if len(b.Clicks) > 0 {
				add(capture.CopyKey{Kind: capture.CopyBlock, Epoch: at.epoch, Number: at.number}, b)
			}
		}
		for id, conv := range c.disk.conversions {
			add(capture.CopyKey{Kind: capture.CopyConversion, ID: id}, conv)
		}
		for seq, e := range c.disk.entries {
			add(capture.CopyKey{Kind: capture.CopyEntry, Number: seq}, e)
		}
		for cell, counts := range c.disk.cells {
			if !counts.IsZero() {
				list = append(list, &capture.CopyRecord{Key: capture.CopyKey{Kind: capture.CopySum, Cell: cell}, Counts: counts.Clone()})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b *capture.CopyRecord) int { return a.Key.Compare(b.Key) })
	for _, r := range list {
		if r.Key.Compare(after) <= 0 {
			continue
		}
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// copyTarget is a place that is being made a copy.
type copyTarget struct {
	copyReader
	state *copyState
}

// OpenTarget begins a copy or goes on with it.
func (e *Engine) OpenTarget(_ context.Context, head *capture.CopyHead) (capture.CopyTarget, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text, err := head.Encode()
	home := head.Node(head.Home)
	switch {
	case err != nil:
		return nil, err
	case e.open != nil:
		return nil, capture.ErrLocked
	case home == nil:
		return nil, errors.New("the source says nothing of its own epoch")
	case e.copying != nil && !bytes.Equal(e.copying.head, text):
		return nil, capture.ErrAnotherCopy
	case e.copying == nil && (e.disk.nextBatch != 1 || e.disk.lease != 1):
		return nil, errors.New("the place is not empty")
	case e.copying == nil:
		d := newDisk()
		d.lease, d.nextSeq, d.nextBatch = max(home.CopiedLease(), 1), max(head.NextSeq, 1), home.Batch+1
		if head.SweptClicks != 0 {
			d.sweptClicks = time.UnixMilli(head.SweptClicks)
		}
		if head.SweptConversions != 0 {
			d.sweptConversions = time.UnixMilli(head.SweptConversions)
		}
		d.sharedAs, d.nodes, d.erasedThere = head.Store, head.Nodes, head.Erased
		e.disk, e.copying = d, &copyState{head: text}
		e.identity.Store(&capture.Identity{Epoch: head.Home, Secret: head.Secret})
	}
	e.open = &Store{engine: e, disk: e.disk}
	return &copyTarget{copyReader{e.open, head.Home}, e.copying}, nil
}

// Done tells how far the copy goes.
func (t *copyTarget) Done() (capture.CopyKey, int64) { return t.state.last, t.state.n }

// Put adds records, unless the hook has something against it.
func (t *copyTarget) Put(_ context.Context, records []*capture.CopyRecord) error {
	if hook := t.engine.hooks.Load().Copied; hook != nil {
		if err := hook(t.state.n); err != nil {
			return err
		}
	}
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	for _, r := range records {
		if err := t.disk.put(r); err != nil {
			return fmt.Errorf("%s: %w", r.Key, err)
		}
	}
	t.state.last = records[len(records)-1].Key
	t.state.n += int64(len(records))
	return nil
}

func (d *disk) put(r *capture.CopyRecord) error {
	switch r.Key.Kind {
	case capture.CopyBlock:
		b, err := capture.DecodeBlock(r.Data)
		if err == nil {
			d.blocks[placeOf(b)] = b
		}
		return err
	case capture.CopyConversion:
		c := new(capture.Conversion)
		if err := capture.DecodeRecord(r.Data, c); err != nil {
			return err
		}
		d.conversions[c.ID] = c
		d.known[c.Click] = append(d.known[c.Click], c.Known())
	case capture.CopyEntry:
		e := new(capture.Entry)
		if err := capture.DecodeRecord(r.Data, e); err != nil {
			return err
		}
		d.entries[e.Seq] = e
	case capture.CopySum:
		if _, there := d.cells[r.Key.Cell]; there {
			return errors.New("it is there already")
		}
		d.cells[r.Key.Cell] = r.Counts
	}
	return nil
}

// Finish makes the copy a store.
func (t *copyTarget) Finish(context.Context) error {
	t.engine.mu.Lock()
	defer t.engine.mu.Unlock()
	t.engine.copying = nil
	return nil
}

// Falsify lets a test change what a place holds: its first conversion is another.
func (e *Engine) Falsify() {
	e.disk.mu.Lock()
	defer e.disk.mu.Unlock()
	ids := slices.SortedFunc(maps.Keys(e.disk.conversions), attribution.ConversionID.Compare)
	c := clone(e.disk.conversions[ids[0]])
	c.Campaign += "!"
	e.disk.conversions[ids[0]] = c
}

var _ capture.CopyEngine = (*Engine)(nil)
