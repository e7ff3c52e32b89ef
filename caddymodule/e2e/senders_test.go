package e2e

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A delivery is one message of a sender, and where its conversions stand after it.
type delivery struct {
	payload string   // a file of the catalogue's samples; or "URL", the one printed for the sender
	edit    []string // what is replaced in it, in pairs; macros of the URL as well
	says    string   // part of the answer
	after   []string // "event txid status amount currency"
}

// A journey is what one sender sends about one visitor.
type journey struct {
	network string
	sign    func(t testing.TB, secret, target string, p payload) request // nil: nothing is signed
	steps   []delivery
	report  string
}

var journeys = []journey{
	{"stripe", signStripe, []delivery{
		{"checkout", nil, "recorded", []string{"sale pi_1Dr1jy2eZvKYlo2C approved 49.00 EUR"}},
		{"charge_succeeded", nil, "ignored", []string{"sale pi_1Dr1jy2eZvKYlo2C approved 49.00 EUR"}},
		{"refund_partial", nil, "updated", []string{"sale pi_1Dr1jy2eZvKYlo2C approved 39.00 EUR"}},
		{"refund_full", nil, "updated", []string{"sale pi_1Dr1jy2eZvKYlo2C reversed 49.00 EUR"}},
	}, "conversions 1 (pending 0 approved 0 rejected 0 reversed 1) revenue []"},
	{"shopify", signShopify, []delivery{
		{"order_created", nil, "recorded", []string{"sale 820982911946154508 pending 99.95 EUR"}},
		{"order_paid", nil, "updated", []string{"sale 820982911946154508 approved 99.95 EUR"}},
		{"refund", nil, "updated", []string{"sale 820982911946154508 approved 79.95 EUR"}},
		{"refund", []string{"890088186047892319", "890088186047892320", `"20.00"`, `"9.95"`}, "updated", []string{"sale 820982911946154508 approved 70.00 EUR"}},
		{"order_fulfilled", nil, "ignored", []string{"sale 820982911946154508 approved 70.00 EUR"}},
	}, "conversions 1 (pending 0 approved 1 rejected 0 reversed 0) revenue [EUR 70]"},
	{"woocommerce", signWooCommerce, []delivery{
		{"ping", nil, "ignored", nil},
		{"order_created", nil, "recorded", []string{"sale 727 pending 29.35 USD"}},
		{"order_paid", nil, "updated", []string{"sale 727 approved 29.35 USD"}},
		{"order_partly_refunded", nil, "updated", []string{"sale 727 approved 15.00 USD"}},
		{"product", nil, "ignored", []string{"sale 727 approved 15.00 USD"}},
		{"order_refunded", nil, "updated", []string{"sale 727 reversed 29.35 USD"}},
	}, "conversions 1 (pending 0 approved 0 rejected 0 reversed 1) revenue []"},
	{"awin", nil, []delivery{
		{"push", nil, "recorded", []string{"conversion 244231459 approved 0.67 GBP"}},
		{"push", nil, "duplicate", []string{"conversion 244231459 approved 0.67 GBP"}},
		{"URL", []string{"!!!clickRef!!!", "CLICK", "!!!transactionId!!!", "244231460", "!!!commission!!!", "1.20", "!!!transactionCurrency!!!", "GBP"},
			"recorded", []string{"conversion 244231459 approved 0.67 GBP", "conversion 244231460 approved 1.20 GBP"}},
	}, "conversions 2 (pending 0 approved 2 rejected 0 reversed 0) revenue [GBP 187/100]"},
	{"clickbank-ins", signClickBank, []delivery{
		{"test", nil, "ignored", nil},
		{"sale", nil, "recorded", []string{"sale CWOGBLFN approved 12.34 USD"}},
		{"rebill", nil, "recorded", []string{"sale CWOGBLFN approved 12.34 USD", "sale CWOGBLFN-B001 approved 12.34 USD"}},
		{"refund", nil, "updated", []string{"sale CWOGBLFN reversed 12.34 USD", "sale CWOGBLFN-B001 approved 12.34 USD"}},
	}, "conversions 2 (pending 0 approved 1 rejected 0 reversed 1) revenue [USD 617/50]"},
	{"digistore24-ipn", signDigistore24, []delivery{
		{"connection_test", nil, "OK", nil},
		{"payment", nil, "OK", []string{"sale 70001 approved 47.00 EUR"}},
		{"payment", nil, "OK", []string{"sale 70001 approved 47.00 EUR"}},
		{"refund", nil, "OK", []string{"sale 70001 reversed 47.00 EUR"}},
	}, "conversions 1 (pending 0 approved 0 rejected 0 reversed 1) revenue []"},
	{"jvzoo", signJVZoo, []delivery{
		{"sale", nil, "recorded", []string{"sale AP-1AB123 approved 47.00 USD"}},
		{"refund", nil, "updated", []string{"sale AP-1AB123 reversed 47.00 USD"}},
	}, "conversions 1 (pending 0 approved 0 rejected 0 reversed 1) revenue []"},
	{"warriorplus", signWarriorPlus, []delivery{
		{"sale", nil, "recorded", []string{"sale 555777 approved 27.00 USD"}},
		{"refund", nil, "updated", []string{"sale 555777 reversed 27.00 USD"}},
	}, "conversions 1 (pending 0 approved 0 rejected 0 reversed 1) revenue []"},
	{"paddle", signPaddle, []delivery{
		{"sale", nil, "recorded", []string{"sale txn_01hv8wptq8987qeep44cyrewp9 approved 24.00 USD"}},
		{"refund_pending", nil, "ignored", []string{"sale txn_01hv8wptq8987qeep44cyrewp9 approved 24.00 USD"}},
		{"refund", nil, "updated", []string{"sale txn_01hv8wptq8987qeep44cyrewp9 approved 12.00 USD"}},
		{"refund", nil, "duplicate", []string{"sale txn_01hv8wptq8987qeep44cyrewp9 approved 12.00 USD"}},
	}, "conversions 1 (pending 0 approved 1 rejected 0 reversed 0) revenue [USD 12]"},
	{"everflow", nil, []delivery{
		{"URL", []string{"{sub1}", "CLICK", "{transaction_id}", "e9b3f2c1", "{payout_amount}", "12.50", "{offer_currency}", "USD", "{event_name}", "Purchase"},
			"recorded", []string{"Purchase e9b3f2c1 approved 12.50 USD"}},
		{"webhook", nil, "recorded", []string{"Purchase e9b3f2c1 approved 12.50 USD", "conversion 48213 approved 12.50 USD"}},
	}, "conversions 2 (pending 0 approved 2 rejected 0 reversed 0) revenue [USD 25]"},
	{"tune", nil, []delivery{
		{"URL", []string{"{aff_click_id}", "CLICK", "{transaction_id}", "102f2b7d9c", "{payout}", "3.5", "{currency}", "USD", "{goal_id}", "7"},
			"recorded", []string{"7 102f2b7d9c approved 3.50 USD"}},
		{"URL", []string{"{aff_click_id}", "{aff_click_id}", "{transaction_id}", "102f2b7d9d", "{payout}", "3.5", "{currency}", "USD", "{goal_id}", "7"},
			"unresolved_macro", []string{"7 102f2b7d9c approved 3.50 USD"}},
	}, "conversions 1 (pending 0 approved 1 rejected 0 reversed 0) revenue [USD 7/2]"},
	{"impact", nil, []delivery{
		{"URL", []string{"{SubId1}", "CLICK", "{ActionId}", "1234.5678.901", "{Payout}", "8.00", "{Currency}", "USD", "{ActionTrackerName}", "Online+Sale", "{Status}", "PENDING"},
			"recorded", []string{"Online Sale 1234.5678.901 pending 8.00 USD"}},
		{"post", nil, "updated", []string{"Online Sale 1234.5678.901 approved 8.00 USD"}},
		{"post_own_names", nil, "updated", []string{"Online Sale 1234.5678.901 reversed 8.00 USD"}},
	}, "conversions 1 (pending 0 approved 0 rejected 0 reversed 1) revenue []"},
}

