package storetest

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// The model is the contract's section "One conversion, once", as simply as it
// can be said: it keeps every claim it ever saw and looks at all of them each
// time.
type model struct {
	mode        attribution.Dedup
	window      time.Duration // 0: none
	defaultPays int64         // cents; 0: none
	conversions map[modelKey]*modelConversion
}

type modelKey struct {
	click       int
	event, txid string
}

type modelConversion struct {
	claims []modelClaim
	booked bool
	parked int // entries that wait
	state  modelState
}

type modelClaim struct {
	at     time.Time
	event  string
	status attribution.Status
	cents  int64 // 0: no payout
}

type modelState struct {
	event  string
	status attribution.Status
	cents  int64
}

func (m *model) key(click int, event, txid string) modelKey {
	switch m.mode {
	case attribution.DedupClick:
		return modelKey{click: click}
	case attribution.DedupEvent:
		return modelKey{click: click, event: event}
	}
	return modelKey{click: click, event: event, txid: txid}
}

// book returns the outcome that the contract wants.
func (m *model) book(key modelKey, click time.Time, c modelClaim) (capture.Outcome, capture.Reason) {
	conv := m.conversions[key]
	if conv == nil {
		conv = new(modelConversion)
		m.conversions[key] = conv
	}
	conv.claims = append(conv.claims, c)
	before, was := conv.state, conv.booked
	conv.state = m.state(conv.claims)
	conv.booked = was || m.window == 0 || !conv.first().After(click.Add(m.window))
	switch {
	case !conv.booked:
		conv.parked++
		return capture.Quarantined, capture.OutsideWindow
	case !was:
		conv.parked = 0
		return capture.Recorded, ""
	case conv.state != before:
		return capture.Updated, ""
	}
	return capture.Duplicate, ""
}

// state: the newest final claim decides, or the newest at all; the payout is
// the newest that was named, or the campaign's own.
func (m *model) state(claims []modelClaim) modelState {
	newest := func(list []modelClaim) (best modelClaim) {
		for i, c := range list {
			if i == 0 || c.status.Final() && !best.status.Final() ||
				c.status.Final() == best.status.Final() && !c.at.Before(best.at) {
				best = c
			}
		}
		return best
	}
	top := newest(claims)
	s := modelState{event: top.event, status: top.status, cents: m.defaultPays}
	paid := slices.DeleteFunc(slices.Clone(claims), func(c modelClaim) bool { return c.cents == 0 })
	if len(paid) > 0 {
		s.cents = newest(paid).cents
	}
	return s
}

func (c *modelConversion) first() time.Time {
	first := c.claims[0].at
	for _, claim := range c.claims {
		if claim.at.Before(first) {
			first = claim.at
		}
	}
	return first
}

// world is one random history: its rules and the campaign all its own.
type world struct {
	campaign string
	rules    *capture.Rules
	clicks   []*capture.Click
	blocks   []*capture.Block
	pool     []attribution.Claim
}

// newWorld draws rules, clicks and the claims that senders will make. All
// claims of a history have the sender's time, all different, or none has.
func newWorld(t *rapid.T, p *place, m *model, clicks int, timed bool) *world {
	w := &world{campaign: name("world %d", p.batch)}
	r := *rules
	own := capture.CampaignRules{Dedup: m.mode, Window: m.window}
	if m.defaultPays > 0 {
		own.Payout = cents(m.defaultPays, "USD")
	}
	r.Campaigns = map[string]capture.CampaignRules{w.campaign: own}
	w.rules = &r
	for i := range clicks {
		c := p.click(of(w.campaign, name("source %d", i)), at(noon.Add(time.Duration(i)*time.Second)))
		w.clicks = append(w.clicks, c)
		w.blocks = append(w.blocks, p.block(c))
	}
	minutes := rapid.SliceOfNDistinct(rapid.IntRange(-60, 200), 1, 8, rapid.ID).Draw(t, "minutes")
	for _, n := range minutes {
		c := attribution.Claim{
			Event:  rapid.SampledFrom([]string{"sale", "lead"}).Draw(t, "event"),
			TxID:   rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "txid"),
			Status: rapid.SampledFrom([]attribution.Status{1, 2, 2, 3, 4}).Draw(t, "status"),
		}
		if n := rapid.SampledFrom([]int64{0, 500, 700}).Draw(t, "payout"); n > 0 {
			c.Payout, c.HasPayout = cents(n, "USD"), true
		}
		if timed {
			c.SentAt = noon.Add(time.Duration(n) * time.Minute)
		}
		w.pool = append(w.pool, c)
	}
	return w
}

func drawModel(t *rapid.T, mode attribution.Dedup) *model {
	return &model{
		mode: mode, conversions: make(map[modelKey]*modelConversion),
		window:      rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "window"),
		defaultPays: rapid.SampledFrom([]int64{0, 900}).Draw(t, "default payout"),
	}
}

var modes = []attribution.Dedup{attribution.DedupTxID, attribution.DedupEvent, attribution.DedupClick}

// testModel plays all its histories in one store, as opening one is dear; run
// it with -rapid.checks=5000 where that pays.
func testModel(t *testing.T, p *place) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t, rapid.SampledFrom(modes).Draw(t, "mode"))
		timed := rapid.Bool().Draw(t, "timed")
		w := newWorld(t, p, m, rapid.IntRange(1, 3).Draw(t, "clicks"), timed)
		w.play(t, p, m, timed)
		w.check(t, p, m)
	})
}

