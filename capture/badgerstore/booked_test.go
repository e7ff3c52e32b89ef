package badgerstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// TestListedSaysWhatTheRecordSays: whatever a report asks a conversion for, the
// listing answers as the record does.
func TestListedSaysWhatTheRecordSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		c := &capture.Conversion{
			ID:       attribution.ConversionID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Campaign: text.Draw(t, "campaign"), Source: text.Draw(t, "source"), Destination: text.Draw(t, "destination"),
			State: attribution.State{
				Booked: true, Event: text.Draw(t, "event"), Status: attribution.Status(rapid.IntRange(0, 4).Draw(t, "status")),
				Time: time.Unix(rapid.Int64Range(-1<<33, 1<<33).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC(),
			},
		}
		if c.ClickTime = c.State.Time.Add(-time.Duration(rapid.Int64().Draw(t, "lag"))); rapid.Bool().Draw(t, "no click time") {
			c.ClickTime = time.Time{}
		}
		for range rapid.IntRange(0, 5).Draw(t, "subs") {
			c.Subs = append(c.Subs, capture.Param{Name: text.Draw(t, "name"), Value: text.Draw(t, "value")})
		}
		if c.State.HasPayout = rapid.Bool().Draw(t, "has payout"); c.State.HasPayout {
			c.State.Payout = money(rapid.StringMatching(`-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?`).Draw(t, "payout"))
		}
		var k keys
		var got capture.Conversion
		if err := decodeBooked(k.indexOf(c), encodeBooked(c), &got); err != nil {
			t.Fatal(err)
		}
		if got.Lag() != c.Lag() {
			t.Errorf("the lag is %s, want %s", got.Lag(), c.Lag())
		}
		if got.ID != c.ID || got.Cell() != c.Cell() || !got.State.Equal(c.State) || len(got.Subs) != len(c.Subs) ||
			len(c.Subs) > 0 && !reflect.DeepEqual(got.Subs, c.Subs) {
			t.Errorf("%+v became %+v", c, got)
		}
		if a, b := asJSON(t, got.Counts()), asJSON(t, c.Counts()); a != b {
			t.Errorf("it counts %s, want %s", a, b)
		}
		// Whoever reads the next one has nothing left of this one.
		next := &capture.Conversion{State: attribution.State{Booked: true}}
		if err := decodeBooked(k.indexOf(next), encodeBooked(next), &got); err != nil {
			t.Fatal(err)
		}
		if got.Subs = nil; !reflect.DeepEqual(got.State.Payout, attribution.Money{}) || got.Cell() != next.Cell() || got.State.HasPayout {
			t.Errorf("%+v has something of the one before", got)
		}
	})
}

func asJSON(t rapid.TB, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func FuzzDecodeBooked(f *testing.F) {
	var k keys
	c := &capture.Conversion{Campaign: "acme", Source: "news", Destination: "https://acme.example/", ClickTime: day.Add(-time.Hour)}
	c.State = attribution.State{Booked: true, Event: "sale", Status: attribution.Approved, Time: day, HasPayout: true, Payout: money("12.50")}
	f.Add(encodeBooked(c))
	c.Subs = []capture.Param{{Name: "creative", Value: "blue"}, {}}
	c.State.Payout = money("-123456789012345678.123456789")
	f.Add(encodeBooked(c))
	f.Add(encodeBooked(&capture.Conversion{}))
	f.Add([]byte{recordFormat})
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	key := k.index(kindBooked, day, attribution.ConversionID{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return // nothing is said: the record is asked
		}
		var c, again capture.Conversion
		if err := decodeBooked(key, data, &c); err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("%x: %v does not say that it is damaged", data, err)
			}
			return
		}
		if late := c.State.Time.Sub(day); late < 0 || late >= time.Millisecond || c.Lag() < 0 || c.State.Status > attribution.Reversed {
			t.Fatalf("%x is taken for %+v", data, c)
		}
		if err := decodeBooked(key, encodeBooked(&c), &again); err != nil || !again.State.Equal(c.State) || again.Lag() != c.Lag() ||
			again.Cell() != c.Cell() || !slices.Equal(again.Subs, c.Subs) {
			t.Errorf("%x is %+v, and read again %+v, %v", data, c, again, err)
		}
	})
}

