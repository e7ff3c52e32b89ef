package e2e

import (
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// loadSite is what a load needs. Redirects wait for the disk, so each one says that its click is
// kept; $EXTRA is for harmless changes.
const loadSite = `{
	admin $ADMIN
	grace_period 10s
	metrics
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/acme {
		to https://acme.example/offer?aff_sub={click_id}
		max_wait 10s
	}
	postback /postback
	respond "the site"
	$EXTRA
}
`

// A load is clicks, and a postback for every other one, on several connections at once. Each
// attempt has a number, which is the click's sub1, so that the report tells how often it counts.
type load struct {
	s *server
	// repeat asks again, as clients do, when an idle connection turns out to be closed.
	repeat bool
	// ending says that the server is being stopped: a connection then ends at its first failure.
	ending atomic.Bool

	next    atomic.Int64
	stopped atomic.Bool
	workers sync.WaitGroup

	mu       sync.Mutex
	clicks   map[int]bool // attempts; true: a redirect was seen
	posts    map[int]bool // attempts with a postback; true: a 2xx was seen
	repeated int
	slowest  time.Duration
	extra    int64 // clicks of the test itself, without sub1
	faults   []string
}

func newLoad(s *server) *load {
	return &load{s: s, clicks: make(map[int]bool), posts: make(map[int]bool)}
}

const (
	loadConnections = 16
	loadPause       = 5 * time.Millisecond // between a connection's requests
)

func (l *load) start() {
	l.stopped.Store(false)
	l.ending.Store(false)
	for range loadConnections {
		l.workers.Go(l.work)
	}
}

func (l *load) stop() {
	l.stopped.Store(true)
	l.workers.Wait()
}

func (l *load) work() {
	c := &client{addr: l.s.site()}
	defer c.close()
	for !l.stopped.Load() {
		n := int(l.next.Add(1))
		id, ok := l.click(c, n)
		if ok && n%2 == 0 {
			ok = l.postback(c, n, id)
		}
		if !ok && !l.repeat {
			return
		}
		time.Sleep(loadPause)
	}
}

func (l *load) click(c *client, n int) (id string, ok bool) {
	l.note(l.clicks, n, false)
	begin := time.Now()
	a, err := c.do("GET", fmt.Sprintf("/go/acme?sub1=%d", n), "")
	l.took(time.Since(begin))
	if err != nil {
		l.failed(err)
		return "", false
	}
	if id = a.parameter("aff_sub"); a.status != 302 || !clickIDs.MatchString(id) {
		l.fault("click %d: status %d, Location %q", n, a.status, a.header.Get("Location"))
		return "", false
	}
	l.note(l.clicks, n, true)
	return id, true
}

func (l *load) postback(c *client, n int, id string) bool {
	l.note(l.posts, n, false)
	for {
		a, err := c.do("GET", fmt.Sprintf("/postback?cid=%s&txid=%d&payout=0.01&currency=USD", id, n), "")
		switch {
		case err == nil && a.status == 200:
			l.note(l.posts, n, true)
			return true
		case err == nil && a.status == 503 && l.ending.Load():
			return false
		case err == nil:
			l.fault("postback %d: status %d %s", n, a.status, a.body)
			return false
		}
		if l.failed(err); !l.repeat || !wasIdle(err) {
			return false
		}
	}
}

func (l *load) took(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, d)
}

func (l *load) note(attempts map[int]bool, n int, acknowledged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	attempts[n] = acknowledged
}

// failed judges a request that got no answer: the server's end excuses it, and an idle connection.
func (l *load) failed(err error) {
	switch {
	case l.ending.Load():
	case l.repeat && wasIdle(err):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.repeated++
	default:
		l.fault("%v", err)
	}
}

func (l *load) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}

// acknowledged counts the clicks and postbacks the server has taken.
func (l *load) acknowledged() (clicks, posts int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seen := range l.clicks {
		if seen {
			clicks++
		}
	}
	for _, seen := range l.posts {
		if seen {
			posts++
		}
	}
	return clicks, posts
}

// verify checks that what was acknowledged counts once, and what was not at most once.
func (l *load) verify(t *testing.T) {
	t.Helper()
	for i, f := range l.faults {
		if t.Error(f); i == 9 {
			t.Errorf("and %d more", len(l.faults)-10)
			break
		}
	}
	clicks, _ := l.acknowledged()
	eventually(t, waitForClicks, func() error {
		if got := l.s.report("").Total.Clicks; got < clicks {
			return fmt.Errorf("%d clicks in the report, %d were acknowledged", got, clicks)
		}
		return nil
	})
	r := l.s.report("by=sub.sub1")
	wrong := 0
	for n, seen := range l.clicks {
		f := r.Rows[strconv.Itoa(n)]
		delete(r.Rows, strconv.Itoa(n))
		posted, sent := l.posts[n]
		if counts(f.Clicks, seen, true) && counts(f.Conversions, posted, sent) && f.Conversions == f.Approved {
			continue
		}
		if wrong++; wrong <= 5 {
			t.Errorf("attempt %d (click acknowledged: %t, postback sent: %t, acknowledged: %t) counts as %s", n, seen, sent, posted, f)
		}
	}
	if wrong > 5 {
		t.Errorf("and %d more wrong ones of %d", wrong-5, len(l.clicks))
	}
	if got := r.Rows[""].Clicks; got != l.extra {
		t.Errorf("%d clicks without a number, want %d", got, l.extra)
	}
	delete(r.Rows, "")
	for value, f := range r.Rows {
		t.Errorf("a row nobody asked for: %q %s", value, f)
	}
}

func counts(got int64, acknowledged, sent bool) bool {
	switch {
	case acknowledged:
		return got == 1
	case sent:
		return got == 0 || got == 1
	}
	return got == 0
}

// lookUp checks that some click IDs are known by name.
func lookUp(t *testing.T, s *server, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if a := s.api("/capture/clicks/" + url.PathEscape(id)); a.status != 200 || !containsAll(a.body, id) {
			t.Errorf("click %s: status %d %s", id, a.status, a.body)
		}
	}
}