func signStripe(_ testing.TB, secret, target string, p payload) request {
	return post(target, p.body, append(slices.Clip(p.headers), stripeHeader(secret, p.body, time.Now()))...)
}

func signShopify(_ testing.TB, secret, target string, p payload) request {
	return post(target, p.body, append(slices.Clip(p.headers), "X-Shopify-Hmac-Sha256: "+hmacBase64(secret, p.body))...)
}

func signWooCommerce(_ testing.TB, secret, target string, p payload) request {
	if p.name == "ping" {
		return post(target, p.body, p.headers...)
	}
	return post(target, p.body, append(slices.Clip(p.headers), "X-WC-Webhook-Signature: "+hmacBase64(secret, p.body))...)
}

func signClickBank(t testing.TB, secret, target string, p payload) request {
	return clickbankMessage(t, secret, target, p.body)
}

func signDigistore24(t testing.TB, secret, target string, p payload) request {
	return digistoreMessage(t, secret, target, p.body)
}

func signJVZoo(t testing.TB, secret, target string, p payload) request {
	return jvzooMessage(t, secret, target, p.body)
}

// signPaddle signs the time and the message with a colon between them.
func signPaddle(_ testing.TB, secret, target string, p payload) request {
	ts := strconv.FormatInt(time.Now().Unix(), 10)
	return post(target, p.body, append(slices.Clip(p.headers), "Paddle-Signature: ts="+ts+";h1="+hmacHex(secret, ts+":"+p.body))...)
}

