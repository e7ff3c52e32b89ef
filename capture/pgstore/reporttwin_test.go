package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the zones are the same wherever this runs

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/badgerstore"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/pgstore/pgtest"
)

// The names that a careless comparison, statement or collation would confuse:
// those in one line are the same to somebody. What is no UTF-8 is never stored, but
// may be asked for.
var (
	twinCampaigns = []string{
		"acme", "Acme", "ACME", "ac-me", "acme ",
		"caf\u00e9", "cafe\u0301", "cafe",
		"a_me", "a%", `a\_me`, "a\x00", "a\x1a0", "a\x1axff", "a\ufffd",
		"", "'; DROP TABLE capture.sums; --", "$1", "{s}", "%d",
	}
	twinSources = []string{"", "news", "News", "x' OR '1'='1", `"`, "\x1a\x1a"}
	twinEvents  = []string{"sale", "Sale", "lead\x00", "{s}"}
	twinSubs    = []string{"sub1", "SUB1", `a'"b\`, "nul\x00", "$2", "\x1axff"}
	twinValues  = []string{"", "one", "One", "two\x00", `th"ree\`, "null", "\x1a0", "%"}
	twinMoney   = []string{"USD", "EUR", "JPY", "KWD"}
	twinRoutes  = []string{"main", "Main", "r'\x00", "r%"}
)

// twins are a database and an embedded store with the same past.
type twins struct {
	t            *testing.T
	shared, disk capture.Store
}

// collated makes a database whose own collation ignores case, accents and
// punctuation as far as any can.
func collated(t *testing.T) (dsn string) {
	t.Helper()
	dsn = pgtest.Shared(t).DSN()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background()) //nolint:errcheck // nothing hangs on it
	name := "collated_" + pgtest.Schema()
	_, err = conn.Exec(t.Context(), `CREATE DATABASE `+name+` TEMPLATE template0 ENCODING 'UTF8'
LOCALE_PROVIDER icu ICU_LOCALE 'und-u-ka-shifted-ks-level1' LC_COLLATE 'C' LC_CTYPE 'C'`)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == codeSyntax || pg.Code == codeUnsupported) {
		t.Logf("this server has no such collation: %v", err) // before version 15, or without ICU
		return dsn
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(dsn, "dbname=postgres", "dbname="+name, 1)
}

func newTwins(t *testing.T) *twins {
	t.Helper()
	w := &twins{t: t}
	shared := &Engine{DSN: collated(t), Schema: pgtest.Schema(), Dir: t.TempDir(), Logger: zap.NewNop(), patience: patient}
	w.shared = w.lives(shared)
	w.disk = w.lives(badgerstore.New(filepath.Join(t.TempDir(), "store"), zap.NewNop()))
	for _, s := range []capture.Store{w.shared, w.disk} {
		checked(t, s)
	}
	checkViews(t, w.shared.(*Store))
	return w
}

// lives gives a store six weeks in which clocks are set in half of the world.
func (w *twins) lives(e capture.Engine) capture.Store {
	s, err := e.Open(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Close(0) })
	id, err := e.Identity()
	if err != nil {
		w.t.Fatal(err)
	}
	h := twinHistory{r: rand.New(rand.NewPCG(5, 6)), epoch: id.Epoch, next: s.Position().NextBlock} //nolint:gosec // no secret
	number := s.Position().NextBatch
	commit := func(blocks []*capture.Block, posts []*capture.Postback) {
		b := &capture.Batch{Number: number, Now: noon.AddDate(0, 0, 60), Blocks: blocks, Postbacks: posts}
		if err := s.Commit(context.Background(), b); err != nil {
			w.t.Fatal(err)
		}
		number++
	}
	for i := range 24 {
		if i == 16 { // from here on there are sums and blocks that are not packed
			if _, err := s.Sweep(context.Background(), noon.AddDate(0, 0, 60), capture.Retention{}); err != nil {
				w.t.Fatal(err)
			}
		}
		block, posts, later := h.day(noon.Add(time.Duration(i) * 45 * time.Hour))
		commit([]*capture.Block{block}, posts)
		commit(nil, later)
	}
	return s
}

// twinHistory makes the same past for each store, but for its epoch.
type twinHistory struct {
	r     *rand.Rand
	epoch uint16
	next  uint64
}

func (h *twinHistory) pick(list []string) string { return list[h.r.IntN(len(list))] }

func (h *twinHistory) within(d time.Duration) time.Duration {
	return time.Duration(h.r.Int64N(int64(d/time.Millisecond))) * time.Millisecond
}

