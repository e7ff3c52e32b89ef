package e2e

import (
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestDay plays a day of a small affiliate site, hastily: clicks from several campaigns and
// sources, and six networks' postbacks with repeats, late ones and wrong ones. The oracle says what
// each must be answered and what the reports must come to, whoever is asked for them.
func TestDay(t *testing.T) {
	s := startServer(t, daySite)
	d := newDay(t, s)
	d.visits(0.6)
	d.postbacks(0.5)
	middle := d.pause()
	d.visitsAndPostbacks()
	d.late()
	clicks, sent := len(d.oracle.clicks), d.sent()
	t.Logf("%d clicks, %d postbacks:\n%s", clicks, sent, describe(d.oracle.answers))
	if clicks < 20000 || sent < 1000 {
		t.Errorf("a thin day: %d clicks, %d postbacks", clicks, sent)
	}
	eventually(t, waitForClicks, func() error { return s.hasClicks(int64(clicks)) })

	t.Run("weights", d.checkWeights)
	t.Run("reports", func(t *testing.T) { d.checkReports(t, middle) })
	t.Run("journal", d.checkJournal)
	t.Run("metrics", d.checkMetrics)
	s.stop()
	s.start()
	t.Run("reports after a restart", func(t *testing.T) { d.checkReports(t, middle) })
	t.Run("journal after a restart", d.checkJournal)
	s.stop()
}

const daySite = `{
	admin $ADMIN
	metrics
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
` + dayLinks + dayNetworks + daySheets + `
	respond "the site"
}
`

const (
	dayConnections = 32
	dayVisits      = 20800 // a few are HEAD, which is no click
	dayStories     = 760   // conversions, most of several postbacks
)

// A day is under way. Its lanes are the connections; what concerns one click stays in one lane.
type day struct {
	t                 *testing.T
	s                 *server // who is asked for figures
	site              string  // where visitors and networks go
	oracle            *oracle
	random            *rand.Rand
	lanes             [dayConnections][]func(*client)
	visitors, stories int             // of the whole day
	left              int             // visits to come
	waiting           []*conversation // stories not begun
	rough             roughness
	mu                sync.Mutex // guards oracle.clicks, faults, doubts and again
	faults            int
	doubts            []*seenClick // visitors got no answer: they may count or not
	again             int          // postbacks that were sent once more, for want of an answer or of a decision
	fleet             *fleet       // that it is played on, if on one
	slow, undecided   int          // how often it decided nothing for a while, and how many lanes wait until it does
}

// A roughness says which of the servers come to grief meanwhile.
type roughness int

const (
	smooth roughness = iota
	away             // what they share: what cannot be decided is accepted
	falls            // they themselves, so that not all is answered
)

func newDay(t *testing.T, s *server) *day {
	return &day{
		t: t, s: s, site: s.site(), visitors: dayVisits, stories: dayStories, left: dayVisits, random: rand.New(rand.NewPCG(2026, 1122)),
		oracle: &oracle{answers: make(map[verdict]int)},
	}
}

func (d *day) later(lane int, do func(*client)) {
	lane %= len(d.lanes)
	d.lanes[lane] = append(d.lanes[lane], do)
}

// run empties the lanes.
func (d *day) run() {
	d.t.Helper()
	var lanes sync.WaitGroup
	for i, todo := range d.lanes {
		d.lanes[i] = nil
		lanes.Go(func() {
			c := &client{addr: d.site}
			defer c.close()
			for _, do := range todo {
				do(c)
			}
		})
	}
	lanes.Wait()
	if d.faults > 0 {
		d.t.Fatalf("%d requests went wrong", d.faults)
	}
}

func (d *day) fault(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.faults++; d.faults <= 10 {
		d.t.Errorf(format, args...)
	}
}

// visits plays a share of the clicks.
func (d *day) visits(share float64) {
	d.t.Helper()
	d.queueVisits(int(share * float64(d.visitors)))
	d.run()
}

func (d *day) queueVisits(n int) {
	d.left -= n
	for i := range n {
		v := newVisit(d.random)
		d.later(i, func(c *client) { d.visit(c, v) })
	}
}

func (d *day) visit(c *client, v visit) {
	at := awayFromTheHour()
	target := v.link.path
	if v.query != "" {
		target += "?" + v.query
	}
	a, err := c.do(v.method, target, "", v.headers...)
	if d.unanswered(a, err) {
		d.doubt(v, at)
		return
	}
	if err != nil {
		d.fault("%v", err)
		return
	}
	location, err := url.Parse(a.header.Get("Location"))
	if a.status != v.link.status || err != nil {
		d.fault("%s %.200s: status %d, Location %.200q", v.method, target, a.status, a.header.Get("Location"))
		return
	}
	seen := v.seen(location, at)
	if v.method == "HEAD" {
		return
	}
	if wrong := v.complaint(seen, location); wrong != "" {
		d.fault("GET %.200s: Location %.200q: %s", target, location, wrong)
		return
	}
	d.sameHour(at)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.oracle.clicks = append(d.oracle.clicks, seen)
}

// awayFromTheHour returns the time, and waits while a full or half hour, where days end
// somewhere, is so near that the server might count on its other side.
func awayFromTheHour() time.Time {
	const near, half = 3 * time.Second, 30 * time.Minute
	now := time.Now()
	if next := now.Truncate(half).Add(half); next.Sub(now) < near {
		time.Sleep(time.Until(next) + 100*time.Millisecond)
	}
	return time.Now()
}

func (d *day) sameHour(at time.Time) {
	const half = 30 * time.Minute
	if !time.Now().Truncate(half).Equal(at.Truncate(half)) {
		d.fault("an answer took so long that its hour is uncertain")
	}
}

// pause returns an instant at which nothing happens.
func (d *day) pause() time.Time {
	time.Sleep(1100 * time.Millisecond)
	middle := awayFromTheHour().UTC().Truncate(time.Second)
	time.Sleep(1100 * time.Millisecond)
	return middle
}

// postbacks plays a share of the stories' first postbacks.
func (d *day) postbacks(share float64) {
	d.t.Helper()
	d.queueStories(int(share * float64(d.stories)))
	d.run()
}

func (d *day) queueStories(n int) {
	for range n {
		lane := d.random.IntN(len(d.oracle.clicks))
		story := newConversation(d.random, d.oracle.clicks[lane])
		for _, p := range story.first {
			d.later(lane, func(c *client) { d.postback(c, story, p) })
		}
		story.lane = lane
		d.waiting = append(d.waiting, story)
	}
}

// visitsAndPostbacks mixes the rest of both.
func (d *day) visitsAndPostbacks() {
	d.t.Helper()
	d.mix(d.left, d.stories-len(d.waiting))
	d.run()
}

// mix queues so many visits and stories.
func (d *day) mix(visits, stories int) {
	d.queueStories(stories)
	var posts [dayConnections]int
	for i, todo := range d.lanes {
		posts[i] = len(todo)
	}
	d.queueVisits(visits)
	for i, todo := range d.lanes {
		spread(todo, posts[i])
	}
}

// spread moves the first n of a lane evenly over it, in their order.
func spread(todo []func(*client), n int) {
	if n <= 0 || n >= len(todo) {
		return
	}
	posts, visits := todo[:n:n], todo[n:]
	mixed := make([]func(*client), 0, len(todo))
	for i, v := range visits {
		for len(posts) > 0 && (n-len(posts))*len(visits) <= i*n {
			mixed, posts = append(mixed, posts[0]), posts[1:]
		}
		mixed = append(mixed, v)
	}
	copy(todo, append(mixed, posts...))
}

// late plays what the networks report afterwards: changed statuses, corrections, repeats.
func (d *day) late() {
	d.t.Helper()
	for _, story := range d.waiting {
		for _, p := range story.late {
			d.later(story.lane, func(c *client) { d.postback(c, story, p) })
		}
	}
	d.run()
}

func (d *day) postback(c *client, story *conversation, p step) {
	at := awayFromTheHour()
	want := d.oracle.judge(story.posted(p, at))
	method, target, body, headers := story.network.request(p.sentPostback)
	a, err := c.do(method, target, body, headers...)
	for end := at.Add(startTimeout); d.unanswered(a, err) && time.Now().Before(end); {
		d.repeats()
		a, err = c.do(method, target, body, headers...)
	}
	if err != nil {
		d.fault("%v", err)
		return
	}
	d.sameHour(at)
	v := d.verdict(a)
	if d.rough == smooth && d.fleet != nil && v == (verdict{200, "accepted", ""}) && want.outcome != "rejected" {
		d.decides()
		d.repeats()
		if a, err = c.do(method, target, body, headers...); err != nil {
			d.fault("%v", err)
			return
		}
		if v = d.verdict(a); want.outcome == "recorded" || want.outcome == "updated" {
			want.outcome = "duplicate"
		}
	}
	if v != want && !(d.rough != smooth && v.standsFor(want)) {
		d.fault("%s %s %s: got %d %s want %v", method, target, body, a.status, strings.TrimSpace(a.body), want)
	}
	if d.rough != smooth {
		time.Sleep(2 * time.Millisecond) // what comes next is later, also in milliseconds, wherever it comes
	}
}

func (d *day) verdict(a answer) verdict {
	var got struct{ Outcome, Reason string }
	decode(d.t, a.body, &got)
	return verdict{a.status, got.Outcome, got.Reason}
}

func (d *day) sent() int {
	n := 0
	for _, times := range d.oracle.answers {
		n += times
	}
	return n
}
