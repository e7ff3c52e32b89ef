package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// What a test postback says a conversion earns.
const (
	testPayout   = "1.23"
	testCurrency = "USD"
)

// sentPostback is a postback that the test has sent.
type sentPostback struct {
	target *testTarget
	txid   string
	reply  *testReply
	// after is the last journal entry before it, as far as that is known.
	after uint64
	// entry is its line in the journal, nil if there is none.
	entry *capture.Entry
	// answer is what the sender was told, as far as it was JSON of ours.
	answer postbackBody
}

// postback reports a conversion of the click, twice, and looks at what became
// of it.
func (t *testRun) postback(p *testPostback, m *madeClick) {
	name := p.route.postback.Name
	target, err := p.route.target(p.want)
	if err != nil {
		t.note("postback", fmt.Sprintf("postback %q was not tested: %v", name, err), "Name its address with --postback.")
		return
	}
	s := &sentPostback{target: target, txid: testName()}
	token := fillPostback(p.route.postback, s, m.id)
	if !t.send(p, m, s, token) {
		return
	}
	if s.entry.Outcome != capture.Recorded {
		t.fail("postback", s.text(token), explainOutcome(s.entry.Outcome, s.entry.Reason, s.entry.Detail))
		return
	}
	t.ok("postback", s.text(token), "")

	again := &sentPostback{target: target, txid: s.txid, after: s.entry.Seq}
	if !t.send(p, m, again, token) {
		return
	}
	if again.entry.Outcome != capture.Duplicate || again.entry.Conversion != s.entry.Conversion {
		t.fail("repeat", again.text(token), "The same postback sent again must be a duplicate: senders repeat what they are not sure of.")
		return
	}
	t.ok("repeat", fmt.Sprintf("the same again -> %d %s", again.reply.status, again.entry.Outcome), "")
	if t.conversion(s) {
		t.counted(m)
	}
}

// fillPostback sets the parameters, under the first name that the route has
// for each, and the token. It tells whether a token is sent.
func fillPostback(h *Postback, s *sentPostback, id string) (token bool) {
	currency := string(h.route.Currency)
	if currency == "" {
		currency = testCurrency
	}
	var taken []string
	var query []string
	for _, p := range []struct {
		field capture.Field
		value string
	}{
		{capture.FieldClickID, id},
		{capture.FieldTxID, s.txid},
		{capture.FieldPayout, testPayout},
		{capture.FieldCurrency, currency},
	} {
		for _, name := range h.route.Fields[p.field] {
			if lower := strings.ToLower(name); !slices.Contains(taken, lower) {
				taken = append(taken, lower)
				query = append(query, url.QueryEscape(name)+"="+url.QueryEscape(p.value))
				break
			}
		}
	}
	s.target.url.RawQuery = joinQuery(s.target.url.RawQuery, strings.Join(query, "&"))
	if len(h.route.Tokens) == 0 {
		return false
	}
	// In the header it does not end up in access logs.
	s.target.header.Set("Authorization", "Bearer "+string(h.route.Tokens[0]))
	return true
}

// text describes what was sent and what came of it, without the token.
func (s *sentPostback) text(token bool) string {
	text := s.target.method + " " + s.target.url.String()
	if token {
		text += " (with the token)"
	}
	if s.reply == nil {
		return text
	}
	text = fmt.Sprintf("%s -> %d", text, s.reply.status)
	switch {
	case s.entry != nil:
		text += " " + string(s.entry.Outcome)
		if s.entry.Reason != "" {
			text += " " + string(s.entry.Reason)
		}
	case s.answer.Outcome != "":
		text += " " + string(s.answer.Outcome) + " " + string(s.answer.Reason)
	}
	return text
}

// send sends the postback and finds it in the journal. What keeps it from
// getting there is reported, and false returned.
func (t *testRun) send(p *testPostback, m *madeClick, s *sentPostback, token bool) bool {
	since := time.Now()
	var err error
	if s.reply, err = p.route.server.send(t.ctx, s.target); err != nil {
		t.fail("postback", s.text(token)+" failed: "+err.Error(), explainDial(p.route.server, err))
		return false
	}
	if s.entry, err = t.journaled(m, s, since); err != nil {
		t.fail("postback", "the journal cannot be read: "+err.Error(), t.storeTrouble())
		return false
	}
	if s.entry != nil {
		return true
	}
	// What is not JSON of ours leaves the answer empty.
	_ = json.Unmarshal(s.reply.body, &s.answer)
	switch s.answer.Reason {
	case capture.AddressNotAllowed:
		t.note("postback", s.text(token), "The test comes from this machine, which is not in the route's allow list. For the "+
			"sender that is fine; the test cannot prove that its addresses are the ones in the list.")
		return false
	case capture.InsecureTransport:
		t.note("postback", s.text(token), "This listener speaks plain HTTP and is not on the loopback interface, and postbacks are "+
			"taken by HTTPS only. If a proxy in front speaks TLS, set the server's trusted_proxies and have it send "+
			"X-Forwarded-Proto; if senders really have no HTTPS, set allow_http.")
		return false
	}
	if s.answer.Outcome == "" && p.want.path == "" && len(s.target.also) > 0 {
		t.note("postback", s.text(token), explainAlso(s.target, "--postback"))
		return false
	}
	t.fail("postback", s.text(token), t.explainPostback(s))
	return false
}

