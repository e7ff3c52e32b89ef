package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A flood sends forged postbacks on several connections.
type flood struct {
	s     *server
	kinds []forgery
	next  atomic.Int64

	mu   sync.Mutex
	sent map[string]int64 // by route and reason
}

// run sends a number of them, and complains about each answer that is not the one for its kind.
func (f *flood) run(t *testing.T, count int64) {
	t.Helper()
	var deck []forgery
	for _, k := range f.kinds {
		for range k.share {
			deck = append(deck, k)
		}
	}
	if len(deck) != 100 {
		t.Fatalf("the shares are %d in all", len(deck))
	}
	end, wrong := f.next.Load()+count, atomic.Int64{}
	var wg sync.WaitGroup
	for range forgedSenders {
		wg.Go(func() {
			c := client{addr: f.s.site()}
			defer c.close()
			sent := make(map[string]int64)
			for {
				n := f.next.Add(1) - 1
				if n >= end {
					break
				}
				k := deck[n*37%100] // mixed: 37 and 100 have no divisor in common
				r := k.make(int(n))
				a, err := c.do(r.method, r.target, r.body, r.headers...)
				if err != nil || a.status != k.status || !strings.Contains(a.body, `"outcome":"rejected","reason":"`+k.reason+`"`) {
					if wrong.Add(1) <= 5 {
						t.Errorf("%s: %v, status %d %s; want %d %s", k.name, err, a.status, a.body, k.status, k.reason)
					}
				}
				sent[k.route+" "+k.reason]++
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			for key, n := range sent {
				f.sent[key] += n
			}
		})
	}
	wg.Wait()
	f.next.Store(end)
	if n := wrong.Load(); n > 5 {
		t.Errorf("and %d more wrong answers", n-5)
	}
}

// verifyMetrics compares what was counted with what was sent.
func (f *flood) verifyMetrics(t *testing.T) {
	t.Helper()
	counted := make(map[string]int64)
	for line := range strings.Lines(f.s.api("/metrics").body) {
		labels, ok := strings.CutPrefix(line, "caddy_capture_postbacks_total{")
		if !ok || !strings.Contains(labels, `outcome="rejected"`) {
			continue
		}
		labels, value, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			t.Fatal(err)
		}
		counted[label(labels, "route")+" "+label(labels, "reason")] += int64(n)
	}
	total := int64(0)
	for _, key := range union(f.sent, counted) {
		if counted[key] != f.sent[key] {
			t.Errorf("metrics: %s was counted %d times, sent %d times", key, counted[key], f.sent[key])
		}
		total += counted[key]
	}
	if total != forgedInAll {
		t.Errorf("metrics: %d forged postbacks were counted, want %d", total, forgedInAll)
	}
}

func label(labels, name string) string {
	_, rest, _ := strings.Cut(labels, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// genuine are the visitors and senders that the site is for.
type genuine struct {
	s              *server
	stop           atomic.Bool
	workers        sync.WaitGroup
	clicks, booked int // ready when the workers have ended
	faults         []string
}

func (g *genuine) start() {
	g.workers.Go(func() {
		c := client{addr: g.s.site()}
		defer c.close()
		for !g.stop.Load() {
			a, err := c.do("GET", "/go/acme", "")
			id := a.parameter("cid")
			if err != nil || a.status != 302 || !clickIDs.MatchString(id) {
				g.faults = append(g.faults, fmt.Sprintf("redirect: %v, status %d %s", err, a.status, a.body))
				return
			}
			g.clicks++
			n := strconv.Itoa(g.clicks)
			signed, paid := fmt.Sprintf(`{"click_id":%q,"txid":"hmac-%s","payout":2,"currency":"USD"}`, id, n), stripeSale(id, n)
			for _, r := range []request{
				get("/token?click_id=" + id + "&txid=token-" + n + "&payout=1&currency=USD&token=" + forgedToken),
				post("/hmac", signed, jsonBody, "X-Sig: sha256="+hmacHex(forgedSecret, signed)),
				post("/stripe", paid, jsonBody, stripeHeader(stripeSecret, paid, time.Now())),
				get("/open?click_id=" + id + "&txid=open-" + n + "&payout=3&currency=USD"),
			} {
				if a, err := c.do(r.method, r.target, r.body, r.headers...); err != nil || a.status != 200 || !containsAll(a.body, `"recorded"`) {
					g.faults = append(g.faults, fmt.Sprintf("%s: %v, status %d %s", r.target, err, a.status, a.body))
					return
				}
				g.booked++
			}
		}
	})
}

func (g *genuine) finish(t *testing.T) {
	t.Helper()
	g.stop.Store(true)
	g.workers.Wait()
	for _, fault := range g.faults {
		t.Errorf("amid the flood: %s", fault)
	}
	if g.clicks < 3 {
		t.Errorf("only %d visitors got through", g.clicks)
	}
}

// verify expects each genuine postback once, and nothing else.
func (g *genuine) verify(t *testing.T, first string) {
	t.Helper()
	seen := make(map[string]int)
	for _, c := range g.s.all("/capture/conversions") {
		seen[fmt.Sprint(c["txid"])]++
	}
	if len(seen) != 1+g.booked {
		t.Errorf("%d conversions, want %d", len(seen), 1+g.booked)
	}
	for txid, n := range seen {
		if n != 1 || strings.Contains(txid, "forged") {
			t.Errorf("%q is there %d times", txid, n)
		}
	}
	n := int64(g.clicks)
	f := g.s.report("").Total
	if want := fmt.Sprintf("[USD %d]", 49+n*(1+2+49+3)); f.Conversions != int64(1+g.booked) || amounts(f.Revenue) != want {
		t.Errorf("the report has %d conversions and %s, want %d and %s", f.Conversions, amounts(f.Revenue), 1+g.booked, want)
	}
	if a := g.s.api("/capture/clicks/" + first); !containsAll(a.body, "pi_overheard") {
		t.Errorf("the click of the overheard message: %s", a.body)
	}
}
