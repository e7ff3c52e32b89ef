package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// repeats is how often a message is sent at once.
const repeats = 64

// A reused message is one that is good, again and again. Somebody who overheard it has it with all its proofs.
type reused struct {
	name string
	make func(id string) []request // of which the last is repeated
	// again are the outcomes that a repeat may have.
	again []string
	want  string // what the report says in the end, for a click and its conversions
}

var reusedMessages = []reused{
	{"token", func(id string) []request {
		return []request{get("/token?click_id=" + id + "&txid=1&payout=5&currency=USD&token=" + forgedToken)}
	}, []string{"duplicate"}, "approved 1 revenue [USD 5]"},
	{"token in the header, no transaction ID", func(id string) []request {
		return []request{post("/token", "click_id="+id+"&payout=5&currency=USD", form, bearer+forgedToken)}
	}, []string{"duplicate"}, "approved 1 revenue [USD 5]"},
	{"nothing but the click ID", func(id string) []request {
		return []request{get("/open?click_id=" + id + "&txid=1&payout=5&currency=USD")}
	}, []string{"duplicate"}, "approved 1 revenue [USD 5]"},
	{"signature without a timestamp", func(id string) []request {
		body := fmt.Sprintf(`{"click_id":%q,"txid":"1","payout":5,"currency":"USD"}`, id)
		return []request{post("/hmac", body, jsonBody, "X-Sig: sha256="+hmacHex(forgedSecret, body))}
	}, []string{"duplicate"}, "approved 1 revenue [USD 5]"},
	{"signature with a timestamp", func(id string) []request {
		body := stripeSale(id, "reused")
		return []request{post("/stripe", body, jsonBody, stripeHeader(stripeSecret, body, time.Now()))}
	}, []string{"duplicate", "replayed"}, "approved 1 revenue [USD 49]"},
	{"part refund", func(id string) []request {
		order := fmt.Sprintf(`{"id":77,"total_price":"50.00","currency":"USD","financial_status":"paid","note_attributes":[{"name":"click_id","value":%q}]}`, id)
		const refund = `{"id":88,"order_id":77,"transactions":[{"kind":"refund","status":"success","amount":"20.00","currency":"USD"}]}`
		return []request{
			shopifyMessage(forgedSecret, "/shopify", "orders/paid", order),
			shopifyMessage(forgedSecret, "/shopify", "refunds/create", refund),
		}
	}, []string{"duplicate"}, "approved 1 revenue [USD 30]"},
}

// A good message that comes again is a duplicate or a replay, and never a second conversion, one after the
// other and all at once.
func TestReusedMessages(t *testing.T) {
	for _, m := range reusedMessages {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, abuseSite)
			messages := m.make(s.click("/go/acme", "cid"))
			for _, r := range messages[:len(messages)-1] {
				if a := s.send(r); a.status != 200 || !containsAll(a.body, `"recorded"`) {
					t.Fatalf("before: status %d %s", a.status, a.body)
				}
			}
			r := messages[len(messages)-1]
			outcomes := s.sendAtOnce(r)
			first := "recorded"
			if len(messages) > 1 {
				first = "updated"
			}
			if outcomes[first] != 1 {
				t.Errorf("%d of %d were %s, want 1: %v", outcomes[first], repeats, first, outcomes)
			}
			rest := 0
			for _, outcome := range m.again {
				rest += outcomes[outcome]
			}
			if rest != repeats-1 {
				t.Errorf("the others should be %q: %v", m.again, outcomes)
			}
			if a, last := s.send(r), m.again[len(m.again)-1]; !containsAll(a.body, last) {
				t.Errorf("once more: status %d %s, want %s", a.status, a.body, last)
			}
			f := s.report("").Total
			if got := fmt.Sprintf("approved %d revenue %s", f.Approved, amounts(f.Revenue)); f.Conversions != 1 || got != m.want {
				t.Errorf("%d conversions, %s; want 1, %s", f.Conversions, got, m.want)
			}
			s.stop()
		})
	}
}

// sendAtOnce sends a message many times at the same time and counts the outcomes, or the reasons of refusals.
func (s *server) sendAtOnce(r request) map[string]int {
	var mu sync.Mutex
	outcomes := make(map[string]int)
	var wg sync.WaitGroup
	ready := make(chan struct{})
	for range repeats {
		wg.Go(func() {
			c := client{addr: s.site()}
			defer c.close()
			<-ready
			a, err := c.do(r.method, r.target, r.body, r.headers...)
			outcome := fmt.Sprint(err)
			if err == nil {
				_, outcome, _ = strings.Cut(a.body, `"outcome":"`)
				outcome, _, _ = strings.Cut(outcome, `"`)
				if a.status >= 400 {
					_, outcome, _ = strings.Cut(a.body, `"reason":"`)
					outcome, _, _ = strings.Cut(outcome, `"`)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[outcome]++
		})
	}
	close(ready)
	wg.Wait()
	return outcomes
}