// signWarriorPlus sends the secret along.
func signWarriorPlus(_ testing.TB, secret, target string, p payload) request {
	return post(target, strings.Replace(p.body, "WP_SECURITYKEY=SIGNED", "WP_SECURITYKEY="+url.QueryEscape(secret), 1), p.headers...)
}

// A setup is what `caddy capture url` prints for a sender, as a program reads it.
type setup struct {
	URL       string `json:"url"`
	Token     string `json:"token"`
	Caddyfile string `json:"caddyfile"`

	secret string
}

var environment = regexp.MustCompile(`\{env\.([A-Z0-9_]+)\}`)

// sendersSite is a site with what is printed for each sender, word for word.
func sendersSite(t *testing.T) (*server, map[string]setup) {
	t.Helper()
	s := newServer(t, "")
	setups := make(map[string]setup)
	var site strings.Builder
	for _, j := range journeys {
		var u setup
		decode(t, s.output("capture", "url", "--format", "json", "--network", j.network, "--base", "https://track.example/pb/"+j.network), &u)
		names := environment.FindAllStringSubmatch(u.Caddyfile, -1)
		if len(names) != 1 {
			t.Fatalf("%s: want one secret in\n%s", j.network, u.Caddyfile)
		}
		if u.secret = u.Token; u.secret == "" {
			u.secret = "secret of " + j.network + " 0123456789"
		}
		s.env = append(s.env, names[0][1]+"="+u.secret)
		setups[j.network] = u
		site.WriteString(u.Caddyfile)
	}
	s.write("{\n admin $ADMIN\n capture {\n  store badger $STORE\n }\n}\nhttp://127.0.0.1:$PORT {\n" + site.String() + "respond \"the site\"\n}\n")
	if r := s.caddy("validate", "--config", s.caddyfile()); r.code != 0 {
		t.Fatalf("what is printed is not valid: %s", r.stderr)
	}
	s.start()
	return s, setups
}

