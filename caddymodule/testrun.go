package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/capture"
)

// testRequest is the body of POST /capture/test.
type testRequest struct {
	// Click is the path or the address of the tracked route to be tested;
	// default: all of them.
	Click string `json:"click,omitempty"`
	// Postback is the same for the postback route.
	Postback string `json:"postback,omitempty"`
}

// testStep is one line of the answer to POST /capture/test.
type testStep struct {
	Step string `json:"step"`
	OK   bool   `json:"ok"`
	// Note marks what could not be tested and is not wrong for that.
	Note   bool   `json:"note,omitempty"`
	Text   string `json:"text"`
	Detail string `json:"detail,omitempty"`
}

// The step that ends every test, with its verdict.
const testResult = "result"

// maxTestRequest bounds the body of POST /capture/test.
const maxTestRequest = 16 << 10

// adminTest answers POST /capture/test: it sends clicks and postbacks through
// the live servers and reports each step as a line of JSON as it is done.
func adminTest(c *adminCall) error {
	if p := readParams(c.r, c.now); p.Err() != nil {
		return badRequest(p.Err())
	}
	var want testRequest
	body := http.MaxBytesReader(c.w, c.r.Body, maxTestRequest)
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&want); err != nil && !errors.Is(err, io.EOF) {
		return badRequest(fmt.Errorf("reading the request: %w", err))
	}
	// Only after its end is it noticed when the client goes.
	if _, err := io.Copy(io.Discard, body); err != nil {
		return badRequest(fmt.Errorf("reading the request: %w", err))
	}
	unlimitRead(c.w)
	run := &testRun{ctx: c.r.Context(), lease: c.lease}
	if err := run.find(want); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	c.w.Header().Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
	enc, flush := json.NewEncoder(c.w), http.NewResponseController(c.w).Flush
	run.emit = func(s testStep) {
		// A client that has gone shows in the context.
		_ = enc.Encode(s)
		_ = flush()
	}
	run.run()
	return nil
}

// testRun is one test of the live servers.
type testRun struct {
	ctx   context.Context
	lease *lease
	emit  func(testStep)

	clicks    []*testClick
	postbacks []*testPostback
	failed    bool
	notes     int
}

// testClick is a tracked route under test.
type testClick struct {
	route *foundRoute
	want  wish
}

// testPostback is a postback route under test.
type testPostback struct {
	route *foundRoute
	want  wish
}

// find finds what is to be tested in the running configuration.
func (t *testRun) find(want testRequest) error {
	v, err := caddy.ActiveContext().AppIfConfigured("http")
	if errors.Is(err, caddy.ErrNotConfigured) {
		v, err = new(caddyhttp.App), nil // nothing will be found in it
	}
	if err != nil {
		return fmt.Errorf("finding the HTTP servers: %w", err)
	}
	app, ok := v.(*caddyhttp.App)
	if !ok {
		return fmt.Errorf("module %T is not the http app", v)
	}
	return badRequest(t.choose(app, want))
}

func (t *testRun) choose(app *caddyhttp.App, want testRequest) error {
	clicks, postbacks := findRoutes(app)
	clicks, click, err := pick(clicks, want.Click, "track_click")
	if err != nil {
		return err
	}
	postbacks, postback, err := pick(postbacks, want.Postback, "postback")
	if err != nil {
		return err
	}
	for _, r := range clicks {
		t.clicks = append(t.clicks, &testClick{route: r, want: click})
	}
	for _, r := range postbacks {
		t.postbacks = append(t.postbacks, &testPostback{route: r, want: postback})
	}
	return nil
}

// pick keeps of the routes the one that the address belongs to; without an
// address, all.
func pick(routes []*foundRoute, address, directive string) ([]*foundRoute, wish, error) {
	if address == "" {
		return routes, wish{}, nil
	}
	want, u, err := readWish(address)
	if err != nil {
		return nil, want, err
	}
	for _, r := range routes {
		target, err := r.target(want)
		if err != nil || u.Scheme != "" && u.Scheme != target.url.Scheme || u.Port() != "" && u.Port() != target.url.Port() {
			continue
		}
		return []*foundRoute{r}, want, nil
	}
	var known []string
	for _, r := range routes {
		if target, err := r.target(wish{}); err == nil {
			known = append(known, target.url.String())
		}
	}
	err = fmt.Errorf("%q is not the address of a %s in the running configuration", address, directive)
	if len(known) > 0 {
		err = fmt.Errorf("%w; addresses of some are %s", err, strings.Join(known, ", "))
	}
	return nil, want, err
}

