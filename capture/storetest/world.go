package storetest

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// world is one random history: its rules and the campaign all its own.
type world struct {
	campaign string
	rules    map[attribution.Dedup]*capture.Rules
	clicks   []*capture.Click
	blocks   []*capture.Block
	pool     []attribution.Claim
}

// newWorld draws rules, clicks and the claims that senders will make. Times are
// few, so that many claims have the same.
func newWorld(t *rapid.T, p *place, m *model, clicks int, timed func() bool) *world {
	w := &world{campaign: name("world %d", p.batch), rules: make(map[attribution.Dedup]*capture.Rules)}
	for _, mode := range modes {
		r := *rules
		own := capture.CampaignRules{Dedup: mode, Window: m.window}
		if m.defaultPays > 0 {
			own.Payout = cents(m.defaultPays, "USD")
		}
		r.Campaigns = map[string]capture.CampaignRules{w.campaign: own}
		w.rules[mode] = &r
	}
	for i := range clicks {
		c := p.click(of(w.campaign, name("source %d", i)), at(noon.Add(time.Duration(i)*time.Second)))
		w.clicks = append(w.clicks, c)
		w.blocks = append(w.blocks, p.block(c))
	}
	// Refunds are drawn where all is in one currency: what is in another than
	// its sale is quarantined, and has a test of its own.
	refunds := rapid.Bool().Draw(t, "refunds")
	payouts := []modelPays{{}, {"USD", 500}, {"USD", 700}, {"EUR", 500}, {"USD", -310}}
	if refunds {
		payouts = payouts[:3]
	}
	for range rapid.IntRange(1, 8).Draw(t, "claims") {
		c := attribution.Claim{
			Event:  rapid.SampledFrom([]string{"sale", "lead"}).Draw(t, "event"),
			TxID:   rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "txid"),
			Status: rapid.SampledFrom([]attribution.Status{1, 2, 2, 3, 4}).Draw(t, "status"),
		}
		pays := rapid.SampledFrom(payouts).Draw(t, "payout")
		if pays.currency != "" {
			c.Payout, c.HasPayout = cents(pays.cents, pays.currency), true
		}
		if refunds && c.HasPayout && rapid.IntRange(0, 2).Draw(t, "refund") == 0 {
			c.Refund, c.Key = true, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key")
			c.Payout = cents(pays.cents-400, "USD")
		}
		if timed() {
			c.SentAt = noon.Add(time.Duration(rapid.IntRange(-6, 20).Draw(t, "time")) * 10 * time.Minute)
		}
		w.pool = append(w.pool, c)
	}
	return w
}

// modelled is the claim as the model has it, when it is the nth to arrive.
func modelled(c attribution.Claim, arrival time.Time, nth int) modelClaim {
	mc := modelClaim{at: arrival, nth: nth, says: modelSays{event: c.Event, txid: c.TxID, status: c.Status}}
	if !c.SentAt.IsZero() {
		mc.at, mc.timed = c.SentAt, true
	}
	if c.HasPayout {
		mc.says.pays = modelPays{string(c.Payout.Currency), hundredths(c.Payout)}
	}
	if c.Refund {
		mc.says.refund = c.Key
	}
	return mc
}

// testModel plays all its histories in one store, as opening one is dear; run
// it with -rapid.checks=5000 where that pays.
func testModel(t *testing.T, p *place) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		timed := rapid.SampledFrom([]func() bool{
			func() bool { return true }, func() bool { return false }, func() bool { return rapid.Bool().Draw(t, "timed") },
		}).Draw(t, "how many are timed")
		w := newWorld(t, p, m, rapid.IntRange(1, 3).Draw(t, "clicks"), timed)
		w.play(t, p, m)
		w.check(t, p, m)
	})
}

