package network

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddy-capture/caddy-capture/capture"
)

var update = flag.Bool("update", false, "write testdata/urls.golden anew")

const ourBase = "https://example.com/postback"

// The URLs and configurations that people paste must not change unnoticed.
func TestGoldenURLs(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, n := range All() {
		o := URLOptions{}
		if n.Tokens() {
			o.Token = MaskedToken
		}
		u, err := n.PostbackURL(ourBase+"/"+n.Name, o)
		if err != nil {
			t.Errorf("%s: %v", n.Name, err)
			continue
		}
		block, err := n.Caddyfile(BlockOptions{})
		if err != nil {
			t.Errorf("%s: %v", n.Name, err)
			continue
		}
		fmt.Fprintf(&b, "== %s\n%s\n%s\n%s\n", n.Name, u, n.LinkParameter(), block)
	}
	const path = "testdata/urls.golden"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d of %s:\ngot  %s\nwant %s", i+1, path, g[i], w[i])
			}
		}
		t.Fatalf("%s has %d lines, got %d", path, len(w), len(g))
	}
}

// What a URL promises is what the route reads: filled in, it is booked.
func TestURLsAreRead(t *testing.T) {
	t.Parallel()
	for _, n := range All() {
		if n.Webhook() {
			continue
		}
		u, err := n.PostbackURL(ourBase, URLOptions{Token: "s3cret/+ &token", Currency: "EUR"})
		if err != nil {
			t.Errorf("%s: %v", n.Name, err)
			continue
		}
		values := map[capture.Field]string{
			capture.FieldClickID: clickID, capture.FieldTxID: "T-1", capture.FieldPayout: "12.50", capture.FieldCurrency: "EUR",
			capture.FieldEvent: "signup", capture.FieldStatus: "approved", capture.FieldTime: "1795168800",
		}
		if n.Name == "clickbank" {
			values[capture.FieldEvent] = "PURCHASE"
		}
		for f, m := range n.Macros {
			u = strings.ReplaceAll(u, string(f)+"="+m, string(f)+"="+values[f])
		}
		rt := &capture.Route{Name: n.Name, Tokens: [][]byte{[]byte("s3cret/+ &token")}}
		n.Preset(rt)
		if err := rt.Compile(); err != nil {
			t.Errorf("%s: %v", n.Name, err)
			continue
		}
		p, rej := rt.Receive(httptest.NewRequest("GET", u, nil), newArrival())
		if rej != nil || p.Problem != "" {
			t.Errorf("%s: %s: %s", n.Name, u, describe(p, rej))
			continue
		}
		c := p.Claim
		if n.Macros[capture.FieldPayout] != "" && (!c.HasPayout || c.Payout.String() != "12.50 EUR") {
			t.Errorf("%s: the payout is %v", n.Name, c.Payout)
		}
		if n.Macros[capture.FieldTxID] != "" && c.TxID != "T-1" {
			t.Errorf("%s: the txid is %q", n.Name, c.TxID)
		}
	}
}

func TestPostbackURL(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		network, base, want string
		o                   URLOptions
	}{
		{"affise", ourBase, ourBase + "?click_id={sub1}&txid={transactionid}&payout={sum}&currency={currency}&event={goal}&status={status}", URLOptions{}},
		{"cake", ourBase, ourBase + "?click_id=#s2#&txid=#tid#&payout=#price#&currency=EUR&token=***", URLOptions{Token: MaskedToken, Currency: "eur"}},
		{"zeydoo", ourBase, ourBase + "?click_id={ymid}&payout={amount}&currency=USD&token=a%26b", URLOptions{Token: "a&b"}},
		{"stripe", ourBase, ourBase, URLOptions{}},
		{"maxbounty", "https://EXAMPLE.com?site=2&token=t%20x", "https://example.com/?site=2&click_id=#S2#&payout=#RATE#&currency=USD&token=t+x", URLOptions{}},
	} {
		got, err := find(t, tc.network).PostbackURL(tc.base, tc.o)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %s (%v)\nwant %s", tc.network, got, err, tc.want)
		}
	}
}

func TestPostbackURLRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		network, base, want string
		o                   URLOptions
	}{
		{"affise", "example.com/postback", "write it like", URLOptions{}},
		{"affise", "ftp://example.com/postback", "write it like", URLOptions{}},
		{"affise", "https://", "write it like", URLOptions{}},
		{"affise", "https://exa mple.com/%zz", "cannot be read", URLOptions{}},
		{"affise", "https://user:pw@example.com/", "no place", URLOptions{}},
		{"affise", "https://example.com/#a", "no place", URLOptions{}},
		{"affise", "https://example.com/?token=%zz", "percent-encoded", URLOptions{}},
		{"cake", ourBase, "currency", URLOptions{Currency: "dollars"}},
		{"appsflyer", ourBase + "?x=" + strings.Repeat("y", 2048), "takes up to 2048", URLOptions{}},
	} {
		got, err := find(t, tc.network).PostbackURL(tc.base, tc.o)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s: got %s (%v), want an error with %q", tc.network, tc.base, got, err, tc.want)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestOfferLink(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ network, link, want string }{
		{"affise", "https://offer.example/", "https://offer.example/?sub1={click_id}"},
		{"affise", "https://offer.example/?a=1&sub1=old#top", "https://offer.example/?a=1&sub1={click_id}#top"},
		{"affise", " https://offer.example/?a=1& ", "https://offer.example/?a=1&sub1={click_id}"},
		{"awin", "https://www.awin1.com/cread.php?awinmid=1&awinaffid=2&p=https%3A%2F%2Fshop.example", "https://www.awin1.com/cread.php?awinmid=1&awinaffid=2&clickref={click_id}&p=https%3A%2F%2Fshop.example"},
	} {
		got, err := find(t, tc.network).OfferLink(tc.link)
		if err != nil || got != tc.want {
			t.Errorf("%s: got %s (%v)\nwant %s", tc.network, got, err, tc.want)
		}
	}
	for _, tc := range [][2]string{{"affise", "offer.example"}, {"affise", "https://"}, {"affise", "javascript://x"}, {"stripe", "https://buy.example/"}} {
		if got, err := find(t, tc[0]).OfferLink(tc[1]); err == nil {
			t.Errorf("%s %s: got %s", tc[0], tc[1], got)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	got, err := find(t, "cake").Caddyfile(BlockOptions{Link: "https://offer.example/?a=1", Go: "/go/x", Path: "/pb", Currency: "eur"})
	want := "track_click /go/x https://offer.example/?a=1&s2={click_id}\n" +
		"postback /pb {\n\tnetwork cake\n\tcurrency EUR\n\ttoken {env.CAKE_TOKEN}\n}\n"
	if err != nil || got != want {
		t.Errorf("got %s (%v)\nwant %s", got, err, want)
	}
	for _, o := range []BlockOptions{
		{Link: "offer"}, {Link: "https://offer.example/?a=1 b"}, {Link: "https://offer.example/\"}"}, {Go: "go"}, {Path: "/a b"}, {Currency: "dollars"},
	} {
		if got, err := find(t, "cake").Caddyfile(o); err == nil {
			t.Errorf("%+v: got %s", o, got)
		}
	}
	n := &Network{Name: "x", Title: "X", Verify: Verify{Scheme: "shared_secret", Field: "hash", MD5: "{field.trans_id}-{secret}", Env: "X_SECRET"}}
	if got, want := n.VerifyDirective(), "verify shared_secret hash {env.X_SECRET} {\n\tmd5 {field.trans_id}-{secret}\n}\n"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
