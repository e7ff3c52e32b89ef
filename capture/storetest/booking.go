package storetest

import (
	"bytes"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// with returns a claim changed.
func with(c attribution.Claim, change func(*attribution.Claim)) attribution.Claim {
	change(&c)
	return c
}

func status(s attribution.Status) attribution.Claim {
	return with(sale, func(c *attribution.Claim) { c.Status = s })
}

func sent(c attribution.Claim, t time.Time) attribution.Claim {
	c.SentAt = t
	return c
}

// windowed are rules with a window for all campaigns.
func windowed(d time.Duration) *capture.Rules {
	r := *rules
	r.Window = d
	return &r
}

func deduped(mode attribution.Dedup) *capture.Rules {
	r := *rules
	r.Campaigns = map[string]capture.CampaignRules{"acme": {Dedup: mode}}
	return &r
}

func problem(r capture.Reason) func(*capture.Postback) {
	return func(p *capture.Postback) { p.Problem, p.ProblemDetail = r, "because" }
}

func nameless(r capture.Reason) func(*capture.Postback) {
	return func(p *capture.Postback) { p.Ref, p.HasRef, p.Problem = clickid.Ref{}, false, r }
}

// testOutcomes asks for every outcome and reason of the contract.
func testOutcomes(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	old := p.click(at(noon.Add(-91 * day)))
	p.commit(p.block(old))
	nowhere := clickid.Ref{Epoch: p.epoch, Block: p.next + 9, Second: uint32(noon.Unix())}
	longAgo := nowhere
	longAgo.Second = old.Ref.Second
	unrecorded := nowhere
	unrecorded.Slot = clickid.Unrecorded
	wrongSecond := c.Ref
	wrongSecond.Second--

	other := with(sale, func(c *attribution.Claim) { c.TxID = "new" })
	for _, s := range []struct {
		name    string
		post    *capture.Postback
		outcome capture.Outcome
		reason  capture.Reason
	}{
		{"first", p.post(c, status(attribution.Pending)), capture.Recorded, ""},
		{"repeat", p.post(c, status(attribution.Pending)), capture.Duplicate, ""},
		{"status", p.post(c, sale), capture.Updated, ""},
		{"late pending", p.post(c, status(attribution.Pending)), capture.Duplicate, ""},
		{"payout", p.post(c, with(sale, func(c *attribution.Claim) { c.Payout = usd("13") })), capture.Updated, ""},
		{"currency", p.post(c, with(sale, func(c *attribution.Claim) { c.Payout.Currency = "EUR" })), capture.Updated, ""},
		{"other txid", p.post(c, with(sale, func(c *attribution.Claim) { c.TxID = "2" })), capture.Recorded, ""},
		{"no txid", p.post(c, with(sale, func(c *attribution.Claim) { c.TxID = "" })), capture.Recorded, ""},
		{"other event", p.post(c, with(sale, func(c *attribution.Claim) { c.Event = "lead" })), capture.Recorded, ""},
		{"missing", p.post(c, sale, nameless(capture.MissingClickID)), capture.Quarantined, capture.MissingClickID},
		{"macro", p.post(c, sale, nameless(capture.UnresolvedMacro)), capture.Quarantined, capture.UnresolvedMacro},
		{"invalid", p.post(c, sale, nameless(capture.InvalidClickID)), capture.Quarantined, capture.InvalidClickID},
		{"unknown", p.postRef(nowhere, sale), capture.Quarantined, capture.UnknownClick},
		{"unrecorded", p.postRef(unrecorded, sale), capture.Quarantined, capture.UnknownClick},
		{"second", p.postRef(wrongSecond, sale), capture.Quarantined, capture.UnknownClick},
		{"expired and gone", p.postRef(longAgo, sale), capture.Quarantined, capture.ExpiredClick},
		{"expired", p.post(old, sale), capture.Quarantined, capture.ExpiredClick},
		{"window", p.post(c, other, under(windowed(time.Second))), capture.Quarantined, capture.OutsideWindow},
		{"campaign", p.post(c, other, func(b *capture.Postback) { b.OnlyCampaign = "else" }), capture.Quarantined, capture.WrongCampaign},
		{"its campaign", p.post(c, sale, func(b *capture.Postback) { b.OnlyCampaign = "acme" }), capture.Updated, ""},
		{"unmapped", p.post(c, other, problem(capture.UnmappedStatus)), capture.Quarantined, capture.UnmappedStatus},
		{"payout text", p.post(c, other, problem(capture.BadPayout)), capture.Quarantined, capture.BadPayout},
		{"currency text", p.post(c, other, problem(capture.BadCurrency)), capture.Quarantined, capture.BadCurrency},
		{"time text", p.post(c, other, problem(capture.BadTime)), capture.Quarantined, capture.BadTime},
		{"future", p.post(c, sent(other, noon.Add(10*day))), capture.Quarantined, capture.BadTime},
		{"before the click", p.post(c, sent(other, noon.Add(-2*day))), capture.Quarantined, capture.BadTime},
		{"unknown and unreadable", p.postRef(nowhere, sale, problem(capture.BadPayout)), capture.Quarantined, capture.UnknownClick},
	} {
		r := p.book(s.post)
		if r.Outcome != s.outcome || r.Reason != s.reason {
			t.Errorf("%s: %q %q (%s), want %q %q", s.name, r.Outcome, r.Reason, r.Detail, s.outcome, s.reason)
		}
		if r.Entry == nil || r.Entry.Seq != s.post.Seq || r.Outcome.Booked() != (r.Conversion != nil) {
			t.Errorf("%s: the result lacks its entry or conversion: %+v", s.name, r)
			continue
		}
		list := p.journal(capture.JournalQuery{})
		if len(list) == 0 || record(list[0]) != record(r.Entry) {
			t.Errorf("%s: the newest entry of the journal is not this", s.name)
		}
	}
	if got := p.counts(); got.Conversions != 4 || got.Approved != 4 || got.Clicks != 2 {
		t.Errorf("the report counts %+v", got)
	}
}

// testOneBatch has all the same in one batch, click included.
func testOneBatch(t *testing.T, p *place) {
	c := p.click()
	block := p.block(c)
	posts := []*capture.Postback{
		p.post(c, status(attribution.Pending)), p.post(c, status(attribution.Pending)), p.post(c, sale), p.post(c, sale),
		p.post(c, with(sale, func(c *attribution.Claim) { c.TxID = "2" })), p.post(c, status(attribution.Reversed)),
	}
	parts := []any{block}
	for _, b := range posts {
		parts = append(parts, b)
	}
	p.commit(parts...)
	for i, want := range []capture.Outcome{
		capture.Recorded, capture.Duplicate, capture.Updated, capture.Duplicate, capture.Recorded, capture.Updated,
	} {
		if got := posts[i].Result.Outcome; got != want {
			t.Errorf("postback %d is %q, want %q", i, got, want)
		}
	}
	if n := len(p.ofClick(c.Ref)); n != 2 {
		t.Errorf("the click has %d conversions, want 2", n)
	}
	got := p.counts()
	if got.Clicks != 1 || got.Conversions != 2 || got.Approved != 1 || got.Reversed != 1 || got.Revenue["USD"].String() != "12.5" {
		t.Errorf("the report counts %+v", got)
	}
	if n := len(p.journal(capture.JournalQuery{})); n != len(posts) {
		t.Errorf("the journal has %d entries, want %d", n, len(posts))
	}
}

// testResend sends batches again, as after an unknown outcome.
func testResend(t *testing.T, p *place) {
	c := p.click()
	claims := []attribution.Claim{sale, sale, status(attribution.Rejected), with(sale, func(c *attribution.Claim) { c.Event = "lead" })}
	make1 := func() *capture.Batch {
		now := p.now
		defer func() { p.now = now }()
		parts := []any{&capture.Block{Number: c.Ref.Block, Clicks: []*capture.Click{c}}}
		for _, claim := range claims {
			parts = append(parts, p.post(c, claim))
		}
		return p.batchOf(append(parts, p.post(c, sale, nameless(capture.MissingClickID)))...)
	}
	p.block(c)
	first, second, third := make1(), make1(), make1()
	p.must(p.store.Commit(background, first))
	counts, entries := p.counts(), len(p.journal(capture.JournalQuery{}))
	quarantine := p.store.Status().Quarantine[capture.MissingClickID]
	p.must(p.store.Commit(background, second))
	p.must(p.store.Commit(background, third))
	p.must(p.store.Commit(background, third)) // the very same
	for i := range first.Postbacks {
		a := first.Postbacks[i].Result
		for _, again := range []*capture.Batch{second, third} {
			if b := again.Postbacks[i].Result; !sameResult(a, b) {
				t.Errorf("postback %d is now %+v, was %+v", i, b, a)
			}
		}
	}
	check := func() {
		t.Helper()
		if got := p.counts(); record(got) != record(counts) || got.Clicks != 1 || got.Conversions != 2 {
			t.Errorf("the report counts %+v, before %+v", got, counts)
		}
		if got := len(p.journal(capture.JournalQuery{})); got != entries {
			t.Errorf("the journal has %d entries, before %d", got, entries)
		}
		if got := p.store.Status().Quarantine[capture.MissingClickID]; got != quarantine || got != 1 {
			t.Errorf("%d wait in quarantine, before %d", got, quarantine)
		}
		for _, conv := range p.ofClick(c.Ref) {
			if conv.State.Event == "sale" && (len(conv.History) != 2 || conv.History[0].Seen != 2) {
				t.Errorf("the history is %+v", conv.History)
			}
		}
	}
	check()
	p.done(first)
	p.want(p.book(p.post(c, status(attribution.Rejected))), capture.Duplicate, "")
	entries++
	p.reopen()
	check()
}

// sameResult leaves open whether the conversion is as it was after its
// postback or as it is after the batch.
func sameResult(a, b capture.Result) bool {
	return a.Outcome == b.Outcome && a.Reason == b.Reason && a.Detail == b.Detail && a.Lag == b.Lag && a.Test == b.Test &&
		a.Entry != nil && b.Entry != nil && record(a.Entry) == record(b.Entry) &&
		(a.Conversion == nil) == (b.Conversion == nil) &&
		(a.Conversion == nil || a.Conversion.ID == b.Conversion.ID)
}

// testSeqGaps: entries and blocks may leave gaps, which change nothing.
func testSeqGaps(t *testing.T, p *place) {
	c := p.click()
	p.next += 70000
	p.seq += 1000
	p.commit(p.block(c), p.post(c, sale))
	p.next += 1 << 20
	d := p.click()
	p.commit(p.block(d))
	p.reopen()
	p.find(c)
	p.find(d)
	if p.store.Position().NextSeq != p.seq || len(p.journal(capture.JournalQuery{})) != 1 {
		t.Errorf("the position is %+v, want entry %d to be the next", p.store.Position(), p.seq)
	}
}

// testParked: what came too late waits, and an earlier claim brings it in.
func testParked(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c))
	r := under(windowed(time.Hour))
	late := arrives(noon.Add(5 * time.Hour))
	p.want(p.book(p.post(c, sent(sale, noon.Add(4*time.Hour)), r, late)), capture.Quarantined, capture.OutsideWindow)
	p.want(p.book(p.post(c, sent(sale, noon.Add(4*time.Hour)), r, late)), capture.Quarantined, capture.OutsideWindow)
	p.want(p.book(p.post(c, sent(status(attribution.Reversed), noon.Add(3*time.Hour)), r, late)), capture.Quarantined, capture.OutsideWindow)
	if n := p.store.Status().Quarantine[capture.OutsideWindow]; n != 3 {
		t.Errorf("%d wait outside the window, want 3", n)
	}
	if len(p.ofClick(c.Ref)) != 0 || len(p.conversions(capture.ConversionQuery{})) != 0 || p.counts().Conversions != 0 {
		t.Error("a conversion outside the window is counted")
	}
	p.reopen()
	res := p.book(p.post(c, sent(status(attribution.Pending), noon.Add(time.Minute)), r, late))
	p.want(res, capture.Recorded, "")
	if st := res.Conversion.State; st.Status != attribution.Approved || !st.Time.Equal(noon.Add(time.Minute)) {
		t.Errorf("the conversion is %+v, want what the newest claim says at the time of the earliest", st)
	}
	if n := p.store.Status().Quarantine[capture.OutsideWindow]; n != 0 {
		t.Errorf("%d still wait outside the window", n)
	}
	if n := len(p.journal(capture.JournalQuery{Open: true})); n != 0 {
		t.Errorf("%d entries are still open", n)
	}
	for _, e := range p.journal(capture.JournalQuery{Reason: capture.OutsideWindow}) {
		if e.Resolved != res.Entry.Seq || !bytes.Equal(e.Conversion[:], res.Conversion.ID[:]) {
			t.Errorf("entry %d is resolved by %d, want %d", e.Seq, e.Resolved, res.Entry.Seq)
		}
	}
	if got := p.counts(); got.Conversions != 1 || got.Approved != 1 || got.Revenue["USD"].String() != "12.5" {
		t.Errorf("the report counts %+v", got)
	}

	// A longer window brings it in as well, with nothing new said.
	d := p.click()
	p.commit(p.block(d))
	parked := sent(sale, noon.Add(4*time.Hour))
	p.want(p.book(p.post(d, parked, r, late)), capture.Quarantined, capture.OutsideWindow)
	p.want(p.book(p.post(d, parked, late)), capture.Recorded, "")
	p.want(p.book(p.post(d, parked, late)), capture.Duplicate, "")
	p.want(p.book(p.post(d, parked, late, r)), capture.Duplicate, "")
	if n := p.store.Status().Quarantine[capture.OutsideWindow]; n != 0 || p.counts().Conversions != 2 {
		t.Errorf("%d still wait, %d conversions are counted", n, p.counts().Conversions)
	}
}

