package capture_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// reservedEarly reserves a click and books postbacks of it before the click is
// recorded.
func reservedEarly(t *testing.T, l *capture.Ledger, posts ...func(*capture.Postback)) (*capture.Click, []*capture.Postback) {
	t.Helper()
	c := click("a")
	c.Ref = l.Reserve(c.Time)
	var list []*capture.Postback
	for _, change := range posts {
		p := postback(c.Ref, "1")
		change(p)
		if err := l.Book(background, p); err != nil || p.Result.Reason != capture.UnknownClick {
			t.Fatalf("the early postback is %+v: %v", p.Result, err)
		}
		list = append(list, p)
	}
	return c, list
}

func asItIs(*capture.Postback) {}

// TestEarlyPostback: the application behind an injected click reports its sale
// before it answers with the redirect.
func TestEarlyPostback(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		follow, stop := l.Follow()
		defer stop()
		c, early := reservedEarly(t, l, asItIs, asItIs,
			func(p *capture.Postback) { p.Claim.TxID = "2" },
			func(p *capture.Postback) { p.Problem, p.ProblemDetail = capture.BadPayout, "it is none" })
		other, _ := reservedEarly(t, l, asItIs)
		time.Sleep(3 * time.Second) // the upstream takes its time
		off := failing(e, capture.ErrUnavailable)
		l.Record(c)
		time.Sleep(time.Second)
		off()
		time.Sleep(time.Second)

		entries := journal(t, l)
		if got := total(t, l); got.Conversions != 2 || got.Clicks != 1 {
			t.Errorf("the report counts %+v", got)
		}
		if q := l.Health().Store.Quarantine; q[capture.UnknownClick] != 1 || q[capture.BadPayout] != 1 {
			t.Errorf("in quarantine are %v", q)
		}
		wants := []capture.Outcome{capture.Recorded, capture.Duplicate, capture.Recorded}
		for _, entry := range entries {
			if entry.Replays == 0 {
				continue
			}
			if len(wants) == 0 || entry.Outcome != wants[0] || !entry.Claim.ReceivedAt.Equal(early[0].Claim.ReceivedAt) {
				t.Fatalf("booked again is %+v", entry)
			}
			wants = wants[1:]
		}
		if len(wants) != 0 || len(entries) != 5+3 {
			t.Errorf("the journal has %d entries, %v are missing", len(entries), wants)
		}
		// What goes on is untouched: nothing is booked again with later batches,
		// and by hand there is nothing left to do.
		record(t, l, "b")
		l.Record(other)
		time.Sleep(time.Second)
		if got := total(t, l); got.Conversions != 3 {
			t.Errorf("the report counts %+v", got)
		}
		if err := l.Replay(background, capture.JournalQuery{Reason: capture.UnknownClick}, false, again(""), func(r capture.Replayed) bool {
			t.Errorf("entry %d still waited", r.Entry.Seq)
			return true
		}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(follow); n != 5+4 {
			t.Errorf("the followers of the journal saw %d entries, want 9", n)
		}
	})
}

// TestEarlyPostbackReplayed: somebody was faster, and it is booked once.
func TestEarlyPostbackReplayed(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c, early := reservedEarly(t, l, asItIs)
		open := gate(e)
		l.Record(click("held"))
		synctest.Wait()
		p := postback(c.Ref, "1")
		p.Replays = early[0].Seq
		booked := make(chan error, 1)
		go func() { booked <- l.Book(background, p) }()
		synctest.Wait()
		l.Record(c)
		open()
		if err := <-booked; err != nil || p.Result.Outcome != capture.Duplicate {
			t.Errorf("booked by hand it is %+v: %v", p.Result, err)
		}
		if got := total(t, l); got.Conversions != 1 || len(journal(t, l)) != 2 {
			t.Errorf("the report counts %+v, the journal has %d entries", got, len(journal(t, l)))
		}
	})
}

// TestEarlyPostbacksAreBounded: of far too many, the click of each is recorded
// all the same, and what was not remembered is booked as parked.
func TestEarlyPostbacksAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		const n = 300 // of 64 KiB
		var clicks []*capture.Click
		for range n {
			c, _ := reservedEarly(t, l, func(p *capture.Postback) { p.Raw.Body = make([]byte, 64<<10) })
			clicks = append(clicks, c)
		}
		open := gate(e)
		l.Record(click("held"))
		synctest.Wait()
		for _, c := range clicks { // one batch, for which they are too many
			l.Record(c)
		}
		open()
		time.Sleep(time.Second)
		got, waits := total(t, l), l.Health().Store.Quarantine[capture.UnknownClick]
		if got.Clicks != n+1 || got.Conversions != n || waits != 0 {
			t.Errorf("the report counts %+v, and %d wait", got, waits)
		}
		// An ID that was reserved long ago is waited for as well.
		c := click("late")
		c.Ref = l.Reserve(c.Time)
		time.Sleep(time.Hour)
		p := postback(c.Ref, "1")
		if err := l.Book(background, p); err != nil || p.Result.Reason != capture.UnknownClick {
			t.Fatalf("the postback is %+v: %v", p.Result, err)
		}
		l.Wait(l.Record(c), time.Second)
		if now := l.Health().Store.Quarantine[capture.UnknownClick]; now != 0 || total(t, l).Conversions != n+1 {
			t.Errorf("%d wait, want none", now)
		}
	})
}

// TestEarlyPostbackTooLarge: the click is worth more, and the postback comes with it
// as a parked one.
func TestEarlyPostbackTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		c, _ := reservedEarly(t, l, asItIs)
		e.SetHooks(memstore.Hooks{Before: func(b *capture.Batch) error {
			if len(b.Postbacks) > 0 {
				return capture.ErrTooLarge
			}
			return nil
		}})
		if got := l.Wait(l.Record(c), time.Second); got != capture.SavedOnDisk {
			t.Errorf("the click is saved as %d", got)
		}
		if n := l.Health().Store.Quarantine[capture.UnknownClick]; n != 0 || total(t, l).Conversions != 1 {
			t.Errorf("%d wait, want none", n)
		}
	})
}
