package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

func money(amount, currency string) attribution.Money {
	a, err := attribution.ParseAmount(amount)
	if err != nil {
		panic(err)
	}
	return attribution.Money{Amount: a, Currency: attribution.Currency(currency)}
}

// sameClick compares all fields, times and amounts by value.
func sameClick(a, b *capture.Click) bool {
	x, y := *a, *b
	for _, c := range []*capture.Click{&x, &y} {
		c.Time, c.Cost = time.Time{}, attribution.Money{}
		c.Subs, c.Kept = slices.Concat(c.Subs), slices.Concat(c.Kept) // nil if empty
	}
	return a.Time.Equal(b.Time) && a.Cost.Equal(b.Cost) && reflect.DeepEqual(x, y)
}

// drawBlock draws a block whose clicks share many strings, as real ones do.
func drawBlock(t *rapid.T) *capture.Block {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "acme", "https://a.example/ü", "日本語"}), rapid.String())
	params := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) capture.Param {
		return capture.Param{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")}
	}), 0, 5)
	b := &capture.Block{Number: rapid.Uint64Range(0, clickid.MaxBlock).Draw(t, "number")}
	epoch := rapid.Uint16Range(0, clickid.MaxEpoch).Draw(t, "epoch")
	base := rapid.Int64Range(0, 1<<32*1000-1).Draw(t, "base")
	for slot := range rapid.OneOf(rapid.Just(capture.BlockClicks), rapid.IntRange(0, capture.BlockClicks)).Draw(t, "clicks") {
		ms := min(max(base+rapid.Int64Range(-5000, 5000).Draw(t, "offset"), 0), 1<<32*1000-1)
		c := &capture.Click{
			Ref:  clickid.Ref{Epoch: epoch, Block: b.Number, Slot: uint8(slot), Second: uint32(ms / 1000)},
			Time: time.UnixMilli(ms), Flags: capture.ClickFlags(rapid.Byte().Draw(t, "flags")),
			Campaign: text.Draw(t, "campaign"), Source: text.Draw(t, "source"), Destination: text.Draw(t, "destination"),
			Subs: params.Draw(t, "subs"), Kept: params.Draw(t, "kept"), URL: text.Draw(t, "url"),
			Host: text.Draw(t, "host"), Path: text.Draw(t, "path"), UserAgent: text.Draw(t, "agent"),
			Referer: text.Draw(t, "referer"), Address: text.Draw(t, "address"),
		}
		if rapid.Bool().Draw(t, "has cost") {
			c.Cost = money(rapid.StringMatching(`-?[0-9]{1,18}(\.[0-9]{1,9})?`).Draw(t, "cost"), "USD")
		}
		b.Clicks = append(b.Clicks, c)
	}
	return b
}

func checkBlock(t rapid.TB, want *capture.Block, data []byte) {
	t.Helper()
	got, err := capture.DecodeBlock(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Clicks) == 0 {
		if len(got.Clicks) != 0 {
			t.Fatalf("an empty block has %d clicks", len(got.Clicks))
		}
		return
	}
	if got.Number != want.Number || !slices.EqualFunc(got.Clicks, want.Clicks, sameClick) {
		t.Fatalf("block %d has %+v, want block %d with %+v", got.Number, got.Clicks, want.Number, want.Clicks)
	}
	var r capture.BlockReader
	var c capture.Click
	if err := r.Reset(data); err != nil || r.Len() != len(want.Clicks) {
		t.Fatalf("reading: %d clicks, %v", r.Len(), err)
	}
	for i := range want.Clicks {
		if !r.Next(&c) || !sameClick(&c, want.Clicks[i]) {
			t.Fatalf("click %d is %+v (%v), want %+v", i, c, r.Err(), want.Clicks[i])
		}
	}
	if r.Next(&c) || r.Err() != nil {
		t.Fatalf("the block goes on after its end: %v", r.Err())
	}
	checkFronts(t, want, data)
	checkLookups(t, want.Clicks, data)
}

// checkLookups: of each click booking finds what it wants, and of no other.
func checkLookups(t rapid.TB, clicks []*capture.Click, data []byte) {
	t.Helper()
	for _, c := range clicks {
		got, err := capture.LookupClick(data, c.Ref)
		if err != nil || got == nil {
			t.Fatalf("click %+v is not found: %v", c.Ref, err)
		}
		want := &capture.Click{
			Ref: c.Ref, Time: c.Time.UTC(), Flags: c.Flags, Campaign: c.Campaign, Source: c.Source, Destination: c.Destination,
		}
		if !slices.Equal(got.Subs, c.Subs) {
			t.Fatalf("the sub-IDs of click %+v are %+v, want %+v", c.Ref, got.Subs, c.Subs)
		}
		if got.Subs = nil; !reflect.DeepEqual(got, want) {
			t.Fatalf("to book click %+v there is %+v, want %+v", c.Ref, got, want)
		}
		other := c.Ref
		other.Second++
		if got, err := capture.LookupClick(data, other); err != nil || got != nil {
			t.Fatalf("click %+v is none, but found as %+v: %v", other, got, err)
		}
	}
}