// testKnownOfExpired: the click is gone, its conversion still can change.
func testKnownOfExpired(t *testing.T, p *place) {
	c := p.click()
	p.commit(p.block(c), p.post(c, sale))
	later := arrives(noon.Add(100 * day))
	check := func(refund attribution.Claim, want capture.Outcome) {
		t.Helper()
		p.want(p.book(p.post(c, refund, later)), want, "")
		p.want(p.book(p.post(c, with(sale, func(c *attribution.Claim) { c.TxID = "new" }), later)), capture.Quarantined, capture.ExpiredClick)
	}
	check(status(attribution.Rejected), capture.Updated)
	_, err := p.store.Sweep(background, noon.Add(100*day), rules.Retain)
	p.must(err)
	p.gone(c.Ref)
	check(status(attribution.Rejected), capture.Duplicate)
	check(status(attribution.Reversed), capture.Updated)
	p.reopen()
	check(status(attribution.Reversed), capture.Duplicate)
	list := p.ofClick(c.Ref)
	if len(list) != 1 || list[0].State.Status != attribution.Reversed || list[0].Campaign != "acme" {
		t.Errorf("the conversions are %+v", list)
	}
	if got := p.counts(); got.Clicks != 1 || got.Conversions != 1 || got.Reversed != 1 || len(got.Revenue) != 0 {
		t.Errorf("the report counts %+v", got)
	}
}

