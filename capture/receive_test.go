package capture

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

var (
	arrivalTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	senderRef   = clickid.Ref{Epoch: 3, Block: 77, Slot: 5, Second: uint32(arrivalTime.Unix()) - 60}
	senderCodec = func() *clickid.Codec {
		c, err := clickid.New([]byte("0123456789abcdef"))
		if err != nil {
			panic(err)
		}
		return c
	}()
	genuineID = senderCodec.Encode(senderRef)
)

func newArrival() Arrival {
	return Arrival{
		Sender: netip.MustParseAddr("203.0.113.77"), Secure: true, Time: arrivalTime, Rules: &Rules{}, Codec: senderCodec,
	}
}

func compiled(tb testing.TB, rt Route) *Route {
	tb.Helper()
	rt.Name = "main"
	if err := rt.Compile(); err != nil {
		tb.Fatal(err)
	}
	return &rt
}

// fill puts the genuine click ID in place of CLICK.
func fill(s string) string { return strings.ReplaceAll(s, "CLICK", genuineID) }

func getRequest(query string) *http.Request {
	return httptest.NewRequest(http.MethodGet, fill("/postback?"+query), nil)
}

func postRequest(contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/postback", strings.NewReader(fill(body)))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// received is Receive, with what holds for every answer checked.
func received(tb failer, rt *Route, r *http.Request, a Arrival) (*Postback, *Reject) {
	tb.Helper()
	p, rej := rt.Receive(r, a)
	if (p == nil) == (rej == nil) {
		tb.Fatalf("got a postback %v and a rejection %v: want one of them", p, rej)
	}
	if rej != nil {
		checkReject(tb, rej)
	} else {
		checkPostback(tb, rt, p)
	}
	return p, rej
}

func accepted(tb failer, rt *Route, r *http.Request) *Postback {
	tb.Helper()
	p, rej := received(tb, rt, r, newArrival())
	if rej != nil {
		tb.Fatalf("refused: %v", rej)
	}
	return p
}

func TestReceiveGet(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Campaign: "acme"})
	r := getRequest("click_id=CLICK&txid=T1&payout=12.50&currency=usd&event=sale&status=pending&time=1772366400123456")
	r.Header.Set("User-Agent", "network/1")
	r.Header.Set("Authorization", "Bearer unasked")
	p := accepted(t, rt, r)
	c := p.Claim
	if p.Problem != "" || !p.HasRef || p.Ref != senderRef || p.ClickID != genuineID || p.Route != "main" ||
		p.OnlyCampaign != "acme" || p.Authentic != "click ID" || p.Sender != "203.0.113.0" || !p.Time.Equal(arrivalTime) || p.Rules == nil {
		t.Errorf("got %+v", p)
	}
	if c.TxID != "T1" || c.Event != "sale" || c.Status != attribution.Pending || !c.HasPayout || c.Payout.String() != "12.50 USD" ||
		!c.SentAt.Equal(time.UnixMilli(1772366400123)) || !c.ReceivedAt.Equal(arrivalTime) {
		t.Errorf("got claim %+v", c)
	}
	raw := p.Raw
	if raw.Method != "GET" || raw.Host != "example.com" || raw.URI != r.RequestURI || raw.UserAgent != "network/1" ||
		raw.ContentType != "" || raw.Body != nil {
		t.Errorf("got raw %+v", raw)
	}
}

func TestReceiveDefaults(t *testing.T) {
	t.Parallel()
	p := accepted(t, compiled(t, Route{}), getRequest("cid=CLICK"))
	if c := p.Claim; p.Problem != "" || c.Event != "conversion" || c.Status != attribution.Approved || c.HasPayout || c.TxID != "" || !c.SentAt.IsZero() {
		t.Errorf("got %+v", p)
	}
}

