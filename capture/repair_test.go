package capture

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

var otherID = senderCodec.Encode(clickid.Ref{Epoch: 3, Block: 78, Slot: 1, Second: senderRef.Second})

// A click ID is found where only one is there, whatever stands around it.
func TestDecoratedClickID(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{})
	for _, v := range []string{
		`"CLICK"`, `'CLICK'`, "“CLICK”", "«CLICK»", "`CLICK`", `\"CLICK\"`, "\u00a0CLICK\u00a0", "CLICK}", "{CLICK", "{CLICK}", "{{CLICK}}",
		"<CLICK>", "[CLICK]", "(CLICK)", "[[[CLICK]]]", "##CLICK##", "CLICK/", "CLICK,", "CLICK;", "CLICK.", "CLICK&amp;", "click_id=CLICK",
		"click_id=click_id=CLICK", "CLICK?a=b", "CLICK&payout", "CLICK?click_id=CLICK", "CLICK,CLICK", "%22CLICK%22", "%2522CLICK%2522",
		"CLICK%20", "%2BCLICK", "+CLICK+", "CLICK\u200b", "\ufeffCLICK", "=CLICK", "CLICK{payout}", "clickid:CLICK", "CLICK|", "CLICK\r\n",
		"22CLICK22", "sub1_CLICK", "ＣCLICK", "\"" + strings.ToUpper(genuineID) + "\"", "https://go.example/?click_id=CLICK",
		genuineID[:13] + " " + genuineID[13:], genuineID[:5] + "\u200b" + genuineID[5:], genuineID[:20] + "\r\n" + genuineID[20:],
		url.QueryEscape(genuineID[:4] + "\u00ad" + genuineID[4:]), "&quot;CLICK&quot;",
	} {
		v = fill(v)
		p, rej := received(t, rt, getRequest("click_id="+url.QueryEscape(v)), newArrival())
		if rej != nil {
			t.Errorf("%q: %v", v, rej)
			continue
		}
		if p.Ref != senderRef || p.Problem != "" || p.ClickID != genuineID && p.ClickID != strings.TrimSpace(v) {
			t.Errorf("%q: got %+v", v, p)
		}
		if trimmed := strings.TrimSpace(v); trimmed != genuineID && (len(p.Notes) != 1 || !strings.Contains(p.Notes[0], genuineID)) {
			t.Errorf("%q: notes are %q", v, p.Notes)
		}
	}
	if p := accepted(t, rt, getRequest("click_id="+strings.ToUpper(genuineID))); len(p.Notes) != 0 {
		t.Errorf("upper case is noted: %q", p.Notes)
	}
}

// Nothing is guessed: no character is changed, and of two IDs none is taken.
func TestUndecidableClickID(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{})
	for _, v := range []string{
		"CLICK," + otherID, otherID + "?click_id=CLICK", "{CLICK}{" + otherID + "}", "CLICK" + otherID, genuineID[1:] + "!", `"` + genuineID[:25] + `"`,
		genuineID[:13] + "-" + genuineID[13:], genuineID[:13] + "x" + genuineID[13:], "abcdefgh0CLICK", strings.Repeat("-", 600) + "CLICK",
		`"` + genuineID[1:] + genuineID[:1] + `"`,
	} {
		if _, rej := received(t, rt, getRequest("click_id="+url.QueryEscape(fill(v))), newArrival()); rej == nil || rej.Reason != InvalidClickID {
			t.Errorf("%q: got %v, want it refused", v, rej)
		}
	}
}

// Decorated by anything that has no part in click IDs, exactly the ID comes
// back; two different ones never give one.
func TestDecoratedClickIDs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		around := rapid.StringOfN(rapid.RuneFrom([]rune("\"'{}[]<>()/,;.&=|?!#%-_ \u00a0\u200b\ufeffwxyzWXYZ")), 0, 20, -1)
		before, after := around.Draw(t, "before"), around.Draw(t, "after")
		ref := clickid.Ref{Epoch: 1, Block: rapid.Uint64Range(0, clickid.MaxBlock).Draw(t, "block"), Second: 5}
		id := senderCodec.Encode(ref)
		s := clickSearch{codec: senderCodec}
		s.search(before + id + after)
		if s.found != 1 || s.ref != ref || s.id != id {
			t.Fatalf("%q: got %+v", before+id+after, s)
		}
		s = clickSearch{codec: senderCodec}
		s.search(before + id + "/" + genuineID + after)
		if want := map[bool]int{true: 1, false: 2}[ref == senderRef]; s.found != want {
			t.Fatalf("two IDs: got %+v", s)
		}
	})
}