// day makes a block, what is posted at once, and what is posted later.
func (h *twinHistory) day(begin time.Time) (b *capture.Block, posts, later []*capture.Postback) {
	b = &capture.Block{Number: h.next}
	h.next++
	for slot := range 30 {
		when := begin.Add(h.within(44 * time.Hour))
		c := &capture.Click{
			Ref:  clickid.Ref{Epoch: h.epoch, Block: b.Number, Slot: uint8(slot), Second: uint32(when.Unix())}, //nolint:gosec // of 2026
			Time: when, Campaign: h.pick(twinCampaigns), Source: h.pick(twinSources), Destination: "https://" + h.pick(twinSources),
		}
		for _, name := range twinSubs {
			if value := h.pick(twinValues); value != "" {
				c.Subs = append(c.Subs, capture.Param{Name: name, Value: value})
			}
		}
		if h.r.IntN(2) == 0 {
			c.Cost = h.money(9999, 0)
		}
		if h.r.IntN(8) == 0 {
			c.Flags = []capture.ClickFlags{capture.FlagTest, capture.FlagBot, capture.FlagPrefetch}[h.r.IntN(3)]
		}
		b.Clicks = append(b.Clicks, c)
		for i := range h.r.IntN(3) {
			p := sale(c, fmt.Sprint(i))
			p.Route, p.Time = h.pick(twinRoutes), noon.AddDate(0, 0, 60)
			p.Claim.SentAt, p.Claim.Event, p.Claim.Status = c.Time.Add(h.within(90*time.Hour)), h.pick(twinEvents), attribution.Status(1+h.r.IntN(4)) //nolint:gosec // four
			p.Claim.Payout, p.Claim.HasPayout = h.money(99999, -9999), h.r.IntN(5) > 0
			posts = append(posts, p)
			if h.r.IntN(3) == 0 {
				later = append(later, h.change(*p))
			}
		}
	}
	nobody := sale(&capture.Click{Ref: clickid.Ref{Epoch: h.epoch, Block: b.Number, Slot: 60, Second: uint32(begin.Unix())}}, "none") //nolint:gosec // of 2026
	nobody.Route, nobody.Time = h.pick(twinRoutes), noon.AddDate(0, 0, 60)
	return b, append(posts, nobody), later
}

func (h *twinHistory) money(most, least int64) attribution.Money {
	return attribution.Money{Amount: attribution.AmountOf(least+h.r.Int64N(most), uint8(h.r.IntN(5))), Currency: attribution.Currency(h.pick(twinMoney))}
}

// change is what becomes of a conversion: a repeat, another status or payout, or a
// refund.
func (h *twinHistory) change(p capture.Postback) *capture.Postback {
	p.Claim.SentAt = p.Claim.SentAt.Add(h.within(200 * time.Hour))
	switch h.r.IntN(4) {
	case 0:
		p.Claim.Status = attribution.Reversed
	case 1:
		p.Claim.Payout, p.Claim.HasPayout, p.Claim.Status = h.money(99999, -9999), true, attribution.Approved
	case 2:
		p.Claim.Refund, p.Claim.Key, p.Claim.Status, p.Claim.HasPayout = true, "refund", attribution.Approved, true
		p.Claim.Payout.Amount = attribution.AmountOf(h.r.Int64N(999), 2)
	}
	return &p
}

// TestAnswersAreThoseOfTheEmbeddedStore: two kinds of store with the same past give
// the same answers, to the last digit, whatever the collation of the database.
func TestAnswersAreThoseOfTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	w := newTwins(t)
	t.Run("reports", w.sameReports)
	t.Run("lists", w.sameLists)
}

func (w *twins) sameReports(t *testing.T) {
	rates, err := attribution.ParseRates([]byte(
		"currency,rate,date\nEUR,1,2026-01-01\nUSD,0.9,2026-01-01\nUSD,0.8003,2026-03-09\nJPY,0.0061,2026-03-20\nUSD,0.91,2026-04-02\n"))
	if err != nil {
		t.Fatal(err)
	}
	all, err := w.disk.Report(context.Background(), attribution.Query{By: []string{"campaign", "event"}, From: noon.AddDate(0, -1, 0), To: noon.AddDate(0, 3, 0)})
	if err != nil || len(all.Rows) < 60 || all.Total.Conversions < 400 || all.Total.Reversed == 0 || len(all.Total.Revenue) != len(twinMoney) {
		t.Fatalf("the past is too short to prove anything: %d rows, %+v, %v", len(all.Rows), all.Total, err)
	}
	// Some are answered from sums, the others from records.
	t.Run("sums", func(t *testing.T) { w.sameReport(t, false, rates) })
	t.Run("records", func(t *testing.T) { w.sameReport(t, true, rates) })
}

func (w *twins) sameReport(t *testing.T, records bool, rates *attribution.Rates) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawTwin(t, records, rates)
		var texts [2]string
		for i, s := range []capture.Store{w.shared, w.disk} {
			r, err := s.Report(context.Background(), q)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = string(text)
		}
		if texts[0] != texts[1] {
			t.Errorf("%+v:\nthe database says %s\nthe disk says     %s", q, texts[0], texts[1])
		}
	})
}

