package storetest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// testConcurrentDelivery sends the same timestamped claims through a ledger
// twice: by many senders at once, each of which sends all of them in an order
// of its own, and one after the other. The books come out the same.
func testConcurrentDelivery(t *testing.T, p *place) {
	p.closeAt(p.next) // the ledger opens it
	l, err := capture.OpenLedger(background, p.engine, &capture.Attachment{Logger: zap.NewNop()}, capture.Options{
		Now: func() time.Time { return noon.Add(day) },
	})
	p.must(err)
	d := delivery{t: t, l: l, rng: rand.New(rand.NewPCG(7, 8))}
	for _, mode := range modes {
		d.run(mode)
	}
	p.must(l.Close())
	p.open()
}

type delivery struct {
	t   *testing.T
	l   *capture.Ledger
	rng *rand.Rand
}

// message is a postback about one of the clicks.
type message struct {
	click int
	claim attribution.Claim
}

// run delivers one set under one rule.
func (d *delivery) run(mode attribution.Dedup) {
	const clicks, senders = 3, 8
	var set []message
	for click := range clicks {
		for range 20 {
			set = append(set, message{click, d.claim()})
		}
	}
	rules := *rules
	own := capture.CampaignRules{Dedup: mode, Window: time.Hour, Payout: cents(300, "USD")}
	campaigns := [2]string{"at once " + mode.String(), "in turn " + mode.String()}
	rules.Campaigns = map[string]capture.CampaignRules{campaigns[0]: own, campaigns[1]: own}
	var books [2][]*capture.Click
	for i, campaign := range campaigns {
		for n := range clicks {
			c := &capture.Click{Time: noon.Add(time.Duration(n) * time.Second), Campaign: campaign, Source: name("%d", n)}
			if d.l.Wait(d.l.Record(c), time.Minute) != capture.SavedOnDisk {
				d.t.Fatal("a click is not on disk")
			}
			books[i] = append(books[i], c)
		}
	}

	var recorded atomic.Int64
	var wg sync.WaitGroup
	for range senders {
		own := slices.Clone(set)
		d.rng.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
		wg.Go(func() {
			for _, m := range own {
				if d.send(&rules, books[0][m.click], m.claim) == capture.Recorded {
					recorded.Add(1)
				}
			}
		})
	}
	wg.Wait()
	for _, m := range set {
		d.send(&rules, books[1][m.click], m.claim)
	}

	booked := int64(0)
	for n := range clicks {
		a, b := d.books(books[0][n], senders), d.books(books[1][n], 1)
		if !slices.Equal(a, b) {
			d.t.Errorf("dedup %s, click %d: sent at once\n%q\nand in turn\n%q", mode, n, a, b)
		}
		booked += int64(len(b))
	}
	if recorded.Load() != booked || booked == 0 {
		d.t.Errorf("dedup %s: %d were answered as recorded, and %d conversions are", mode, recorded.Load(), booked)
	}
	a, b := d.report(campaigns[0]), d.report(campaigns[1])
	if x, y := name("%+v", a), name("%+v", b); x != y || a.Total.Conversions != booked {
		d.t.Errorf("dedup %s: sent at once, the report is\n%s\nand in turn\n%s", mode, x, y)
	}
}

// claim draws from so few values that repeats and equal times are common.
func (d *delivery) claim() attribution.Claim {
	c := attribution.Claim{
		Event: []string{"sale", "lead"}[d.rng.IntN(2)], TxID: []string{"", "1", "2"}[d.rng.IntN(3)],
		Status: attribution.Status(1 + d.rng.IntN(4)), SentAt: noon.Add(time.Duration(d.rng.IntN(12)) * 10 * time.Minute),
	}
	if d.rng.IntN(4) > 0 {
		c.Payout, c.HasPayout = cents(int64(d.rng.IntN(7)-2)*125, []string{"USD", "EUR"}[d.rng.IntN(2)]), true
	}
	return c
}

func (d *delivery) send(rules *capture.Rules, c *capture.Click, claim attribution.Claim) capture.Outcome {
	arrival := noon.Add(3 * time.Hour)
	claim.ReceivedAt = arrival
	b := &capture.Postback{Time: arrival, Route: "main", Rules: rules, Ref: c.Ref, HasRef: true, Claim: claim}
	if err := d.l.Book(background, b); err != nil {
		d.t.Errorf("booking %+v: %v", claim, err)
	}
	return b.Result.Outcome
}

// books writes the conversions of a click down, each with its history but for
// the order of arrival. Each claim was sent as often as there were senders.
func (d *delivery) books(click *capture.Click, senders int) (list []string) {
	d.t.Helper()
	r, err := d.l.Reader()
	must(d.t, err)
	conversions, err := r.ClickConversions(background, click.Ref)
	must(d.t, err)
	for _, c := range conversions {
		var said []string
		for _, e := range c.History {
			if e.Seen%senders != 0 {
				d.t.Errorf("%d senders said %+v %d times", senders, e.Claim, e.Seen)
			}
			e.Seq = 0
			said = append(said, name("%dx %x", e.Seen/senders, record(e.Claim)))
		}
		slices.Sort(said)
		list = append(list, name("%+v %q", c.State, said))
	}
	slices.Sort(list)
	return list
}

func (d *delivery) report(campaign string) attribution.Report {
	d.t.Helper()
	r, err := d.l.Report(background, attribution.Query{
		By: []string{"source", "event", "hour"}, From: noon.Add(-day), To: noon.Add(day), Campaign: campaign,
	})
	must(d.t, err)
	return r
}
