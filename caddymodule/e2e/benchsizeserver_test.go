package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sizeSite is what a store of any size is measured behind. $OPTIONS are further ones of the store.
const sizeSite = `{
	admin $ADMIN
	default_bind 127.0.0.1
	capture {
		store badger $STORE
		$OPTIONS
	}
}
http://127.0.0.1:$PORT {
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
	respond /respond "{\"outcome\":\"recorded\"}" 200
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	postback /postback
}
`

// bareSite is the same without Capture: how long Caddy itself takes to start.
const bareSite = `{
	admin $ADMIN
	default_bind 127.0.0.1
}
http://127.0.0.1:$PORT {
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
	respond /respond "{\"outcome\":\"recorded\"}" 200
}
`

func sizeConfig(options string) string { return strings.Replace(sizeSite, "$OPTIONS", options, 1) }

// openPatience is how long a server may take to open its store: rather more than it should.
const openPatience = 5 * time.Minute

// launched starts a server and says how long it took until the site is there and done is true.
func (s *server) launched(done func(c *client) bool) time.Duration {
	s.t.Helper()
	begin := time.Now()
	s.launch()
	c := client{addr: s.admin}
	defer c.close()
	for !done(&c) || !listening(s.site()) {
		if s.hasExited() || time.Since(begin) > openPatience {
			s.t.Fatalf("the server does not serve after %v\n%s", time.Since(begin), s.logs())
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin)
}

// wellOpen tells whether the store is open, and all is well.
func wellOpen(c *client) bool {
	a, err := c.do("GET", "/capture/health", "")
	return err == nil && a.status == 200 && containsAll(a.body, `"state":"ok"`)
}

// bareStarts is how long Caddy takes to start without a store, and the memory that it has then.
type bareStart struct {
	took   time.Duration
	memory memoryUse
}

func bareStarts(b *testing.B, plan sizePlan) bareStart {
	b.Helper()
	s := newServer(b, bareSite)
	var took []float64
	var m memoryUse
	for range plan.starts + 2 {
		took = append(took, float64(s.launched(func(c *client) bool {
			a, err := c.do("GET", "/config/", "")
			return err == nil && a.status == 200
		})))
		var err error
		if m, err = memoryOfProcess(s.pid()); err != nil {
			b.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // Caddy may serve before it listens to signals
		s.stop()
	}
	return bareStart{time.Duration(median(took)), m}
}

// A sizedServer is a server with a store of some size.
type sizedServer struct {
	sizeFigures
	b      *testing.B
	plan   sizePlan
	store  *madeStore
	spend  bool // whether the store may be used up
	bench  *benchServer
	fresh  []string      // IDs of clicks that the server has made
	idle   time.Duration // processor time until the server was at rest after that
	meter  *meter
	memory *memoryWatch
	// When the server was started that is under load.
	started time.Time
	// When the server with the shorter retention was started, and what was in its log before.
	sweeping time.Time
	logged   int
}

func newSizedServer(b *testing.B, plan sizePlan, clicks int) *sizedServer {
	b.Helper()
	s := &sizedServer{b: b, plan: plan, store: makeStore(b, plan, clicks)}
	forServer, forLoad := splitProcessors()
	caddyfile := sizeConfig("")
	server := newServer(b, caddyfile)
	s.bench = &benchServer{
		server: server, processors: forServer, list: filepath.Join(server.dir, "clicks"),
		ports: map[protocol][2]string{http1: {server.port, server.port}},
	}
	s.spend = s.store.giveTo(b, server, caddyfile, plan)
	s.clicks, s.made = clicks, s.store.took
	s.meter = &meter{server: s.bench, load: &generator{server: s.bench, processors: forLoad}}
	used, err := diskUse(server.store)
	if err != nil {
		b.Fatal(err)
	}
	s.disk = used
	return s
}

// measureStarts measures how long the store takes to open after it was closed: once with nothing of
// it in the system's memory, then with all.
func (s *sizedServer) measureStarts() {
	s.b.Helper()
	if err := forgetCached(s.bench.store); err != nil {
		s.b.Fatal(err)
	}
	s.cold = s.bench.launched(wellOpen)
	s.bench.stop()
	var warm []float64
	for range s.plan.starts {
		warm = append(warm, float64(s.bench.launched(wellOpen)))
		s.bench.stop()
	}
	s.warm = time.Duration(median(warm))
}

// ready starts the server on its own processors and waits until it has nothing to do: once the
// store is open it reads all of it, to find damage.
func (s *sizedServer) ready() {
	s.b.Helper()
	s.bench.under = pinned(s.bench.processors)
	s.started = time.Now()
	s.bench.launched(wellOpen)
	s.checked = s.bench.quiet(s.b)
	again, err := newMeter(s.bench, s.meter.load)
	if err != nil {
		s.b.Fatal(err)
	}
	s.meter = again
	s.bench.moreClicks(s.b, s.plan.fresh)
	s.fresh = slices.Clone(s.bench.ids)
	s.idle = s.bench.quiet(s.b)
	for _, k := range benchKinds(http1, s.fresh[0]) {
		if slices.Contains(sizeKinds, k.name) {
			s.kinds = append(s.kinds, measuredKind{kind: k})
		}
		if k.name == kindPostback {
			k.name = kindOld
			s.kinds = append(s.kinds, measuredKind{kind: k})
		}
	}
}

// passFirstSweep waits until the sweep is over that comes a minute after the start: it belongs to no
// kind of request. By then the server is at rest.
func (s *sizedServer) passFirstSweep() {
	s.b.Helper()
	if s.plan.wait {
		time.Sleep(time.Until(s.started.Add(65 * time.Second)))
		s.swept = s.bench.quiet(s.b) - s.idle
	}
	var err error
	if s.rest, err = memoryOfProcess(s.bench.pid()); err != nil {
		s.b.Fatal(err)
	}
	s.memory = watchMemory(s.bench.pid())
}

// quiet waits until the server does nothing for a while, and returns the processor time that it
// has used by then.
func (s *server) quiet(b *testing.B) time.Duration {
	b.Helper()
	const pause, idle, often = 100 * time.Millisecond, 2 * time.Millisecond, 5
	last, err := readProcess(s.pid())
	for n, until := 0, time.Now().Add(openPatience); err == nil && n < often && time.Now().Before(until); {
		time.Sleep(pause)
		var now processReading
		if now, err = readProcess(s.pid()); now.cpu-last.cpu < idle {
			n++
		} else {
			n = 0
		}
		last = now
	}
	if err != nil {
		b.Fatal(err)
	}
	return last.cpu
}

// idsATurn is how many old clicks a turn's postbacks are about.
const idsATurn = 50_000

// spread makes other old clicks those that postbacks are about, from the last days of the past.
func (s *sizedServer) spread(random *rand.Rand) {
	s.b.Helper()
	past := s.store.past
	span := past.Time(past.Clicks - 1).Sub(past.Time(0))
	recent := past.Clicks
	if s.plan.days < span {
		recent = max(1, int(float64(past.Clicks)*float64(s.plan.days)/float64(span)))
	}
	ids := make([]string, min(recent, idsATurn))
	for i := range ids {
		ids[i] = past.ID(s.store.codec, past.Clicks-1-random.IntN(recent))
	}
	s.about(ids)
}

// about makes some clicks those that postbacks are about.
func (s *sizedServer) about(ids []string) {
	s.b.Helper()
	s.bench.ids = ids
	if err := writeLines(s.bench.list, ids); err != nil {
		s.b.Fatal(err)
	}
}

// turn measures one kind of request for a while.
func (s *sizedServer) turn(random *rand.Rand, i int, length time.Duration) benchFigures {
	s.b.Helper()
	if s.kinds[i].kind.name == kindOld {
		s.spread(random)
	} else {
		s.about(s.fresh)
	}
	f, err := s.meter.slice(http1, s.plan.connections, s.kinds[i].kind, length)
	if err != nil {
		s.b.Fatal(fmt.Errorf("%d clicks: %w", s.clicks, err))
	}
	return f
}

// kindOf finds one of the kinds that are measured.
func (s *sizedServer) kindOf(name string) benchKind {
	i := slices.IndexFunc(s.kinds, func(k measuredKind) bool { return k.kind.name == name })
	return s.kinds[i].kind
}
