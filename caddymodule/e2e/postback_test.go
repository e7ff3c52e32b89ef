package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const postbackSite = `{
	admin $ADMIN
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	capture {
		store badger $STORE
		click_id_key $KEY
		campaign fixed {
			payout 7.25 EUR
		}
		campaign quick {
			window 1s
		}
		campaign per-event {
			dedup event
		}
		campaign per-click {
			dedup click
		}
	}
}
http://127.0.0.1:$PORT {
	track_click /go/* https://offer.example/?cid={click_id}
	postback /open
	postback /token {
		token first-secret-token second-secret-token
	}
	postback /local {
		allow 127.0.0.0/8
	}
	postback /office {
		allow 203.0.113.0/24
		allow_http
	}
	postback /anywhere {
		allow_http
	}
	postback /acme-only {
		campaign acme
	}
	postback /strict {
		quarantine_status 422
		token first-secret-token
	}
	postback /polite {
		quarantine_status 200
		answer 200 OK
		token first-secret-token
	}
	postback /created {
		answer 201
	}
	postback /fixed {
		event signup
		payout 3.10 GBP
	}
	postback /euro {
		currency EUR
	}
	postback /small {
		max_body 1KiB
	}
	postback /nested {
		fields {
			click_id data.click.id data.ids.1
			txid order ref
			payout data.money.amount
			currency data.money.currency
			event type
			status data.state
		}
		statuses {
			approved paid Confirmed
			pending waiting
			rejected trash
			reversed refund chargeback
		}
	}
	respond "the site"
}
`

// foreign presents a sender that does not come from this machine.
const foreign = "X-Forwarded-For: 203.0.113.77"

const (
	form     = "Content-Type: application/x-www-form-urlencoded"
	jsonBody = "Content-Type: application/json"
	bearer   = "Authorization: Bearer "
)

// A postbackCase is one postback. $ID stands for the ID of a fresh click of campaign acme, unless
// another is named; $FOREIGN for a genuine ID that is not in this store.
type postbackCase struct {
	name     string
	campaign string
	method   string // default GET, or POST if there is a body
	target   string
	body     string
	headers  []string

	status  int
	outcome string
	reason  string
	says    []string // parts of the answer
}