// However long a value is, few of its parts are tried.
func TestClickSearchIsBounded(t *testing.T) {
	t.Parallel()
	for _, v := range []string{
		strings.Repeat(otherID[1:]+"0", 1) + strings.Repeat("!"+otherID[1:]+"0", 15), strings.Repeat("0", 512), strings.Repeat(strings.Repeat("0", 34)+"!", 14),
		strings.Repeat("%25", 170),
	} {
		s := clickSearch{codec: senderCodec}
		s.search(v)
		if s.tries > maxTries || s.found != 0 {
			t.Errorf("%.40q: %d tries, found %d", v, s.tries, s.found)
		}
	}
}

// The query is put right where that yields what is given nowhere else.
func TestMangledQuery(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Tokens: [][]byte{[]byte("s")}})
	full := func(p *Postback) bool {
		return p.HasRef && p.Claim.HasPayout && p.Claim.Payout.String() == "5.50 USD" && p.Claim.TxID == "a b" && p.Claim.Event == "sale"
	}
	for _, c := range []struct {
		query string
		notes int
	}{
		{"token=s?click_id=CLICK&payout=5.50&currency=USD&txid=a+b&event=sale", 1},
		{"token=s&x=1?click_id=CLICK&payout=5.50&currency=USD&txid=a+b&event=sale", 1},
		{"?token=s&click_id=CLICK&payout=5.50&currency=USD&txid=a+b&event=sale", 1},
		{"token=s&amp;click_id=CLICK&amp;payout=5.50&amp;currency=USD&amp;txid=a+b&amp;event=sale", 1},
		{"token=s&amp;amp;click_id=CLICK&payout=5.50&currency=USD&txid=a+b&event=sale", 1},
		{"token=s&amp%3Bclick_id=CLICK&payout=5.50&currency=USD&txid=a+b&event=sale", 1},
		{"token=s;click_id=CLICK;payout=5.50;currency=USD;txid=a+b;event=sale", 1},
		{"click_id=CLICK;payout=5.50;currency=USD;txid=a+b;event=sale&token=s", 1},
		{"token=s&click_id%3DCLICK%26payout%3D5.50%26currency%3DUSD%26txid%3Da%2520b%26event%3Dsale", 1},
		{"token%3Ds%26click_id%3DCLICK%26payout%3D5.50%26currency%3DUSD%26txid%3Da%20b%26event%3Dsale", 1},
		{"token=s&click_id%253DCLICK%2526payout%253D5.50%2526currency%253DUSD%2526txid%253Da%252520b%2526event%253Dsale", 1},
		{"token=s&event=sale%26click_id%3DCLICK%26payout%3D5.50%26currency%3DUSD%26txid%3Da%2520b", 1},
		{"token=s&event=sale%26click_id=CLICK%26payout=5.50&currency=USD&txid=a+b", 1},
		{"token=s?x=1?click_id=CLICK?payout=5.50&currency=USD&txid=a+b&event=sale", 1},
	} {
		p := accepted(t, rt, getRequest(c.query))
		if !full(p) || p.Problem != "" || len(p.Notes) != c.notes {
			t.Errorf("%s: got %+v, problem %q, notes %q", c.query, p.Claim, p.ProblemDetail, p.Notes)
		}
		again := rt.Reread(&Entry{Raw: p.Raw, Authentic: p.Authentic}, newArrival())
		if !full(again) || !slices.Equal(again.Notes, p.Notes) {
			t.Errorf("%s: read again it is %+v, notes %q", c.query, again.Claim, again.Notes)
		}
		if uri := p.Raw.Masked().URI; strings.Contains(uri, "token=s") || strings.Contains(uri, "token%3Ds") {
			t.Errorf("%s: the token shows in %q", c.query, uri)
		}
		body := accepted(t, rt, postRequest(formType, c.query))
		if !full(body) || len(body.Notes) != c.notes {
			t.Errorf("%s as a form: got %+v, notes %q", c.query, body.Claim, body.Notes)
		}
	}
}

