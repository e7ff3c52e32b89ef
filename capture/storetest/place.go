package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// place is a store under test and the counters that a ledger would keep.
type place struct {
	t      rapid.TB
	fix    Fixture
	engine capture.Engine
	store  capture.Store
	epoch  uint16
	left   []capture.Store // crashed
	fresh  func() Fixture  // another empty place

	now              time.Time // moves on with each click and batch
	next, seq, batch uint64
	lease            uint64 // for the next batches
}

const (
	day   = 24 * time.Hour
	month = 30 * day
)

// noon is when every test begins.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rules are those of a configuration that says nothing.
var rules = &capture.Rules{Retain: capture.Retention{
	Clicks: capture.DefaultRetainClicks, Journal: capture.DefaultRetainJournal,
}}

func (p *place) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("unexpected error: %v", err)
	}
}

func (p *place) open() {
	p.t.Helper()
	store, err := p.engine.Open(background)
	p.must(err)
	id, err := p.engine.Identity()
	p.must(err)
	pos := store.Position()
	p.store, p.epoch = store, id.Epoch
	p.next, p.seq, p.batch = pos.NextBlock, pos.NextSeq, pos.NextBatch
	if p.now.IsZero() {
		p.now = noon
	}
}

func (p *place) closeAt(next uint64) {
	p.t.Helper()
	p.must(p.store.Close(next))
}

func (p *place) reopen() {
	p.t.Helper()
	p.closeAt(p.next)
	p.open()
}

func (p *place) crash() {
	p.t.Helper()
	p.left = append(p.left, p.store)
	p.engine = p.fix.Crash(p.t.(*testing.T), p.store)
	p.open()
}

// click makes a click a second after the one before.
func (p *place) click(change ...func(*capture.Click)) *capture.Click {
	p.now = p.now.Add(time.Second)
	c := &capture.Click{Time: p.now, Campaign: "acme", Source: "news", Destination: "https://acme.example/"}
	for _, f := range change {
		f(c)
	}
	return c
}

func at(t time.Time) func(*capture.Click)             { return func(c *capture.Click) { c.Time = t } }
func flags(f capture.ClickFlags) func(*capture.Click) { return func(c *capture.Click) { c.Flags = f } }
func of(campaign, source string) func(*capture.Click) {
	return func(c *capture.Click) { c.Campaign, c.Source = campaign, source }
}

// block packs clicks and so gives them their places.
func (p *place) block(clicks ...*capture.Click) *capture.Block {
	b := &capture.Block{Number: p.next, Clicks: clicks}
	p.next++
	for i, c := range clicks {
		c.Ref = clickid.Ref{Epoch: p.epoch, Block: b.Number, Slot: uint8(i), Second: uint32(c.Time.Unix())}
	}
	return b
}

// post makes a postback for a click, a second after whatever was before.
func (p *place) post(c *capture.Click, claim attribution.Claim, change ...func(*capture.Postback)) *capture.Postback {
	b := p.postRef(c.Ref, claim, change...)
	return b
}

func (p *place) postRef(ref clickid.Ref, claim attribution.Claim, change ...func(*capture.Postback)) *capture.Postback {
	p.now = p.now.Add(time.Second)
	b := &capture.Postback{Time: p.now, Route: "main", Rules: rules, Ref: ref, HasRef: true, Claim: claim}
	for _, f := range change {
		f(b)
	}
	b.Claim.ReceivedAt = b.Time
	return b
}

func arrives(t time.Time) func(*capture.Postback) { return func(p *capture.Postback) { p.Time = t } }
func under(r *capture.Rules) func(*capture.Postback) {
	return func(p *capture.Postback) { p.Rules = r }
}

// batchOf sorts blocks and postbacks into the next batch.
func (p *place) batchOf(parts ...any) *capture.Batch {
	b := &capture.Batch{Number: p.batch, Now: p.now, Lease: p.lease}
	seq := p.seq
	for _, part := range parts {
		switch v := part.(type) {
		case *capture.Block:
			b.Blocks = append(b.Blocks, v)
		case *capture.Postback:
			v.Seq = seq
			seq++
			b.Postbacks = append(b.Postbacks, v)
		default:
			p.t.Fatalf("a batch has no %T", part)
		}
	}
	return b
}