// checkFronts: what reports read is the same.
func checkFronts(t rapid.TB, want *capture.Block, data []byte) {
	t.Helper()
	var r capture.BlockReader
	var f capture.ClickFront
	all := capture.FrontFields{Campaign: true, Source: true, Destination: true, Subs: []string{"", "none of them"}}
	for _, c := range want.Clicks {
		for _, p := range c.Subs {
			all.Subs = append(all.Subs, p.Name)
		}
	}
	r.Want(all)
	if err := r.ResetFront(data); err != nil || r.Len() != len(want.Clicks) {
		t.Fatalf("reading: %d clicks, %v", r.Len(), err)
	}
	for i, c := range want.Clicks {
		if !r.NextFront(&f) {
			t.Fatalf("click %d: %v", i, r.Err())
		}
		cost := attribution.AmountOf(f.Cost, f.Places)
		if f.More != "" {
			if err := cost.UnmarshalText([]byte(f.More)); err != nil {
				t.Fatal(err)
			}
		}
		if f.Millis != c.Time.UnixMilli() || f.Flags != c.Flags || f.Campaign != c.Campaign || f.Source != c.Source ||
			f.Destination != c.Destination || f.Currency != c.Cost.Currency || f.Currency != "" && !cost.Equal(c.Cost.Amount) ||
			!slices.Equal(f.Subs, valuesOf(c.Subs, all.Subs)) {
			t.Fatalf("click %d is %+v, want %+v", i, f, c)
		}
	}
	// What was not asked for is left out, and the rest the same, of the record's
	// beginning alone.
	front := data[:capture.FrontLength(data)]
	some := capture.FrontFields{Source: true, Subs: all.Subs[len(all.Subs)-1:]}
	if r.Want(some); len(front) >= len(data) || r.ResetFront(front[:len(front)-1]) == nil || r.ResetFront(front) != nil {
		t.Fatal("the fronts cannot be read again")
	}
	for i, c := range want.Clicks {
		if !r.NextFront(&f) || f.Campaign != "" || f.Source != c.Source || f.Destination != "" || f.Millis != c.Time.UnixMilli() ||
			!slices.Equal(f.Subs, valuesOf(c.Subs, some.Subs)) {
			t.Fatalf("of click %d was read %+v", i, f)
		}
	}
	var c capture.Click
	if r.NextFront(&f) || r.Err() != nil || r.ResetFront(data) != nil || len(want.Clicks) > 0 && r.Next(&c) {
		t.Fatal("more was read than the fronts")
	}
}

// valuesOf returns the first value of each name, or "".
func valuesOf(params []capture.Param, names []string) []string {
	values := make([]string, 0, len(names))
	for _, name := range names {
		value := ""
		if i := slices.IndexFunc(params, func(p capture.Param) bool { return p.Name == name }); i >= 0 {
			value = params[i].Value
		}
		values = append(values, value)
	}
	return values
}

func TestBlockRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := drawBlock(t)
		checkBlock(t, b, capture.EncodeBlock(b))
	})
}

// TestLargestBlock packs 64 clicks of the largest size, all different.
func TestLargestBlock(t *testing.T) {
	t.Parallel()
	b := &capture.Block{Number: clickid.MaxBlock}
	for i := range capture.BlockClicks {
		c := &capture.Click{
			Ref: clickid.Ref{Block: b.Number, Slot: uint8(i), Second: 1}, Time: time.Unix(1, 0), Cost: money("1.5", "EUR"),
		}
		for j := range capture.MaxParams {
			c.Subs = append(c.Subs, capture.Param{Name: fmt.Sprintf("s%d-%d", i, j), Value: strings.Repeat(fmt.Sprint(j), 40)})
			c.Kept = append(c.Kept, capture.Param{Name: fmt.Sprintf("k%d-%d", i, j), Value: strings.Repeat(fmt.Sprint(i), 40)})
		}
		c.Fit()
		b.Clicks = append(b.Clicks, c)
	}
	checkBlock(t, b, capture.EncodeBlock(b))
}

