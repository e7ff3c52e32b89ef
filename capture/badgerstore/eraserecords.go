package badgerstore

import (
	"fmt"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// replace writes a record anew and notes that its old version has to go.
func (d *eraser) replace(key, value []byte) error {
	item, err := d.txn.Get(key)
	if err != nil {
		return err
	}
	d.bytes += max(item.EstimatedSize(), 1)
	d.written += len(value)
	if err := d.txn.Set(key, value); err != nil {
		return tooLarge(err)
	}
	return tooLarge(d.txn.Set(append([]byte{kindRewritten}, key...), nil))
}

// replaceNow is replace, and makes space be given back with the next sweep at
// the latest.
func (d *eraser) replaceNow(key, value []byte) error {
	d.sum.since = 0
	return d.replace(key, value)
}

func (d *eraser) eraseClick(ref clickid.Ref) (bool, error) {
	for _, key := range [][]byte{
		d.keys.number(kindBlock, ref.Block), d.keys.merged(ref.Block), d.keys.guestBlock(ref.Epoch, ref.Block),
	} {
		data, err := getCopy(d.txn, key)
		if err != nil {
			return false, err
		}
		if data == nil {
			continue
		}
		blocks, err := capture.DecodeBlocks(data)
		if err != nil {
			return false, fmt.Errorf("%w: click block %d: %w", errDamaged, ref.Block, err)
		}
		c := clickOf(blocks, ref)
		if c == nil {
			continue
		}
		if !c.Erase() {
			return false, nil
		}
		if key[0] == kindBlock {
			return true, d.replaceNow(key, capture.EncodeBlock(blocks[0]))
		}
		if data = capture.EncodeBlocks(blocks); data == nil {
			return false, fmt.Errorf("%w: click block %d cannot be written anew", errDamaged, ref.Block)
		}
		return true, d.replaceNow(key, data)
	}
	return false, nil
}

func clickOf(blocks []*capture.Block, ref clickid.Ref) *capture.Click {
	for _, b := range blocks {
		for _, c := range b.Clicks {
			if c.Ref == ref {
				return c
			}
		}
	}
	return nil
}

func (d *eraser) eraseConversion(id attribution.ConversionID) (bool, error) {
	key := d.keys.conversion(id)
	c, err := getRecord[capture.Conversion](d.txn, key)
	if err != nil || c == nil || !c.Erase() {
		return false, err
	}
	data, err := capture.EncodeRecord(c)
	if err != nil {
		return false, err
	}
	if err := d.eraseListed(c); err != nil {
		return false, err
	}
	return true, d.replaceNow(key, data)
}

// eraseListed writes anew what the listing says of the conversion, if it says
// anything.
func (d *eraser) eraseListed(c *capture.Conversion) error {
	index := d.keys.indexOf(c)
	says := false
	if _, err := get(d.txn, index, func(v []byte) error { says = len(v) > 0; return nil }); err != nil || !says {
		return err
	}
	return d.replaceNow(index, listedOf(c))
}

func (d *eraser) eraseEntry(seq uint64) (bool, error) {
	key := d.keys.number(kindEntry, seq)
	e, err := getRecord[capture.Entry](d.txn, key)
	if err != nil || e == nil {
		return false, err
	}
	before := *e
	if !e.Erase() {
		return false, nil
	}
	if err := d.unwait(&before); err != nil {
		return false, err
	}
	data, err := capture.EncodeRecord(e)
	if err != nil {
		return false, err
	}
	return true, d.replaceNow(key, data)
}
