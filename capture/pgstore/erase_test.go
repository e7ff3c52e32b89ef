package pgstore

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
)

// TestEraseAhead: a click that still waits on the disk of its node is erased by way
// of another one. When it comes, days later, it is without its visitor.
func TestEraseAhead(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	a, b := open(t, e), open(t, another(t, e))
	later := a.block(3)
	for _, c := range later.Clicks {
		c.Address, c.UserAgent, c.Subs = "192.0.2.1", "Browser", []capture.Param{{Name: "sub1", Value: "somebody"}}
	}
	gone, kept := later.Clicks[1], later.Clicks[2]
	if _, err := b.s.Erase(t.Context(), gone.Ref); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("erasing a click that nobody has yet: %v", err)
	}
	past := func(days int) {
		_, err := b.s.read.Exec(t.Context(), b.s.q(`UPDATE {s}.erased SET at = at - $1::int * interval '1 day'`), days)
		b.must(err)
	}
	past(5)
	keep := capture.Retention{Clicks: 30 * 24 * time.Hour}
	for range 2 { // the hourly one, and that which deletes
		_, err := b.s.Sweep(t.Context(), noon, capture.Retention{})
		b.must(err)
		_, err = b.s.Sweep(t.Context(), noon, keep)
		b.must(err)
	}
	other := a.block(1) // which has neighbours of what was erased
	a.must(a.commit([]*capture.Block{later, other}, sale(gone, "1"), sale(kept, "2")))
	for _, c := range later.Clicks {
		got, err := b.s.Click(t.Context(), c.Ref)
		b.must(err)
		erased := got.Flags&capture.FlagErased != 0 && got.Address == "" && got.UserAgent == "" && len(got.Subs) == 0
		whole := got.Flags&capture.FlagErased == 0 && got.Address != "" && got.UserAgent != "" && len(got.Subs) == 1
		if c == gone && !erased || c != gone && !whole {
			t.Errorf("click %d is stored as %+v", c.Ref.Slot, got)
		}
		convs, err := b.s.ClickConversions(t.Context(), c.Ref)
		b.must(err)
		for _, conv := range convs {
			if (len(conv.Subs) == 0) != (c == gone) {
				t.Errorf("the conversion of click %d has the sub-IDs %v", c.Ref.Slot, conv.Subs)
			}
		}
	}
	if gone.Address == "" {
		t.Error("the click was changed in its own node's memory")
	}
	if got := b.totals(); got.Clicks != 4 || got.Conversions != 2 {
		t.Errorf("the report counts %+v", got)
	}
	b.healthy()
	// What can come no more is forgotten.
	past(40)
	_, err := b.s.Sweep(t.Context(), noon, keep)
	b.must(err)
	var left int
	b.must(b.s.read.QueryRow(context.Background(), b.s.q(`SELECT count(*) FROM {s}.erased`)).Scan(&left))
	if left != 0 {
		t.Errorf("%d erasures are still noted", left)
	}
}

// TestEraseByWrongClock: what is erased by way of a node whose clock is far behind is
// erased for as long as by any other.
func TestEraseByWrongClock(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	wrong := another(t, e)
	wrong.Now = func() time.Time { return time.Now().AddDate(0, 0, -100) }
	a, b := open(t, e), open(t, wrong)
	later := a.block(1)
	later.Clicks[0].Address = "192.0.2.1"
	if _, err := b.s.Erase(t.Context(), later.Clicks[0].Ref); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("erasing a click that nobody has yet: %v", err)
	}
	_, err := a.s.Sweep(t.Context(), noon, capture.Retention{Clicks: 30 * 24 * time.Hour})
	a.must(err)
	a.must(a.commit([]*capture.Block{later}))
	got, err := a.s.Click(t.Context(), later.Clicks[0].Ref)
	a.must(err)
	if got.Flags&capture.FlagErased == 0 || got.Address != "" {
		t.Errorf("the click is stored as %+v", got)
	}
}

// TestErasedInBackup: what is erased stays so after a restore, where it comes from the
// disk of its node only then.
func TestErasedInBackup(t *testing.T) {
	t.Parallel()
	e := fresh(t)
	second := another(t, e)
	a, b := open(t, e), open(t, second)
	later := a.block(2)
	for _, c := range later.Clicks {
		c.Address = "192.0.2.1"
	}
	gone := later.Clicks[0]
	if _, err := b.s.Erase(t.Context(), gone.Ref); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("erasing a click that nobody has yet: %v", err)
	}
	var file bytes.Buffer
	b.must(b.s.Backup(t.Context(), &file))
	a.must(a.s.Close(0))
	b.must(b.s.Close(0))
	elsewhere := open(t, fresh(t)) // for its connection
	_, err := elsewhere.s.write.Exec(t.Context(), e.schema().q(`DROP SCHEMA {s} CASCADE`))
	b.must(err)
	b.must(second.Restore(t.Context(), bytes.NewReader(file.Bytes())))
	a = open(t, e)
	a.must(a.commit([]*capture.Block{later}))
	for _, c := range later.Clicks {
		got, err := a.s.Click(t.Context(), c.Ref)
		a.must(err)
		if (got.Address == "") != (c == gone) {
			t.Errorf("click %d is stored as %+v", c.Ref.Slot, got)
		}
	}
	a.healthy()
}