// Every shape in which the same postback can come gives the same claim.
func TestReceiveShapes(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Fields: map[Field][]string{
		FieldClickID: {"click_id", "data.click", "list.0.id"}, FieldTxID: {"txid", "data.order.id"},
		FieldPayout: {"payout", "data.order.sum"}, FieldCurrency: {"currency", "data.order.currency"},
	}})
	const form = "click_id=CLICK&txid=1000000000000000001&payout=12.50&currency=EUR"
	const flat = `{"click_id":"CLICK","txid":1000000000000000001,"payout":12.50,"currency":"EUR","note":null,"ok":true}`
	const multi = "--b\r\nContent-Disposition: form-data; name=\"click_id\"\r\n\r\nCLICK\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"txid\"\r\n\r\n1000000000000000001\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"payout\"; filename=\"x\"\r\n\r\n99\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"payout\"\r\n\r\n12.50\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"currency\"\r\n\r\nEUR\r\n--b--\r\n"
	for name, r := range map[string]*http.Request{
		"query":            getRequest(form),
		"upper-case names": getRequest("Click_ID=CLICK&TxId=1000000000000000001&PAYOUT=12.50&Currency=EUR"),
		"escaped":          getRequest("click%5fid=CLICK&txid=1%300000000000000000%31&payout=12%2e50&currency=+EUR+"),
		"form":             postRequest("application/x-www-form-urlencoded; charset=UTF-8", form),
		"form, no type":    postRequest("", form+"\r\n"),
		"form, odd type":   postRequest("text/plain", form),
		"json":             postRequest("application/json", flat),
		"json, no type":    postRequest("", " \r\n"+flat+"\n"),
		"json as a form":   postRequest("application/x-www-form-urlencoded", flat),
		"json with BOM":    postRequest("application/json; charset=utf-8", "\xef\xbb\xbf"+flat),
		"vendor json":      postRequest("application/vnd.api+json", `{"data":{"click":"CLICK","order":{"id":1000000000000000001,"sum":"12.50","currency":"EUR"}}}`),
		"json array":       postRequest("text/json", `{"list":[{"id":"CLICK"}],"txid":"1000000000000000001","payout":12.50,"currency":"EUR"}`),
		"literal dots":     postRequest("", "data.click=CLICK&data.order.id=1000000000000000001&payout=12.50&currency=EUR"),
		"multipart":        postRequest("multipart/form-data; boundary=b", multi),
		"query and body": func() *http.Request {
			r := postRequest("application/json", `{"click_id":"wrong","txid":"1000000000000000001","payout":12.50,"currency":"EUR"}`)
			r.URL.RawQuery, r.RequestURI = "click_id="+genuineID, "/postback?click_id="+genuineID
			return r
		}(),
		"repeated, empty": getRequest("click_id=&click_id=+&click_id=CLICK&click_id=no&txid=1000000000000000001&payout=12.50&currency=EUR"),
		"semicolon":       getRequest("a;b=c;d&click_id=CLICK&txid=1000000000000000001&payout=12.50&currency=EUR&&=&==;"),
	} {
		p := accepted(t, rt, r)
		c := p.Claim
		if !p.HasRef || p.Ref != senderRef || p.Problem != "" || c.TxID != "1000000000000000001" || c.Payout.String() != "12.50 EUR" {
			t.Errorf("%s: got %q %q, problem %s %s", name, c.TxID, c.Payout, p.Problem, p.ProblemDetail)
		}
	}
}