func (p *place) done(b *capture.Batch) {
	p.batch++
	p.seq += uint64(len(b.Postbacks))
}

func (p *place) commit(parts ...any) {
	p.t.Helper()
	b := p.batchOf(parts...)
	p.must(p.store.Commit(background, b))
	p.done(b)
}

// book commits one postback by itself.
func (p *place) book(b *capture.Postback) capture.Result {
	p.t.Helper()
	p.commit(b)
	return b.Result
}

func (p *place) want(r capture.Result, outcome capture.Outcome, reason capture.Reason) {
	p.t.Helper()
	if r.Outcome != outcome || r.Reason != reason {
		p.t.Fatalf("the outcome is %q %q (%s), want %q %q", r.Outcome, r.Reason, r.Detail, outcome, reason)
	}
}

func (p *place) find(c *capture.Click) {
	p.t.Helper()
	got, err := p.store.Click(background, c.Ref)
	if err != nil {
		p.t.Fatalf("click %+v: %v", c.Ref, err)
	}
	if !sameClick(got, c) {
		p.t.Fatalf("click %+v is\n%+v, want\n%+v", c.Ref, got, c)
	}
	got, err = p.store.ClickToBook(background, c.Ref)
	if err != nil || got.Ref != c.Ref || !got.Time.Equal(c.Time) || got.Flags != c.Flags || got.Campaign != c.Campaign ||
		got.Source != c.Source || got.Destination != c.Destination || !slices.Equal(got.Subs, c.Subs) {
		p.t.Fatalf("to book click %+v there is\n%+v, want\n%+v: %v", c.Ref, got, c, err)
	}
}

func (p *place) gone(ref clickid.Ref) {
	p.t.Helper()
	if c, err := p.store.Click(background, ref); !errors.Is(err, capture.ErrNotFound) || c != nil {
		p.t.Fatalf("click %+v: %+v, %v, want none", ref, c, err)
	}
	if c, err := p.store.ClickToBook(background, ref); !errors.Is(err, capture.ErrNotFound) || c != nil {
		p.t.Fatalf("to book click %+v there is %+v, %v, want none", ref, c, err)
	}
}

func (p *place) journal(q capture.JournalQuery) []*capture.Entry {
	p.t.Helper()
	var list []*capture.Entry
	p.must(p.store.Journal(background, q, func(e *capture.Entry) bool {
		list = append(list, e)
		return true
	}))
	return list
}

func (p *place) conversions(q capture.ConversionQuery) []*capture.Conversion {
	p.t.Helper()
	var list []*capture.Conversion
	p.must(p.store.Conversions(background, q, func(c *capture.Conversion) bool {
		list = append(list, c)
		return true
	}))
	return list
}

func (p *place) ofClick(ref clickid.Ref) []*capture.Conversion {
	p.t.Helper()
	list, err := p.store.ClickConversions(background, ref)
	p.must(err)
	return list
}

// counts is the total of everything, by way of the sums.
func (p *place) counts() attribution.Counts {
	p.t.Helper()
	return p.report(attribution.Query{From: noon.Add(-1000 * day), To: noon.Add(1000 * day)}).Total
}

func (p *place) report(q attribution.Query) attribution.Report {
	p.t.Helper()
	r, err := p.store.Report(background, q)
	p.must(err)
	return r
}

var sale = attribution.Claim{Event: "sale", TxID: "1", Status: attribution.Approved, Payout: usd("12.50"), HasPayout: true}

func usd(s string) attribution.Money {
	a, err := attribution.ParseAmount(s)
	if err != nil {
		panic(err)
	}
	return attribution.Money{Amount: a, Currency: "USD"}
}

// sameClick compares all fields, times and amounts by value.
func sameClick(a, b *capture.Click) bool {
	x, y := *a, *b
	for _, c := range []*capture.Click{&x, &y} {
		c.Time, c.Cost = time.Time{}, attribution.Money{}
		c.Subs, c.Kept = slices.Concat(c.Subs), slices.Concat(c.Kept) // nil if empty
	}
	return a.Time.Equal(b.Time) && a.Cost.Equal(b.Cost) && reflect.DeepEqual(x, y)
}

// record is the content of an entry or conversion, for comparing.
func record(v any) string {
	data, err := capture.EncodeRecord(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