// TestReportOfOldListings: a store whose listings say nothing, or of some
// conversions only, reports the same.
func TestReportOfOldListings(t *testing.T) {
	t.Parallel()
	s := openStore(t, newEngine(t))
	w := newWriter(t, s)
	for i := range 40 {
		c := click(day.Add(time.Duration(i)*time.Minute), "spring")
		c.Subs = []capture.Param{{Name: "creative", Value: []string{"blue", "red", ""}[i%3]}}
		w.clicks(c)
		p := postback(c, "1", c.Time.Add(time.Duration(i)*time.Second))
		p.Claim.Event = []string{"sale", "lead"}[i%2]
		p.Claim.Status = attribution.Status(1 + i%4)
		w.commit(nil, []*capture.Postback{p})
	}
	var queries []attribution.Query
	for _, by := range [][]string{nil, {"sub.creative"}, {"event", "day"}, {"sub.creative", "event", "hour"}} {
		for _, q := range []attribution.Query{
			{}, {Lags: true}, {Source: "ads", Campaign: "spring"}, {Campaign: "other"},
			{Filters: []attribution.Filter{{Dimension: "event", Value: "sale"}}}, {From: day.Add(10*time.Minute + 7*time.Second), Lags: true},
		} {
			q.By, q.To = by, day.Add(35*time.Minute+time.Nanosecond)
			if q.From.IsZero() {
				q.From = day
			}
			queries = append(queries, q)
		}
	}
	answers := func() (list []string) {
		for _, q := range queries {
			list = append(list, asJSON(t, report(t, s, q)))
		}
		return list
	}
	before := answers()
	if !slices.ContainsFunc(before, func(text string) bool { return len(text) > 1500 }) {
		t.Fatalf("the reports say little: %s", before)
	}
	for i, share := range []int{2, 1} {
		stripListings(t, s, share)
		for j, got := range answers() {
			if got != before[j] {
				t.Errorf("%d of the listings gone, %+v is answered with\n%s\nwant\n%s", i+1, queries[j], got, before[j])
			}
		}
		checkHealthy(t, s)
	}
}