func drawTwin(t *rapid.T, records bool, rates *attribution.Rates) attribution.Query {
	dims := []string{"campaign", "source", "destination", "event"}
	filters := slices.Clone(dims)
	values := map[string][]string{
		"campaign": append(slices.Clone(twinCampaigns), "a\xff", "%"), "source": twinSources, "event": append(slices.Clone(twinEvents), ""),
		"destination": {"https://", "https://news", "https://\x1a\x1a", "https://%", "\xfe"},
	}
	for _, name := range append(slices.Clone(twinSubs), "none", "\xff") {
		values["sub."+name] = twinValues
		if records {
			dims, filters = append(dims, "sub."+name), append(filters, "sub."+name)
		}
	}
	q := attribution.Query{
		By: slices.Concat(
			rapid.SliceOfNDistinct(rapid.SampledFrom(dims), 0, 3, rapid.ID).Draw(t, "by"),
			rapid.SampledFrom([][]string{{}, {"day"}, {"day"}, {"hour"}, {"month"}, {"month", "day"}, {"day", "hour"}}).Draw(t, "times"),
		),
		From: noon.Add(time.Duration(rapid.IntRange(-100, 4400).Draw(t, "from")) * 15 * time.Minute),
		Lags: rapid.Bool().Draw(t, "lags"),
	}
	q.To = q.From.Add(time.Duration(rapid.IntRange(1, 4800).Draw(t, "quarters")) * 15 * time.Minute)
	if records && rapid.Bool().Draw(t, "unaligned") {
		q.From = q.From.Add(time.Duration(rapid.IntRange(0, 899_999_999).Draw(t, "more")) * time.Microsecond)
		q.To = q.To.Add(time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "longer")) + 15*time.Minute)
	}
	if name := rapid.SampledFrom([]string{
		"", "UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Chatham", "odd",
	}).Draw(t, "zone"); name == "odd" {
		q.Location = time.FixedZone("", -2670)
	} else if name != "" {
		var err error
		if q.Location, err = time.LoadLocation(name); err != nil {
			t.Fatal(err)
		}
	}
	if rapid.Bool().Draw(t, "rates") {
		q.Rates = rates
	}
	if rapid.IntRange(0, 4).Draw(t, "of a campaign") == 0 {
		q.Campaign = rapid.SampledFrom(twinCampaigns).Draw(t, "campaign")
	}
	if rapid.IntRange(0, 4).Draw(t, "of a source") == 0 {
		q.Source = rapid.SampledFrom(twinSources).Draw(t, "source")
	}
	for range rapid.IntRange(0, 2).Draw(t, "filters") {
		dim := rapid.SampledFrom(filters).Draw(t, "dimension")
		q.Filters = append(q.Filters, attribution.Filter{Dimension: dim, Value: rapid.SampledFrom(values[dim]).Draw(t, "value")})
	}
	return q
}

func (w *twins) sameLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := noon.Add(time.Duration(rapid.Int64Range(-int64(50*time.Hour), int64(1200*time.Hour)).Draw(t, "from")))
		end := begin.Add(time.Duration(rapid.Int64Range(1, int64(2000*time.Hour)).Draw(t, "length")))
		from := rapid.SampledFrom([]time.Time{{}, begin}).Draw(t, "begins")
		to := rapid.SampledFrom([]time.Time{{}, end}).Draw(t, "ends")
		one := func(list []string, what string) string {
			return rapid.SampledFrom(append([]string{"", "", "", "nobody", "a\xff"}, list...)).Draw(t, what)
		}
		convs := capture.ConversionQuery{
			From: from, To: to, Campaign: one(twinCampaigns, "campaign"), Source: one(twinSources, "source"), Event: one(twinEvents, "event"),
			Status: attribution.Status(rapid.IntRange(0, 4).Draw(t, "status")), Test: rapid.IntRange(0, 3).Draw(t, "test") == 0, //nolint:gosec // four
		}
		entries := capture.JournalQuery{
			From: from, To: to, Route: one(twinRoutes, "route"), Campaign: one(twinCampaigns, "of"), Open: rapid.IntRange(0, 3).Draw(t, "open") == 0,
			Outcome: rapid.SampledFrom([]capture.Outcome{"", capture.Recorded, capture.Duplicate, capture.Updated, capture.Quarantined}).Draw(t, "outcome"),
		}
		var got [2][]string
		for i, s := range []capture.Store{w.shared, w.disk} {
			if err := s.Conversions(context.Background(), convs, func(c *capture.Conversion) bool {
				st := &c.State
				got[i] = append(got[i], fmt.Sprintf("%d %d %q %q %q %q %q %s %v %s", st.Time.UnixMilli(), c.ClickTime.UnixMilli(), c.Campaign, c.Source,
					c.Destination, st.Event, st.TxID, st.Status, st.HasPayout, st.Payout))
				return true
			}); err != nil {
				t.Fatal(err)
			}
			slices.Sort(got[i]) // those of a millisecond are in the order of their IDs, which tell the epoch
			if err := s.Journal(context.Background(), entries, func(e *capture.Entry) bool {
				got[i] = append(got[i], fmt.Sprintf("%d %q %s %s %q %q", e.Time.UnixMilli(), e.Route, e.Outcome, e.Reason, e.Campaign, e.Claim.TxID))
				return true
			}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got[0], got[1]) {
			t.Errorf("%+v, %+v:\nthe database has %q\nthe disk has     %q", convs, entries, got[0], got[1])
		}
	})
}