// What the networks of facts/networks.md make of their templates.
func TestReceiveNetworks(t *testing.T) {
	t.Parallel()
	affise := map[string]attribution.Status{
		"1": attribution.Approved, "2": attribution.Pending, "5": attribution.Pending, "3": attribution.Rejected,
	}
	for name, c := range map[string]struct {
		rt    Route
		query string
		want  string // txid event status payout
	}{
		"TUNE": {
			Route{}, "aff_sub=CLICK&payout=4.20&currency=USD&transaction_id=102f2b&goal=77", "102f2b 77 approved 4.20 USD",
		},
		"Everflow": {
			Route{}, "sub1=CLICK&amount=10&currency=EUR&transaction_id=ab%2F12&event=Deposit%20FTD", "ab/12 Deposit FTD approved 10.00 EUR",
		},
		"CAKE": {
			Route{Currency: "USD", Fields: map[Field][]string{FieldPayout: {"price"}, FieldClickID: {"s2"}}},
			"s2=CLICK&price=35.0000&tid=9912", "9912 conversion approved 35.00 USD",
		},
		"Affise": {
			Route{Statuses: affise}, "sub1=CLICK&sum=1.5&currency=RUB&transactionid=5f&status=3&goal=1", "5f 1 rejected 1.50 RUB",
		},
		"Awin": {
			Route{Fields: map[Field][]string{
				FieldClickID: {"clickref"}, FieldPayout: {"commission"}, FieldCurrency: {"cur"}, FieldTxID: {"id"},
			}},
			"clickref=CLICK&commission=1234.56&cur=GBP&id=1700000001", "1700000001 conversion approved 1234.56 GBP",
		},
		"ClickBank": {
			Route{
				Currency: "USD", Statuses: map[string]attribution.Status{"purchase": attribution.Approved},
				Fields: map[Field][]string{FieldTxID: {"event_id"}, FieldPayout: {"affiliate_earnings"}, FieldStatus: {"event_type"}},
			},
			"cid=CLICK&affiliate_earnings=17.31&event_id=e-1&event_type=PURCHASE", "e-1 conversion approved 17.31 USD",
		},
	} {
		p := accepted(t, compiled(t, c.rt), getRequest(c.query))
		got := p.Claim.TxID + " " + p.Claim.Event + " " + p.Claim.Status.String() + " " + p.Claim.Payout.String()
		if got != c.want || p.Problem != "" || p.Ref != senderRef {
			t.Errorf("%s: got %q, problem %s %s, want %q", name, got, p.Problem, p.ProblemDetail, c.want)
		}
	}
}

func TestReceiveBody(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{MaxBody: 64})
	a := newArrival()
	body := fill("click_id=CLICK&pad=")
	body += strings.Repeat("x", 64-len(body))
	if p := accepted(t, rt, postRequest("", body)); string(p.Raw.Body) != body {
		t.Errorf("kept %q of %q", p.Raw.Body, body)
	}
	chunked := postRequest("", body+"x")
	chunked.ContentLength = -1
	capped := postRequest("", body)
	capped.Body = http.MaxBytesReader(nil, capped.Body, 10)
	for name, r := range map[string]*http.Request{
		"declared": postRequest("", body+"x"), "chunked": chunked, "the server's own limit": capped,
	} {
		if _, rej := received(t, rt, r, a); rej == nil || rej.Status != 413 || rej.Reason != BodyTooLarge {
			t.Errorf("%s: got %v", name, rej)
		}
	}
	broken := postRequest("", "")
	broken.ContentLength = -1
	broken.Body = io.NopCloser(io.MultiReader(strings.NewReader("click_id="), iotest.ErrReader(errors.New("10.0.0.1: reset"))))
	if _, rej := received(t, rt, broken, a); rej == nil || rej.Status != 400 || rej.Reason != MalformedRequest || strings.Contains(rej.Detail, "10.0") {
		t.Errorf("broken off: got %v", rej)
	}
	if _, rej := received(t, rt, postRequest("application/json", " \n"), a); rej == nil || rej.Reason != MissingClickID {
		t.Errorf("an empty body: got %v", rej)
	}
}

