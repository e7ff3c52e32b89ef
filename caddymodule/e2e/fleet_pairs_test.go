package e2e

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

const (
	pairs     = 10_000
	pairLanes = 250 // pairs under way
)

// TestFleetPairs sends each of many postbacks to two nodes at the same moment. One of them books it, the other finds
// it booked. A machine that is too busy to have that decided within two seconds may have it accepted, not nearly all of them.
func TestFleetPairs(t *testing.T) {
	wantPostgres(t)
	f := startFleet(t, pgtest.Shared(t).DSN(), fleetLinks)
	ids := make([]string, pairLanes)
	for lane := range ids {
		ids[lane] = f.front.click(fmt.Sprintf("/go/pairs?sub1=%d", lane), "aff_sub")
	}
	f.settle() // a postback whose click waits in another node's spool would wait for it
	var lanes sync.WaitGroup
	var accepted atomic.Int64
	wrong := make(chan string, pairs)
	for lane, id := range ids {
		one, other := f.nodes[lane%3], f.nodes[(lane+1+lane/3%2)%3]
		lanes.Go(func() {
			a, b := &client{addr: one.site()}, &client{addr: other.site()}
			defer a.close()
			defer b.close()
			for n := range pairs / pairLanes {
				target := fmt.Sprintf("/postback?cid=%s&txid=p%d&payout=0.01&currency=USD", id, n)
				var second string
				var both sync.WaitGroup
				both.Go(func() { second = outcomeOf(b.do("GET", target, "")) })
				first := outcomeOf(a.do("GET", target, ""))
				both.Wait()
				switch first + " " + second {
				case "recorded duplicate", "duplicate recorded":
				case "accepted recorded", "recorded accepted", "accepted duplicate", "duplicate accepted", "accepted accepted":
					accepted.Add(1)
					f.decides(one, other)
				default:
					wrong <- fmt.Sprintf("%s: %s and %s", target, first, second)
				}
			}
		})
	}
	lanes.Wait()
	close(wrong)
	c := complaints{t: t, limit: 10}
	for what := range wrong {
		c.add("%s", what)
	}
	c.end()
	n := accepted.Load()
	t.Logf("%d of %d pairs were not decided at once", n, pairs)
	if n > pairs*9/10 {
		t.Error("that is nearly all: hardly any two nodes decided at the same time")
	}
	f.settle()
	want := figures{Clicks: pairLanes, Conversions: pairs, Approved: pairs, Revenue: map[string]string{"USD": fmt.Sprint(pairs / 100)}}
	for _, s := range f.nodes {
		if got := s.report("").Total; got.String() != want.String() {
			t.Errorf("node %s: the report says\n%s, want\n%s", s.site(), got, want)
		}
	}
	if n := len(f.nodes[0].all("/capture/journal?outcome=recorded")); n != pairs {
		t.Errorf("%d postbacks are in the journal as recorded, want %d", n, pairs)
	}
	if n := len(f.nodes[0].all("/capture/journal?outcome=duplicate")); n != pairs {
		t.Errorf("%d postbacks are in the journal as duplicates, want %d", n, pairs)
	}
	f.nodes[0].check()
	f.stop()
}

// outcomeOf is what a sender is told, in a word.
func outcomeOf(a answer, err error) string {
	if err != nil {
		return err.Error()
	}
	var got struct{ Outcome string }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		return fmt.Sprintf("status %d %s", a.status, a.body)
	}
	return got.Outcome
}
