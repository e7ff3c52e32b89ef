package pgstore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// visited makes the clicks of a site that buys traffic, over thirty days.
func visited(r *rand.Rand, ref clickid.Ref, at time.Time) *capture.Click {
	campaign := r.IntN(20)
	c := &capture.Click{
		Ref: ref, Time: at, Campaign: fmt.Sprintf("campaign-%d", campaign), Source: fmt.Sprintf("placement-%d", r.IntN(50)),
		Destination: fmt.Sprintf("https://shop-%d.example/offer?aff_sub={click_id}", campaign),
		Subs: []capture.Param{
			{Name: "sub1", Value: fmt.Sprintf("ad-%d", r.IntN(1000))}, {Name: "creative", Value: fmt.Sprintf("banner-%d", r.IntN(20))},
		},
		Kept: []capture.Param{{Name: "gclid", Value: fmt.Sprintf("%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64())}},
		Host: "example.com", Path: fmt.Sprintf("/go/campaign-%d", campaign), Address: fmt.Sprintf("192.0.%d.0", r.IntN(256)),
		UserAgent: fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36", 90+r.IntN(50)),
		Referer:   "https://www.example.org/",
	}
	if r.IntN(2) == 0 {
		c.Cost = attribution.Money{Amount: attribution.AmountOf(1+r.Int64N(99), 2), Currency: "USD"}
	}
	if r.IntN(20) == 0 {
		c.Flags = capture.FlagBot
	}
	return c
}

// visitors makes the clicks that come one after the other.
type visitors struct {
	r    *rand.Rand
	at   time.Time
	step time.Duration
}

func newVisitors(step time.Duration) *visitors {
	return &visitors{r: rand.New(rand.NewPCG(1, 2)), at: noon.AddDate(0, 0, -30), step: step} //nolint:gosec // no secret
}

func (n *node) visited(v *visitors, clicks int) *capture.Block {
	b := &capture.Block{Number: n.next}
	n.next++
	for i := range clicks {
		v.at = v.at.Add(v.step).Truncate(time.Millisecond)
		ref := clickid.Ref{Epoch: uint16(n.s.node), Block: b.Number, Slot: uint8(i), Second: uint32(v.at.Unix())} //nolint:gosec // small
		b.Clicks = append(b.Clicks, visited(v.r, ref, v.at))
	}
	return b
}

// visits fills a store with so many clicks, of which one in fifty converts.
func (n *node) visits(clicks int) error {
	v := newVisitors(30 * 24 * time.Hour / time.Duration(clicks))
	for made := 0; made < clicks; {
		var blocks []*capture.Block
		var posts []*capture.Postback
		for ; len(blocks) < 16 && made < clicks; made += len(blocks[len(blocks)-1].Clicks) {
			b := n.visited(v, min(capture.BlockClicks, clicks-made))
			blocks = append(blocks, b)
			for _, c := range b.Clicks {
				if v.r.IntN(50) == 0 {
					p := sale(c, "1")
					p.Time = c.Time.Add(time.Duration(v.r.Int64N(int64(72 * time.Hour))))
					posts = append(posts, p)
				}
			}
		}
		if err := n.commit(blocks, posts...); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkVisits writes clicks as sites have them, sixteen blocks at a time.
func BenchmarkVisits(b *testing.B) {
	n := benchNode(b, pgtest.Schema())
	v := newVisitors(time.Millisecond)
	for b.Loop() {
		b.StopTimer()
		var blocks []*capture.Block
		for range 16 {
			blocks = append(blocks, n.visited(v, capture.BlockClicks))
		}
		b.StartTimer()
		if err := n.commit(blocks); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*16*capture.BlockClicks)/b.Elapsed().Seconds(), "clicks/s")
}

// BenchmarkReports asks for reports over many clicks: CAPTURE_CLICKS of them.
func BenchmarkReports(b *testing.B) {
	clicks, _ := strconv.Atoi(os.Getenv("CAPTURE_CLICKS"))
	if clicks == 0 {
		clicks = 64_000
	}
	n := benchNode(b, pgtest.Schema())
	begin := time.Now()
	if err := n.visits(clicks); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d clicks written in %v", clicks, time.Since(begin))
	for _, by := range [][]string{{"campaign", "day"}, {"sub.sub1"}, {"sub.creative", "day"}, {"campaign", "sub.creative"}} {
		b.Run(fmt.Sprint(by), func(b *testing.B) {
			for b.Loop() {
				q := attribution.Query{By: by, From: noon.AddDate(0, 0, -40), To: noon.AddDate(0, 0, 10)}
				if _, err := n.s.Report(context.Background(), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for name, sql := range map[string]string{
		"daily":            `SELECT day, campaign, sum(clicks), sum(revenue) FROM {s}.daily GROUP BY 1, 2`,
		"daily-last-week":  `SELECT day, campaign, sum(clicks), sum(revenue) FROM {s}.daily WHERE day >= '2026-02-22' GROUP BY 1, 2`,
		"clicks":           `SELECT campaign, time::date, count(*), sum(cost) FROM {s}.clicks WHERE counted GROUP BY 1, 2`,
		"clicks-by-sub":    `SELECT subs->>'sub1', count(*), sum(cost) FROM {s}.clicks WHERE counted GROUP BY 1`,
		"clicks-last-day":  `SELECT subs->>'sub1', count(*) FROM {s}.clicks WHERE time >= '2026-02-28' AND block_day >= '2026-02-27' GROUP BY 1`,
		"conversions":      `SELECT campaign, time::date, count(*), sum(revenue) FROM {s}.conversions GROUP BY 1, 2`,
		"clicks-converted": `SELECT k.campaign, count(c.id) FROM {s}.clicks k LEFT JOIN {s}.conversions c USING (click) GROUP BY 1`,
	} {
		b.Run("view-"+name, func(b *testing.B) {
			for b.Loop() {
				rows, err := n.s.read.Query(context.Background(), n.s.q(sql))
				if err != nil {
					b.Fatal(err)
				}
				for rows.Next() {
				}
				if rows.Err() != nil {
					b.Fatal(rows.Err())
				}
			}
		})
	}
}
