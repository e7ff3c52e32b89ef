package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stressWait is for how long redirects of the sites below wait for the disk; one that takes longer
// by more than stressSlack has stalled. So has one of Caddy's own that takes longer than the slack.
const (
	stressWait  = 50 * time.Millisecond
	stressSlack = 10 * time.Millisecond
)

// stressSite has a bare redir beside what is tracked, as a control: what delays both is the machine
// or the generator. The sweep that comes a minute after the start has journal entries to delete, which
// nobody misses. $BUILD is for harmless changes.
const stressSite = `{
	admin $ADMIN
	grace_period 10s
	capture {
		store badger $STORE
		retain {
			journal 30s
		}
	}
}
http://127.0.0.1:$PORT {
	track_click /go/* {
		to https://acme.example/offer?aff_sub={click_id}
		max_wait 50ms
	}
	redir /redir https://acme.example/offer?aff_sub=0123456789abcdefghijklmnop
	postback /postback
	header X-Build $BUILD
}
`

func stressBuild(n int) string { return strings.Replace(stressSite, "$BUILD", strconv.Itoa(n), 1) }

// stressRates are how many requests are due in a second.
type stressRates struct{ clicks, postbacks, controls float64 }

// A timing is one request: when it was due, since the load began, how long after that it was sent,
// as the load itself may be held up, and how long after it was due it was answered.
type timing struct{ due, late, took time.Duration }

// A stressLoad is an open loop: requests are due at a fixed rate, each on its own, whether or not
// those before it were answered. So a server that stands still delays all that are due meanwhile,
// and every one of them counts from when it was due.
type stressLoad struct {
	s       *server
	conns   *connections
	padding string // makes clicks and postbacks larger
	begin   time.Time
	stopped chan struct{}
	pacers  sync.WaitGroup
	sent    sync.WaitGroup // requests under way

	mu       sync.Mutex
	rounds   map[string]*claims // by campaign
	sales    map[string]sale
	known    []string   // IDs of clicks, for postbacks
	enough   bool       // no more of them: later clicks may be lost
	owed     []postback // refused, to be sent again
	next     int
	clicks   []timing
	controls []timing
	posts    []timing
	repeated int // requests whose connection was closed while it was idle
	refused  int // postbacks
	faults   []string
}

// A postback is one sale as it is reported.
type postback struct{ click, txid string }

func newStressLoad(s *server) *stressLoad {
	return &stressLoad{
		s: s, conns: newConnections(s.site()), begin: time.Now(),
		rounds: make(map[string]*claims), sales: make(map[string]sale),
	}
}

// start makes requests due until stop is called. It may be called again.
func (l *stressLoad) start(r stressRates) {
	l.stopped = make(chan struct{})
	for _, kind := range []struct {
		rate float64
		do   func(due, late time.Duration)
	}{{r.clicks, l.click}, {r.postbacks, l.sell}, {r.controls, l.control}} {
		if kind.rate > 0 {
			l.pacers.Go(func() { l.pace(kind.rate, l.stopped, kind.do) })
		}
	}
}

// halt lets nothing more be due.
func (l *stressLoad) halt() {
	close(l.stopped)
	l.pacers.Wait()
}

// stop also waits for what is under way.
func (l *stressLoad) stop() {
	l.halt()
	l.sent.Wait()
}

// pace lets do be done at a rate, and makes up for it at once if it was held up itself.
func (l *stressLoad) pace(rate float64, stopped chan struct{}, do func(due, late time.Duration)) {
	first := time.Since(l.begin)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		due := first + time.Duration(float64(n)/rate*float64(time.Second))
		timer.Reset(due - time.Since(l.begin))
		select {
		case <-stopped:
			return
		case <-timer.C:
		}
		l.sent.Go(func() { do(due, time.Since(l.begin)-due) })
	}
}

// ask sends what target says, and again, as any client does, where a connection turns out to be closed.
func (l *stressLoad) ask(target func() string) (answer, error) {
	for {
		c := l.conns.take()
		a, err := c.do("GET", target(), "")
		if err == nil {
			l.conns.give(c)
			return a, nil
		}
		l.conns.drop() // do has closed it
		if !wasIdle(err) {
			return a, err
		}
		l.mu.Lock()
		l.repeated++
		l.mu.Unlock()
	}
}