// play sends claims of the pool in random order and batches, and compares
// what becomes of each.
func (w *world) play(t *rapid.T, p *place, m *model, timed bool) {
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
	for i := range rapid.IntRange(1, 16).Draw(t, "postbacks") {
		claim := rapid.SampledFrom(w.pool).Draw(t, "claim")
		click := rapid.IntRange(0, len(w.clicks)-1).Draw(t, "click")
		arrival := noon.Add(time.Duration(i+1) * 10 * time.Minute)
		if timed {
			arrival = arrival.Add(3 * time.Hour)
		}
		post := p.post(w.clicks[click], claim, under(w.rules), arrives(arrival))
		mc := modelClaim{at: arrival, event: claim.Event, status: claim.Status}
		if timed {
			mc.at = claim.SentAt
		}
		if claim.HasPayout {
			mc.cents = 500
			if claim.Payout.Equal(cents(700, "USD")) {
				mc.cents = 700
			}
		}
		outcome, reason := m.book(m.key(click, claim.Event, claim.TxID), w.clicks[click].Time, mc)
		batch, steps = append(batch, post), append(steps, step{post, outcome, reason})
		if rapid.IntRange(0, 3).Draw(t, "commit") == 3 {
			flush()
		}
	}
	flush()
}

// check compares the ledger, the quarantine and the report.
func (w *world) check(t *rapid.T, p *place, m *model) {
	open := 0
	var facts []fact
	booked := make([]int, len(w.clicks))
	for key, conv := range m.conversions {
		open += conv.parked
		c := w.clicks[key.click]
		if !conv.booked {
			continue
		}
		booked[key.click]++
		got, err := p.store.Conversion(background, attribution.NewConversionID(m.mode, c.Ref.Key(), key.event, key.txid))
		if err != nil {
			t.Fatalf("%+v: %v", key, err)
		}
		s := got.State
		if !s.Booked || s.Event != conv.state.event || s.Status != conv.state.status || !s.Time.Equal(conv.first()) ||
			s.HasPayout != (conv.state.cents > 0) || s.HasPayout && !s.Payout.Equal(cents(conv.state.cents, "USD")) {
			t.Fatalf("%+v is %+v, want %+v at %s", key, s, conv.state, conv.first())
		}
		facts = append(facts, fact{
			at: conv.first(), campaign: w.campaign, source: c.Source, destination: c.Destination, event: s.Event,
			status: conv.state.status, currency: "USD", cents: conv.state.cents,
		})
	}
	for i, c := range w.clicks {
		facts = append(facts, fact{at: c.Time, campaign: w.campaign, source: c.Source, destination: c.Destination, clicks: 1})
		if list, err := p.store.ClickConversions(background, c.Ref); err != nil || len(list) != booked[i] {
			t.Fatalf("click %d has %d conversions (%v), want %d", i, len(list), err, booked[i])
		}
	}
	if n := len(p.journal(capture.JournalQuery{Campaign: w.campaign, Open: true})); n != open {
		t.Fatalf("%d entries wait, want %d", n, open)
	}
	for i := range facts {
		if facts[i].cents == 0 && facts[i].status == attribution.Approved {
			facts[i].currency = "" // revenue of nothing is no revenue
		}
	}
	for _, off := range []time.Duration{0, time.Millisecond} {
		q := attribution.Query{
			By: []string{"source", "event", "hour"}, From: noon.Add(-day - off), To: noon.Add(day), Campaign: w.campaign,
		}
		want := oracle(q, facts)
		for _, s := range want {
			delete(s.revenue, "")
		}
		compare(t, p.report(q), want, q)
	}
}

// testAnyOrder gives two clicks the same timestamped claims in different
// orders, each as often as it likes: the books come out the same.
func testAnyOrder(t *testing.T, p *place) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t, rapid.SampledFrom(modes).Draw(t, "mode"))
		w := newWorld(t, p, m, 2, true)
		w.clicks[1].Time = w.clicks[0].Time
		w.clicks[1].Ref.Second = w.clicks[0].Ref.Second
		p.commit(w.blocks[0], w.blocks[1])
		for _, c := range w.clicks {
			claims := slices.Concat(w.pool, rapid.SliceOfN(rapid.SampledFrom(w.pool), 0, 6).Draw(t, "repeats"))
			var batch []any
			for i, claim := range rapid.Permutation(claims).Draw(t, "order") {
				batch = append(batch, p.post(c, claim, under(w.rules), arrives(noon.Add(3*time.Hour+time.Duration(i)*time.Minute))))
				if rapid.IntRange(0, 3).Draw(t, "commit") == 3 {
					p.commit(batch...)
					batch = nil
				}
			}
			p.commit(batch...)
		}
		states := func(c *capture.Click) []string {
			var list []string
			for _, conv := range p.ofClick(c.Ref) {
				list = append(list, record(conv.State))
			}
			slices.Sort(list)
			return list
		}
		if a, b := states(w.clicks[0]), states(w.clicks[1]); !slices.Equal(a, b) {
			t.Fatalf("the order of arrival made a difference:\n%q\n%q", a, b)
		}
		rows := func(c *capture.Click) string {
			r := p.report(attribution.Query{
				By: []string{"event", "hour"}, From: noon.Add(-day), To: noon.Add(day), Campaign: w.campaign, Source: c.Source,
			})
			return record(r.Rows)
		}
		if a, b := rows(w.clicks[0]), rows(w.clicks[1]); a != b {
			t.Fatalf("the order of arrival made a difference to the report:\n%q\n%q", a, b)
		}
	})
}
