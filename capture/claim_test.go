package capture

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// A click ID that cannot be read is quarantined where the sender is known and
// refused where it is not.
func TestReceiveClickID(t *testing.T) {
	t.Parallel()
	forged := genuineID[:25] + map[bool]string{true: "0", false: "4"}[genuineID[25] != '0']
	open, closed := compiled(t, Route{}), compiled(t, Route{Tokens: [][]byte{[]byte("s")}})
	for _, c := range []struct {
		query  string
		reason Reason
		detail string
	}{
		{"a=b", MissingClickID, "click_id, clickid, cid, subid, aff_sub, sub1, s2s_click_id"},
		{"click_id=%20", MissingClickID, "no click ID"},
		{"click_id={aff_sub}", UnresolvedMacro, `click_id is "{aff_sub}": the sender did not replace its macro`},
		{"click_id=%7Baff_sub%7D", UnresolvedMacro, `click_id is "{aff_sub}": the sender did not replace its macro`},
		{"click_id=%257Baff_sub%257D", UnresolvedMacro, `click_id is "%7Baff_sub%7D": the sender`},
		{"click_id=%adid%", UnresolvedMacro, `click_id is "%adid%": the sender`},
		{"click_id={x}&cid=abc", UnresolvedMacro, `"{x}"`},
		{"click_id=abc", InvalidClickID, `click_id is "abc", only 3 characters, and click IDs of this site have 26: is the wrong macro`},
		{"click_id=" + genuineID[:25] + "!", InvalidClickID, `it contains "!" at position 26, and click IDs`},
		{"click_id=" + forged, InvalidClickID, "it has the form of a click ID but was not made by this site"},
		{"click_id=" + strings.Repeat("x", 5000), InvalidClickID, `"` + strings.Repeat("x", 61) + `..."`},
	} {
		_, rej := received(t, open, getRequest(c.query), newArrival())
		if rej == nil || rej.Status != 400 || rej.Reason != c.reason || !strings.Contains(rej.Detail, c.detail) {
			t.Errorf("%.80s: got %v, want %s %s", c.query, rej, c.reason, c.detail)
		}
		p := accepted(t, closed, getRequest("token=s&payout=x&"+c.query))
		if p.HasRef || p.Problem != c.reason || !strings.Contains(p.ProblemDetail, c.detail) || p.Authentic != "token" || len(p.ClickID) > 64 {
			t.Errorf("%.80s: got %+v", c.query, p)
		}
	}
	upper := accepted(t, open, getRequest("click_id="+strings.ToUpper(genuineID)))
	if upper.Ref != senderRef || upper.ClickID != strings.ToUpper(genuineID) {
		t.Errorf("upper case: got %+v", upper)
	}
}

