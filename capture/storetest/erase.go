package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// telling is a click that tells much of its visitor.
func (p *place) telling() *capture.Click {
	return p.click(func(c *capture.Click) {
		c.UserAgent, c.Referer, c.Address, c.URL = "agent", "https://referer.example/", "192.0.2.0", "https://acme.example/?who=me"
		c.Host, c.Path, c.Cost = "go.example", "/go/acme", usd("0.10")
		c.Subs = []capture.Param{{Name: "mail", Value: "me@example.com"}}
		c.Kept = []capture.Param{{Name: "gclid", Value: "abc"}}
	})
}

func tells(b *capture.Postback) {
	b.Sender = "192.0.2.1"
	b.Raw = capture.Raw{
		Method: "POST", Host: "go.example", URI: "/postback?mail=me", ContentType: "text/plain", UserAgent: "curl", Body: []byte("me"),
	}
}

func (p *place) erase(ref clickid.Ref) capture.Erased {
	p.t.Helper()
	r, err := p.store.Erase(background, ref)
	p.must(err)
	return r
}

func testErase(t *testing.T, p *place) {
	before, c, after := p.telling(), p.telling(), p.telling()
	p.commit(p.block(before, c, after))
	untouched := p.book(p.post(before, sale, tells))
	booked := p.book(p.post(c, sale, tells))
	second := with(sale, func(c *attribution.Claim) { c.TxID = "2" })
	p.want(p.book(p.post(c, second, tells)), capture.Recorded, "")
	p.want(p.book(p.post(c, sale, tells)), capture.Duplicate, "")
	waits := p.post(c, second, tells, problem(capture.BadPayout))
	p.commit(waits, p.post(after, sale, tells, problem(capture.BadPayout)))
	sums := p.counts()

	if r := p.erase(c.Ref); r.Conversions != 2 || r.Entries != 4 || !r.Click || r.Pending {
		t.Errorf("the erasure changed %+v", r)
	}
	erased := *c
	erased.UserAgent, erased.Referer, erased.Address, erased.URL, erased.Subs, erased.Kept = "", "", "", "", nil, nil
	erased.Flags |= capture.FlagErased
	check := func() {
		t.Helper()
		p.find(before)
		p.find(&erased)
		p.find(after)
		for _, conv := range p.ofClick(c.Ref) {
			if len(conv.Subs) != 0 || conv.State.TxID == "" || conv.Campaign != "acme" || !conv.State.Payout.Equal(sale.Payout) {
				t.Errorf("a conversion is %+v", conv)
			}
		}
		conv, err := p.store.Conversion(background, untouched.Conversion.ID)
		p.must(err)
		if record(conv) != record(untouched.Conversion) {
			t.Errorf("another click's conversion is %+v", conv)
		}
		n := 0
		for _, e := range p.journal(capture.JournalQuery{}) {
			blank := e.Sender == "" && e.Detail == "" && e.Raw.URI == "" && e.Raw.Host == "" && len(e.Raw.Body) == 0 &&
				e.Raw.UserAgent == "" && e.Raw.ContentType == ""
			if mine := e.Click == c.Ref; mine != blank {
				t.Errorf("entry %d is blank: %t, want %t", e.Seq, blank, mine)
			}
			if e.Raw.Method != "POST" || e.Claim.TxID == "" || e.Outcome == "" {
				t.Errorf("entry %d lost too much: %+v", e.Seq, e)
			}
			n++
		}
		if n != 6 {
			t.Errorf("the journal has %d entries, want 6", n)
		}
		if got := p.counts(); record(got) != record(sums) {
			t.Errorf("the sums are %+v, and were %+v", got, sums)
		}
		e, err := p.store.Entry(background, waits.Seq)
		p.must(err)
		if e.Waiting() || e.Resolved != e.Seq || e.Reason != capture.BadPayout {
			t.Errorf("the entry that waited is %+v", e)
		}
		if n := p.store.Status().Quarantine[capture.BadPayout]; n != 1 {
			t.Errorf("%d wait in quarantine, want 1", n)
		}
		if n := len(p.journal(capture.JournalQuery{Open: true})); n != 1 {
			t.Errorf("%d are listed as in quarantine, want 1", n)
		}
	}
	check()
	if r := p.erase(c.Ref); r != (capture.Erased{}) {
		t.Errorf("erasing again changed %+v", r)
	}
	p.healthy()
	p.reopen()
	check()

	// The click's conversions still change, and get new ones, without it all
	// coming back.
	p.want(p.book(p.post(c, status(attribution.Reversed))), capture.Updated, "")
	third := p.book(p.post(c, with(sale, func(c *attribution.Claim) { c.TxID = "3" })))
	p.want(third, capture.Recorded, "")
	if len(third.Conversion.Subs) != 0 || third.Conversion.ID == booked.Conversion.ID {
		t.Errorf("a later conversion is %+v", third.Conversion)
	}
	nowhere := c.Ref
	nowhere.Block = p.next + 100
	if _, err := p.store.Erase(background, nowhere); !errors.Is(err, capture.ErrNotFound) {
		t.Errorf("erasing a click that does not exist: %v", err)
	}

	// A click that is swept already, with its conversions left.
	p.sweep(noon.Add(100*day), capture.Retention{Clicks: day})
	if r := p.erase(after.Ref); r.Click || r.Entries != 1 {
		t.Errorf("the erasure changed %+v", r)
	}
	if r := p.erase(before.Ref); r.Click || r.Entries != 1 || r.Conversions != 1 {
		t.Errorf("the erasure changed %+v", r)
	}
}