// Each sender's messages, in the form and with the proof in which it sends them, end in the conversions that
// a person would expect, with no more configuration than what is printed for it.
func TestSenders(t *testing.T) {
	s, setups := sendersSite(t)
	for _, j := range journeys {
		t.Run(j.network, func(t *testing.T) { j.run(t, s, setups[j.network]) })
	}
	rows := s.report("by=campaign").Rows
	for _, j := range journeys {
		if got := rows[j.network].String(); !strings.Contains(got, " "+j.report+" cost") {
			t.Errorf("report of %s\n got %s\nwant %s", j.network, got, j.report)
		}
	}
	for _, u := range setups {
		if strings.Contains(s.logs(), u.secret) || strings.Contains(s.api("/capture/journal?limit=500").body, u.secret) {
			t.Errorf("the secret %q shows", u.secret)
		}
	}
	s.stop()
}

func (j *journey) run(t *testing.T, s *server, u setup) {
	target := "/pb/" + j.network
	a := s.get("/go/" + j.network)
	_, id, _ := strings.Cut(a.header.Get("Location"), "=")
	if a.status != 302 || !clickIDs.MatchString(id) {
		t.Fatalf("the link printed for it: status %d, Location %q", a.status, a.header.Get("Location"))
	}
	begin := time.Now()
	for i, step := range j.steps {
		at := begin.Add(time.Duration(i+1) * time.Second)
		fill := strings.NewReplacer(append(slices.Clone(step.edit), "CLICK", id)...).Replace
		if step.payload == "URL" {
			_, query, _ := strings.Cut(u.URL, "?")
			query = strings.ReplaceAll(fill(query), "CLICK", id)
			j.expect(t, s, step, id, get(target+"?"+query))
			continue
		}
		p := readPayload(t, j.network, step.payload, at)
		p.body = fill(p.body)
		var r request
		if j.sign == nil {
			r = post(target+"?token="+u.Token, p.body, p.headers...)
		} else {
			r = j.sign(t, u.secret, target, p)
			j.expectRefusals(t, s, u, p, r)
		}
		j.expect(t, s, step, id, r)
	}
}

// expectRefusals sends what is nearly the message.
func (j *journey) expectRefusals(t *testing.T, s *server, u setup, p payload, r request) {
	t.Helper()
	if p.name == "ping" {
		return
	}
	refused := map[string]request{
		"another secret": j.sign(t, "another "+u.secret, r.target, p), "no proof": post(r.target, p.body, p.headers...),
	}
	changed := r
	i := strings.LastIndexAny(r.body, "0123456789")
	if j.network == "clickbank-ins" { // the last block, so that the padding is wrong
		i = strings.Index(r.body, `","notification":"`) + len(`","notification":"`)
	}
	c := r.body[i]
	changed.body = r.body[:i] + string(c^1) + r.body[i+1:]
	if j.network != "warriorplus" { // which signs nothing
		refused["a changed byte"] = changed
	}
	for name, r := range refused {
		if a := s.send(r); a.status != 401 || !containsAll(a.body, `"bad_signature"`) {
			t.Errorf("%s, %s: status %d %s", p.name, name, a.status, a.body)
		}
	}
}

func (j *journey) expect(t *testing.T, s *server, step delivery, id string, r request) {
	t.Helper()
	if a := s.send(r); a.status/100 != 2 || !containsAll(a.body, step.says) || step.says == "OK" && a.body != "OK" {
		t.Errorf("%s: status %d %s, want %s", step.payload, a.status, a.body, step.says)
	}
	var got []string
	for _, c := range s.all("/capture/conversions?campaign=" + j.network) {
		if fmt.Sprint(c["click_id"]) != id {
			t.Errorf("%s: a conversion of click %v, want %s", step.payload, c["click_id"], id)
		}
		got = append(got, fmt.Sprintf("%v %v %v %v %v", c["event"], c["txid"], c["status"], c["payout"], c["currency"]))
	}
	slices.Sort(got)
	if !slices.Equal(got, step.after) {
		t.Errorf("after %s\n got %q\nwant %q", step.payload, got, step.after)
	}
}
