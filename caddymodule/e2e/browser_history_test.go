package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// historyDays is how far back the past goes that a server is given.
const historyDays = 15

// An offer is a campaign of the past.
type offer struct {
	campaign, target, currency string
	payout                     int // in hundredths
	weight                     int // clicks of a quiet hour
	rate                       int // conversions of a thousand clicks
	sources                    []string
}

var offers = []offer{
	{"nordic-shoes", "https://shoes.example/spring", "USD", 1450, 18, 34, []string{"newsletter", "search", "blog"}},
	{"tea-club", "https://tea.example/join", "USD", 900, 12, 46, []string{"newsletter", "instagram", "podcast"}},
	{"city-bikes", "https://bikes.example/offer", "EUR", 3200, 8, 21, []string{"search", "partners"}},
	{"night-reader", "https://books.example/trial", "USD", 400, 6, 61, []string{"blog", "podcast"}},
}

// A past is made in a store before its server starts: over HTTP everything
// happens now. It is the one thing here that is made by other means than a
// user's, and nothing is expected of it but that all pages agree about it.
type past struct {
	t      testing.TB
	ledger *capture.Ledger
	codec  *clickid.Codec
	random *rand.Rand
	now    time.Time
	last   capture.Ticket
}

func makePast(t testing.TB, store string) {
	t.Helper()
	ledger, err := capture.OpenLedger(t.Context(), badgerstore.New(store, zap.NewNop()),
		&capture.Attachment{Logger: zap.NewNop()}, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	codec, err := clickid.New(ledger.Identity().Secret)
	if err != nil {
		t.Fatal(err)
	}
	p := &past{t: t, ledger: ledger, codec: codec, now: time.Now(), random: rand.New(rand.NewPCG(15, 22))}
	begin := p.now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -historyDays)
	var sales []sold
	for hour := begin; hour.Before(p.now.Add(-10 * time.Minute)); hour = hour.Add(time.Hour) {
		for i := range offers {
			sales = append(sales, p.visits(&offers[i], hour)...)
		}
		if hour.Hour()%6 == 5 { // the queue does not take it all
			p.settle()
		}
	}
	p.settle()
	p.report(sales)
}

// byHour is how busy the hours of a day are, in eighths.
var byHour = [24]int{3, 2, 1, 1, 1, 2, 4, 6, 8, 10, 11, 12, 12, 11, 10, 10, 11, 12, 14, 16, 17, 14, 9, 5}

// What is sold is to be reported as a conversion.
type sold struct {
	offer *offer
	click *capture.Click
	at    time.Time
	n     int
}

// visits makes an hour's clicks of an offer and returns those that will sell.
func (p *past) visits(o *offer, hour time.Time) (sales []sold) {
	r := p.random
	busy := byHour[hour.Hour()]
	if day := hour.Weekday(); day == time.Saturday || day == time.Sunday {
		busy = busy * 3 / 4
	}
	for range (o.weight*busy + r.IntN(12)) / 8 {
		at := hour.Add(time.Duration(r.Int64N(int64(time.Hour))))
		if at.After(p.now.Add(-time.Minute)) {
			continue
		}
		c := &capture.Click{
			Time: at, Campaign: o.campaign, Destination: o.target, URL: o.target,
			Source: o.sources[min(r.IntN(len(o.sources)), r.IntN(len(o.sources)))],
			Subs: []capture.Param{
				{Name: "creative", Value: []string{"banner", "story", "video"}[r.IntN(3)]},
				{Name: "placement", Value: []string{"top", "side", "footer"}[r.IntN(3)]},
			},
			Cost: attribution.Money{Amount: attribution.AmountOf(int64(4+r.IntN(9)), 2), Currency: attribution.Currency(o.currency)},
			Host: "127.0.0.1", Path: "/go/" + o.campaign, UserAgent: browser, Referer: "https://news.example/today",
			Address: fmt.Sprintf("203.0.%d.0", r.IntN(256)),
		}
		if r.IntN(20) == 0 {
			c.Flags = capture.FlagBot
		}
		p.last = p.ledger.Record(c)
		if c.Flags == 0 && r.IntN(1000) < o.rate {
			after := time.Duration(1+r.IntN(180)) * time.Minute
			if at = at.Add(after); at.Before(p.now.Add(-time.Minute)) {
				sales = append(sales, sold{o, c, at, r.IntN(1000)})
			}
		}
	}
	return sales
}

// settle waits for the clicks to be on disk.
func (p *past) settle() {
	p.t.Helper()
	if p.ledger.Wait(p.last, requestTimeout) != capture.SavedOnDisk {
		p.t.Fatal("a click of the past was not saved")
	}
}

// News is a postback of the past.
type news struct {
	sold
	at     time.Time
	status string
}

// messages are the postbacks about what was sold, in the order of their time.
func (p *past) messages(sales []sold) []news {
	var list []news
	for _, s := range sales {
		switch later := s.at.Add(20 * time.Hour); {
		case s.n < 80 || later.After(p.now) && s.n < 300:
			list = append(list, news{s, s.at, "pending"})
		case s.n < 120 && later.Before(p.now):
			list = append(list, news{s, s.at, "approved"}, news{s, later, "reversed"})
		default:
			list = append(list, news{s, s.at, "approved"})
		}
	}
	slices.SortFunc(list, func(a, b news) int { return a.at.Compare(b.at) })
	return list
}

// report sends the postbacks of the past.
func (p *past) report(sales []sold) {
	p.t.Helper()
	route := &capture.Route{Name: "/postback/network", Tokens: [][]byte{[]byte(networkToken)}, AllowHTTP: true}
	if err := route.Compile(); err != nil {
		p.t.Fatal(err)
	}
	rules := &capture.Rules{Retain: capture.Retention{Clicks: 90 * 24 * time.Hour, Journal: 400 * 24 * time.Hour}}
	for _, m := range p.messages(sales) {
		query := url.Values{
			"click_id": {p.codec.Encode(m.click.Ref)}, "txid": {fmt.Sprintf("order-%d-%d", m.sold.at.Unix(), m.n)}, "event": {"sale"},
			"payout": {fmt.Sprintf("%d.%02d", m.offer.payout/100, m.offer.payout%100)}, "currency": {m.offer.currency},
			"status": {m.status}, "token": {networkToken},
		}
		r := httptest.NewRequest("GET", "http://127.0.0.1/postback/network?"+query.Encode(), nil)
		pb, reject := route.Receive(r, capture.Arrival{
			Time: m.at, Rules: rules, Codec: p.codec, Sender: netip.MustParseAddr("203.0.113.9"), Secure: true,
		})
		if reject != nil {
			p.t.Fatalf("a postback of the past was rejected: %+v", reject)
		}
		if err := p.ledger.Book(p.t.Context(), pb); err != nil {
			p.t.Fatal(err)
		}
	}
}
