package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// witnessSite is what a witness needs: a campaign for each link below /go, and redirects that
// wait for the disk, so that each one says that its click is kept.
const witnessSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/* {
		to https://acme.example/offer?aff_sub={click_id}
		max_wait 10s
	}
	postback /postback
	respond "the site"
}
`

// A witness makes clicks and postbacks on several connections, and remembers what the server said.
type witness struct {
	s      *server
	ending atomic.Bool // the server is about to fail: what is not answered is excused
	doubt  atomic.Bool // it may redirect without keeping the click
	fleet  bool        // the server is several, some of which may be away from the others
	conns  int
	pause  time.Duration // between a connection's requests
	// accepted counts postbacks that were kept to be booked later.
	accepted atomic.Int64
	stopped  atomic.Bool
	workers  sync.WaitGroup

	mu     sync.Mutex
	now    claims
	clicks []string // IDs of acknowledged clicks, of all rounds
	sales  []string // txids of acknowledged sales that nobody has corrected
	next   int
	faults []string
}

// claims are what a server has been told and what it has acknowledged.
type claims struct {
	campaign string
	since    time.Time
	clicks   map[int]string // by number: the acknowledged click ID, or ""
	sales    map[string]sale
}

// A sale is a postback by its txid, and another that rejects it.
type sale struct {
	click               string
	booked              bool // acknowledged
	corrected, rejected bool // the correction was sent, and acknowledged
}

func (c claims) clone() claims {
	c.clicks, c.sales = maps.Clone(c.clicks), maps.Clone(c.sales)
	return c
}

// widen adds what was sent later, which nobody is owed.
func (c claims) widen(later claims) {
	for n := range later.clicks {
		if _, ok := c.clicks[n]; !ok {
			c.clicks[n] = ""
		}
	}
	for txid, s := range later.sales {
		now, ok := c.sales[txid]
		if !ok {
			now = sale{click: s.click}
		}
		now.corrected = s.corrected
		c.sales[txid] = now
	}
}

func newWitness(s *server) *witness {
	w := &witness{s: s, conns: loadConnections, pause: witnessPause}
	w.round("first")
	return w
}

// round begins a new campaign. Clicks and sales of the last one go on being of use.
func (w *witness) round(campaign string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = claims{
		campaign: campaign, since: time.Now().Truncate(time.Millisecond),
		clicks: make(map[int]string), sales: make(map[string]sale),
	}
}

// claims returns what holds at this moment.
func (w *witness) claims() claims {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now.clone()
}

// acknowledged counts clicks and sales of this round.
func (w *witness) acknowledged() (clicks, sales int) {
	c := w.claims()
	for _, id := range c.clicks {
		if id != "" {
			clicks++
		}
	}
	return clicks, c.booked()
}

const witnessPause = 2 * time.Millisecond // between a connection's requests

func (w *witness) start() {
	w.stopped.Store(false)
	w.ending.Store(false)
	for range w.conns {
		w.workers.Go(w.work)
	}
}

// warmUp waits until something was sold.
func (w *witness) warmUp(t testing.TB) {
	t.Helper()
	time.Sleep(300 * time.Millisecond)
	eventually(t, startTimeout, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.sales) == 0 {
			return fmt.Errorf("nothing was sold yet; %d clicks are acknowledged", len(w.clicks))
		}
		return nil
	})
}

func (w *witness) stop(t testing.TB) {
	t.Helper()
	w.stopped.Store(true)
	w.workers.Wait()
	for i, f := range w.faults {
		if t.Error(f); i == 9 {
			t.Fatalf("and %d more", len(w.faults)-10)
		}
	}
	w.faults = nil
}

func (w *witness) work() {
	c := &client{addr: w.s.site()}
	defer c.close()
	for ok := true; (ok || w.fleet) && !w.stopped.Load(); time.Sleep(w.pause) {
		switch n := rand.IntN(16); {
		case n < 8:
			ok = w.click(c)
		case n < 14:
			ok = w.sell(c)
		case n < 15:
			ok = w.repeat(c)
		default:
			ok = w.reject(c)
		}
	}
}

// click follows the link of the round. False ends the connection.
func (w *witness) click(c *client) bool {
	w.mu.Lock()
	w.next++
	n, target := w.next, fmt.Sprintf("/go/%s?sub1=%d", w.now.campaign, w.next)
	w.now.clicks[n] = ""
	w.mu.Unlock()
	a, err := c.do("GET", target, "")
	if err != nil {
		return w.failed(err)
	}
	if w.excused(a) {
		return true
	}
	id := a.parameter("aff_sub")
	if a.status != 302 || !clickIDs.MatchString(id) {
		return w.fault("GET %s: status %d, Location %q", target, a.status, a.header.Get("Location"))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.doubt.Load() {
		w.now.clicks[n] = id
		w.clicks = append(w.clicks, id)
	}
	return true
}

// sell converts any click that was acknowledged, now or before.
func (w *witness) sell(c *client) bool {
	w.mu.Lock()
	if len(w.clicks) == 0 {
		w.mu.Unlock()
		return true
	}
	w.next++
	txid, id := "t"+strconv.Itoa(w.next), w.clicks[rand.IntN(len(w.clicks))]
	w.now.sales[txid] = sale{click: id}
	w.mu.Unlock()
	ok, acknowledged := w.post(c, id, txid, "approved", "recorded")
	if acknowledged {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now.sales[txid] = sale{click: id, booked: true}
		w.sales = append(w.sales, txid)
	}
	return ok
}

// repeat sends a sale once more.
func (w *witness) repeat(c *client) bool {
	txid, s := w.takeSale()
	if txid == "" {
		return true
	}
	ok, _ := w.post(c, s.click, txid, "approved", "duplicate")
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sales = append(w.sales, txid)
	return ok
}

// reject corrects a sale.
func (w *witness) reject(c *client) bool {
	txid, s := w.takeSale()
	if txid == "" {
		return true
	}
	note := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.now.sales[txid] = s
	}
	s.corrected = true
	note()
	ok, acknowledged := w.post(c, s.click, txid, "rejected", "updated")
	s.rejected = acknowledged
	note()
	return ok
}

// takeSale takes an acknowledged sale of this round for oneself.
func (w *witness) takeSale() (string, sale) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.sales) > 0 {
		i := rand.IntN(len(w.sales))
		txid := w.sales[i]
		w.sales = slices.Delete(w.sales, i, i+1)
		if s, ok := w.now.sales[txid]; ok {
			return txid, s
		}
	}
	return "", sale{}
}

func (w *witness) post(c *client, id, txid, status, outcome string) (ok, acknowledged bool) {
	a, err := c.do("GET", fmt.Sprintf("/postback?cid=%s&txid=%s&payout=0.01&currency=USD&status=%s", id, txid, status), "")
	switch {
	case err != nil:
		return w.failed(err), false
	case a.status == 200 && containsAll(a.body, `"outcome":"`+outcome+`"`):
		return true, true
	case w.fleet && w.kept(a, outcome):
		return true, true
	case w.excused(a):
		return true, false
	case a.status == 503 && a.header.Get("Retry-After") != "" && (w.ending.Load() || w.doubt.Load()):
		return true, false
	}
	return w.fault("%s postback %s of click %s: status %d %s", status, txid, id, a.status, a.body), false
}

// kept tells whether a postback is on disk somewhere, as it may be instead of what was to be its outcome. What was to
// be decided in the order of the answers is decided in that of the disks when the database was away, so that a repeat or
// a correction may come before its sale; and a click may wait at another node.
func (w *witness) kept(a answer, outcome string) bool {
	var got struct{ Outcome, Reason string }
	if json.Unmarshal([]byte(a.body), &got) != nil {
		return false
	}
	switch got.Outcome {
	case "accepted":
		w.accepted.Add(1)
		return a.status == 200
	case "recorded":
		return a.status == 200 && outcome != "recorded"
	}
	return a.status == 202 && got.Outcome == "quarantined" && got.Reason == "unknown_click"
}

// excused tells whether a load balancer says that the server has gone.
func (w *witness) excused(a answer) bool { return w.fleet && w.ending.Load() && a.status == 502 }

func (w *witness) failed(err error) bool {
	if w.ending.Load() {
		return false
	}
	return w.fault("%v", err)
}

func (w *witness) fault(format string, args ...any) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
	return false
}

// A finding is what a server turns out to have of a round.
type finding struct{ clicks, sales, approved int64 }

// verify wants everything acknowledged exactly once, what was only sent at most once, and the sums
// to agree with the records.
func (c claims) verify(t testing.TB, s *server) finding {
	t.Helper()
	f := finding{clicks: c.verifyClicks(t, s)}
	c.verifySales(t, s, &f)
	return f
}

func (c claims) verifyClicks(t testing.TB, s *server) (counted int64) {
	t.Helper()
	// Rows by sub-ID are read from the clicks themselves, the total without from the sums.
	query := "campaign=" + c.campaign
	r := s.report("by=sub.sub1&" + query)
	wrong := complaints{t: t, limit: 5}
	for _, n := range slices.Sorted(maps.Keys(c.clicks)) {
		got := r.Rows[strconv.Itoa(n)].Clicks
		counted += got
		if acknowledged := c.clicks[n] != ""; !counts(got, acknowledged, true) {
			wrong.add("click %d of %s (%s) counts %d times", n, c.campaign, c.clicks[n], got)
		}
	}
	if r.Total.Clicks != counted {
		wrong.add("%d clicks are counted by sub-ID, of which %d were sent", r.Total.Clicks, counted)
	}
	if sums := s.report(query).Total.Clicks; sums != counted {
		wrong.add("the sums say %d clicks, there are %d", sums, counted)
	}
	c.lookUp(t, s)
	wrong.end()
	return counted
}

// lookUp asks for some of the acknowledged clicks by name.
func (c claims) lookUp(t testing.TB, s *server) {
	t.Helper()
	const sample = 20
	admin := client{addr: s.admin}
	defer admin.close()
	asked := 0
	for _, id := range c.clicks { // in random order
		if id == "" {
			continue
		}
		a, err := admin.do("GET", "/capture/clicks/"+url.PathEscape(id), "")
		if err != nil || a.status != 200 || !containsAll(a.body, id) {
			t.Errorf("click %s: %v, status %d %s", id, err, a.status, a.body)
		}
		if asked++; asked == sample {
			return
		}
	}
}

func (c claims) verifySales(t testing.TB, s *server, f *finding) {
	t.Helper()
	wrong := complaints{t: t, limit: 5}
	seen := make(map[string]bool)
	for _, got := range s.all("/capture/conversions?from=" + url.QueryEscape(c.since.UTC().Format(time.RFC3339Nano))) {
		txid := fmt.Sprint(got["txid"])
		sold, sent := c.sales[txid]
		status := got["status"]
		switch {
		case !sent:
			wrong.add("conversion %s was never sent", txid)
		case seen[txid]:
			wrong.add("conversion %s is there twice", txid)
		case got["click_id"] != sold.click || got["payout"] != "0.01":
			wrong.add("conversion %s is %v, want click %s and 0.01", txid, got, sold.click)
		case status == "rejected" && !sold.corrected, status == "approved" && sold.rejected, status != "approved" && status != "rejected":
			wrong.add("conversion %s is %s (correction sent: %t, acknowledged: %t)", txid, status, sold.corrected, sold.rejected)
		}
		seen[txid] = true
		f.sales++
		if status == "approved" {
			f.approved++
		}
	}
	for txid, sold := range c.sales {
		if sold.booked && !seen[txid] {
			wrong.add("conversion %s of click %s was acknowledged and is lost", txid, sold.click)
		}
	}
	wrong.end()
}

// verifyTotal wants the sums over everything to be what was found.
func (s *server) verifyTotal(t testing.TB, f finding) {
	t.Helper()
	got := s.report("").Total
	want := figures{
		Clicks: f.clicks, Conversions: f.sales, Approved: f.approved, Rejected: f.sales - f.approved,
		Revenue: map[string]string{"USD": fmt.Sprintf("%d.%02d", f.approved/100, f.approved%100)},
	}
	if got.String() != want.String() {
		t.Errorf("the report says\n%s, the records say\n%s", got, want)
	}
}

func (f *finding) add(more finding) {
	f.clicks += more.clicks
	f.sales += more.sales
	f.approved += more.approved
}

// complaints prints the first few.
type complaints struct {
	t        testing.TB
	limit, n int
}

func (c *complaints) add(format string, args ...any) {
	c.t.Helper()
	if c.n++; c.n <= c.limit {
		c.t.Errorf(format, args...)
	}
}

func (c *complaints) end() {
	c.t.Helper()
	if c.n > c.limit {
		c.t.Errorf("and %d more", c.n-c.limit)
	}
}