// testEraseReplayed: what waited without a click that it could be known for
// has the same raw request as its replay.
func testEraseReplayed(t *testing.T, p *place) {
	c := p.telling()
	p.commit(p.block(c))
	waits := p.post(c, sale, tells, nameless(capture.MissingClickID))
	p.commit(waits)
	again := p.post(c, sale, tells)
	again.Replays = waits.Seq
	p.want(p.book(again), capture.Recorded, "")
	if r := p.erase(c.Ref); r.Entries != 2 {
		t.Errorf("the erasure changed %+v", r)
	}
	for _, e := range p.journal(capture.JournalQuery{}) {
		if e.Raw.URI != "" || e.Sender != "" {
			t.Errorf("entry %d still tells: %+v", e.Seq, e)
		}
	}
}

// testEraseRace: a postback that has read the click before the erasure is
// booked after it.
func testEraseRace(t *testing.T, p *place) {
	c := p.telling()
	p.commit(p.block(c))
	late := p.post(c, sale)
	var err error
	late.Click, err = p.store.ClickToBook(background, c.Ref)
	p.must(err)
	p.erase(c.Ref)
	r := p.book(late)
	p.want(r, capture.Recorded, "")
	conv, err := p.store.Conversion(background, r.Conversion.ID)
	p.must(err)
	if len(conv.Subs) != 0 || len(r.Conversion.Subs) != 0 {
		t.Errorf("the visitor came back: %+v", conv.Subs)
	}
}