// stripListings makes each n-th entry of the listing what it was in older
// stores.
func stripListings(t *testing.T, s *Store, n int) {
	t.Helper()
	err := s.erase(ctx, func(d *eraser) error {
		it := d.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{kindBooked}})
		defer it.Close()
		var list [][]byte
		for it.Rewind(); it.Valid(); it.Next() {
			list = append(list, it.Item().KeyCopy(nil))
		}
		for i := 0; i < len(list); i += n {
			if err := d.txn.Set(list[i], nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEraseOfAMovedListing: a conversion was listed under a time that a later
// claim made earlier; what the listing said there goes, too, even if somebody
// was reading when it was compacted.
func TestEraseOfAMovedListing(t *testing.T) {
	t.Parallel()
	for name, read := range map[string]bool{"nobody reads": false, "somebody reads": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, s, c, ts := crowded(t)
			w := newWriter(t, s)
			if !read {
				s.gate.done(ts)
			}
			earlier := postback(c, "1", day.Add(3*time.Hour))
			earlier.Claim.SentAt = day.Add(time.Hour)
			w.commit(nil, []*capture.Postback{earlier})
			got, err := s.Conversion(ctx, earlier.Result.Conversion.ID)
			if err != nil || !got.State.Time.Equal(day.Add(time.Hour)) {
				t.Fatalf("the conversion is %+v: %v", got, err)
			}
			if read {
				compactBefore(t, s, ts)
			}
			if _, telling := versionsOf(t, s); telling < 4 {
				t.Fatalf("%d versions of records tell of the visitor: the test proves nothing", telling)
			}
			if _, err := s.Erase(ctx, c.Ref); err != nil {
				t.Fatal(err)
			}
			if where := findTraces(t, e.Dir); len(where) > 0 {
				t.Errorf("still there: %s", where)
			}
			if n, telling := versionsOf(t, s); n == 0 || telling > 0 {
				t.Errorf("%d of %d versions of records tell of the visitor", telling, n)
			}
			checkHealthy(t, s)
		})
	}
}

// TestEraseAfterAnUpdate: an erasure ended early, and what came in since wrote
// the conversion anew without what it was to erase. The next erasure finds
// nothing to change there, but what was on disk goes.
func TestEraseAfterAnUpdate(t *testing.T) {
	t.Parallel()
	e, s, c, ts := crowded(t)
	w := newWriter(t, s)
	short, end := context.WithCancel(ctx)
	commitAt := s.commitAt
	s.commitAt = func(txn *badger.Txn, ts uint64) error {
		end() // with the first write
		return commitAt(txn, ts)
	}
	if _, err := s.Erase(short, c.Ref); !errors.Is(err, context.Canceled) {
		t.Fatalf("the erasure ended with %v", err)
	}
	update := postback(c, "1", day.Add(3*time.Hour))
	update.Claim.Status = attribution.Rejected
	if w.commit(nil, []*capture.Postback{update}); update.Result.Outcome != capture.Updated {
		t.Fatalf("the update became %+v", update.Result)
	}
	noted, err := s.rewritten(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var k keys
	for _, key := range [][]byte{k.conversion(update.Result.Conversion.ID), k.indexOf(update.Result.Conversion)} {
		if !slices.ContainsFunc(noted, func(have []byte) bool { return bytes.Equal(have, key) }) {
			t.Errorf("that the old version of %q has to go is not noted", key)
		}
	}
	compactBefore(t, s, ts)
	if _, telling := versionsOf(t, s); telling == 0 {
		t.Fatal("nothing on disk tells of the visitor: the test proves nothing")
	}
	if _, err := s.Erase(ctx, c.Ref); err != nil {
		t.Fatal(err)
	}
	if n, telling := versionsOf(t, s); n == 0 || telling > 0 {
		t.Errorf("%d of %d versions of records tell of the visitor", telling, n)
	}
	if where := findTraces(t, e.Dir); len(where) > 0 {
		t.Errorf("still there: %s", where)
	}
	checkHealthy(t, s)
}

// crowded makes a store of several tables with a conversion of the click that
// leaves a trace, and returns the timestamp of somebody who reads it.
func crowded(t *testing.T) (e *Engine, s *Store, c *capture.Click, ts uint64) {
	t.Helper()
	e = newEngine(t)
	e.noSync = true // a commit for each of many clicks
	s = openStore(t, e)
	w := newWriter(t, s)
	c = click(day, "spring")
	c.Subs = []capture.Param{{Name: "creative", Value: traces[4]}}
	w.clicks(c)
	crowd(w, 400)
	w.commit(nil, []*capture.Postback{postback(c, "1", day.Add(2*time.Hour))})
	crowd(w, 400)
	closeStore(t, s, 0)
	s = openStore(t, e)
	ts, err := s.gate.read()
	if err != nil {
		t.Fatal(err)
	}
	return e, s, c, ts
}

// compactBefore compacts the store before the reader is done.
func compactBefore(t *testing.T, s *Store, reader uint64) {
	t.Helper()
	if err := s.flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.compact(ctx); err != nil {
		t.Fatal(err)
	}
	s.gate.done(reader)
}

// crowd commits conversions around those of a test, with long names so that they
// fill tables.
func crowd(w *writer, n int) {
	w.t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(n), uint64(w.next.NextSeq)))
	var posts []*capture.Postback
	for i := range n {
		c := click(day.Add(time.Duration(i)*time.Second), "spring")
		c.Subs = []capture.Param{{Name: "creative", Value: noise(rnd, 900)}}
		w.clicks(c)
		posts = append(posts, postback(c, "1", day.Add(time.Duration(i)*time.Minute)))
	}
	for ; len(posts) > 0; posts = posts[min(len(posts), 50):] {
		w.commit(nil, posts[:min(len(posts), 50)])
	}
}
