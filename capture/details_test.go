package capture_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

var update = flag.Bool("update", false, "write testdata/details.golden anew")

const goldenDetails = "testdata/details.golden"

// brokenPostbacks are what senders really get wrong: a route, and a query or
// "POST", a media type and a body. CLICK, OTHER and so on stand for click IDs.
var brokenPostbacks = []struct{ what, route, request string }{
	{"no parameter at all", "open", ""},
	{"other parameters", "open", "payout=5&status=approved&aff_sub2=x"},
	{"many other parameters", "token", "token=s&a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8"},
	{"the click ID in a parameter that the route does not know", "open", "s2=CLICK&payout=5"},
	{"the same in JSON", "open", `POST application/json {"data":{"visitor":"CLICK"}}`},
	{"empty click ID", "open", "click_id=&payout=5"},
	{"macro in braces", "open", "click_id={aff_sub}"},
	{"macro beside a genuine click ID", "open", "click_id={aff_sub}&s2=CLICK"},
	{"macro between hashes, encoded twice", "token", "token=s&click_id=%2523s2%2523"},
	{"macro between percent signs", "open", "click_id=%campaign%"},
	{"Awin's macro", "token", "token=s&click_id=!!!clickRef!!!"},
	{"Admitad's macro", "token", "token=s&click_id=[[[subid]]]"},
	{"macro without brackets", "open", "click_id=aff_sub"},
	{"another macro without brackets", "open", "click_id=transaction_id"},
	{"REPLACE left in", "open", "click_id=REPLACE_ME"},
	{"macro for the amount", "token", "token=s&click_id=CLICK&payout=[CommissionAmount]"},
	{"macro for the transaction", "open", "click_id=CLICK&txid={transaction_id}"},
	{"null", "open", "click_id=null"},
	{"quotation marks around nothing", "open", `click_id=%22%22`},
	{"one character", "open", "click_id=7x"},
	{"cut to twenty", "open", "click_id=CUT20"},
	{"cut with dots", "open", "click_id=CUT20..."},
	{"glued", "open", "click_id=abcdefghijCLICK"},
	{"a wrong character", "open", "click_id=CUT20!abc"},
	{"an accent", "open", "click_id=CUT20é"},
	{"a last character that cannot be", "open", "click_id=CUT25v"},
	{"another site's", "open", "click_id=FOREIGN"},
	{"two of them", "open", "click_id=CLICK,OTHER"},
	{"UUID", "open", "click_id=3f2504e0-4f89-41d3-9a0c-0305e82c3301"},
	{"number", "open", "click_id=102345"},
	{"hexadecimal", "open", "click_id=5f3a9c0e1b2d4a6f8c7e9d10"},
	{"gclid", "open", "click_id=Cj0KCQjw2PSvBhDjARIsAKc2cgNcAVpVbCbHxHq2RCbG0f5yYJw4"},
	{"fbclid", "open", "click_id=IwAR0k2x9QmVdK1rZJt3yXcBq8nL5wTgUe"},
	{"e-mail address", "open", "click_id=jane@example.com"},
	{"page", "open", "click_id=https://shop.example/thanks"},
	{"letters and digits of another system", "open", "click_id=wPZ3K1M9QXV2"},
	{"quotation marks", "open", "click_id=%22CLICK%22&payout=5&currency=USD"},
	{"a brace", "open", "click_id=CLICK}"},
	{"its own name again", "open", "click_id=click_id=CLICK"},
	{"a blank in the ID", "open", "click_id=HALF1+HALF2"},
	{"second question mark", "token", "token=s?click_id=CLICK&payout=5&currency=USD"},
	{"HTML's ampersand", "token", "token=s&amp;click_id=CLICK&amp;payout=5&amp;currency=USD"},
	{"semicolons", "open", "click_id=CLICK;payout=5;currency=USD"},
	{"encoded as a whole", "open", "click_id%3DCLICK%26payout%3D5%26currency%3DUSD"},
	{"an encoded ampersand", "open", "payout=5%26click_id%3DCLICK&currency=USD"},
	{"amount without currency", "open", "click_id=CLICK&payout=499"},
	{"amount that is none", "open", "click_id=CLICK&payout=free&currency=USD"},
	{"amount with two readings", "open", "click_id=CLICK&payout=1,234&currency=USD"},
	{"amount with an exponent", "open", "click_id=CLICK&payout=1e5&currency=USD"},
	{"amount in brackets", "open", "click_id=CLICK&payout=(5.00)&currency=USD"},
	{"amount with words", "open", "click_id=CLICK&payout=about+5+dollars+each&currency=USD"},
	{"amount with too many digits", "open", "click_id=CLICK&payout=1234567890123456789012&currency=USD"},
	{"amount in quotation marks", "open", "click_id=CLICK&payout=%2212.50%22&currency=USD"},
	{"amount encoded twice", "open", "click_id=CLICK&payout=12%252E50&currency=USD"},
	{"two currencies", "open", "click_id=CLICK&payout=5+EUR&currency=USD"},
	{"a sign of another currency", "open", "click_id=CLICK&payout=$5&currency=EUR"},
	{"points", "open", "click_id=CLICK&payout=5&currency=points"},
	{"status that is not mapped", "token", "token=s&click_id=CLICK&status=on+hold"},
	{"status as a number", "token", "token=s&click_id=CLICK&status=2"},
	{"time in no form", "open", "click_id=CLICK&time=yesterday"},
	{"time with few digits", "open", "click_id=CLICK&time=17723664"},
	{"time without its plus sign", "open", "click_id=CLICK&time=2026-03-01T12:30:00+01:00"},
	{"time in the wrong unit", "open", "click_id=CLICK&time=1772366400000000"},
	{"time in the future", "open", "click_id=CLICK&time=2027-03-01T12:00:00Z"},
	{"time before the click", "open", "click_id=CLICK&time=2026-02-01T12:00:00Z"},
	{"time zero", "open", "click_id=CLICK&time=0001-01-01T00:00:00Z"},
	{"a campaign that the route does not serve", "shoes", "click_id=CLICK"},
	{"a click that was never stored", "open", "click_id=UNSTORED"},
	{"a click that is no longer kept", "open", "click_id=EXPIRED"},
	{"too late", "open", "click_id=OLD"},
	{"a click whose source is a macro", "open", "click_id=MACRO"},
	{"a second time", "open", "click_id=MACRO"},
	{"no token", "token", "click_id=CLICK"},
	{"wrong token", "token", "token=x&click_id=CLICK"},
	{"no JSON", "open", `POST application/json {"click_id":"CLICK",}`},
	{"JSON with a key twice", "open", `POST application/json {"click_id":"CLICK","click_id":"OTHER"}`},
	{"large body", "open", "POST text/plain " + strings.Repeat("x", 300)},
	{"address", "allowed", "click_id=CLICK"},
}

