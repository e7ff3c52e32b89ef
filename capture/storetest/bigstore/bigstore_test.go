package bigstore

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var end = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// filled is a store with a past.
func filled(t *testing.T, spec Spec) (capture.Store, *Past, *clickid.Codec) {
	t.Helper()
	engine := memstore.New()
	id, err := engine.Identity()
	if err != nil {
		t.Fatal(err)
	}
	store, err := engine.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(0); err != nil {
			t.Error(err)
		}
	})
	p, err := Fill(t.Context(), store, id, spec)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := clickid.New(id.Secret)
	if err != nil {
		t.Fatal(err)
	}
	return store, p, codec
}

// allClicks are those that the store has, in their order.
func allClicks(t *testing.T, store capture.Store) (clicks []capture.Click) {
	t.Helper()
	err := store.Clicks(t.Context(), capture.ClickQuery{}, func(c *capture.Click) bool {
		clicks = append(clicks, *c)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return clicks
}

func TestFillSums(t *testing.T) {
	t.Parallel()
	for _, spec := range []Spec{
		{Clicks: 1, End: end, Block: 1, Postbacks: 100},
		{Clicks: 5000, End: end, Postbacks: 2, Seed: 3},
		{Clicks: 999, End: end, Block: 7, Span: time.Hour, Postbacks: 0.5},
		{Clicks: 130, End: end},
	} {
		var told []int
		spec.Progress = func(n int) { told = append(told, n) }
		store, p, _ := filled(t, spec)
		if want := int(float64(spec.Clicks) * spec.Postbacks / 100); p.Booked != want || told[len(told)-1] != spec.Clicks {
			t.Errorf("%+v: %d postbacks, want %d; at the end there were %v clicks", spec, p.Booked, want, told)
		}
		text := func(sums attribution.Totals) string {
			data, err := json.Marshal(sums)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		var want attribution.Counts
		for _, c := range allClicks(t, store) {
			want.Add(c.Counts())
		}
		q := attribution.Query{From: p.Time(0), To: end.Add(time.Hour)}
		r, err := store.Report(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		total := r.Total
		if total.Clicks+total.BotClicks != int64(spec.Clicks) || total.Clicks != want.Clicks || total.BotClicks != want.BotClicks ||
			text(total.Cost) != text(want.Cost) {
			t.Errorf("%+v: the sums are %+v, the clicks' own %+v", spec, total, want)
		}
		if total.Approved != int64(p.Booked) || total.Conversions != int64(p.Booked) {
			t.Errorf("%+v: %d conversions, %d of them approved, want %d", spec, total.Conversions, total.Approved, p.Booked)
		}
		if check, err := store.Check(t.Context(), nil); err != nil || check.Wrong != 0 || check.Clicks != int64(spec.Clicks) {
			t.Errorf("%+v: the check says %+v, %v", spec, check, err)
		}
	}
}

func TestFillPlaces(t *testing.T) {
	t.Parallel()
	const clicks = poolSize + 5000 // beyond where the pool begins again
	store, p, codec := filled(t, Spec{Clicks: clicks, End: end, Block: 48, Seed: 9})
	var before time.Time
	n, seen := 0, make(map[string]bool)
	for _, c := range allClicks(t, store) {
		ref, err := codec.Decode(p.ID(codec, n))
		if err != nil || ref != c.Ref || p.Ref(n) != c.Ref || !p.Time(n).Equal(c.Time) || c.Time.Before(before) || c.Time.After(end) {
			t.Fatalf("click %d is at %+v, %s; want %+v, %s (%v)", n, c.Ref, c.Time, p.Ref(n), p.Time(n), err)
		}
		seen[c.Address] = true
		before = c.Time
		n++
	}
	if n != clicks || len(seen) < poolSize/2 {
		t.Errorf("%d clicks of %d visitors", n, len(seen))
	}
	if got, want := p.NextBlock(), p.Ref(clicks-1).Block+1; got != want || got != p.FirstBlock+(clicks+47)/48 {
		t.Errorf("the next block is %d, want %d", got, want)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var again Past
	if err := json.Unmarshal(text, &again); err != nil || again.Ref(clicks-1) != p.Ref(clicks-1) {
		t.Errorf("from %s comes %+v, %v", text, again, err)
	}
}

// TestPool makes sure that clicks which follow each other are all different.
func TestPool(t *testing.T) {
	t.Parallel()
	p := &Past{Spec: Spec{Clicks: 1 << 20, End: end}}
	m := &maker{past: p, pool: make([]capture.Click, poolSize)}
	for i := range m.pool {
		m.pool[i].Key = uint16(i)
	}
	for turn := range 3 {
		seen := make(map[uint16]bool)
		for i := range poolSize {
			seen[m.click(turn*poolSize+i).Key] = true
		}
		if len(seen) != poolSize {
			t.Errorf("turn %d: %d different clicks, want %d", turn, len(seen), poolSize)
		}
	}
	if m.click(0).Key == m.click(poolSize).Key && m.click(1).Key == m.click(poolSize+1).Key {
		t.Error("all turns are alike")
	}
}

func TestFillIsDeterministic(t *testing.T) {
	t.Parallel()
	spec := Spec{Clicks: 3000, End: end, Postbacks: 5, Seed: 4}
	dump := func(spec Spec) (clicks []capture.Click, journal []capture.Entry) {
		store, _, _ := filled(t, spec)
		clicks = allClicks(t, store)
		for i := range clicks {
			clicks[i].Ref.Epoch, clicks[i].Key = 0, 0 // the store's own
		}
		err := store.Journal(t.Context(), capture.JournalQuery{}, func(e *capture.Entry) bool {
			journal = append(journal, capture.Entry{Seq: e.Seq, Time: e.Time, Outcome: e.Outcome, Campaign: e.Campaign})
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return clicks, journal
	}
	clicks, journal := dump(spec)
	again, journalAgain := dump(spec)
	if !reflect.DeepEqual(clicks, again) || !reflect.DeepEqual(journal, journalAgain) {
		t.Error("the same past twice differs")
	}
	spec.Seed++
	if other, _ := dump(spec); reflect.DeepEqual(clicks, other) {
		t.Error("another seed makes the same past")
	}
}

func TestFillBeside(t *testing.T) {
	t.Parallel()
	engine := memstore.New()
	id, err := engine.Identity()
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Clicks: 500, End: end, Postbacks: 1}
	for n := 1; n <= 2; n++ {
		store, err := engine.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p, err := Fill(t.Context(), store, id, spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(allClicks(t, store)); got != n*spec.Clicks {
			t.Errorf("%d clicks after filling it %d times", got, n)
		}
		if err := store.Close(p.NextBlock()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFillRefuses(t *testing.T) {
	t.Parallel()
	engine := memstore.New()
	store, err := engine.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(0)
	id, err := engine.Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range []Spec{
		{End: end},
		{Clicks: -1, End: end},
		{Clicks: 10},
		{Clicks: 10, End: end, Span: 100 * 365 * 24 * time.Hour},
		{Clicks: 10, End: end, Span: 3},
		{Clicks: 10, End: end, Span: -time.Hour},
		{Clicks: 10, End: end, Block: capture.BlockClicks + 1},
		{Clicks: 10, End: end, Block: -1},
		{Clicks: 10, End: end, Postbacks: -1},
		{Clicks: 10, End: end, Postbacks: 101},
	} {
		if p, err := Fill(t.Context(), store, id, spec); err == nil {
			t.Errorf("%+v was taken: %+v", spec, p)
		}
	}
	if _, err := Fill(t.Context(), store, capture.Identity{}, Spec{Clicks: 1, End: end}); err == nil {
		t.Error("an identity without a secret was taken")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	spec := Spec{Clicks: 50_000, End: end, Progress: func(int) { cancel(enough) }}
	if _, err := Fill(ctx, store, id, spec); !errors.Is(err, enough) {
		t.Errorf("it was ended with %v, want %v", err, enough)
	}
}