// What is given plainly stays as it is, and so does what can mean something
// else.
func TestPlainQueryIsLeftAlone(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{})
	for _, query := range []string{
		"click_id=CLICK&payout=5&currency=USD&x=1?payout=7", "click_id=CLICK&amp;click_id=" + otherID, "cid=CLICK&x=1?click_id=" + otherID,
		"click_id=CLICK&ref=https://shop.example/?status=new", "click_id=CLICK&ref=https%3A%2F%2Fshop.example%2F%3Fa%3D1%26status%3Dnew",
		"click_id=CLICK&custom=a%3D1%26status%3Dnew", "click_id=CLICK&note=what?;&b=;", "click_id=CLICK&hash=YWJj%3D%3D", "click_id=CLICK&q=a;b;c",
		"click_id=CLICK&ref=/a?b=1?status=new;event=x", "click_id=CLICK&x=1?foo=2;bar=3", "click_id=CLICK&payout%3D", "click_id=CLICK&cid%3D" + otherID,
	} {
		p := accepted(t, rt, getRequest(query))
		if p.Ref != senderRef || p.Problem != "" || len(p.Notes) != 0 || p.Claim.Status != attribution.Approved ||
			p.Claim.HasPayout && p.Claim.Payout.String() != "5.00 USD" {
			t.Errorf("%s: got %+v, problem %q, notes %q", query, p.Claim, p.Problem, p.Notes)
		}
	}
	// What the body says plainly is said.
	r := postRequest("application/json", `{"cid":"CLICK"}`)
	r.RequestURI = "/postback?x=1?click_id=" + otherID
	if p := accepted(t, rt, r); p.Ref != senderRef || len(p.Notes) != 0 {
		t.Errorf("the query went before the body: %+v", p)
	}
	// A token that looks mangled and is right.
	odd := compiled(t, Route{Tokens: [][]byte{[]byte("a?click_id=x")}})
	if p := accepted(t, odd, getRequest("token=a?click_id=x&cid=CLICK")); p.Ref != senderRef {
		t.Errorf("got %+v", p)
	}
}

// Values that a template mangled are read where that is possible in one way.
func TestMendedValues(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Currency: "EUR"})
	for _, c := range []struct {
		query string
		check func(*attribution.Claim) bool
	}{
		{`payout="12.50"`, func(c *attribution.Claim) bool { return c.Payout.String() == "12.50 EUR" }},
		{`payout=12%252E50`, func(c *attribution.Claim) bool { return c.Payout.String() == "12.50 EUR" }},
		{`payout=12.50%2BUSD`, func(c *attribution.Claim) bool { return c.Payout.String() == "12.50 USD" }},
		{`payout=12.50}`, func(c *attribution.Claim) bool { return c.Payout.String() == "12.50 EUR" }},
		{`payout=5&currency='usd'`, func(c *attribution.Claim) bool { return c.Payout.String() == "5.00 USD" }},
		{`status=%2522Approved%2522`, func(c *attribution.Claim) bool { return c.Status == attribution.Approved }},
		{`status=pending}`, func(c *attribution.Claim) bool { return c.Status == attribution.Pending }},
		{`time=2026-03-01T11%253A00%253A00Z`, func(c *attribution.Claim) bool { return c.SentAt.Hour() == 11 }},
		{`time=2026-03-01T12:00:00+01:00`, func(c *attribution.Claim) bool { return c.SentAt.Hour() == 11 }},
		{`time=2026-03-01%2B11:00:00`, func(c *attribution.Claim) bool { return c.SentAt.Hour() == 11 }},
		{`event=first%2520sale`, func(c *attribution.Claim) bool { return c.Event == "first sale" }},
		{`event="lead"`, func(c *attribution.Claim) bool { return c.Event == "lead" }},
	} {
		p := accepted(t, rt, getRequest("click_id=CLICK&"+c.query))
		if p.Problem != "" || !c.check(&p.Claim) || len(p.Notes) != 1 {
			t.Errorf("%s: got %+v, problem %q, notes %q", c.query, p.Claim, p.ProblemDetail, p.Notes)
		}
	}
	for _, query := range []string{
		`payout="1,234"`, `payout=12.50}{13`, `payout=(5)`, `payout=""`, `status=app}roved`, `currency=US%2544x&payout=1`, `time=2026-03-01+12:00:00+`,
		"payout=" + strings.Repeat(`"`, 300) + "5",
	} {
		p := accepted(t, rt, getRequest("click_id=CLICK&"+query))
		if query != "time=2026-03-01+12:00:00+" && p.Problem == "" || len(p.Notes) != 0 {
			t.Errorf("%s: got %+v, notes %q", query, p.Claim, p.Notes)
		}
	}
	// Transaction IDs tell conversions apart, so they stay as they are.
	if p := accepted(t, rt, getRequest(`click_id=CLICK&txid="a%2520b"`)); p.Claim.TxID != `"a%20b"` || len(p.Notes) != 0 {
		t.Errorf("got %+v, notes %q", p.Claim, p.Notes)
	}
}
