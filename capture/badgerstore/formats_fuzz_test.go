package badgerstore

import (
	"errors"
	"testing"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// fuzzRecord reads what may be a damaged record. What can be read is written
// and read again as the same.
func fuzzRecord[T comparable](f *testing.F, decode func([]byte) (T, error), encode func(T) []byte, seeds ...T) {
	for _, v := range seeds {
		f.Add(encode(v))
	}
	f.Add([]byte{})
	f.Add([]byte{recordFormat})
	f.Add([]byte{recordFormat + 1, 1, 1, 1, 1})
	f.Add([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(data)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("%x: %v does not say that it is damaged", data, err)
			}
			return
		}
		if again, err := decode(encode(v)); err != nil || again != v {
			t.Errorf("%x is %+v, and read again %+v, %v", data, v, again, err)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	fuzzRecord(f, decodeState, state.encode, state{}, state{1, 2, 3, 1}, state{1 << 63, 1 << 32, 1<<64 - 1, modeMixed | 7})
}

func FuzzDecodeSpan(f *testing.F) {
	fuzzRecord(f, decodeSpan, span.encode, span{}, span{1, 255}, span{1 << 40, 1<<64 - 1})
}

func FuzzDecodeSwept(f *testing.F) {
	fuzzRecord(f, decodeSwept, swept.encode, swept{}, swept{day.UnixMilli(), 0}, swept{-1, 1<<63 - 1})
}

func FuzzDecodeDeleted(f *testing.F) {
	f.Add([]byte{recordFormat, 1, 2})
	fuzzRecord(f, decodeDeleted, deleted.encode, deleted{}, deleted{1 << 20, uint64(day.Unix()), 1 << 30}) //nolint:gosec // after 1970
}

func FuzzDecodeMerged(f *testing.F) {
	fuzzRecord(f, decodeMerged, encodeMerged, 0, 1, 1<<34)
}

func FuzzDecodeKnown(f *testing.F) {
	id := attribution.NewConversionID(attribution.DedupTxID, [16]byte{1}, 1, "sale", "1")
	decode := func(data []byte) (capture.Known, error) { return decodeKnown(id, data) }
	fuzzRecord(f, decode, encodeKnown,
		capture.Known{ID: id}, capture.Known{ID: id, Dedup: attribution.DedupEvent}, capture.Known{ID: id, Dedup: attribution.DedupClick, Mixed: true})
}

// FuzzDecodeCell reads a sum as a report does, and as the writer does who
// expects it to be that of the cell.
func FuzzDecodeCell(f *testing.F) {
	cell := capture.Cell{Campaign: "acme", Source: "news", Destination: "https://acme.example/", Event: "sale"}
	var full attribution.Counts
	full.Clicks, full.Conversions, full.Approved, full.Reversed = 1<<40, 2, 1, -1
	amount, err := attribution.ParseAmount("-12.345678901")
	if err != nil {
		f.Fatal(err)
	}
	full.Revenue.Add(attribution.Money{Amount: amount, Currency: "USD"})
	full.Cost.Add(attribution.Money{Amount: amount, Currency: "KWD"})
	for _, c := range []*capture.Cell{&cell, {}, {Campaign: "\xff\x00", Event: "e"}} {
		for _, counts := range []attribution.Counts{{}, full} {
			data, err := encodeCell(c, &counts)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
			f.Add(data[:len(data)/2])
		}
	}
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x03USD\x011"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r cellReader
		var got capture.Cell
		if !r.names(data, &got) {
			return
		}
		counts, err := decodeCell(data, &got)
		var read attribution.Counts
		if err2 := r.counts(&read); (err == nil) != (err2 == nil) {
			t.Fatalf("%x: %v and %v", data, err, err2)
		}
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("%x: %v does not say that it is damaged", data, err)
			}
			return
		}
		other := got
		other.Source += "x"
		if _, err := decodeCell(data, &other); !errors.Is(err, errDamaged) {
			t.Errorf("%x is taken for the cell %+v: %v", data, other, err)
		}
		written, err := encodeCell(&got, &counts)
		if err != nil {
			return // several sums of one currency, which outgrow one
		}
		again, err := decodeCell(written, &got)
		if err != nil {
			t.Fatalf("%x is %+v, which cannot be read again: %v", data, counts, err)
		}
		if again.Sub(counts); !again.IsZero() {
			t.Errorf("%x is %+v, and differs by %+v when read again", data, counts, again)
		}
	})
}