func TestReceiveMalformed(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Tokens: [][]byte{[]byte("s")}})
	for name, c := range map[string]struct{ contentType, body, want string }{
		"not JSON":         {"application/json", "click_id=CLICK", "no JSON"},
		"scalar":           {"application/json", `"CLICK"`, "neither an object"},
		"cut off":          {"", `{"click_id":"CLICK"`, "unexpected end"},
		"cut off, string":  {"", `{"click_id":"CLI`, "unexpected end"},
		"trailing":         {"", `{"click_id":"CLICK"} x`, "after top-level value"},
		"two documents":    {"", `{"click_id":"CLICK"}{}`, "after top-level value"},
		"trailing comma":   {"", `{"click_id":"CLICK",}`, "no JSON"},
		"number as a key":  {"", `{1:2}`, "no JSON"},
		"twice":            {"", `{"click_id":"CLICK","click_id":"x"}`, `"click_id" twice`},
		"twice, escaped":   {"", `{"click_id":"CLICK","click\u005fid":"x"}`, `"click_id" twice`},
		"twice, below":     {"", `{"a":[{"b":1,"b":1}]}`, `"b" twice`},
		"too deep":         {"", strings.Repeat("[", 33) + strings.Repeat("]", 33), "32 levels"},
		"bomb":             {"", strings.Repeat(`{"a":`, 9999) + "1" + strings.Repeat("}", 9999), "32 levels"},
		"no boundary":      {"multipart/form-data", "x", "boundary"},
		"no parts":         {"multipart/form-data; boundary=b", "x", "damaged"},
		"part cut off":     {"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nCL", "damaged"},
		"too many parts":   {"multipart/form-data; boundary=b", strings.Repeat("--b\r\n\r\nx\r\n", 257) + "--b--", "256 parts"},
		"JSON in UTF-16LE": {"application/json", "\xff\xfe{\x00}\x00", "no JSON"},
	} {
		r := postRequest(c.contentType, c.body)
		r.Header.Set("Authorization", "Bearer s")
		_, rej := received(t, rt, r, newArrival())
		if rej == nil || rej.Status != 400 || rej.Reason != MalformedRequest || !strings.Contains(rej.Detail, c.want) {
			t.Errorf("%s: got %v, want %q", name, rej, c.want)
		}
	}
	r := postRequest("", "click_id=CLICK&token=s")
	r.Header.Set("Content-Encoding", "GZip")
	if _, rej := received(t, rt, r, newArrival()); rej == nil || rej.Reason != MalformedRequest || !strings.Contains(rej.Detail, "GZip") {
		t.Errorf("compressed: got %v", rej)
	}
	r = postRequest("", "click_id=CLICK&token=s")
	r.Header.Set("Content-Encoding", "identity")
	accepted(t, rt, r)
	r = getRequest("click_id=CLICK&token=s&pad=" + strings.Repeat("x", 16<<10))
	if _, rej := received(t, rt, r, newArrival()); rej == nil || rej.Reason != MalformedRequest || !strings.Contains(rej.Detail, "16384") {
		t.Errorf("a long address: got %v", rej)
	}
}

// 32 levels are fine, and what is below a very long key is passed over.
func TestReceiveDeepJSON(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Fields: map[Field][]string{FieldClickID: {strings.Repeat("0.", 31) + "0"}}})
	p := accepted(t, rt, postRequest("", strings.Repeat("[", 32)+`"CLICK"`+strings.Repeat("]", 32)))
	if p.Ref != senderRef {
		t.Errorf("got %+v", p)
	}
	long := strings.Repeat("k", 300)
	accepted(t, compiled(t, Route{}), postRequest("", `{"`+long+`":{"click_id":"x"},"":{"click_id":"x"},"click_id":"CLICK"}`))
}