// TestBlockReaderReuse: a reader that met a damaged block reads the next.
func TestBlockReaderReuse(t *testing.T) {
	t.Parallel()
	good := capture.EncodeBlock(sampleBlock(3))
	length, n := binary.Uvarint(good[1:])
	second := 1 + n + int(length)
	plain, err := s2.Decode(nil, good[second:])
	if err != nil {
		t.Fatal(err)
	}
	cut := append(good[:second:second], s2.Encode(nil, plain[:len(plain)-1])...)
	var r capture.BlockReader
	var c capture.Click
	for range 2 {
		if err := r.Reset(good); err != nil {
			t.Fatal(err)
		}
		n := 0
		for r.Next(&c) {
			n++
		}
		if n != 3 || r.Err() != nil {
			t.Fatalf("read %d clicks, %v", n, r.Err())
		}
		if err := r.Reset(cut); err == nil {
			for r.Next(&c) {
			}
			if r.Err() == nil {
				t.Fatal("a damaged block was read to its end")
			}
		}
		if err := r.Reset(nil); err == nil || r.Next(&c) {
			t.Fatal("an empty block was read")
		}
	}
}

func sampleBlock(n int) *capture.Block {
	b := &capture.Block{Number: 7}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range n {
		at := start.Add(time.Duration(i) * 17 * time.Millisecond)
		b.Clicks = append(b.Clicks, &capture.Click{
			Ref: clickid.Ref{Epoch: 3, Block: 7, Slot: uint8(i), Second: uint32(at.Unix())}, Time: at,
			Campaign: "acme", Source: "news", Destination: "https://acme.example/offer?aff_sub={click_id}",
			Subs: []capture.Param{{Name: "sub1", Value: fmt.Sprintf("placement %d", i%5)}},
			Kept: []capture.Param{{Name: "gclid", Value: fmt.Sprintf("Cj0KCQ%dwAA", i*7919)}},
			Host: "go.example", Path: "/go/acme", UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
			Referer: "https://news.example/article", Address: fmt.Sprintf("192.0.%d.0", i%200), Cost: money("0.05", "USD"),
		})
	}
	return b
}

// firstPart is a block of a first part alone.
func firstPart(plain []byte) []byte {
	packed := s2.Encode(nil, plain)
	return append(binary.AppendUvarint([]byte{1}, uint64(len(packed))), packed...)
}

func FuzzDecodeBlock(f *testing.F) {
	for _, n := range []int{0, 1, 3, capture.BlockClicks} {
		f.Add(capture.EncodeBlock(sampleBlock(n)))
	}
	f.Add(capture.EncodeBlocks(sampleBlocks(2, 1)))
	f.Add([]byte{})
	f.Add([]byte{2, 0})
	f.Add(firstPart([]byte{0, 0, 0, 0xff, 0xff, 0xff, 0x7f}))
	// Strings without end, and as many as fit, out of a few bytes.
	f.Add(firstPart(append([]byte{0, 0, 0, 0x80, 0x80, 0x80, 1}, make([]byte, capture.MaxBlockPlain-8)...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := capture.DecodeBlock(data)
		if n := capture.FrontLength(data); n < 0 || n > len(data) {
			t.Fatalf("the front of %d bytes has %d", len(data), n)
		}
		if err != nil {
			return
		}
		if len(b.Clicks) > capture.BlockClicks {
			t.Fatalf("a block of %d clicks", len(b.Clicks))
		}
		// What was read can be written and read again, and is then stable.
		if len(b.Clicks) == 0 {
			return
		}
		first := capture.EncodeBlock(b)
		again, err := capture.DecodeBlock(first)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if second := capture.EncodeBlock(again); !bytes.Equal(first, second) {
			t.Fatal("writing again gives something else")
		}
	})
}

// TestDecodeBlockIsBounded: a few bytes do not make it allocate much.
func TestDecodeBlockIsBounded(t *testing.T) {
	for _, bomb := range [][]byte{
		firstPart(append([]byte{0, 0, 0, 0x80, 0x80, 0x80, 1}, make([]byte, capture.MaxBlockPlain-8)...)),
		mergedPart(append([]byte{0, 0, 0, 1, 1, 0x80, 0x80, 4}, make([]byte, capture.MaxBlockPlain-8)...)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := capture.DecodeBlocks(bomb); err == nil {
			t.Error("it was read")
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 3*capture.MaxBlockPlain {
			t.Errorf("%d bytes made it allocate %d", len(bomb), n)
		}
	}
	if _, err := capture.DecodeBlock([]byte{1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f}); err == nil || errors.Is(err, capture.ErrNotFound) {
		t.Errorf("a length of 4 GiB gives %v", err)
	}
}