// campaignAt names the campaign of a moment: one a minute, so that each has few enough sub-IDs for a report.
func campaignAt(due time.Duration) string { return fmt.Sprintf("m%d", int(due.Minutes())) }

// knownClicks are how many clicks postbacks choose from.
const knownClicks = 4096

func (l *stressLoad) click(due, late time.Duration) {
	campaign, n := campaignAt(due), 0
	a, err := l.ask(func() string {
		// A repeat has a number of its own: the server may have taken the first, or not.
		l.mu.Lock()
		defer l.mu.Unlock()
		l.next++
		n = l.next
		l.round(campaign).clicks[n] = ""
		return fmt.Sprintf("/go/%s?sub1=%d&sub2=creative-%d%s", campaign, n, n%50, l.padding)
	})
	took := time.Since(l.begin) - due
	id := a.parameter("aff_sub")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clicks = append(l.clicks, timing{due, late, took})
	if err != nil || a.status != 302 || !clickIDs.MatchString(id) {
		l.fault("a click: %v, status %d, Location %q", err, a.status, a.header.Get("Location"))
		return
	}
	l.round(campaign).clicks[n] = id
	switch {
	case l.enough:
	case len(l.known) < knownClicks:
		l.known = append(l.known, id)
	default:
		l.known[rand.IntN(knownClicks)] = id
	}
}

// round returns what was clicked in a campaign. The lock is held.
func (l *stressLoad) round(campaign string) *claims {
	c := l.rounds[campaign]
	if c == nil {
		c = &claims{campaign: campaign, clicks: make(map[int]string)}
		l.rounds[campaign] = c
	}
	return c
}

func (l *stressLoad) control(due, late time.Duration) {
	a, err := l.ask(func() string { return "/redir" })
	took := time.Since(l.begin) - due
	l.mu.Lock()
	defer l.mu.Unlock()
	l.controls = append(l.controls, timing{due, late, took})
	if err != nil || a.status != 302 {
		l.fault("redir: %v, status %d", err, a.status)
	}
}

// sell reports a new sale of any click.
func (l *stressLoad) sell(due, late time.Duration) {
	l.mu.Lock()
	if len(l.known) == 0 {
		l.mu.Unlock()
		return
	}
	l.next++
	p := postback{click: l.known[rand.IntN(len(l.known))], txid: "t" + strconv.Itoa(l.next)}
	l.sales[p.txid] = sale{click: p.click}
	l.mu.Unlock()
	l.post(p)
	took := time.Since(l.begin) - due
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts = append(l.posts, timing{due, late, took})
}

// post sends a postback, and keeps it for another time if it is refused.
func (l *stressLoad) post(p postback) {
	tries := 0
	a, err := l.ask(func() string {
		tries++
		return fmt.Sprintf("/postback?cid=%s&txid=%s&payout=0.01&currency=USD%s", p.click, p.txid, l.padding)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil && a.status == 503 && a.header.Get("Retry-After") != "" && containsAll(a.body, `"outcome":"unavailable"`):
		l.refused++
		l.owed = append(l.owed, p)
	case err == nil && a.status == 200 && (containsAll(a.body, `"outcome":"recorded"`) || tries > 1 && containsAll(a.body, `"outcome":"duplicate"`)):
		l.sales[p.txid] = sale{click: p.click, booked: true}
	default:
		l.fault("postback %s of click %s: %v, status %d %s", p.txid, p.click, err, a.status, a.body)
	}
}

// sendAgain repeats the postbacks that were refused until all are booked: none of them was before.
func (l *stressLoad) sendAgain(t testing.TB) {
	t.Helper()
	eventually(t, diskTimeout, func() error {
		l.mu.Lock()
		owed := l.owed
		l.owed = nil
		l.mu.Unlock()
		for _, p := range owed {
			l.post(p)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.owed) > 0 {
			return fmt.Errorf("%d of %d postbacks were refused again", len(l.owed), len(owed))
		}
		return nil
	})
}

// fault notes what must not be. The lock is held.
func (l *stressLoad) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}
