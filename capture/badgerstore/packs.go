package badgerstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/capture"
)

// A pack has the sums of many cells of one UTC day:
//
//	format byte
//	uvarint count of strings; for each: uvarint length, bytes
//	uvarint count of names; for each, in order:
//	  uvarint  indexes of campaign, source, destination, event
//	  uvarint  length of the day's figures; these, if there is more than one quarter
//	  uvarint  length of what follows
//	  for each quarter, in order: byte quarter of the day; its figures
//
// so that a report by day need not read quarters, and a report of one campaign
// reads no other one's figures.

// names are the dimensions of a cell: campaign, source, destination, event.
type names [4]string

func namesOf(c *capture.Cell) names { return names{c.Campaign, c.Source, c.Destination, c.Event} }

func (n *names) cell(quarter uint32) capture.Cell {
	return capture.Cell{Quarter: quarter, Campaign: n[0], Source: n[1], Destination: n[2], Event: n[3]}
}

func compareNames(a, b names) int {
	for i := range a {
		if n := cmp.Compare(a[i], b[i]); n != 0 {
			return n
		}
	}
	return 0
}

// packWriter collects the sums of a pack.
type packWriter map[names]map[uint8]*figures

// at returns the figures of a quarter of the day.
func (w packWriter) at(n names, quarter uint8) *figures {
	quarters := w[n]
	if quarters == nil {
		for i := range n {
			n[i] = strings.Clone(n[i]) // may be part of a larger record
		}
		quarters = make(map[uint8]*figures, 1)
		w[n] = quarters
	}
	f := quarters[quarter]
	if f == nil {
		f = new(figures)
		quarters[quarter] = f
	}
	return f
}

// addPack adds what is in a pack.
func (w packWriter) addPack(data []byte) error {
	var r packReader
	if err := r.reset(data); err != nil {
		return err
	}
	for r.next() {
		for r.nextQuarter() {
			r.figures(w.at(r.names, r.quarter))
		}
	}
	return r.err()
}

// encode writes the pack; nil if there is nothing to count.
func (w packWriter) encode() []byte {
	index := make(map[string]uint64)
	var list []string
	intern := func(s string) uint64 {
		i, ok := index[s]
		if !ok {
			i = uint64(len(list))
			list, index[s] = append(list, s), i
		}
		return i
	}
	all := make([]names, 0, len(w))
	for n := range w {
		all = append(all, n)
	}
	slices.SortFunc(all, compareNames)
	var rows, detail, whole []byte
	count := uint64(0)
	for _, n := range all {
		detail, whole = detail[:0], whole[:0]
		var sum figures
		quarters := 0
		for q := range uint8(dayQuarters) {
			f := w[n][q]
			if f == nil || f.isZero() {
				continue
			}
			quarters++
			sum.add(f)
			detail = f.appendTo(append(detail, q), intern)
		}
		if quarters == 0 {
			continue
		}
		count++
		for _, s := range n {
			rows = binary.AppendUvarint(rows, intern(s))
		}
		if quarters > 1 {
			whole = sum.appendTo(whole, intern)
		}
		rows = append(binary.AppendUvarint(rows, uint64(len(whole))), whole...)
		rows = append(binary.AppendUvarint(rows, uint64(len(detail))), detail...)
	}
	if count == 0 {
		return nil
	}
	b := binary.AppendUvarint([]byte{recordFormat}, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return append(binary.AppendUvarint(b, count), rows...)
}

// packReader reads a pack names by names, from the memory that it is given.
type packReader struct {
	in      textReader
	strings []string
	left    uint64
	names   names

	whole    []byte // the day's figures, empty if they are those of one quarter
	quarters textReader
	quarter  uint8
}

func (r *packReader) reset(data []byte) error {
	if len(data) == 0 || data[0] != recordFormat {
		return fmt.Errorf("%w: a pack of sums of unknown format", errDamaged)
	}
	r.in = textReader{text: data[1:]}
	r.strings, r.quarters = r.strings[:0], textReader{}
	for n := r.in.uvarint(); n > 0 && !r.in.bad; n-- {
		r.strings = append(r.strings, string(r.in.take(r.in.uvarint())))
	}
	r.left = r.in.uvarint()
	return r.err()
}

func (r *packReader) err() error {
	if r.in.bad || r.quarters.bad {
		return fmt.Errorf("%w: a pack of sums", errDamaged)
	}
	return nil
}

// next goes to the next names.
func (r *packReader) next() bool {
	if r.left == 0 || r.err() != nil {
		return false
	}
	r.left--
	for i := range r.names {
		r.names[i] = r.in.pick(r.strings)
	}
	r.whole = r.in.take(r.in.uvarint())
	r.quarters = textReader{text: r.in.take(r.in.uvarint())}
	return r.err() == nil
}

// day adds the figures of the whole day.
func (r *packReader) day(f *figures) {
	if len(r.whole) == 0 {
		if r.nextQuarter() {
			r.figures(f)
		}
		return
	}
	in := textReader{text: r.whole}
	in.figures(f, r.strings)
	r.in.bad = r.in.bad || in.bad
}

// nextQuarter goes to the next quarter, whose figures have to be read.
func (r *packReader) nextQuarter() bool {
	if r.quarters.bad || r.quarters.at == len(r.quarters.text) {
		return false
	}
	r.quarter = r.quarters.byte()
	r.quarters.bad = r.quarters.bad || uint32(r.quarter) >= dayQuarters
	return !r.quarters.bad
}

// figures adds the figures of the quarter.
func (r *packReader) figures(f *figures) { r.quarters.figures(f, r.strings) }

// packKey names a pack: its day in days since 1970, the part of the names it
// has, and a number of its own.
func (k *keys) pack(day uint32, part byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(k.packsOf(day, part), seq)
}

// packsOf is what the keys of all packs of a part of a day begin with.
func (k *keys) packsOf(day uint32, part byte) []byte {
	return append(binary.BigEndian.AppendUint32(append(k.room(14), kindPack), day), part)
}

// keyDay reads the day of a pack's key, keyPart its part.
func keyDay(key []byte) uint32 { return binary.BigEndian.Uint32(key[1:5]) }
func keyPart(key []byte) byte  { return key[5] }

// partOf is the part of a day's names that a cell's hash belongs to. Parts
// keep packs, and the transactions that merge them, small.
func partOf(hash []byte) byte { return hash[0] >> 4 }
