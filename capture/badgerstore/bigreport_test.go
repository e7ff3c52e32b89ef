package badgerstore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// The benchmark of reports makes a store as a busy site has it after a month:
//
//	CAPTURE_BENCH_CLICKS=10000000 CAPTURE_BENCH_DIR=/tmp/big \
//		go test -run '^$' -bench BigReport -timeout 1h ./capture/badgerstore
//
// CAPTURE_BENCH_DIR keeps the store for the next run; CAPTURE_BENCH_BLOCK is
// how many clicks arrive together, from 1, a slow site, to 64, a busy one. The
// store is swept once, which merges the blocks of slow sites.

// bigDays is how long the clicks of the store took to come.
const bigDays = 30

func fromEnv(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s is %q: use a number", name, text)
	}
	return n
}

// traffic makes clicks that differ as those of a real site do: 20 campaigns,
// 200 sources, 5,000 and 50 values of two sub-IDs, every visitor another
// address, each 200th a conversion.
type traffic struct {
	rnd       *rand.Rand
	campaigns []string
	sources   []string
	places    []string
	sub1      []string
	sub2      []string
	agents    []string
	costs     []attribution.Money
}

func newTraffic() *traffic {
	t := &traffic{rnd: rand.New(rand.NewPCG(5, 3))}
	many := func(n int, format string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf(format, i))
		}
		return list
	}
	t.campaigns, t.sources = many(20, "campaign-%02d"), many(200, "source-%03d")
	t.places = many(20, "https://offers.example.com/landing/%02d")
	t.sub1, t.sub2 = many(5000, "creative-%04d"), many(50, "placement-%02d")
	t.agents = many(200, "Mozilla/5.0 (Linux; Android 14; Device %d) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36")
	for _, cost := range []string{"0.05", "0.12", "0.1", "0.025"} {
		t.costs = append(t.costs, money(cost))
	}
	return t
}