// play sends claims of the pool in random order and batches, and compares
// what becomes of each. Now and then there is a new configuration.
func (w *world) play(t *rapid.T, p *place, m *model) {
	type step struct {
		post    *capture.Postback
		outcome capture.Outcome
		reason  capture.Reason
	}
	var batch []any
	var steps []step
	for _, b := range w.blocks {
		batch = append(batch, b)
	}
	flush := func() {
		p.commit(batch...)
		for i, s := range steps {
			if r := s.post.Result; r.Outcome != s.outcome || r.Reason != s.reason {
				t.Fatalf("postback %d of the batch (%+v) is %q %q, want %q %q", i, s.post.Claim, r.Outcome, r.Reason, s.outcome, s.reason)
			}
		}
		batch, steps = nil, nil
	}
	for i := range rapid.IntRange(1, 20).Draw(t, "postbacks") {
		if rapid.IntRange(0, 5).Draw(t, "configure") == 5 {
			m.mode = rapid.SampledFrom(modes).Draw(t, "next mode")
		}
		claim := rapid.SampledFrom(w.pool).Draw(t, "claim")
		click := rapid.SampledFrom(w.clicks).Draw(t, "click")
		arrival := noon.Add(time.Duration(i/2+1) * 10 * time.Minute) // two at a time
		post := p.post(click, claim, under(w.rules[m.mode]), arrives(arrival))
		outcome, reason := m.book(click, modelled(claim, arrival, i))
		batch, steps = append(batch, post), append(steps, step{post, outcome, reason})
		if rapid.IntRange(0, 3).Draw(t, "commit") == 3 {
			flush()
		}
		if rapid.IntRange(0, 15).Draw(t, "tidy") == 15 {
			p.tidy()
		}
	}
	flush()
}

// check compares the ledger, the quarantine and the report.
func (w *world) check(t *rapid.T, p *place, m *model) {
	open := 0
	var facts []fact
	for _, c := range w.clicks {
		facts = append(facts, fact{at: c.Time, campaign: w.campaign, source: c.Source, destination: c.Destination, clicks: 1})
		booked := 0
		for _, conv := range m.conversions[c] {
			open += conv.parked
			if !conv.booked {
				continue
			}
			booked++
			got, err := p.store.Conversion(background, conv.id)
			if err != nil {
				t.Fatalf("conversion %s %+v: %v", conv.id, conv.state, err)
			}
			s, pays := got.State, conv.state.pays
			if !s.Booked || s.Event != conv.state.event || s.Status != conv.state.status || !s.Time.Equal(conv.first) ||
				s.HasPayout != (pays.currency != "") || s.HasPayout && !s.Payout.Equal(cents(pays.cents, pays.currency)) {
				t.Fatalf("conversion %s is %+v, want %+v at %s", conv.id, s, conv.state, conv.first)
			}
			facts = append(facts, fact{
				at: conv.first, campaign: w.campaign, source: c.Source, destination: c.Destination, event: s.Event,
				status: s.Status, currency: pays.currency, cents: pays.cents,
			})
		}
		if list, err := p.store.ClickConversions(background, c.Ref); err != nil || len(list) != booked {
			t.Fatalf("click %+v has %d conversions (%v), want %d", c.Ref, len(list), err, booked)
		}
	}
	if n := len(p.journal(capture.JournalQuery{Campaign: w.campaign, Open: true})); n != open {
		t.Fatalf("%d entries wait, want %d", n, open)
	}
	for _, off := range []time.Duration{0, time.Millisecond} {
		q := attribution.Query{
			By: []string{"source", "event", "hour"}, From: noon.Add(-day - off), To: noon.Add(day), Campaign: w.campaign,
		}
		want := oracle(q, facts)
		for _, s := range want {
			maps.DeleteFunc(s.revenue, func(_ string, n int64) bool { return n == 0 })
		}
		compare(t, p.report(q), want, q)
	}
}

// testAnyOrder sends the same timestamped claims as the model books, in another
// order for each click and each as often as it likes, before a change of the
// configuration and after it: the books come out the same.
func testAnyOrder(t *testing.T, p *place) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		w := newWorld(t, p, m, 2, func() bool { return true })
		p.commit(w.blocks[0], w.blocks[1])
		n := 0
		for _, mode := range []attribution.Dedup{m.mode, rapid.SampledFrom(modes).Draw(t, "next mode")} {
			m.mode = mode
			pool := rapid.SliceOfN(rapid.SampledFrom(w.pool), 1, 12).Draw(t, "claims")
			for _, c := range w.clicks {
				for _, claim := range pool {
					m.book(c, modelled(claim, time.Time{}, 0))
				}
				var batch []any
				for _, claim := range rapid.Permutation(pool).Draw(t, "order") {
					n++
					batch = append(batch, p.post(c, claim, under(w.rules[mode]), arrives(noon.Add(3*time.Hour+time.Duration(n)*time.Minute))))
					if rapid.IntRange(0, 3).Draw(t, "commit") == 3 {
						p.commit(batch...)
						batch = nil
					}
				}
				p.commit(batch...)
			}
		}
		w.check(t, p, m)
	})
}