// Each sentence that a sender or the owner of a site can meet stands in
// testdata/details.golden, to be read by people.
func TestDetails(t *testing.T) {
	t.Parallel()
	d := newDetails(t)
	var b strings.Builder
	for _, c := range brokenPostbacks {
		fmt.Fprintf(&b, "# %s\n%s %s\n%s\n", c.what, c.route, shorten(c.request), d.answer(t, c.route, c.request))
	}
	got := b.String()
	if *update {
		if err := os.WriteFile(goldenDetails, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(goldenDetails)
	if err != nil {
		t.Fatal(err)
	}
	gotBlocks, wantBlocks := strings.Split(got, "\n\n"), strings.Split(string(want), "\n\n")
	for i := range max(len(gotBlocks), len(wantBlocks)) {
		var g, w string
		if i < len(gotBlocks) {
			g = gotBlocks[i]
		}
		if i < len(wantBlocks) {
			w = wantBlocks[i]
		}
		if g != w {
			t.Errorf("got\n%s\nwant\n%s", g, w)
		}
	}
}

func shorten(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// details answers broken postbacks as a site would.
type details struct {
	now    time.Time
	codec  *clickid.Codec
	ids    *strings.Replacer
	shown  *strings.Replacer
	routes map[string]*capture.Route
	rules  *capture.Rules
	store  capture.Store
	batch  uint64
	seq    uint64
}

func newDetails(t *testing.T) *details {
	t.Helper()
	d := &details{
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		routes: map[string]*capture.Route{
			"open": {MaxBody: 200}, "token": {Tokens: [][]byte{[]byte("s")}}, "shoes": {Campaign: "shoes"},
			"allowed": {Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		},
		rules: &capture.Rules{Retain: capture.Retention{Clicks: 90 * 24 * time.Hour}, Window: 30 * 24 * time.Hour},
	}
	for name, rt := range d.routes {
		rt.Name = name
		if err := rt.Compile(); err != nil {
			t.Fatal(err)
		}
	}
	d.codec = newCodec(t, "a key for the tests' IDs")
	block := &capture.Block{Number: 1}
	add := func(age time.Duration, source string) string {
		at := d.now.Add(-age)
		c := &capture.Click{
			Ref:  clickid.Ref{Epoch: 1, Block: 1, Slot: uint8(len(block.Clicks)), Second: uint32(at.Unix())},
			Time: at, Campaign: "acme", Source: source, Destination: "https://acme.example/",
		}
		c.MarkMacros()
		block.Clicks = append(block.Clicks, c)
		return d.codec.Encode(c.Ref)
	}
	click, other := add(time.Hour, "a"), add(time.Hour, "b")
	old, macro := add(40*24*time.Hour, "c"), add(time.Hour, "{placement}")
	unstored := d.codec.Encode(clickid.Ref{Epoch: 1, Block: 9, Second: uint32(d.now.Unix()) - 60})
	expired := d.codec.Encode(clickid.Ref{Epoch: 1, Block: 9, Second: uint32(d.now.Unix()) - 100*86400})
	foreign := newCodec(t, "the key of another site!").Encode(clickid.Ref{Epoch: 1, Block: 1})
	names := []string{
		"CLICK", click, "OTHER", other, "OLD", old, "MACRO", macro, "UNSTORED", unstored, "EXPIRED", expired, "FOREIGN", foreign,
		"CUT20", click[:20], "CUT25", click[:25], "HALF1", click[:13], "HALF2", click[13:],
	}
	d.ids = strings.NewReplacer(names...)
	var back []string
	for i := 0; i < len(names); i += 2 {
		back = append(back, names[i+1], names[i])
	}
	d.shown = strings.NewReplacer(back...)
	var err error
	if d.store, err = memstore.New().Open(background); err != nil {
		t.Fatal(err)
	}
	d.commit(t, &capture.Batch{Blocks: []*capture.Block{block}})
	return d
}

func newCodec(t *testing.T, secret string) *clickid.Codec {
	t.Helper()
	c, err := clickid.New([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (d *details) commit(t *testing.T, b *capture.Batch) {
	t.Helper()
	if d.batch == 0 {
		d.batch, d.seq = d.store.Position().NextBatch, d.store.Position().NextSeq
	}
	b.Number, b.Now = d.batch, d.now
	d.batch++
	if err := d.store.Commit(background, b); err != nil {
		t.Fatal(err)
	}
}

// answer returns the status, the outcome and the sentences.
func (d *details) answer(t *testing.T, route, request string) string {
	t.Helper()
	p, rej := d.routes[route].Receive(d.request(request), capture.Arrival{
		Sender: netip.MustParseAddr("203.0.113.7"), Secure: true, Time: d.now, Rules: d.rules, Codec: d.codec,
	})
	if rej != nil {
		return fmt.Sprintf("=> %d rejected %s\n   %s\n", rej.Status, rej.Reason, d.shown.Replace(rej.Detail))
	}
	p.Seq = d.seq
	d.seq++
	d.commit(t, &capture.Batch{Postbacks: []*capture.Postback{p}})
	text := "=> " + string(p.Result.Outcome)
	if p.Result.Reason != "" {
		text += fmt.Sprintf(" %s\n   %s", p.Result.Reason, p.Result.Detail)
	}
	if c := p.Result.Conversion; c != nil && c.State.HasPayout {
		text += " with " + c.State.Payout.String()
	}
	for _, note := range p.Result.Entry.Notes {
		text += "\n   note: " + note
	}
	return d.shown.Replace(text) + "\n"
}

func (d *details) request(text string) *http.Request {
	text = d.ids.Replace(text)
	post, ok := strings.CutPrefix(text, "POST ")
	if !ok {
		return httptest.NewRequest(http.MethodGet, "/postback?"+text, nil)
	}
	mediaType, body, _ := strings.Cut(post, " ")
	r := httptest.NewRequest(http.MethodPost, "/postback", strings.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	return r
}
