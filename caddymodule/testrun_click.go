package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

const (
	// testDiskWait is how long a click may take to be on disk. The redirect
	// does not wait that long; the test does, to tell late from lost.
	testDiskWait = 3 * time.Second
	testDiskPoll = 20 * time.Millisecond
)

// madeClick is a click that the test has made.
type madeClick struct {
	from  *testClick
	word  string
	click *capture.Click
	id    string
	used  bool
	// before is what the report said before the click.
	before attribution.Report
}

// click visits a tracked route and follows the click to the disk. It returns
// nil if it did not get there.
func (t *testRun) click(c *testClick, word string) *madeClick {
	want := c.want
	want.word = word
	target, err := c.route.target(want)
	if err != nil {
		t.note("click", fmt.Sprintf("a track_click on server %q was not tested: %v", c.route.server.name, err),
			"Name the address of one of its links with --click.")
		return nil
	}
	before, err := t.report()
	if err != nil {
		t.fail("report", "the report cannot be read: "+err.Error(), "")
		return nil
	}
	// A source of its own makes the click easy to tell from all others.
	if !target.url.Query().Has("source") {
		target.url.RawQuery = joinQuery(target.url.RawQuery, "source="+testName())
	}
	target.header.Set(testHeader, testNonces.issue(time.Now()))
	reply, err := c.route.server.send(t.ctx, target)
	if err != nil {
		t.fail("click", target.method+" "+target.url.String()+" failed: "+err.Error(), explainDial(c.route.server, err))
		return nil
	}
	text := fmt.Sprintf("%s %s -> %d", target.method, target.url, reply.status)
	if reply.location != "" {
		text += " " + reply.location
	}
	if reply.status < 300 || reply.status > 399 || reply.location == "" {
		if c.want.path == "" && len(target.also) > 0 {
			t.note("click", text, explainAlso(target, "--click"))
			return nil
		}
		if c.madeUp(target) && (reply.status < 300 || reply.status == http.StatusNotFound) {
			t.note("click", text, "This path was made up, and the site does not redirect it. Name one that it redirects with --click.")
			return nil
		}
		t.fail("click", text, explainClick(c.route.click, reply))
		return nil
	}
	t.ok("click", text, "")
	ref, id := t.findID(c, reply.location)
	if id == "" {
		return nil
	}
	click := t.stored(ref, id)
	if click == nil {
		return nil
	}
	return &madeClick{from: c, word: word, click: click, id: id, before: before}
}

// madeUp tells whether the site may well not know the path: with inject it is
// the site that redirects, and a wildcard was filled with a word of ours.
func (c *testClick) madeUp(target *testTarget) bool {
	return c.want.path == "" && c.route.click.Inject != "" && strings.Contains(target.url.Path, testWord)
}

// testName returns a name that nothing else has.
func testName() string { return "test-" + strings.ToLower(rand.Text()[:12]) }

// findID looks for the click ID in the address of the redirect.
func (t *testRun) findID(c *testClick, location string) (clickid.Ref, string) {
	ref, id, where := findClickID(t.lease.codec(), location)
	if id == "" {
		t.fail("click ID", "the address that the visitor is sent to has no click ID", explainNoID(c.route.click))
		return ref, ""
	}
	t.ok("click ID", fmt.Sprintf("%s is genuine; the advertiser gets it %s", id, where), "")
	return ref, id
}

// findClickID looks for a genuine click ID in an address and says where it is.
func findClickID(codec *clickid.Codec, address string) (ref clickid.Ref, id, where string) {
	u, err := url.Parse(address)
	if err != nil {
		ref, id = findIn(codec, address)
		return ref, id, "in an address that cannot be parsed"
	}
	// Like a browser's: what cannot be decoded does not hide the rest.
	query, _ := url.ParseQuery(u.RawQuery)
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range query[name] {
			if ref, id := findIn(codec, value); id != "" {
				return ref, id, "in parameter " + name
			}
		}
	}
	for _, place := range []struct{ text, where string }{
		{u.Path, "in the path"}, {u.Fragment, "in the fragment, which is not sent to the advertiser's server"},
		{u.Host, "in the host"}, {u.RawQuery, "in the query"},
	} {
		if ref, id := findIn(codec, place.text); id != "" {
			return ref, id, place.where
		}
	}
	return clickid.Ref{}, "", ""
}

// findIn looks for a genuine click ID anywhere in a text. That a random text
// has one by chance is as unlikely as a forgery.
func findIn(codec *clickid.Codec, text string) (clickid.Ref, string) {
	for i := 0; i+clickid.Length <= len(text); i++ {
		candidate := text[i : i+clickid.Length]
		if ref, err := codec.Decode(candidate); err == nil {
			return ref, candidate
		}
	}
	return clickid.Ref{}, ""
}

// stored looks the click up on disk.
func (t *testRun) stored(ref clickid.Ref, id string) *capture.Click {
	if ref.Slot == clickid.Unrecorded {
		t.fail("stored", "the click was not recorded: there was no room for it", t.storeTrouble())
		return nil
	}
	click, err := t.awaitClick(ref)
	switch {
	case errors.Is(err, capture.ErrNotFound):
		t.fail("stored", fmt.Sprintf("click %s is not on disk after %s", id, testDiskWait), t.storeTrouble())
		return nil
	case err != nil:
		t.fail("stored", "the click cannot be read: "+err.Error(), t.storeTrouble())
		return nil
	case click.Flags&capture.FlagTest == 0:
		t.fail("stored", "the click is on disk, but it is not flagged as a test, so it counts like a visitor's",
			"The header "+testHeader+" did not reach track_click: does a handler before it remove headers?")
		return nil
	}
	t.ok("stored", fmt.Sprintf("the click is on disk, flagged as a test: campaign %q, source %q", click.Campaign, click.Source), "")
	return click
}

func (t *testRun) awaitClick(ref clickid.Ref) (*capture.Click, error) {
	ctx, cancel := context.WithTimeout(t.ctx, testDiskWait)
	defer cancel()
	for {
		click, err := t.lease.ledger.Click(ctx, ref)
		if err == nil || !errors.Is(err, capture.ErrNotFound) {
			return click, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(testDiskPoll):
		}
	}
}

// storeTrouble says what the store has to say.
func (t *testRun) storeTrouble() string {
	h := t.lease.ledger.Health()
	switch spool := h.Store.Spool; {
	case h.State != "ok":
		return "The store is " + h.State + ": " + h.Why
	case spool != nil && spool.State != capture.SpoolShared:
		return spoolTrouble(spool)
	}
	return "The store says that all is well; see Caddy's log for what happened."
}

// spoolTrouble says why something waits on this machine.
func spoolTrouble(s *capture.SpoolStatus) string {
	if s.State == capture.SpoolDraining {
		return "The database is back, and what waited on this machine is being sent to it: test again in a moment."
	}
	return "The database does not take what comes: " + s.Why
}
