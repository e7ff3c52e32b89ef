package dashboard

import (
	"context"
	"html"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// noon is when the pages are looked at: a Friday, not on a quarter of an hour.
var noon = time.Date(2026, 11, 20, 12, 7, 30, 0, time.UTC)

// token is the route's secret, which no page may show.
const token = "s3cret-t0ken-of-the-network"

// fixture is a source over a store in memory, filled by way of the ledger.
type fixture struct {
	t      testing.TB
	ledger *capture.Ledger
	codec  *clickid.Codec
	route  *capture.Route
	setup  Setup
	rates  *attribution.Rates
	rules  *capture.Rules
	now    time.Time
	pages  *Handler
	down   error           // of Reader, if set
	health *capture.Health // instead of the ledger's, if set
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	l, err := capture.OpenLedger(context.Background(), memstore.New(),
		&capture.Attachment{Logger: zap.NewNop()}, capture.Options{Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	codec, err := clickid.New(l.Identity().Secret)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		t: t, ledger: l, codec: codec, now: noon,
		rules: &capture.Rules{Retain: capture.Retention{Clicks: 90 * 24 * time.Hour, Journal: 400 * 24 * time.Hour}},
		route: &capture.Route{Name: "/postback", Tokens: [][]byte{[]byte(token)}, AllowHTTP: true},
		setup: Setup{
			Version: "v9.9.9", Caddy: "v2.11.9", Store: "badger /var/lib/caddy/capture",
			Postbacks: []PostbackRoute{{
				Name: "/postback", URL: "https://example.com/postback?click_id={click_id}&token=***", Checks: []string{"a token"},
			}, {Name: "/quiet", Problem: "its matchers are not known"}},
			Clicks:   []ClickRoute{{URL: "https://example.com/go/acme", Destinations: []string{"https://acme.example/?s={click_id}"}}},
			Findings: []Finding{{Rule: "open_route", Where: "postback /quiet", Text: "anyone can report here"}},
		},
	}
	if err := f.route.Compile(); err != nil {
		t.Fatal(err)
	}
	f.pages = New(f)
	t.Cleanup(func() {
		f.pages.Close()
		if err := l.Close(); err != nil {
			t.Errorf("closing the ledger: %v", err)
		}
	})
	return f
}

func (f *fixture) Reader() (capture.Reader, error) {
	if f.down != nil {
		return nil, f.down
	}
	return f.ledger.Reader()
}
func (f *fixture) Health() capture.Health {
	if f.health != nil {
		return *f.health
	}
	return f.ledger.Health()
}
func (f *fixture) EncodeClick(key uint16, ref clickid.Ref) string       { return f.codec.EncodeAs(key, ref) }
func (f *fixture) DecodeClick(id string) (clickid.Ref, error)           { return f.codec.Decode(id) }
func (f *fixture) Mask(e *capture.Entry) capture.Raw                    { return e.Raw.Masked(f.route.SecretParams()...) }
func (f *fixture) Follow() (entries <-chan *capture.Entry, stop func()) { return f.ledger.Follow() }
func (f *fixture) Setup() Setup                                         { return f.setup }
func (f *fixture) Rates() *attribution.Rates                            { return f.rates }
func (f *fixture) Rules() *capture.Rules                                { return f.rules }
func (f *fixture) Now() time.Time                                       { return f.now }

// click records a click and returns its ID.
func (f *fixture) click(c capture.Click) string {
	f.t.Helper()
	if got := f.ledger.Wait(f.ledger.Record(&c), 10*time.Second); got != capture.SavedOnDisk {
		f.t.Fatalf("the click was not saved: %v", got)
	}
	return f.codec.Encode(c.Ref)
}

// postback sends a postback with the token and returns what became of it.
func (f *fixture) postback(at time.Time, query string, change ...func(*http.Request)) *capture.Result {
	f.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://example.com/postback?token="+token+"&"+query, nil)
	for _, c := range change {
		c(r)
	}
	pb, reject := f.route.Receive(r, capture.Arrival{
		Time: at, Rules: f.rules, Codec: f.codec, Sender: netip.MustParseAddr("203.0.113.9"), Secure: true,
	})
	if reject != nil {
		f.t.Fatalf("%s: rejected: %+v", query, reject)
	}
	if err := f.ledger.Book(f.t.Context(), pb); err != nil {
		f.t.Fatal(err)
	}
	return &pb.Result
}

// get asks for a page.
func (f *fixture) get(path string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	f.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	f.pages.ServeHTTP(w, r)
	return w
}

// page asks for a page and wants it whole.
func (f *fixture) page(path string) string {
	f.t.Helper()
	w := f.get(path)
	if w.Code != http.StatusOK {
		f.t.Fatalf("%s: status %d: %s", path, w.Code, problemText(w.Body.String()))
	}
	body := w.Body.String()
	if !strings.HasSuffix(strings.TrimSpace(body), "</html>") {
		f.t.Fatalf("%s: the page is not whole", path)
	}
	return body
}

var problemPattern = regexp.MustCompile(`(?s)<p id="problem">(.*?)</p>`)

// problemText is what a page of an error says.
func problemText(body string) string {
	if m := problemPattern.FindStringSubmatch(body); m != nil {
		return html.UnescapeString(m[1])
	}
	return body
}

func cash(t testing.TB, s string) attribution.Money {
	t.Helper()
	number, code, _ := strings.Cut(s, " ")
	a, err := attribution.ParseAmount(number)
	if err != nil {
		t.Fatal(err)
	}
	return attribution.Money{Amount: a, Currency: attribution.Currency(code)}
}

// story fills a store: a few days of clicks of two campaigns, a conversion
// with a history, and one postback in quarantine.
type story struct {
	acme, shoes string // click IDs
	conversion  string
}

func (f *fixture) tell() story {
	f.t.Helper()
	var s story
	for i, at := range []time.Time{noon.Add(-2 * time.Hour), noon.Add(-90 * time.Minute), noon.AddDate(0, 0, -1).Add(-time.Hour), noon.AddDate(0, 0, -7)} {
		id := f.click(capture.Click{
			Time: at, Campaign: "acme", Source: "newsletter", Destination: "https://acme.example/?s={click_id}",
			Subs: []capture.Param{{Name: "creative", Value: "blue"}}, Kept: []capture.Param{{Name: "gclid", Value: "g-1"}},
			Cost: cash(f.t, "0.25 USD"), Host: "example.com", Path: "/go/acme", UserAgent: "Mozilla/5.0", Referer: "https://news.example/",
			Address: "203.0.113.0",
		})
		if i == 0 {
			s.acme = id
		}
	}
	// After the same time of day yesterday: not in the comparison.
	f.click(capture.Click{Time: noon.AddDate(0, 0, -1).Add(time.Hour), Campaign: "acme", Source: "newsletter"})
	s.shoes = f.click(capture.Click{Time: noon.Add(-3 * time.Hour), Campaign: "shoes", Destination: "https://shoes.example/"})
	f.click(capture.Click{Time: noon.Add(-3 * time.Hour), Campaign: "shoes", Destination: "https://shoes.example/", Flags: capture.FlagBot})

	at := noon.Add(-time.Hour)
	res := f.postback(at, "click_id="+s.acme+"&txid=order-1&payout=12.50&currency=USD&event=sale&status=pending")
	f.postback(at.Add(time.Minute), "click_id="+s.acme+"&txid=order-1&payout=12.50&currency=USD&event=sale&status=approved")
	f.postback(at.Add(2*time.Minute), "click_id="+s.acme+"&txid=order-1&payout=12.50&currency=USD&event=sale&status=pending")
	f.postback(at.Add(150*time.Second), "click_id="+s.acme+"&txid=order-1&payout=13&currency=USD&event=sale&status=pending")
	f.postback(at.Add(3*time.Minute), "click_id="+s.shoes+"&txid=order-2&payout=1234567.89&currency=EUR&event=lead")
	s.conversion = res.Conversion.ID.String()
	if got := f.postback(at.Add(4*time.Minute), "click_id={aff_sub}&txid=order-3"); got.Reason != capture.UnresolvedMacro {
		f.t.Fatalf("got %+v", got)
	}
	return s
}

// value returns data-value of the element of a figure.
func value(t testing.TB, body, name string) string {
	t.Helper()
	m := regexp.MustCompile(`data-figure="` + regexp.QuoteMeta(name) + `" data-value="([^"]*)"`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("there is no figure %q", name)
	}
	return html.UnescapeString(m[1])
}

var (
	rowPattern  = regexp.MustCompile(`(?s)<tr>(.*?)</tr>`)
	cellPattern = regexp.MustCompile(`data-value="([^"]*)"`)
	bodyPattern = regexp.MustCompile(`(?s)id="report" data-table="report">.*?<tbody>(.*?)</tbody>`)
)

// rows reads the rows of a report's table.
func rows(t testing.TB, body string) [][]string {
	t.Helper()
	m := bodyPattern.FindStringSubmatch(body)
	if m == nil {
		t.Fatal("there is no table")
	}
	var list [][]string
	for _, row := range rowPattern.FindAllStringSubmatch(m[1], -1) {
		var cells []string
		for _, cell := range cellPattern.FindAllStringSubmatch(row[1], -1) {
			cells = append(cells, html.UnescapeString(cell[1]))
		}
		if cells != nil {
			list = append(list, cells)
		}
	}
	return list
}