var postbackCases = []postbackCase{
	// Booked: parameters from everywhere, under their default names.
	{name: "only the ID", target: "/open?click_id=$ID", status: 200, outcome: "recorded", says: []string{`"event":"conversion"`, `"status":"approved"`, `"campaign":"acme"`}},
	{name: "TUNE's names", target: "/open?aff_sub=$ID&transaction_id=9&payout=1.50&currency=EUR&goal=install", status: 200, outcome: "recorded", says: []string{`"event":"install"`, `"payout":"1.50"`, `"currency":"EUR"`}},
	{name: "others' names", target: "/open?subid=$ID&tid=9&sum=0.0375&cur=usd&et=lead&status=Pending", status: 200, outcome: "recorded", says: []string{`"event":"lead"`, `"payout":"0.0375"`, `"currency":"USD"`, `"status":"pending"`}},
	{name: "first that is not empty", target: "/open?click_id=&clickid=$ID&payout=&amount=2.00&currency=USD", status: 200, outcome: "recorded", says: []string{`"payout":"2.00"`}},
	{name: "case folded", target: "/open?click_id=$UPPER", status: 200, outcome: "recorded", says: []string{`"click_id":"$ID"`}},
	{name: "a large exact amount", target: "/open?click_id=$ID&payout=123456789012.345678&currency=USD", status: 200, outcome: "recorded", says: []string{`"payout":"123456789012.345678"`}},
	{name: "no payout, no currency", target: "/open?click_id=$ID&txid=1", status: 200, outcome: "recorded"},
	{name: "a form", target: "/open", body: "s2s_click_id=$ID&orderid=7&revenue=10.00&currency=GBP&event=sale", headers: []string{form}, status: 200, outcome: "recorded", says: []string{`"payout":"10.00"`, `"currency":"GBP"`}},
	{name: "JSON", target: "/open", body: `{"cid":"$ID","txid":7,"amount":12.50,"currency":"USD"}`, headers: []string{jsonBody}, status: 200, outcome: "recorded", says: []string{`"payout":"12.50"`}},
	{name: "JSON, nested", target: "/nested", body: `{"type":"sale","order":"A-1","data":{"click":{"id":"$ID"},"money":{"amount":0.10,"currency":"EUR"},"state":"PAID"}}`, headers: []string{jsonBody}, status: 200, outcome: "recorded", says: []string{`"payout":"0.10"`, `"event":"sale"`, `"status":"approved"`}},
	{name: "JSON, in an array", target: "/nested", body: `{"data":{"ids":["x","$ID"],"state":"waiting"}}`, headers: []string{jsonBody}, status: 200, outcome: "recorded", says: []string{`"status":"pending"`}},
	{name: "a sender's word for rejected", target: "/nested?data.click.id=$ID&data.state=Trash", status: 200, outcome: "recorded", says: []string{`"status":"rejected"`}},
	{name: "a sender's word for reversed", target: "/nested?data.click.id=$ID&data.state=CHARGEBACK", status: 200, outcome: "recorded", says: []string{`"status":"reversed"`}},
	{name: "fixed event and payout", target: "/fixed?click_id=$ID&event=sale&payout=99&currency=USD", status: 200, outcome: "recorded", says: []string{`"event":"signup"`, `"payout":"3.10"`, `"currency":"GBP"`}},
	{name: "the route's currency", target: "/euro?click_id=$ID&payout=4.20", status: 200, outcome: "recorded", says: []string{`"payout":"4.20"`, `"currency":"EUR"`}},
	{name: "the sender's currency", target: "/euro?click_id=$ID&payout=4.20&currency=SEK", status: 200, outcome: "recorded", says: []string{`"currency":"SEK"`}},
	{name: "the campaign's payout", campaign: "fixed", target: "/open?click_id=$ID", status: 200, outcome: "recorded", says: []string{`"payout":"7.25"`, `"currency":"EUR"`}},
	{name: "the sender's payout", campaign: "fixed", target: "/open?click_id=$ID&payout=1.00&currency=USD", status: 200, outcome: "recorded", says: []string{`"payout":"1.00"`, `"currency":"USD"`}},
	{name: "the right campaign", target: "/acme-only?click_id=$ID", status: 200, outcome: "recorded"},

	// Booked: authentication.
	{name: "token", target: "/token?click_id=$ID&token=first-secret-token", status: 200, outcome: "recorded"},
	{name: "the other token", target: "/token?click_id=$ID&token=second-secret-token", status: 200, outcome: "recorded"},
	{name: "token in a form", target: "/token", body: "click_id=$ID&token=first-secret-token", headers: []string{form}, status: 200, outcome: "recorded"},
	{name: "bearer token", target: "/token?click_id=$ID", headers: []string{bearer + "second-secret-token"}, status: 200, outcome: "recorded"},
	{name: "allowed address", target: "/local?click_id=$ID", status: 200, outcome: "recorded"},
	{name: "allowed foreign address", target: "/office?click_id=$ID", headers: []string{foreign}, status: 200, outcome: "recorded"},
	{name: "plain HTTP allowed", target: "/anywhere?click_id=$ID", headers: []string{foreign}, status: 200, outcome: "recorded"},

	// Quarantined.
	{name: "no ID", target: "/token?txid=1&token=first-secret-token", status: 202, outcome: "quarantined", reason: "missing_click_id"},
	{name: "macro", target: "/token?aff_sub={aff_sub}&token=first-secret-token", status: 202, outcome: "quarantined", reason: "unresolved_macro", says: []string{"{aff_sub}"}},
	{name: "encoded macro", target: "/token?aff_sub=%7Baff_sub%7D&token=first-secret-token", status: 202, outcome: "quarantined", reason: "unresolved_macro"},
	{name: "CAKE's macro", target: "/token?cid=%23s2%23&token=first-secret-token", status: 202, outcome: "quarantined", reason: "unresolved_macro"},
	{name: "Awin's macro", target: "/token?cid=!!!clickRef!!!&token=first-secret-token", status: 202, outcome: "quarantined", reason: "unresolved_macro"},
	{name: "Admitad's macro", target: "/token?cid=[[[subid]]]&token=first-secret-token", status: 202, outcome: "quarantined", reason: "unresolved_macro"},
	{name: "nonsense for an ID", target: "/token?click_id=hello&token=first-secret-token", status: 202, outcome: "quarantined", reason: "invalid_click_id"},
	{name: "cut ID", target: "/token?click_id=$CUT&token=first-secret-token", status: 202, outcome: "quarantined", reason: "invalid_click_id"},
	{name: "ID of another store", target: "/open?click_id=$FOREIGN", status: 202, outcome: "quarantined", reason: "unknown_click"},
	{name: "wrong campaign", campaign: "shoes", target: "/acme-only?click_id=$ID", status: 202, outcome: "quarantined", reason: "wrong_campaign"},
	{name: "unknown status", target: "/open?click_id=$ID&status=perhaps", status: 202, outcome: "quarantined", reason: "unmapped_status", says: []string{"perhaps"}},
	{name: "unmapped word", target: "/nested?data.click.id=$ID&data.state=shipped", status: 202, outcome: "quarantined", reason: "unmapped_status"},
	{name: "payout in words", target: "/open?click_id=$ID&payout=ten&currency=USD", status: 202, outcome: "quarantined", reason: "bad_payout"},
	{name: "payout with two points", target: "/open?click_id=$ID&payout=1.2.3&currency=USD", status: 202, outcome: "quarantined", reason: "bad_payout"},
	{name: "payout NaN", target: "/open?click_id=$ID&payout=NaN&currency=USD", status: 202, outcome: "quarantined", reason: "bad_payout"},
	{name: "payout without currency", target: "/open?click_id=$ID&payout=499", status: 202, outcome: "quarantined", reason: "bad_currency"},
	{name: "unknown currency", target: "/open?click_id=$ID&payout=1&currency=DOLLARS", status: 202, outcome: "quarantined", reason: "bad_currency"},
	{name: "bad time", target: "/open?click_id=$ID&time=soon", status: 202, outcome: "quarantined", reason: "bad_time"},
	{name: "422 where asked for", target: "/strict?click_id=hello&token=first-secret-token", status: 422, outcome: "quarantined", reason: "invalid_click_id"},
	{name: "200 where asked for", target: "/polite?click_id=hello&token=first-secret-token", status: 200, outcome: "quarantined", reason: "invalid_click_id"},

	// Rejected.
	{name: "no ID, no authentication", target: "/open?txid=1", status: 400, outcome: "rejected", reason: "missing_click_id"},
	{name: "macro, no authentication", target: "/open?aff_sub={aff_sub}", status: 400, outcome: "rejected", reason: "unresolved_macro"},
	{name: "guessed ID", target: "/open?click_id=abcdefghijklmnopqrstuvwxyz", status: 400, outcome: "rejected", reason: "invalid_click_id"},
	{name: "cut ID, no authentication", target: "/open?click_id=$CUT", status: 400, outcome: "rejected", reason: "invalid_click_id"},
	{name: "broken JSON", target: "/open", body: `{"click_id":"$ID"`, headers: []string{jsonBody}, status: 400, outcome: "rejected", reason: "malformed_request"},
	{name: "wrong token", target: "/token?click_id=$ID&token=guess", status: 401, outcome: "rejected", reason: "bad_token"},
	{name: "no token", target: "/token?click_id=$ID", status: 401, outcome: "rejected", reason: "bad_token"},
	{name: "wrong bearer token", target: "/token?click_id=$ID", headers: []string{bearer + "guess"}, status: 401, outcome: "rejected", reason: "bad_token"},
	{name: "foreign address", target: "/office?click_id=$ID", headers: []string{"X-Forwarded-For: 198.51.100.9"}, status: 403, outcome: "rejected", reason: "address_not_allowed"},
	{name: "plain HTTP", target: "/open?click_id=$ID", headers: []string{foreign}, status: 403, outcome: "rejected", reason: "insecure_transport"},
	{name: "plain HTTP with a token", target: "/token?click_id=$ID&token=first-secret-token", headers: []string{foreign}, status: 403, outcome: "rejected", reason: "insecure_transport"},
	{name: "PUT", method: "PUT", target: "/open?click_id=$ID", status: 405, outcome: "rejected"},
	{name: "DELETE", method: "DELETE", target: "/open?click_id=$ID", status: 405, outcome: "rejected"},
	{name: "too large", target: "/small", body: "click_id=$ID&note=" + strings.Repeat("x", 2000), headers: []string{form}, status: 413, outcome: "rejected"},
	{name: "too large by default", target: "/open", body: "click_id=$ID&note=" + strings.Repeat("x", 70000), headers: []string{form}, status: 413, outcome: "rejected"},
	{name: "just small enough", target: "/open", body: "click_id=$ID&note=" + strings.Repeat("x", 60000), headers: []string{form}, status: 200, outcome: "recorded"},
}

