package badgerstore

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// A cell's key is its generation (see fold.go), its quarter and a hash of its
// names, so that it is short and any bytes are good in a name; the names are in
// the value:
//
//	format byte
//	campaign, source, destination, event   uvarint length, bytes
//	clicks, bot clicks, conversions, pending, approved, rejected, reversed
//	                                        varints
//	revenue, cost                           uvarint count; currency, amount as text
//
// This is a third of what CBOR takes and several times as fast to read.

func (k *keys) cell(generation uint32, c *capture.Cell, scratch []byte) []byte {
	sum := sha256.Sum256(appendNames(scratch[:0], c))
	b := binary.BigEndian.AppendUint32(k.cellsFrom(generation, 20), c.Quarter)
	return append(b, sum[:16]...)
}

// cellsFrom is the first key of a generation's cells, with room for more.
func (k *keys) cellsFrom(generation uint32, more int) []byte {
	return binary.BigEndian.AppendUint32(append(k.room(5+more), kindCell), generation)
}

const cellKeySize = 25

// cellGeneration and cellQuarter read the key of a cell, cellHash what follows.
func cellGeneration(key []byte) uint32 { return binary.BigEndian.Uint32(key[1:5]) }
func cellQuarter(key []byte) uint32    { return binary.BigEndian.Uint32(key[5:9]) }
func cellHash(key []byte) []byte       { return key[9:] }

func appendNames(b []byte, c *capture.Cell) []byte {
	for _, s := range [...]string{c.Campaign, c.Source, c.Destination, c.Event} {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func encodeCell(cell *capture.Cell, c *attribution.Counts) ([]byte, error) {
	b := make([]byte, 0, 64+len(cell.Campaign)+len(cell.Source)+len(cell.Destination)+len(cell.Event))
	b = appendNames(append(b, recordFormat), cell)
	for _, n := range [...]int64{
		c.Clicks, c.BotClicks, c.Conversions, c.Pending, c.Approved, c.Rejected, c.Reversed,
	} {
		b = binary.AppendVarint(b, n)
	}
	for _, t := range [...]attribution.Totals{c.Revenue, c.Cost} {
		b = binary.AppendUvarint(b, uint64(len(t)))
		for currency, amount := range t {
			text, err := amount.MarshalText()
			if err != nil {
				return nil, fmt.Errorf("writing a sum of campaign %q: %w", cell.Campaign, err)
			}
			b = appendText(b, string(currency))
			b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
		}
	}
	return b, nil
}

// cellReader reads a cell piece by piece, so that a report can leave out what
// it does not ask for.
type cellReader struct {
	data string // a copy: names that are read are parts of it
	bad  bool
}

// names reads the names into cell.
func (r *cellReader) names(data []byte, cell *capture.Cell) bool {
	r.bad = len(data) == 0 || data[0] != recordFormat
	if !r.bad {
		r.data = string(data[1:])
		cell.Campaign, cell.Source, cell.Destination, cell.Event = r.text(), r.text(), r.text(), r.text()
	}
	return !r.bad
}

// all reads the whole cell, whose quarter is set already.
func (r *cellReader) all(data []byte, cell *capture.Cell, c *attribution.Counts) error {
	if !r.names(data, cell) {
		return fmt.Errorf("%w: a cell of the sums", errDamaged)
	}
	return r.counts(c)
}

// counts reads what follows the names.
func (r *cellReader) counts(c *attribution.Counts) error {
	*c = attribution.Counts{}
	for _, p := range [...]*int64{
		&c.Clicks, &c.BotClicks, &c.Conversions, &c.Pending, &c.Approved, &c.Rejected, &c.Reversed,
	} {
		*p = r.varint()
	}
	for _, t := range [...]*attribution.Totals{&c.Revenue, &c.Cost} {
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			currency := attribution.Currency(r.text())
			var amount attribution.Amount
			if err := amount.UnmarshalText([]byte(r.text())); err != nil {
				return fmt.Errorf("%w: a sum of money: %w", errDamaged, err)
			}
			t.Add(attribution.Money{Amount: amount, Currency: currency})
		}
	}
	if r.bad {
		return fmt.Errorf("%w: a cell of the sums", errDamaged)
	}
	return nil
}

func (r *cellReader) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(r.data) && i < binary.MaxVarintLen64; i++ {
		b := r.data[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			r.data = r.data[i+1:]
			return v
		}
	}
	r.bad = true
	return 0
}

// atMost reads a number that is damaged if it is greater.
func (r *cellReader) atMost(limit uint64) uint64 {
	v := r.uvarint()
	r.bad = r.bad || v > limit
	return v
}

func (r *cellReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1) //nolint:gosec // zigzag, as binary.Varint
}

func (r *cellReader) byte() byte {
	if r.data == "" {
		r.bad = true
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *cellReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.data)) {
		r.bad = true
		return ""
	}
	s := r.data[:n]
	r.data = r.data[n:]
	return s
}

// decodeCell reads the counts of the cell that is expected in data.
func decodeCell(data []byte, want *capture.Cell) (attribution.Counts, error) {
	var r cellReader
	var c attribution.Counts
	got := capture.Cell{Quarter: want.Quarter}
	err := r.all(data, &got, &c)
	if err == nil && got != *want {
		err = fmt.Errorf("%w: cell %+v is where %+v belongs", errDamaged, got, *want)
	}
	return c, err
}

// cellCache holds the cells written last: the same few are written with every
// batch. Only the writer uses it, after the batch is durable.
type cellCache map[capture.Cell]attribution.Counts

const cellCacheMax = 2048

func (m *cellCache) put(cell capture.Cell, c attribution.Counts) {
	if len(*m) >= cellCacheMax {
		clear(*m)
	}
	if _, ok := (*m)[cell]; !ok {
		// Names may be parts of a whole request's memory.
		cell.Campaign, cell.Source = strings.Clone(cell.Campaign), strings.Clone(cell.Source)
		cell.Destination, cell.Event = strings.Clone(cell.Destination), strings.Clone(cell.Event)
	}
	(*m)[cell] = c
}