// What is no text is kept to the byte, and read as it was.
func TestReceiveRawIsExact(t *testing.T) {
	t.Parallel()
	r := getRequest("click_id=CLICK&txid=x")
	r.URL.RawQuery += "\xff\xc3\xa9%ff"
	r.RequestURI = "/post\xe9back?" + r.URL.RawQuery
	r.Host = "ex\xe4mple.com"
	agent := strings.Repeat("a\xff\xe2\x82\xac", 100)
	r.Header.Set("User-Agent", agent)
	r.Header.Set("Content-Type", "text/\xffplain")
	p := accepted(t, compiled(t, Route{}), r)
	if p.Raw.URI != r.RequestURI || p.Claim.TxID != `x\xFFé\xFF` || p.Raw.UserAgent != agent[:256] ||
		p.Raw.Host != r.Host || p.Raw.ContentType != "text/\xffplain" {
		t.Errorf("got %+v", p)
	}
	// Text is not cut within a letter.
	r = getRequest("click_id=CLICK")
	r.Header.Set("User-Agent", strings.Repeat("\u20ac", 100))
	if p := accepted(t, compiled(t, Route{}), r); p.Raw.UserAgent != strings.Repeat("\u20ac", 85) {
		t.Errorf("got %q", p.Raw.UserAgent)
	}
	// A query that something before the route has put there is what counts.
	r = getRequest("click_id=nonsense")
	r.URL.RawQuery = fill("click_id=CLICK")
	if p := accepted(t, compiled(t, Route{}), r); p.Ref != senderRef || p.Raw.URI != fill("/postback?click_id=CLICK") {
		t.Errorf("got %+v", p)
	}
	r = getRequest("click_id=CLICK")
	r.RequestURI = ""
	if p := accepted(t, compiled(t, Route{}), r); p.Raw.URI != fill("/postback?click_id=CLICK") {
		t.Errorf("got %q", p.Raw.URI)
	}
}

func BenchmarkReceive(b *testing.B) {
	rt := compiled(b, Route{Tokens: [][]byte{[]byte("4f3c2b1a9d8e7f60")}, Currency: "USD"})
	r := getRequest("token=4f3c2b1a9d8e7f60&click_id=CLICK&txid=102f2b7d9c&payout=12.50&currency=USD&event=sale&status=approved")
	r.Header.Set("User-Agent", "network/1.0 (+https://network.example)")
	a := newArrival()
	b.ReportAllocs()
	for b.Loop() {
		if _, rej := rt.Receive(r, a); rej != nil {
			b.Fatal(rej)
		}
	}
}

func BenchmarkReceiveJSON(b *testing.B) {
	rt := compiled(b, Route{})
	body := []byte(fill(`{"click_id":"CLICK","txid":"102f2b7d9c","payout":12.50,"currency":"USD","event":"sale"}`))
	r := postRequest("application/json", "x")
	a := newArrival()
	b.ReportAllocs()
	for b.Loop() {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if _, rej := rt.Receive(r, a); rej != nil {
			b.Fatal(rej)
		}
	}
}

// The worst bodies of the default size, for the cost of one request.
func BenchmarkReceiveBomb(b *testing.B) {
	for name, body := range map[string]string{
		"form":    strings.Repeat("a&", 32<<10),
		"wanted":  strings.Repeat("cid=1&", 10<<10),
		"numbers": "[" + strings.Repeat("1,", 32<<10-2) + "1]",
		"objects": "[" + strings.Repeat("{},", 21<<10) + "1]",
		"longkey": `{"` + strings.Repeat("k", 30<<10) + `":[` + strings.Repeat(`{"a":1},`, 4<<10) + "1]}",
		"deep":    strings.Repeat("[", 32<<10) + strings.Repeat("]", 32<<10),
		"keys":    `{"` + strings.Repeat("k", 100) + strings.Repeat(`":{},"kkkkk`, 5<<10) + `":1}`,
		"macros":  "cid=" + strings.Repeat("%257B", 13000),
	} {
		b.Run(name, func(b *testing.B) {
			rt := compiled(b, Route{})
			for b.Loop() {
				if _, rej := rt.Receive(postRequest("", body), newArrival()); rej == nil || rej.Status != 400 {
					b.Fatal(rej)
				}
			}
		})
	}
}