func (t *traffic) click(at time.Time) *capture.Click {
	r := t.rnd
	n := r.IntN(len(t.campaigns))
	c := &capture.Click{
		Time: at, Campaign: t.campaigns[n], Destination: t.places[n], Source: t.sources[r.IntN(len(t.sources))],
		Subs: []capture.Param{
			{Name: "sub1", Value: t.sub1[r.IntN(len(t.sub1))]}, {Name: "sub2", Value: t.sub2[r.IntN(len(t.sub2))]},
		},
		Cost: t.costs[r.IntN(len(t.costs))], Host: "track.example.com", Path: "/go/" + t.campaigns[n],
		UserAgent: t.agents[r.IntN(len(t.agents))], Referer: "https://news.example.net/",
		Address: fmt.Sprintf("%d.%d.%d.0", 1+r.IntN(220), r.IntN(256), r.IntN(256)),
	}
	switch r.IntN(10) {
	case 0, 1, 2:
		c.Kept = []capture.Param{{Name: "gclid", Value: fmt.Sprintf("%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64())}}
	case 3:
		c.Flags = capture.FlagBot
	}
	return c
}

// fillBig commits clicks of 30 days, and the postbacks they lead to.
func fillBig(b *testing.B, s *Store, clicks, perBlock int) {
	b.Helper()
	w, t := newWriter(b, s), newTraffic()
	step := bigDays * 24 * time.Hour / time.Duration(clicks)
	const batch = 1280
	for i := 0; i < clicks; {
		var blocks []*capture.Block
		var posts []*capture.Postback
		for n := 0; n < batch && i < clicks; {
			var list []*capture.Click
			for len(list) < perBlock && i < clicks {
				list = append(list, t.click(day.Add(time.Duration(i)*step)))
				i, n = i+1, n+1
			}
			blocks = append(blocks, w.block(list...))
			for _, c := range list {
				if t.rnd.IntN(200) == 0 {
					p := postback(c, txid(i), c.Time.Add(time.Duration(t.rnd.IntN(48*3600))*time.Second))
					p.Click = c
					posts = append(posts, p)
				}
			}
		}
		w.commit(blocks, posts)
	}
}

// bigReports opens the store of the benchmark and makes it if it is not there.
func bigReports(b *testing.B) (*Store, int) {
	b.Helper()
	clicks := fromEnv(b, "CAPTURE_BENCH_CLICKS", 50_000)
	perBlock := min(fromEnv(b, "CAPTURE_BENCH_BLOCK", capture.BlockClicks), capture.BlockClicks)
	dir := os.Getenv("CAPTURE_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	name := fmt.Sprintf("%d-%d-swept", clicks, perBlock)
	e := New(filepath.Join(dir, name), zap.NewNop())
	made := filepath.Join(dir, name+".made")
	if _, err := os.Stat(made); err != nil {
		if err := os.RemoveAll(e.Dir); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		quick := *e
		quick.noSync = true // the same bytes, without waiting for the disk
		s := openStore(b, &quick)
		fillBig(b, s, clicks, perBlock)
		b.Logf("%d clicks were made in %s", clicks, time.Since(start).Round(time.Second))
		start = time.Now()
		s.guard.measure()
		before := s.guard.bytes.Load()
		sweepAt(b, s, day.Add((bigDays+1)*24*time.Hour), capture.Retention{})
		b.Logf("swept in %s: of %s %s are left, %d blocks and %d records of merged ones", time.Since(start).Round(time.Millisecond),
			size(before), size(s.guard.bytes.Load()), countKeys(b, s, kindBlock), countKeys(b, s, kindMerged))
		closeStore(b, s, s.state.lease)
		if err := os.WriteFile(made, nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	start := time.Now()
	s := openStore(b, e)
	opened := time.Now()
	loose := s.loose
	if err := s.foldSums(ctx); err != nil {
		b.Fatal(err)
	}
	folded := time.Since(opened).Round(time.Millisecond)
	// Nearly at the same time, a store that was opened has verified its tables.
	if err := s.verifyNow(ctx); err != nil {
		b.Fatal(err)
	}
	s.guard.measure()
	b.Logf("opened in %s, %d cells folded in %s, %s on disk", opened.Sub(start).Round(time.Millisecond), loose, folded,
		size(s.guard.bytes.Load()))
	return s, clicks
}

var bigQueries = []struct {
	name string
	by   []string
	zone string
	only string // campaign
}{
	{name: "total"},
	{name: "campaign,day", by: []string{"campaign", "day"}},
	{name: "campaign,day in New York", by: []string{"campaign", "day"}, zone: "America/New_York"},
	{name: "source,day", by: []string{"source", "day"}},
	{name: "hour", by: []string{"hour"}},
	{name: "campaign,source", by: []string{"campaign", "source"}},
	{name: "sub1", by: []string{"sub.sub1"}},
	{name: "sub2,day", by: []string{"sub.sub2", "day"}},
	{name: "campaign,sub1", by: []string{"campaign", "sub.sub1"}},
	{name: "sub1 of a campaign", by: []string{"sub.sub1"}, only: "campaign-07"},
}

// BenchmarkBigReport measures reports of a whole month: time, CPU, memory.
func BenchmarkBigReport(b *testing.B) {
	s, clicks := bigReports(b)
	for _, kind := range bigQueries {
		b.Run(kind.name, func(b *testing.B) {
			q := attribution.Query{By: kind.by, From: day, To: day.Add(bigDays * 24 * time.Hour), Campaign: kind.only}
			if kind.zone != "" {
				var err error
				if q.Location, err = time.LoadLocation(kind.zone); err != nil {
					b.Skip(err)
				}
			}
			peak := watchHeap()
			cpu := cpuTime()
			b.ReportAllocs()
			for b.Loop() {
				r := report(b, s, q)
				if n := r.Total.Clicks + r.Total.BotClicks; kind.only == "" && n != int64(clicks) {
					b.Fatalf("%d clicks are counted of %d", n, clicks)
				}
			}
			n := float64(b.N)
			b.ReportMetric(b.Elapsed().Seconds()*1e3/n, "ms/report")
			b.ReportMetric((cpuTime()-cpu).Seconds()*1e3/n, "cpu-ms/report")
			b.ReportMetric(float64(peak())/(1<<20), "peak-heap-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// watchHeap looks at the heap until the function it returns is called, which
// answers with the most that was in use.
func watchHeap() func() uint64 {
	stop, done := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
			select {
			case <-stop:
				done <- most
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-done
	}
}

// BenchmarkBigReportBesideCommits measures how much longer commits take while
// reports run, at 2,000 clicks a second.
func BenchmarkBigReportBesideCommits(b *testing.B) {
	s, _ := bigReports(b)
	w, t := newWriter(b, s), newTraffic()
	end := day.Add(bigDays * 24 * time.Hour)
	measure := func(d time.Duration) []time.Duration {
		var took []time.Duration
		const every, clicks = 10 * time.Millisecond, 20
		tick := time.NewTicker(every)
		defer tick.Stop()
		for start := time.Now(); time.Since(start) < d; {
			due := <-tick.C
			var list []*capture.Click
			for range clicks {
				list = append(list, t.click(end))
			}
			w.clicks(list...)
			took = append(took, time.Since(due)) // waiting for a CPU included
		}
		slices.Sort(took)
		return took
	}
	p := func(list []time.Duration, share float64) float64 {
		return list[min(int(share*float64(len(list))), len(list)-1)].Seconds() * 1e3
	}
	span := 3 * time.Second
	if os.Getenv("CAPTURE_BENCH_CLICKS") == "" {
		span = 300 * time.Millisecond
	}
	for _, kind := range bigQueries {
		if kind.name != "campaign,day" && kind.name != "sub1" {
			continue
		}
		b.Run(kind.name, func(b *testing.B) {
			q := attribution.Query{By: kind.by, From: day, To: end}
			var alone, beside []time.Duration
			reports := 0
			for b.Loop() {
				alone = append(alone, measure(span)...)
				stop, done := make(chan struct{}), make(chan int)
				go func() {
					n := 0
					for {
						if _, err := s.Report(ctx, q); err != nil {
							b.Error(err)
						}
						n++
						select {
						case <-stop:
							done <- n
							return
						default:
						}
					}
				}()
				beside = append(beside, measure(span)...)
				close(stop)
				reports += <-done
			}
			slices.Sort(alone)
			slices.Sort(beside)
			b.ReportMetric(p(alone, 0.5), "p50-alone-ms")
			b.ReportMetric(p(beside, 0.5), "p50-beside-ms")
			b.ReportMetric(p(alone, 0.99), "p99-alone-ms")
			b.ReportMetric(p(beside, 0.99), "p99-beside-ms")
			b.ReportMetric(p(beside, 0.99)/p(alone, 0.99), "p99-ratio")
			b.ReportMetric(float64(len(beside))/float64(len(alone)), "commits-ratio")
			b.ReportMetric(float64(reports)/float64(b.N), "reports")
			b.ReportMetric(0, "ns/op")
		})
	}
}