func testDedupModes(t *testing.T, p *place) {
	lead := with(sale, func(c *attribution.Claim) { c.Event = "lead" })
	second := with(sale, func(c *attribution.Claim) { c.TxID = "2" })
	for mode, want := range map[attribution.Dedup][]capture.Outcome{
		attribution.DedupTxID:  {capture.Recorded, capture.Recorded, capture.Recorded, capture.Duplicate},
		attribution.DedupEvent: {capture.Recorded, capture.Duplicate, capture.Recorded, capture.Duplicate},
		attribution.DedupClick: {capture.Recorded, capture.Duplicate, capture.Updated, capture.Updated},
	} {
		c := p.click()
		p.commit(p.block(c))
		for i, claim := range []attribution.Claim{sale, second, lead, sale} {
			if got := p.book(p.post(c, claim, under(deduped(mode)))).Outcome; got != want[i] {
				t.Errorf("dedup %s: postback %d is %q, want %q", mode, i, got, want[i])
			}
		}
	}
}

// testDedupSwitched: a new configuration counts nothing twice.
func testDedupSwitched(t *testing.T, p *place) {
	want := int64(0)
	for _, from := range modes {
		for _, to := range modes {
			c := p.click()
			p.commit(p.block(c))
			p.want(p.book(p.post(c, sale, under(deduped(from)))), capture.Recorded, "")
			want++
			p.reopen()
			p.want(p.book(p.post(c, sale, under(deduped(to)))), capture.Duplicate, "")
			p.want(p.book(p.post(c, status(attribution.Reversed), under(deduped(to)))), capture.Updated, "")
			if n := len(p.ofClick(c.Ref)); n != 1 {
				t.Errorf("from %s to %s: the click has %d conversions", from, to, n)
			}
			// Under txid another transaction is another conversion; under the
			// others it is not.
			other := with(sale, func(c *attribution.Claim) { c.TxID, c.Status = "2", attribution.Reversed })
			outcome := p.book(p.post(c, other, under(deduped(to)))).Outcome
			if fresh := outcome == capture.Recorded; fresh != (to == attribution.DedupTxID) {
				t.Errorf("from %s to %s: another txid is %q", from, to, outcome)
			}
			if to == attribution.DedupTxID {
				want++
			}
		}
	}
	if got := p.counts(); got.Conversions != want {
		t.Errorf("%d conversions are counted, want %d", got.Conversions, want)
	}
}
