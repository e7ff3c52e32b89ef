package capture_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// misplaced books postbacks that a route of another campaign refuses, so that
// they wait in quarantine, and returns their numbers. Every second one is of
// the same conversion.
func misplaced(t testing.TB, l *capture.Ledger, n int) (seqs []uint64) {
	t.Helper()
	c := record(t, l, "a")
	for i := range n {
		txid := "same"
		if i%2 == 0 {
			txid = fmt.Sprint(i)
		}
		p := postback(c.Ref, txid)
		p.OnlyCampaign = "other"
		if err := l.Book(background, p); err != nil || p.Result.Reason != capture.WrongCampaign {
			t.Fatalf("the postback is %+v, %v", p.Result, err)
		}
		seqs = append(seqs, p.Seq)
	}
	return seqs
}

// again is what a route that takes the campaigns of today makes of an entry.
func again(campaign string) func(*capture.Entry) (*capture.Postback, error) {
	return func(e *capture.Entry) (*capture.Postback, error) {
		p := &capture.Postback{
			Time: time.Now(), Route: e.Route, Rules: rules, Ref: e.Click, HasRef: e.HasClick, Claim: e.Claim,
			OnlyCampaign: campaign, Raw: e.Raw, Replays: e.Seq,
		}
		p.Claim.ReceivedAt = e.Time
		return p, nil
	}
}

func journal(t testing.TB, l *capture.Ledger) (entries []*capture.Entry) {
	t.Helper()
	r, err := l.Reader()
	if err != nil {
		t.Fatal(err)
	}
	err = r.Journal(background, capture.JournalQuery{}, func(e *capture.Entry) bool {
		entries = append(entries, e)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(entries)
	return entries
}

// checkReplayed wants each of the entries booked again once, in their order.
func checkReplayed(t testing.TB, l *capture.Ledger, seqs []uint64) {
	t.Helper()
	var order []uint64
	resolved := make(map[uint64]uint64)
	for _, e := range journal(t, l) {
		switch {
		case e.Waiting():
			t.Errorf("entry %d still waits", e.Seq)
		case e.Replays != 0:
			order = append(order, e.Replays)
			if resolved[e.Replays] != e.Seq {
				t.Errorf("entry %d was resolved by %d, and %d books it again", e.Replays, resolved[e.Replays], e.Seq)
			}
		default:
			resolved[e.Seq] = e.Resolved
		}
	}
	if !slices.Equal(order, seqs) {
		t.Errorf("entries were booked again in the order %v, want %v", order, seqs)
	}
	if got, want := total(t, l).Conversions, int64(len(seqs)-len(seqs)/2+1); got != want {
		t.Errorf("%d conversions, want %d", got, want)
	}
	if h := l.Health(); len(h.Store.Quarantine) > 0 && h.Store.Quarantine[capture.WrongCampaign] != 0 {
		t.Errorf("the quarantine has %v", h.Store.Quarantine)
	}
}

func TestReplay(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		const n = 600 // more than two chunks
		seqs := misplaced(t, l, n)
		var tried []uint64
		err := l.Replay(background, capture.JournalQuery{}, false, again(""), func(r capture.Replayed) bool {
			tried = append(tried, r.Entry.Seq)
			if r.Err != nil || !r.Result.Outcome.Booked() || r.Done != len(tried) || r.Total != n {
				t.Errorf("entry %d: %+v", r.Entry.Seq, r)
			}
			return true
		})
		if err != nil || !slices.Equal(tried, seqs) {
			t.Errorf("%d of %d were tried: %v", len(tried), n, err)
		}
		checkReplayed(t, l, seqs)
		before := journal(t, l)
		err = l.Replay(background, capture.JournalQuery{}, false, again(""), func(r capture.Replayed) bool {
			t.Errorf("entry %d was tried again", r.Entry.Seq)
			return true
		})
		if err != nil || !reflect.DeepEqual(journal(t, l), before) {
			t.Errorf("replaying nothing changed the journal, or failed: %v", err)
		}
	})
}

// TestReplayInterrupted stops replays in every way at random places, and
// begins them anew until one comes to its end.
func TestReplayInterrupted(t *testing.T) {
	const n = 1000
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
				rng := rand.New(rand.NewPCG(seed, 0))
				seqs := misplaced(t, l, n)
				for try := 0; ; try++ {
					ctx, cancel := context.WithCancelCause(background)
					stopped := errors.New("stopped by the test")
					after, how := rng.IntN(n), rng.IntN(4)
					if try > 30 {
						how = -1
					}
					seen, commits := 0, 0
					hooks := memstore.Hooks{Before: func(*capture.Batch) error {
						switch commits++; {
						case how == 2 && commits > after/300:
							cancel(stopped)
						case how == 3 && commits == after/300+1:
							return capture.ErrUnavailable
						}
						return nil
					}}
					e.SetHooks(hooks)
					err := l.Replay(ctx, capture.JournalQuery{}, false, again(""), func(r capture.Replayed) bool {
						if seen++; how == 1 && seen == after {
							cancel(stopped)
						}
						return how != 0 || seen < after
					})
					e.SetHooks(memstore.Hooks{})
					cancel(nil)
					if err != nil && !errors.Is(err, capture.ErrUnavailable) && !errors.Is(err, stopped) && !errors.Is(err, context.Canceled) {
						t.Fatal(err)
					}
					time.Sleep(2 * capture.RetryEvery)
					if err == nil && how != 0 || try > 30 {
						break
					}
				}
				checkReplayed(t, l, seqs)
			})
		})
	}
}

func TestReplayTwiceAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		seqs := misplaced(t, l, 500)
		var wg sync.WaitGroup
		booked := make([]int, 3)
		for i := range booked {
			wg.Go(func() {
				err := l.Replay(background, capture.JournalQuery{}, false, again(""), func(r capture.Replayed) bool {
					if r.Err == nil && r.Result.Entry != nil {
						booked[i]++
					}
					return true
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := booked[0] + booked[1] + booked[2]; got != len(seqs) {
			t.Errorf("%v were booked, want %d in all", booked, len(seqs))
		}
		checkReplayed(t, l, seqs)
	})
}

func TestReplayDryRun(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		const n = 1000 // several chunks
		misplaced(t, l, n)
		before, sums := journal(t, l), total(t, l)
		e.SetHooks(memstore.Hooks{Before: func(b *capture.Batch) error {
			t.Errorf("batch %d was written", b.Number)
			return nil
		}})
		said := make(map[capture.Outcome]int)
		err := l.Replay(background, capture.JournalQuery{}, true, again(""), func(r capture.Replayed) bool {
			said[r.Result.Outcome]++
			return true
		})
		// However far apart, of the same conversion one is new.
		if err != nil || said[capture.Recorded] != n/2+1 || said[capture.Duplicate] != n/2-1 {
			t.Errorf("a dry run says %v: %v", said, err)
		}
		if !reflect.DeepEqual(journal(t, l), before) || !reflect.DeepEqual(total(t, l), sums) {
			t.Error("a dry run changed something")
		}
		e.SetHooks(memstore.Hooks{})
		did := make(map[capture.Outcome]int)
		err = l.Replay(background, capture.JournalQuery{}, false, again(""), func(r capture.Replayed) bool {
			did[r.Result.Outcome]++
			return true
		})
		if err != nil || !reflect.DeepEqual(did, said) {
			t.Errorf("a dry run said %v, and it was %v: %v", said, did, err)
		}
	})
}

func TestReplayStillFails(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		const n = 10
		seqs := misplaced(t, l, n)
		follow, stop := l.Follow()
		defer stop()
		prepare := func(e *capture.Entry) (*capture.Postback, error) {
			if e.Seq == seqs[0] {
				return nil, errors.New("there is no such route any more")
			}
			p, err := again("")(e)
			switch e.Seq {
			case seqs[1]:
				p.OnlyCampaign = "a third"
			case seqs[2]:
				p.Problem, p.ProblemDetail = capture.BadPayout, "today it is none"
			}
			return p, err
		}
		err := l.Replay(background, capture.JournalQuery{Reason: capture.WrongCampaign}, false, prepare, func(r capture.Replayed) bool {
			if failed := r.Entry.Seq == seqs[0]; (r.Err != nil) != failed {
				t.Errorf("entry %d: %v", r.Entry.Seq, r.Err)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		entries := journal(t, l)
		if len(entries) != n+n-3 {
			t.Errorf("the journal has %d entries", len(entries))
		}
		for i, want := range []struct {
			reason capture.Reason
			detail string
		}{
			{capture.WrongCampaign, `the click belongs to campaign "acme", and this route takes only "other"; have the sender call the route of its campaign`},
			{capture.WrongCampaign, `the click belongs to campaign "acme", and this route takes only "a third"; have the sender call the route of its campaign`},
			{capture.BadPayout, "today it is none"},
		} {
			if e := entries[i]; !e.Waiting() || e.Reason != want.reason || e.Detail != want.detail {
				t.Errorf("entry %d waits: %t, because of %s: %s", e.Seq, e.Waiting(), e.Reason, e.Detail)
			}
		}
		synctest.Wait()
		for range n - 3 {
			if e := <-follow; e.Replays == 0 {
				t.Errorf("the journal's followers are told of entry %d again", e.Seq)
			}
		}
		if len(follow) > 0 {
			t.Errorf("the journal's followers are told of %d more", len(follow))
		}
	})
}

// TestReplayOfLargeEntries: a chunk of them is more than the queue takes.
func TestReplayOfLargeEntries(t *testing.T) {
	bubble(t, func(t *testing.T, _ *memstore.Engine, l *capture.Ledger) {
		const n = 400
		seqs := misplaced(t, l, n)
		large := func(e *capture.Entry) (*capture.Postback, error) {
			p, err := again("")(e)
			p.Raw.Body = make([]byte, 2*capture.MaxQueuedPostbackBytes/n)
			return p, err
		}
		if err := l.Replay(background, capture.JournalQuery{}, false, large, func(capture.Replayed) bool { return true }); err != nil {
			t.Fatal(err)
		}
		checkReplayed(t, l, seqs)
	})
}

// TestQueuedClickIsKnown: the store hangs, a click waits in the queue, and its
// postback comes. It must never find the click unknown.
func TestQueuedClickIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T, e *memstore.Engine, l *capture.Ledger) {
		record(t, l, "first")
		for i := range 20 {
			open := gate(e)
			held := click("held") // the batch that hangs
			l.Record(held)
			synctest.Wait()
			c := click("a")
			if i%2 == 1 {
				c.Ref = l.Reserve(c.Time)
			}
			l.Record(c)
			p := postback(c.Ref, "1")
			booked := make(chan error, 1)
			go func() { booked <- l.Book(background, p) }()
			synctest.Wait()
			if i%3 == 0 { // more than one batch has to go before
				for range 3000 {
					l.Record(click("many"))
				}
			}
			open()
			if err := <-booked; err != nil || p.Result.Outcome != capture.Recorded {
				t.Fatalf("the postback of a queued click is %s %s, %v", p.Result.Outcome, p.Result.Reason, err)
			}
			time.Sleep(time.Second)
		}
	})
}