// testEraseLate: what arrived before the erasure and is committed after it, as it
// waited on the disk of its node, counts and tells nothing of the visitor, whether
// it is booked or not, and by whatever it names the click. What arrives later is
// another matter.
func testEraseLate(t *testing.T, p *place) {
	c, d := p.telling(), p.telling()
	p.commit(p.block(c, d))
	second, third := named(sale, "2"), named(sale, "3")
	n := 0
	alone := func(b *capture.Postback) {
		tells(b)
		n++
		b.Raw.URI += name("&n=%d", n) // no two of them are the same message
	}
	p.commit(p.post(c, sale, indexed, alone), p.post(d, second, alone))
	// What waits without a click belongs to whoever it is booked for.
	nobody := p.post(c, third, alone, nameless(capture.MissingClickID))
	p.commit(nobody)
	p.erase(c.Ref)

	late := []*capture.Postback{
		p.post(c, second, alone),
		p.post(c, sale, alone),
		p.replays(nobody, c, third, alone),
		p.unsold(refund("r", "2.50"), alone),
		p.post(c, sale, alone, problem(capture.BadPayout)),
		p.post(d, sale, alone, problem(capture.BadCurrency)),
		p.post(d, second, alone),
		p.post(c, sale, alone, problem(capture.BadTime), arrives(noon.AddDate(50, 0, 0))),
	}
	for i, want := range []capture.Outcome{
		capture.Recorded, capture.Duplicate, capture.Recorded, capture.Updated, capture.Quarantined, capture.Quarantined, capture.Duplicate, capture.Quarantined,
	} {
		if r := p.book(late[i]); r.Outcome != want {
			t.Errorf("the outcome of postback %d is %q %q (%s), want %q", i, r.Outcome, r.Reason, r.Detail, want)
		}
	}
	entries := p.journal(capture.JournalQuery{})
	for _, e := range entries {
		blank := e.Sender == "" && e.Detail == "" && e.Raw.URI == "" && e.Raw.Host == "" && len(e.Raw.Body) == 0 && e.Raw.UserAgent == ""
		if want := e.Click == c.Ref && e.Time.Year() == noon.Year(); blank != want || blank && e.Waiting() {
			t.Errorf("entry %d, which came at %s, is blank: %t, want %t: %+v", e.Seq, e.Time, blank, want, e)
		}
	}
	if want := len(late) + 3; len(entries) != want {
		t.Errorf("the journal has %d entries, want %d", len(entries), want)
	}
	if got := p.store.Status().Quarantine; got[capture.BadPayout] != 0 || got[capture.BadCurrency] != 1 || got[capture.BadTime] != 1 {
		t.Errorf("in quarantine are %v", got)
	}
	if got := p.counts(); got.Conversions != 4 || got.Revenue["USD"].String() != "47.5" {
		t.Errorf("the report counts %+v", got)
	}
	p.healthy()
	p.reopen()
}

// testEraseClock: the clock was set, in between, to years before the click and
// years after it. The entries of a click are found wherever they are.
func testEraseClock(t *testing.T, p *place) {
	c, other := p.telling(), p.telling()
	p.commit(p.block(c, other))
	const n = 30
	for i := range n {
		shift := time.Duration((i*7)%n-n/2) * 400 * day
		claim := with(sale, func(c *attribution.Claim) { c.TxID = name("%d", i) })
		p.commit(
			p.post(other, claim, tells, arrives(noon.Add(-shift))),
			p.post(c, claim, tells, arrives(noon.Add(shift)), problem(capture.BadPayout)),
			p.post(other, claim, tells, arrives(noon.Add(shift))),
		)
	}
	if r := p.erase(c.Ref); r.Entries != n || !r.Click {
		t.Errorf("the erasure changed %+v", r)
	}
	for _, e := range p.journal(capture.JournalQuery{}) {
		if blank := e.Raw.URI == "" && e.Sender == ""; blank != (e.Click == c.Ref) {
			t.Errorf("entry %d of %s is blank: %t", e.Seq, e.Time, blank)
		}
	}
}

// testEraseNamed: what arrived without a click that could be read belongs to
// one as soon as a replay reads it, booked or not; and so does what a replay
// reads as another click's.
func testEraseNamed(t *testing.T, p *place) {
	c, d := p.telling(), p.telling()
	p.commit(p.block(c, d))
	nobody, somebody := p.post(c, sale, tells, nameless(capture.MissingClickID)), p.post(d, sale, tells, problem(capture.BadPayout))
	p.commit(nobody, somebody)
	again := p.post(c, sale, tells, problem(capture.BadCurrency))
	again.Replays = nobody.Seq
	p.want(p.book(again), capture.Quarantined, capture.BadCurrency)
	p.healthy()
	moved := p.post(c, sale, tells)
	moved.Replays = somebody.Seq
	p.want(p.book(moved), capture.Recorded, "")
	if r := p.erase(c.Ref); r.Entries != 3 || r.Conversions != 1 {
		t.Errorf("the erasure changed %+v", r)
	}
	for _, e := range p.journal(capture.JournalQuery{}) {
		if e.Raw.URI != "" || e.Sender != "" || e.Waiting() {
			t.Errorf("entry %d still tells, or waits: %+v", e.Seq, e)
		}
	}
}
