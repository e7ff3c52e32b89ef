package bigstore

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// poolSize is how many different clicks there are but for their times and
// places: enough that no batch, and no table of a store, has two that are the
// same. It is a power of two, see [maker.click].
const poolSize = 1 << 16

// A maker makes the batches of a past.
type maker struct {
	past  *Past
	codec *clickid.Codec
	rnd   *rand.Rand // of the postbacks
	pool  []capture.Click
	rules *capture.Rules
	next  capture.Position
	made  int // clicks
	size  int // clicks in a batch
}

func newMaker(p *Past, codec *clickid.Codec, at capture.Position) *maker {
	size := min(batchClicks, int(batchBytes/(clickBytes+postbackBytes*p.Postbacks/100)))
	return &maker{
		past: p, codec: codec, rnd: rand.New(rand.NewPCG(p.Seed, 1)), pool: newPool(p.Seed, codec.Signer()), next: at,
		rules: &capture.Rules{Retain: capture.Retention{Clicks: capture.DefaultRetainClicks, Journal: capture.DefaultRetainJournal}},
		size:  max(1, size/p.block()) * p.block(),
	}
}

// newPool makes clicks that differ as those of a real site do: of 20 campaigns
// and 200 sources, each of which sends visitors to four campaigns, with 5,000 and
// 50 values of two sub-IDs, three in ten with an ad platform's click ID, one in
// ten a bot's, each of another address. Some sources are busier than others.
func newPool(seed uint64, key uint16) []capture.Click {
	r := rand.New(rand.NewPCG(seed, 2))
	many := func(n int, format string) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return list
	}
	campaigns, paths := many(20, "campaign-%02d"), many(20, "/go/campaign-%02d")
	places := many(20, "https://offers.example.com/landing/%02d")
	sources, placements := many(200, "source-%03d"), many(50, "placement-%02d")
	creatives := many(5000, "creative-%04d")
	agents := many(200, "Mozilla/5.0 (Linux; Android 14; Device %d) AppleWebKit/537.36 (KHTML, like Gecko) "+
		"Chrome/131.0.0.0 Mobile Safari/537.36")
	costs := []attribution.Money{usd("0.05"), usd("0.12"), usd("0.1"), usd("0.025")}
	pool := make([]capture.Click, poolSize)
	for i := range pool {
		source := min(r.IntN(len(sources)), r.IntN(len(sources)))
		n := (source*7 + 3*r.IntN(4)) % len(campaigns)
		c := &pool[i]
		*c = capture.Click{
			Key: key, Campaign: campaigns[n], Destination: places[n], Source: sources[source],
			Subs: []capture.Param{
				{Name: "sub1", Value: creatives[r.IntN(len(creatives))]},
				{Name: "sub2", Value: placements[r.IntN(len(placements))]},
			},
			Cost: costs[r.IntN(len(costs))], Host: "track.example.com", Path: paths[n],
			UserAgent: agents[r.IntN(len(agents))], Referer: "https://news.example.net/",
			Address: fmt.Sprintf("%d.%d.%d.0", 1+r.IntN(220), i>>8, i&0xff),
		}
		switch r.IntN(10) {
		case 0, 1, 2:
			c.Kept = []capture.Param{{Name: "gclid", Value: fmt.Sprintf("%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64())}}
		case 3:
			c.Flags = capture.FlagBot
		}
	}
	return pool
}

func usd(text string) attribution.Money {
	amount, err := attribution.ParseAmount(text)
	if err != nil {
		panic(err) // one of those above and below
	}
	return attribution.Money{Amount: amount, Currency: "USD"}
}

// click makes a click, of those numbered from 0. As many as the pool has are
// all different, one after another, and come in another order each time.
func (m *maker) click(n int) capture.Click {
	turn := n / poolSize
	c := m.pool[(n^turn*7919)*40503&(poolSize-1)]
	c.Time, c.Ref = m.past.Time(n), m.past.Ref(n)
	return c
}

// batch makes the next batch; nil when there is no more. Its memory is its own:
// a store may keep the clicks.
func (m *maker) batch() *capture.Batch {
	count := min(m.size, m.past.Clicks-m.made)
	if count == 0 {
		return nil
	}
	clicks, pointers := make([]capture.Click, count), make([]*capture.Click, count)
	for i := range clicks {
		clicks[i] = m.click(m.made + i)
		pointers[i] = &clicks[i]
	}
	b := &capture.Batch{Number: m.next.NextBatch, Now: clicks[count-1].Time}
	m.next.NextBatch++
	for len(pointers) > 0 {
		n := min(m.past.block(), len(pointers))
		b.Blocks = append(b.Blocks, &capture.Block{Number: pointers[0].Ref.Block, Clicks: pointers[:n:n]})
		pointers = pointers[n:]
	}
	before := m.past.booked(m.made)
	m.made += count
	for n := before; n < m.past.booked(m.made); n++ {
		b.Postbacks = append(b.Postbacks, m.postback(n, b.Now))
	}
	return b
}

// postback makes the one of that number, which arrives now: of a click of the
// two days before.
func (m *maker) postback(n int, now time.Time) *capture.Postback {
	lately := min(m.made, 1+int(longestWay/m.past.step()))
	c := m.click(m.made - 1 - m.rnd.IntN(lately))
	id, txid := m.codec.Encode(c.Ref), "order-"+strconv.Itoa(n)
	p := &capture.Postback{
		Seq: m.next.NextSeq, Time: now, Route: "/postback", Rules: m.rules,
		Ref: c.Ref, HasRef: true, ClickID: id, Key: c.Key, Authentic: "click ID", Sender: "192.0.2.0", Click: &c,
		Claim: attribution.Claim{
			Event: "conversion", TxID: txid, Status: attribution.Approved, Payout: usd("12.50"), HasPayout: true, ReceivedAt: now,
		},
		Raw: capture.Raw{
			Method: "GET", Host: "track.example.com", UserAgent: "network/1.0",
			URI: "/postback?click_id=" + id + "&txid=" + txid + "&payout=12.50&currency=USD",
		},
	}
	m.next.NextSeq++
	return p
}