const sharedKey = "one-key-for-two-stores-0123456789abcdef"

func TestPostbackAnswers(t *testing.T) {
	s := startServer(t, postbackSite, "$KEY", sharedKey)
	foreignID := foreignClick(t)
	journaled := make(map[string]int)
	for _, c := range postbackCases {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, s, foreignID)
			if c.outcome != "rejected" {
				journaled[c.outcome+" "+c.reason]++
			}
		})
	}
	if a := s.do("HEAD", "/open", ""); a.status != 405 {
		t.Errorf("HEAD: status %d", a.status)
	}
	journal := make(map[string]int)
	for _, e := range s.all("/capture/journal") {
		reason, _ := e["reason"].(string)
		journal[fmt.Sprint(e["outcome"])+" "+reason]++
	}
	if fmt.Sprint(journal) != fmt.Sprint(journaled) {
		t.Errorf("the journal has\n%v\nwant\n%v", journal, journaled)
	}
	if a := s.api("/capture/health"); !containsAll(a.body, "unknown_click") {
		t.Errorf("health without the quarantine: %s", a.body)
	}
}

// foreignClick mints an ID under the same key in another store.
func foreignClick(t *testing.T) string {
	t.Helper()
	other := startServer(t, postbackSite, "$KEY", sharedKey)
	defer other.stop()
	for range 5 {
		other.click("/go/acme", "cid")
	}
	return other.click("/go/acme", "cid")
}

