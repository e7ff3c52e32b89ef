package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// checkViews compares the views with what the store's methods answer.
func checkViews(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.Background()
	want := make(map[string]string)
	err := s.Clicks(ctx, capture.ClickQuery{}, func(c *capture.Click) bool {
		want[viewedRef(c)] = viewedClick(c)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, "click", want, s.viewClicks(t))

	want = make(map[string]string)
	err = s.Conversions(ctx, capture.ConversionQuery{}, func(c *capture.Conversion) bool {
		want[c.ID.String()] = viewedConversion(c)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, "conversion", want, s.viewConversions(t))

	r, err := s.Report(ctx, attribution.Query{
		By:   []string{"day", "campaign", "source", "destination", "event"},
		From: time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	sameRows(t, "day", viewedDays(&r), s.viewDays(t))
}

func sameRows(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s %q is\n%s, want\n%s", what, key, got[key], want[key])
		}
		delete(got, key)
	}
	for key, row := range got {
		t.Errorf("%s %q is shown, and is not there: %s", what, key, row)
	}
}

func viewedRef(c *capture.Click) string {
	return fmt.Sprintf("%d-%d-%d", c.Ref.Epoch, c.Ref.Block, c.Ref.Slot)
}

// moneyOf writes an amount and its currency.
func moneyOf(t *testing.T, amount, currency *string) string {
	t.Helper()
	if amount == nil || currency == nil {
		if amount != nil || currency != nil {
			t.Errorf("there is an amount without a currency, or the other way round")
		}
		return "none"
	}
	a, err := attribution.ParseAmount(*amount)
	if err != nil {
		t.Error(err)
	}
	return attribution.Money{Amount: a, Currency: attribution.Currency(*currency)}.String()
}

func known(m attribution.Money) string {
	if m.Currency == "" {
		return "none"
	}
	return m.String()
}

func viewedSubs(params []capture.Param) string {
	m := make(map[string]string)
	for _, p := range slices.Backward(params) {
		m[escape(p.Name)] = escape(p.Value)
	}
	text, err := json.Marshal(m)
	return fmt.Sprint(string(text), err)
}

func readSubs(text string) string {
	m := make(map[string]string)
	err := json.Unmarshal([]byte(text), &m)
	out, _ := json.Marshal(m)
	return fmt.Sprint(string(out), err)
}

func viewedClick(c *capture.Click) string {
	f := func(flag capture.ClickFlags) bool { return c.Flags&flag != 0 }
	return fmt.Sprintf("%s %q %q %q %s %s %v", c.Time.UTC().Format(time.RFC3339Nano), c.Campaign, c.Source, c.Destination, known(c.Cost), viewedSubs(c.Subs),
		[]bool{c.Flags.Counted(), f(capture.FlagBot), f(capture.FlagPrefetch), f(capture.FlagEarly), f(capture.FlagCut), f(capture.FlagErased), f(capture.FlagMacro)})
}

func (s *Store) viewClicks(t *testing.T) map[string]string {
	t.Helper()
	got := make(map[string]string)
	var click, campaign, source, destination, subs string
	var cost, currency *string
	var at time.Time
	flags := make([]bool, 7)
	s.view(t, `SELECT click, time, campaign, source, destination, cost::text, currency, subs::text, counted, bot, prefetch, early_data, cut, erased,
unresolved_macro FROM {s}.clicks`, []any{
		&click, &at, &campaign, &source, &destination, &cost, &currency, &subs, &flags[0], &flags[1], &flags[2], &flags[3], &flags[4], &flags[5], &flags[6],
	}, func() {
		got[click] = fmt.Sprintf("%s %q %q %q %s %s %v", at.UTC().Format(time.RFC3339Nano), unescape(campaign), unescape(source), unescape(destination),
			moneyOf(t, cost, currency), readSubs(subs), flags)
	})
	return got
}

func viewedConversion(c *capture.Conversion) string {
	s := &c.State
	payout, revenue := "none", "0"
	if s.HasPayout {
		payout = s.Payout.String()
		if s.Status == attribution.Approved {
			revenue = s.Payout.Amount.String()
		}
	}
	return fmt.Sprintf("%s %s %s %s %q %q %q %q %q %s %s %s %s", viewedRef(&capture.Click{Ref: c.Click}), s.Time.UTC().Format(time.RFC3339Nano),
		c.ClickTime.UTC().Format(time.RFC3339Nano), c.Lag(), c.Campaign, c.Source, c.Destination, s.Event, s.TxID, s.Status, payout, revenue, viewedSubs(c.Subs))
}

func (s *Store) viewConversions(t *testing.T) map[string]string {
	t.Helper()
	got := make(map[string]string)
	var id, click, campaign, source, destination, event, txid, status, revenue, subs string
	var payout, currency *string
	var at, clickAt time.Time
	var lag int64
	s.view(t, `SELECT id, click, time, click_time, (extract(epoch FROM lag) * 1000)::bigint, campaign, source, destination, event, txid, status,
payout::text, currency, revenue::text, subs::text FROM {s}.conversions`, []any{
		&id, &click, &at, &clickAt, &lag, &campaign, &source, &destination, &event, &txid, &status, &payout, &currency, &revenue, &subs,
	}, func() {
		got[id] = fmt.Sprintf("%s %s %s %s %q %q %q %q %q %s %s %s %s", click, at.UTC().Format(time.RFC3339Nano), clickAt.UTC().Format(time.RFC3339Nano),
			time.Duration(lag)*time.Millisecond, unescape(campaign), unescape(source), unescape(destination), unescape(event), unescape(txid), status,
			moneyOf(t, payout, currency), revenue, readSubs(subs))
	})
	return got
}

// viewedDays are the rows of a report as the view has them: counts, and beside
// them money by its currency.
func viewedDays(r *attribution.Report) map[string]string {
	want := make(map[string]string)
	for _, row := range r.Rows {
		n := []int64{row.Clicks, row.BotClicks, row.Conversions, row.Pending, row.Approved, row.Rejected, row.Reversed}
		if slices.ContainsFunc(n, func(n int64) bool { return n != 0 }) {
			want[fmt.Sprintf("%q %s", row.Keys, "")] = fmt.Sprintf("%v %s %s", n, "0", "0")
		}
		for _, currency := range []attribution.Currency{"USD", "EUR", "JPY", "GBP", "KWD", "CHF"} {
			revenue, cost := row.Revenue[currency], row.Cost[currency]
			if revenue.String() != "0" || cost.String() != "0" {
				want[fmt.Sprintf("%q %s", row.Keys, currency)] = fmt.Sprintf("%v %s %s", make([]int64, 7), revenue, cost)
			}
		}
	}
	return want
}

func (s *Store) viewDays(t *testing.T) map[string]string {
	t.Helper()
	got := make(map[string]string)
	keys := make([]string, 5)
	var currency, revenue, cost string
	n := make([]int64, 7)
	s.view(t, `SELECT day::text, campaign, source, destination, event, coalesce(currency, ''), clicks, bot_clicks, conversions, pending, approved, rejected,
reversed, revenue::text, cost::text FROM {s}.daily`, []any{
		&keys[0], &keys[1], &keys[2], &keys[3], &keys[4], &currency, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5], &n[6], &revenue, &cost,
	}, func() {
		for i := range keys {
			keys[i] = unescape(keys[i])
		}
		var amounts [2]attribution.Amount
		for i, text := range []string{revenue, cost} {
			var err error
			if amounts[i], err = attribution.ParseAmount(text); err != nil {
				t.Error(err)
			}
		}
		got[fmt.Sprintf("%q %s", keys, currency)] = fmt.Sprintf("%v %s %s", n, amounts[0], amounts[1])
	})
	return got
}

// view runs f for each row of a statement.
func (s *Store) view(t *testing.T, sql string, scan []any, f func()) {
	t.Helper()
	rows, err := s.read.Query(context.Background(), s.q(sql))
	if err == nil {
		_, err = pgx.ForEachRow(rows, scan, func() error { f(); return nil })
	}
	if err != nil {
		t.Errorf("%s: %v", sql, err)
	}
}

// TestViewsOfOddText: what text PostgreSQL has no room for is shown escaped.
func TestViewsOfOddText(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(3)
	c := b.Clicks[1]
	c.Campaign, c.Source, c.Destination = `quo"te\`, "nul\x00,{}", "NULL"
	c.Subs = []capture.Param{{Name: "sub1", Value: "ü\x00"}, {Name: "sub1", Value: "second"}, {Name: `a"\<`, Value: "\x1a"}}
	c.Cost = attribution.Money{Amount: attribution.AmountOf(123456789012345678, 9), Currency: "EUR"}
	b.Clicks[2].Time = noon.AddDate(0, 0, 40).Add(time.Millisecond) // the clock was set
	b.Clicks[2].Ref.Second = uint32(b.Clicks[2].Time.Unix())        //nolint:gosec // of 2026
	n.must(n.commit([]*capture.Block{b, n.block(64)}, sale(c, "tx\x00\"")))
	n.healthy()
	checkViews(t, n.s)
	var sub, cost string
	n.must(n.s.read.QueryRow(context.Background(), n.s.q(`SELECT subs->>'sub1', cost::text FROM {s}.clicks WHERE campaign = $1`), `quo"te\`).Scan(&sub, &cost))
	if sub != "ü\x1a0" || cost != "123456789.012345678" {
		t.Errorf("the view shows %q %q", sub, cost)
	}
}

// TestCheckOfColumns: the check finds what the views would show wrongly.
func TestCheckOfColumns(t *testing.T) {
	t.Parallel()
	n := open(t, fresh(t))
	b := n.block(2)
	b.Clicks[0].Subs = []capture.Param{{Name: "sub1", Value: "a"}}
	b.Clicks[0].Cost = attribution.Money{Amount: attribution.AmountOf(35, 2), Currency: "USD"}
	n.must(n.commit([]*capture.Block{b}, sale(b.Clicks[0], "1")))
	n.healthy()
	for _, change := range []string{
		`blocks SET front = front - 1`, `blocks SET words[1] = 'other'`, `blocks SET after_ms[2] = 1`, `blocks SET flags[1] = 1`,
		`blocks SET campaigns[1] = sources[1]`, `blocks SET sources[1] = campaigns[1]`, `blocks SET destinations[1] = campaigns[1]`,
		`blocks SET costs[1] = 0.36`, `blocks SET costs[2] = 0`, `blocks SET currencies[1] = 1`, `blocks SET subs = '[]'`,
		`blocks SET subs = '[{"sub1": "b"}, {}]'`, `ledger SET name = 'a'`, `ledger SET click_at = click_at + interval '1 ms'`,
		`ledger SET campaign = 'other'`, `ledger SET source = ''`, `ledger SET destination = ''`, `ledger SET event = ''`, `ledger SET txid = ''`,
		`ledger SET status = 1`, `ledger SET payout = 12.51`, `ledger SET payout = NULL`, `ledger SET currency = 'EUR'`, `ledger SET subs = '{}'`,
	} {
		ctx := context.Background()
		n.must(n.s.keep(ctx, `CREATE TABLE {s}.kept AS SELECT * FROM {s}.`+change[:6]))
		n.must(n.s.keep(ctx, `UPDATE {s}.`+change))
		r, err := n.s.Check(ctx, nil)
		n.must(err)
		if r.Wrong != 1 {
			t.Errorf("%s: the check found %d problems: %q", change, r.Wrong, r.Problems)
		}
		n.must(n.s.keep(ctx, `DELETE FROM {s}.`+change[:6]))
		n.must(n.s.keep(ctx, `INSERT INTO {s}.`+change[:6]+` SELECT * FROM {s}.kept`))
		n.must(n.s.keep(ctx, `DROP TABLE {s}.kept`))
	}
	n.healthy()
}

// keep runs a statement.
func (s *Store) keep(ctx context.Context, sql string) error {
	_, err := s.write.Exec(ctx, s.q(sql))
	return err
}