func TestReceiveClaim(t *testing.T) {
	t.Parallel()
	status := func(s attribution.Status) func(*Postback) bool {
		return func(p *Postback) bool { return p.Claim.Status == s }
	}
	payout := func(s string) func(*Postback) bool {
		return func(p *Postback) bool { return p.Claim.HasPayout && p.Claim.Payout.String() == s }
	}
	noPayout := func(p *Postback) bool { return !p.Claim.HasPayout }
	event := func(s string) func(*Postback) bool { return func(p *Postback) bool { return p.Claim.Event == s } }
	txid := func(s string) func(*Postback) bool { return func(p *Postback) bool { return p.Claim.TxID == s } }
	sent := func(s time.Time) func(*Postback) bool {
		return func(p *Postback) bool { return p.Claim.SentAt.Equal(s) }
	}

	mapped := Route{Statuses: map[string]attribution.Status{"Wait": attribution.Pending, "trash": attribution.Rejected, "approved": attribution.Pending}}
	euro := Route{Currency: "EUR"}
	fixed := Route{Event: "lead", Payout: attribution.Money{Currency: "USD"}}
	long := strings.Repeat("€", 100)
	for _, c := range []struct {
		rt      Route
		query   string
		check   func(*Postback) bool
		problem Reason
		detail  string
	}{
		{Route{}, "status=", status(attribution.Approved), "", ""},
		{Route{}, "status=+REVERSED+", status(attribution.Reversed), "", ""},
		{Route{}, "status=hold", status(0), UnmappedStatus, `status is "hold", which this route does not know: map it, for example with statuses { approved hold }`},
		{Route{}, "status=on+hold", status(0), UnmappedStatus, `statuses { approved "on hold" }`},
		{mapped, "status=wAIT", status(attribution.Pending), "", ""},
		{mapped, "status=TRASH", status(attribution.Rejected), "", ""},
		{mapped, "status=approved", status(attribution.Pending), "", ""},
		{mapped, "status=rejected", status(attribution.Rejected), "", ""},
		{mapped, "status=" + strings.Repeat("wait", 99), status(0), UnmappedStatus, "..."},

		{Route{}, "payout=12.5&currency=usd", payout("12.50 USD"), "", ""},
		{Route{}, "payout=12,50+EUR", payout("12.50 EUR"), "", ""},
		{Route{}, "payout=12.5+EUR&currency=eur", payout("12.50 EUR"), "", ""},
		{euro, "payout=12.5", payout("12.50 EUR"), "", ""},
		{euro, "payout=12.5+USD", payout("12.50 USD"), "", ""},
		{euro, "payout=12.5&currency=GBP", payout("12.50 GBP"), "", ""},
		{Route{}, "payout=0&currency=JPY", payout("0 JPY"), "", ""},
		{Route{}, "payout=-5&currency=USD", payout("-5.00 USD"), "", ""},
		{Route{}, "payout=$5&currency=USD", payout("5.00 USD"), "", ""},
		{Route{}, "payout=US$5+USD&currency=USD", payout("5.00 USD"), "", ""},
		{Route{}, "payout=$5&currency=EUR", noPayout, BadCurrency, "cannot be in EUR"},
		{euro, "payout=$5", noPayout, BadCurrency, "cannot be in EUR"},
		{Route{}, "payout=5+EUR&currency=USD", noPayout, BadCurrency, "sent with it is USD"},
		{Route{}, "payout=5", noPayout, BadCurrency, "currency USD"},
		{Route{}, "payout=5&currency=points", noPayout, BadCurrency, "points"},
		{Route{}, "currency=points", noPayout, BadCurrency, "points"},
		{Route{}, "currency=USD", noPayout, "", ""},
		{euro, "", noPayout, "", ""},
		{Route{}, "payout=1,234&currency=USD", noPayout, BadPayout, "1234 or 1.234"},
		{fixed, "payout={payout}&currency={currency}&event={event}", payout("0.00 USD"), "", ""},
		{fixed, "payout=99&currency=EUR&event=sale", event("lead"), "", ""},

		{Route{}, "event=+Sale+", event("Sale"), "", ""},
		{Route{}, "event=" + long, event(long[:126]), "", ""},
		{Route{}, "txid=" + long[:255], txid(long[:255]), "", ""},
		{Route{}, "time=1772366400.5", sent(time.Time{}), BadTime, "1772366400.5"},
		{Route{}, "time=2026-03-01T12:00:00.123999Z", sent(arrivalTime.Add(123 * time.Millisecond)), "", ""},
		{Route{}, "time=2026-03-01T12:00:00+01:00", sent(arrivalTime.Add(-time.Hour)), "", ""},

		// The first problem counts: macros, status, payout, currency, time.
		{Route{}, "time=x&currency=x&payout=x&status=x&txid={x}", txid(""), UnresolvedMacro, `txid is "{x}"`},
		{Route{}, "time=x&currency=x&payout=x&status=x&event={x}", event(""), UnresolvedMacro, `event is "{x}"`},
		{Route{}, "time=x&currency=x&payout=x&status=x", noPayout, UnmappedStatus, ""},
		{Route{}, "time=x&currency=x&payout=x", noPayout, BadPayout, ""},
		{Route{}, "time=x&currency=x", noPayout, BadCurrency, ""},
		{Route{}, "time=x&payout=5", noPayout, BadCurrency, ""},
		{euro, "payout=5&currency=[cur]", noPayout, UnresolvedMacro, `currency is "[cur]"`},
		{Route{}, "payout=%23price%23", noPayout, UnresolvedMacro, `payout is "#price#"`},
		{Route{}, "status={status}", status(0), UnresolvedMacro, `status is "{status}"`},
		{Route{}, "time=%7B%7Btime%7D%7D", sent(time.Time{}), UnresolvedMacro, `time is "{{time}}"`},
	} {
		p := accepted(t, compiled(t, c.rt), getRequest("click_id=CLICK&"+c.query))
		if p.Problem != c.problem || !strings.Contains(p.ProblemDetail, c.detail) || !p.HasRef || !c.check(p) {
			t.Errorf("%.80s: got %+v, problem %q %q", c.query, p.Claim, p.Problem, p.ProblemDetail)
		}
	}
}

// Long transaction IDs are shortened and stay as distinct as they were.
func TestShortTxID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		stem := rapid.SampledFrom([]string{"", strings.Repeat("x", 200), strings.Repeat("é", 150), strings.Repeat("x", 256)}).Draw(t, "stem")
		a, b := stem+rapid.String().Draw(t, "a"), stem+rapid.String().Draw(t, "b")
		sa, sb := shortTxID(a), shortTxID(b)
		if len(sa) > 256 || (a == b) != (sa == sb) || len(a) <= 256 && sa != a {
			t.Fatalf("%q and %q become %q and %q", a, b, sa, sb)
		}
	})
}