// journaled finds the journal entry of a postback that was just sent.
func (t *testRun) journaled(m *madeClick, s *sentPostback, since time.Time) (*capture.Entry, error) {
	reader, err := t.lease.ledger.Reader()
	if err != nil {
		return nil, err
	}
	// Times are kept to the millisecond. Without a txid of ours the entry
	// must be one that could not be read.
	q := capture.JournalQuery{From: since.Truncate(time.Millisecond)}
	var found *capture.Entry
	err = reader.Journal(t.ctx, q, func(e *capture.Entry) bool {
		if e.Seq > s.after && e.HasClick && e.Click == m.click.Ref && (e.Claim.TxID == s.txid || e.Claim.TxID == "") {
			found = e
		}
		return found == nil
	})
	return found, err
}

// conversion looks the conversion up.
func (t *testRun) conversion(s *sentPostback) bool {
	reader, err := t.lease.ledger.Reader()
	if err != nil {
		t.fail("conversion", "the store cannot be read: "+err.Error(), t.storeTrouble())
		return false
	}
	c, err := reader.Conversion(t.ctx, s.entry.Conversion)
	if err != nil {
		t.fail("conversion", fmt.Sprintf("conversion %s cannot be read: %v", s.entry.Conversion, err), t.storeTrouble())
		return false
	}
	if !c.Test {
		t.fail("conversion", fmt.Sprintf("conversion %s is not flagged as a test, so it counts", c.ID), "This is a fault in Capture; please report it.")
		return false
	}
	pay := "no payout"
	if c.State.HasPayout {
		pay = c.State.Payout.String()
	}
	detail := ""
	if sent, err := attribution.ParseAmount(testPayout); err == nil && c.State.HasPayout && !c.State.Payout.Amount.Equal(sent) {
		detail = "The postback said " + testPayout + "; the payout that the configuration fixes was booked instead."
	}
	t.ok("conversion", fmt.Sprintf("conversion %s is on disk, flagged as a test: %s, %s, %s", c.ID, c.State.Event, c.State.Status, pay), detail)
	return true
}

// report reads the sums of the time around now, by campaign and source.
func (t *testRun) report() (attribution.Report, error) {
	from := time.Now().Truncate(capture.CellSpan).Add(-capture.CellSpan)
	return t.lease.ledger.Report(t.ctx, attribution.Query{
		By: []string{"campaign", "source"}, From: from, To: from.Add(4 * capture.CellSpan),
	})
}

// counted checks that the report does not count the test.
func (t *testRun) counted(m *madeClick) {
	after, err := t.report()
	if err != nil {
		t.fail("report", "the report cannot be read: "+err.Error(), t.storeTrouble())
		return
	}
	was, is := countsOf(&m.before, m.click), countsOf(&after, m.click)
	switch {
	case sameCounts(was, is):
		t.ok("report", fmt.Sprintf("the report for campaign %q, source %q is as before: the test does not count",
			m.click.Campaign, m.click.Source), "")
	case strings.HasPrefix(m.click.Source, "test-"):
		// No visitor has this source.
		t.fail("report", fmt.Sprintf("the report counts the test: it has source %q", m.click.Source), "This is a fault in Capture; please report it.")
	default:
		t.note("report", fmt.Sprintf("the report for campaign %q, source %q changed during the test", m.click.Campaign, m.click.Source),
			"There were visitors at the same time. The test's click and conversion are flagged and do not count.")
	}
}

func countsOf(r *attribution.Report, c *capture.Click) attribution.Counts {
	for i := range r.Rows {
		if slices.Equal(r.Rows[i].Keys, []string{c.Campaign, c.Source}) {
			return r.Rows[i].Counts.Clone()
		}
	}
	return attribution.Counts{}
}

func sameCounts(a, b attribution.Counts) bool {
	d := a.Clone()
	d.Sub(b)
	return d.IsZero()
}
