package badgerstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

func drawCounts(t *rapid.T) (c attribution.Counts) {
	for _, n := range []*int64{&c.Clicks, &c.BotClicks, &c.Conversions, &c.Pending, &c.Approved, &c.Rejected, &c.Reversed} {
		*n = rapid.SampledFrom([]int64{0, 0, 0, 1, -1, 300, 1 << 40}).Draw(t, "number")
	}
	for _, m := range []*attribution.Totals{&c.Revenue, &c.Cost} {
		for range rapid.IntRange(0, 3).Draw(t, "sums") {
			var a attribution.Amount
			text := rapid.StringMatching(`-?([0-9]{1,4}|[0-9]{17,30})(\.[0-9]{1,20})?`).Draw(t, "amount")
			if err := a.UnmarshalText([]byte(text)); err != nil {
				t.Fatal(err)
			}
			m.Add(attribution.Money{Amount: a, Currency: attribution.Currency(rapid.SampledFrom([]string{"USD", "EUR", "JPY"}).Draw(t, "currency"))})
		}
	}
	return c
}

// TestPack: packs add up to what was put into them, however it is read.
func TestPack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := make(sums)
		whole := make(map[names]*attribution.Counts)
		merged := make(packWriter)
		for range rapid.IntRange(1, 4).Draw(t, "packs") {
			w := make(packWriter)
			for range rapid.IntRange(0, 20).Draw(t, "cells") {
				var n names
				for i := range n {
					n[i] = rapid.SampledFrom([]string{"", "a", "b", "a\x00", "long name"}).Draw(t, "name")
				}
				q, c := rapid.Uint8Range(0, 95).Draw(t, "quarter"), drawCounts(t)
				w.at(n, q).addCounts(&c)
				want.add(n.cell(uint32(q)), c)
				if whole[n] == nil {
					whole[n] = new(attribution.Counts)
				}
				whole[n].Add(c)
			}
			if data := w.encode(); data != nil {
				if err := merged.addPack(data); err != nil {
					t.Fatal(err)
				}
			}
		}
		data := merged.encode()
		got := make(sums)
		var byDay, byQuarter packReader
		if data == nil {
			byDay.left, byQuarter.left = 0, 0
		} else if byDay.reset(data) != nil || byQuarter.reset(data) != nil {
			t.Fatal("it cannot be read")
		}
		for byDay.next() {
			var f figures
			byDay.day(&f)
			if sum := f.counts(); !sameCounts(sum, *whole[byDay.names]) {
				t.Fatalf("the day of %q is %+v, want %+v", byDay.names, sum, *whole[byDay.names])
			}
			delete(whole, byDay.names)
			if !byQuarter.next() {
				t.Fatal("it ends early")
			}
			for byQuarter.nextQuarter() {
				var f figures
				byQuarter.figures(&f)
				got.add(byQuarter.names.cell(uint32(byQuarter.quarter)), f.counts())
			}
		}
		if byDay.err() != nil || byQuarter.err() != nil {
			t.Fatal(byDay.err(), byQuarter.err())
		}
		for n, c := range whole {
			if !c.IsZero() && !cancelled(want, n) {
				t.Fatalf("%q is missing", n)
			}
		}
		for cell, c := range want {
			if got[cell] == nil {
				got[cell] = new(attribution.Counts)
			}
			if !sameCounts(*got[cell], *c) {
				t.Fatalf("%s is %+v, want %+v", cell, *got[cell], *c)
			}
		}
	})
}

// cancelled tells whether all quarters of the names came to zero.
func cancelled(m sums, n names) bool {
	for cell, c := range m {
		if namesOf(&cell) == n && !c.IsZero() {
			return false
		}
	}
	return true
}

// FuzzPack reads damaged packs.
func FuzzPack(f *testing.F) {
	w := make(packWriter)
	w.at(names{"a", "b", "c", ""}, 3).addCounts(&attribution.Counts{Clicks: 5, Cost: attribution.Totals{"USD": money("0.25").Amount}})
	w.at(names{"a", "b", "c", ""}, 4).addCounts(&attribution.Counts{BotClicks: 5})
	w.at(names{"a", "b", "c", "sale"}, 95).addCounts(&attribution.Counts{Conversions: 1, Revenue: attribution.Totals{"JPY": money("1").Amount}})
	f.Add(w.encode())
	f.Add([]byte{recordFormat, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		w := make(packWriter)
		if w.addPack(data) != nil {
			return
		}
		first := w.encode()
		if first == nil {
			return
		}
		again := make(packWriter)
		if err := again.addPack(first); err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if !bytes.Equal(first, again.encode()) {
			t.Fatal("writing again gives something else")
		}
	})
}