// ok reports a step that worked.
func (t *testRun) ok(step, text, detail string) {
	t.emit(testStep{Step: step, OK: true, Text: text, Detail: detail})
}

// fail reports what is wrong, and in detail why that may be and what to do.
func (t *testRun) fail(step, text, detail string) {
	t.failed = true
	t.emit(testStep{Step: step, Text: text, Detail: detail})
}

// note reports what the test cannot prove.
func (t *testRun) note(step, text, detail string) {
	t.notes++
	t.emit(testStep{Step: step, OK: true, Note: true, Text: text, Detail: detail})
}

// run does the steps. Each click is used for one postback only, so that what
// one route books is not a repeat for the next.
func (t *testRun) run() {
	if t.store() && t.routes() {
		t.all()
	}
	if err := t.ctx.Err(); err != nil {
		t.fail(testResult, "the test was ended before it was done", "")
		return
	}
	switch {
	case t.failed:
		t.fail(testResult, "something is wrong, see above", "")
	case t.notes > 0:
		t.ok(testResult, "all that could be tested works", "")
	default:
		t.ok(testResult, "everything works; what the test recorded is flagged and counts nowhere", "")
	}
}

// store checks whether anything can be recorded at all.
func (t *testRun) store() bool {
	h := t.lease.ledger.Health()
	spool := h.Store.Spool
	switch {
	case spool != nil && h.Store.Writable && spool.State != capture.SpoolShared:
		t.fail("store", spoolTrouble(spool), "Clicks and postbacks wait on this machine and are booked later, so what becomes of them cannot be tested now.")
		return false
	case spool != nil && h.Store.Writable && h.State != "ok": // something is set aside
		t.note("store", "the store takes clicks and postbacks, but it is "+h.State+": "+h.Why, "")
		return true
	case h.State != "ok":
		t.fail("store", "the store is "+h.State+": "+h.Why,
			"Visitors are redirected all the same, but nothing is recorded, so there is nothing to test.")
		return false
	}
	t.ok("store", "the store takes clicks and postbacks", "")
	return true
}

// routes checks that there is something to test.
func (t *testRun) routes() bool {
	text := fmt.Sprintf("found %s and %s in the running configuration",
		count(len(t.clicks), "track_click"), count(len(t.postbacks), "postback"))
	if len(t.clicks) == 0 || len(t.postbacks) == 0 {
		t.fail("routes", text, "Tracking needs both: track_click records the click, postback the conversion that comes of it. "+
			"If they are in your Caddyfile, has the running Caddy loaded it (caddy reload)?")
		return len(t.clicks) > 0
	}
	t.ok("routes", text, "")
	return true
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// all tests every tracked route once, and every postback route with a click.
func (t *testRun) all() {
	var made []*madeClick
	for _, c := range t.clicks {
		if t.ctx.Err() != nil {
			return
		}
		if m := t.click(c, ""); m != nil {
			made = append(made, m)
		}
	}
	for _, p := range t.postbacks {
		if t.ctx.Err() != nil {
			return
		}
		if m := t.clickFor(p, made); m != nil {
			m.used = true
			t.postback(p, m)
		}
	}
}

// clickFor returns a fresh click that the postback route takes.
func (t *testRun) clickFor(p *testPostback, made []*madeClick) *madeClick {
	name, only := p.route.postback.Name, p.route.postback.Campaign
	if len(made) == 0 {
		t.fail("postback", fmt.Sprintf("postback %q was not tested, since there is no click to report", name),
			"It needs a tracked route that works. If one was only not found, name the address of one of its links with --click.")
		return nil
	}
	var again *madeClick
	for _, near := range []bool{true, false} {
		for _, m := range made {
			if only != "" && m.click.Campaign != only || near && m.from.route.server != p.route.server {
				continue
			}
			if !m.used {
				return m
			}
			again = m
		}
	}
	if again != nil {
		return t.click(again.from, again.word)
	}
	// A wildcard in a tracked path often is the campaign.
	for _, c := range t.clicks {
		if c.want.path != "" {
			continue
		}
		usual, err := c.route.target(c.want)
		special, err2 := c.route.target(wish{word: only})
		if err != nil || err2 != nil || usual.url.Path == special.url.Path {
			continue
		}
		if m := t.click(c, only); m != nil && m.click.Campaign == only {
			return m
		}
	}
	t.fail("postback", fmt.Sprintf("postback %q was not tested: it takes only clicks of campaign %q, and no test click is of it", name, only),
		"Real postbacks for other campaigns would be quarantined as wrong_campaign. Name an address whose clicks are of that "+
			"campaign with --click, or see whether the names in track_click and postback are spelled alike.")
	return nil
}