func (c postbackCase) run(t *testing.T, s *server, foreignID string) {
	campaign := c.campaign
	if campaign == "" {
		campaign = "acme"
	}
	id := s.click("/go/"+campaign, "cid")
	fill := strings.NewReplacer("$FOREIGN", foreignID, "$UPPER", strings.ToUpper(id), "$CUT", id[:20], "$ID", id)
	method := c.method
	if method == "" {
		method = "GET"
		if c.body != "" {
			method = "POST"
		}
	}
	a := s.do(method, fill.Replace(c.target), fill.Replace(c.body), c.headers...)
	var got struct{ Outcome, Reason, Detail string }
	decode(t, a.body, &got)
	if a.status != c.status || got.Outcome != c.outcome || c.reason != "" && got.Reason != c.reason {
		t.Errorf("got %d %s\nwant %d %s %s", a.status, a.body, c.status, c.outcome, c.reason)
	}
	if c.outcome == "quarantined" && got.Detail == "" {
		t.Errorf("no detail: %s", a.body)
	}
	for _, part := range c.says {
		if !strings.Contains(a.body, fill.Replace(part)) {
			t.Errorf("without %s: %s", part, a.body)
		}
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

func TestPostbackFixedAnswers(t *testing.T) {
	s := startServer(t, postbackSite, "$KEY", sharedKey)
	id := s.click("/go/acme", "cid")
	polite := "/polite?click_id=" + id + "&token=first-secret-token&txid=1"
	for _, target := range []string{polite, polite, polite + "&status=reversed"} {
		if a := s.get(target); a.status != 200 || a.body != "OK" {
			t.Errorf("%s: status %d %q", target, a.status, a.body)
		}
	}
	if a := s.get("/polite?click_id=" + id); a.status != 401 || a.body == "OK" {
		t.Errorf("without a token: status %d %q", a.status, a.body)
	}
	if a := s.get("/created?click_id=" + id); a.status != 201 {
		t.Errorf("answer 201: status %d %q", a.status, a.body)
	}
}

func TestDedup(t *testing.T) {
	s := startServer(t, postbackSite, "$KEY", sharedKey)
	queries := []string{"event=sale&txid=1", "event=sale&txid=2", "event=sale&txid=1", "event=lead&txid=1", "event=lead", "event=lead"}
	for campaign, outcomes := range map[string][]string{
		"acme":      {"recorded", "recorded", "duplicate", "recorded", "recorded", "duplicate"},
		"per-event": {"recorded", "duplicate", "duplicate", "recorded", "duplicate", "duplicate"},
		"per-click": {"recorded", "duplicate", "duplicate"}, // what another event is, is left open
	} {
		id := s.click("/go/"+campaign, "cid")
		for i, query := range queries {
			var a struct{ Outcome string }
			decode(t, s.get("/open?payout=1&currency=USD&click_id="+id+"&"+query).body, &a)
			if i < len(outcomes) && a.Outcome != outcomes[i] || i >= len(outcomes) && a.Outcome == "recorded" {
				t.Errorf("%s: %s is %s, want %v", campaign, query, a.Outcome, outcomes)
			}
		}
	}
	eventually(t, waitForClicks, func() error { return s.hasClicks(3) })
	row := "clicks 1 bots 0 conversions %d (pending 0 approved %[1]d rejected 0 reversed 0) revenue [USD %[1]d] cost []"
	expectRows(t, "campaign", s.report("by=campaign").Rows, map[string]string{
		"acme": fmt.Sprintf(row, 4), "per-event": fmt.Sprintf(row, 2), "per-click": fmt.Sprintf(row, 1),
	})
}

// TestLatePostbacks waits for a campaign's window and for the retention of clicks to pass.
func TestLatePostbacks(t *testing.T) {
	t.Parallel()
	s := startServer(t, postbackSite, "$KEY", sharedKey)
	short := startServer(t, strings.Replace(postbackSite, "click_id_key $KEY", "click_id_key $KEY\n\t\tretain {\n\t\t\tclicks 2s\n\t\t}", 1), "$KEY", sharedKey)
	expired, quick := short.click("/go/acme", "cid"), ""
	for end := time.Now().Add(time.Minute); ; {
		begin := time.Now()
		quick = s.click("/go/quick", "cid")
		a := s.get("/open?cid=" + quick + "&txid=soon")
		if time.Since(begin) > 900*time.Millisecond && time.Now().Before(end) {
			continue // a busy machine has let the window pass
		}
		if a.status != 200 {
			t.Errorf("within the window: status %d %s", a.status, a.body)
		}
		break
	}
	time.Sleep(4 * time.Second)
	if a := s.get("/open?cid=" + quick + "&txid=late"); a.status != 202 || !containsAll(a.body, `"reason":"outside_window"`) {
		t.Errorf("outside the window: status %d %s", a.status, a.body)
	}
	if a := short.get("/open?cid=" + expired); a.status != 202 || !containsAll(a.body, `"reason":"expired_click"`) {
		t.Errorf("past the retention: status %d %s", a.status, a.body)
	}
}