// keysOf counts the keys of a kind.
func keysOf(t *testing.T, s *Store, kind byte) (n int) {
	t.Helper()
	if err := s.view(ctx, func(txn *transaction) error {
		return s.scan(ctx, txn, scan{prefix: []byte{kind}}, func(*record) (bool, error) {
			n++
			return true, nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// sameReports compares what the sums say with what the records say.
func sameReports(t *testing.T, s *Store) {
	t.Helper()
	for _, by := range [][]string{nil, {"campaign", "day"}, {"source", "event"}, {"hour", "destination"}} {
		for _, zone := range []*time.Location{time.UTC, time.FixedZone("", 5*3600+1800)} {
			q := attribution.Query{By: by, From: day.Add(-100 * 24 * time.Hour), To: day.Add(100*24*time.Hour + 45*time.Minute), Location: zone}
			sums, records := attribution.NewBuilder(q), attribution.NewBuilder(q)
			if err := s.view(ctx, func(txn *transaction) error {
				if err := s.reportCells(ctx, txn, q, sums); err != nil {
					return err
				}
				return s.reportRecords(ctx, txn, q, records)
			}); err != nil {
				t.Fatal(err)
			}
			a, err := json.Marshal(sums.Report())
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(records.Report())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Fatalf("by %q the sums say\n%.2000s\nand the records\n%.2000s", by, a, b)
			}
		}
	}
}

// TestFold folds again and again while the same sums go on changing.
func TestFold(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	w := newWriter(t, s)
	rnd := rand.New(rand.NewPCG(3, 1))
	var all []*capture.Click
	for round := range 40 {
		var clicks []*capture.Click
		for range 100 {
			c := click(day.Add(time.Duration(rnd.IntN(40*3600))*time.Second), fmt.Sprint("campaign ", rnd.IntN(3)))
			c.Source = fmt.Sprint("source ", rnd.IntN(40))
			c.Cost = money(fmt.Sprintf("0.%02d", rnd.IntN(100)))
			if rnd.IntN(5) == 0 {
				c.Flags = capture.FlagBot
			}
			clicks = append(clicks, c)
		}
		all = append(all, w.clicks(clicks...)...)
		var posts []*capture.Postback
		for range 10 {
			n := rnd.IntN(len(all))
			p := postback(all[n], txid(n), all[n].Time.Add(time.Hour))
			p.Claim.Status = attribution.Status(1 + rnd.IntN(4))
			posts = append(posts, p)
		}
		w.commit(nil, posts)
		switch {
		case round%10 == 9:
			s.nextGenerationOnly(t)
			closeStore(t, s, 0)
			s = openStore(t, e)
			w.s, w.next = s, s.Position()
			sameReports(t, s)
		case round%2 == 0:
			if err := s.foldSums(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	sameReports(t, s)
	checkHealthy(t, s)
	if err := s.foldSums(ctx); err != nil {
		t.Fatal(err)
	}
	if n := keysOf(t, s, kindCell); n != 0 {
		t.Errorf("%d cells are left", n)
	}
	parts := 16 * 3
	if n := keysOf(t, s, kindPack); n == 0 || n > parts*mergeAt {
		t.Errorf("there are %d packs", n)
	}
	sameReports(t, s)
	checkHealthy(t, s)
}

// nextGenerationOnly leaves cells that wait to be folded.
func (s *Store) nextGenerationOnly(t *testing.T) {
	t.Helper()
	if err := s.nextGeneration(); err != nil {
		t.Fatal(err)
	}
}

// TestFoldMany: a flood of invented sources is folded in steps, and what was
// done of it survives an interruption.
func TestFoldMany(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := openStore(t, e)
	s.folding.Lock() // the store does not fold by itself
	w := newWriter(t, s)
	const n = foldStep + 1000
	for i := 0; i < n; {
		var clicks []*capture.Click
		for range 1000 {
			c := click(day, "spring")
			c.Source = fmt.Sprint("invented ", i)
			clicks = append(clicks, c)
			i++
		}
		w.clicks(clicks...)
	}
	s.nextGenerationOnly(t)
	if more, err := s.foldSome(ctx); err != nil || !more {
		t.Fatalf("%t, %v", more, err)
	}
	sameReports(t, s)
	checkHealthy(t, s)
	s.folding.Unlock()
	closeStore(t, s, 0)
	s = openStore(t, e)
	sameReports(t, s)
	if err := s.foldSums(ctx); err != nil {
		t.Fatal(err)
	}
	if cells := keysOf(t, s, kindCell); cells != 0 {
		t.Errorf("%d cells are left", cells)
	}
	sameReports(t, s)
	checkHealthy(t, s)
}
