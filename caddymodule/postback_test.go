package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// wantAnswer checks an answer's status and body, and what holds for all.
func wantAnswer(t *testing.T, res *http.Response, body string, status int, want string) {
	t.Helper()
	if res.StatusCode != status || strings.TrimSuffix(body, "\n") != want {
		t.Errorf("got %d %s\nwant %d %s", res.StatusCode, body, status, want)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	if want != "" && res.ContentLength != int64(len(body)) {
		t.Errorf("Content-Length is %d for %d bytes", res.ContentLength, len(body))
	}
	if len(res.Cookies()) > 0 {
		t.Errorf("cookies %v", res.Cookies())
	}
}

func conversionID(body string) string {
	var b struct {
		ID string `json:"conversion_id"`
	}
	_ = json.Unmarshal([]byte(body), &b)
	return b.ID
}

func TestPostbackBooks(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)

	res, body := s.get("/pb?click_id=" + strings.ToUpper(id) + "&txid=1&payout=12.5&currency=usd&event=sale")
	conv := conversionID(body)
	wantAnswer(t, res, body, 200, fmt.Sprintf(`{"outcome":"recorded","conversion_id":%q,"click_id":%q,"campaign":"acme",`+
		`"event":"sale","status":"approved","payout":"12.50","currency":"USD"}`, conv, id))
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type is %q", ct)
	}
	_, body = s.get("/pb?click_id=" + id + "&txid=1&payout=12.50&currency=USD&event=sale")
	if !strings.HasPrefix(body, `{"outcome":"duplicate","conversion_id":"`+conv) {
		t.Errorf("got %s", body)
	}
	res, body = s.get("/pb?click_id=" + id + "&txid=1&status=reversed&event=sale")
	wantAnswer(t, res, body, 200, fmt.Sprintf(`{"outcome":"updated","conversion_id":%q,"click_id":%q,"campaign":"acme",`+
		`"event":"sale","status":"reversed","payout":"12.50","currency":"USD"}`, conv, id))

	// By POST, as a form and as JSON.
	for contentType, text := range map[string]string{
		"application/x-www-form-urlencoded": "txid=2&click_id=" + id,
		"application/json":                  `{"txid":3,"click_id":"` + id + `"}`,
	} {
		req, _ := http.NewRequest(http.MethodPost, s.url("/pb"), strings.NewReader(text))
		req.Header.Set("Content-Type", contentType)
		_, body := s.do(req)
		if !strings.HasPrefix(body, `{"outcome":"recorded",`) || strings.Contains(body, `"payout"`) {
			t.Errorf("%s: got %s", contentType, body)
		}
	}
	if n := reported(t); n != 3 {
		t.Errorf("%d conversions in the report", n)
	}
}

func TestPostbackQuarantine(t *testing.T) {
	t.Setenv("POSTBACK_TOKEN", "a long secret")
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n token {env.POSTBACK_TOKEN}\n answer 200 OK\n}\n"+
		"postback /strict {\n token {env.POSTBACK_TOKEN}\n quarantine_status 422\n campaign other\n}")

	res, body := s.get("/pb?token=a+long+secret&click_id={aff_sub}&txid=1")
	wantAnswer(t, res, body, 202, strings.TrimSpace(body))
	if !strings.HasPrefix(body, `{"outcome":"quarantined","reason":"unresolved_macro","detail":"`) {
		t.Errorf("got %s", body)
	}
	id := click(t, "acme", 0)
	res, body = s.get("/strict?token=a+long+secret&click_id=" + id)
	wantAnswer(t, res, body, 422, strings.TrimSpace(body))
	if !strings.Contains(body, `"reason":"wrong_campaign"`) || !strings.HasSuffix(body, `"click_id":"`+id+`","campaign":"acme"}`+"\n") {
		t.Errorf("got %s", body)
	}
	if n := testutil.ToFloat64(postbacksTotal.WithLabelValues("/strict", "quarantined", "wrong_campaign")); n < 1 {
		t.Error("not counted")
	}
}

func TestPostbackAnswer(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /words {\n answer 200 \"OK, thanks\"\n}\npostback /json {\n answer 201 `{\"ok\":true}`\n}\n"+
		"postback /none {\n answer 204\n}")
	id := click(t, "acme", 0)
	for _, tt := range []struct {
		path, contentType, body string
		status                  int
	}{
		{"/words", "text/plain; charset=utf-8", "OK, thanks", 200},
		{"/json", "application/json", `{"ok":true}`, 201},
		{"/none", "", "", 204},
		{"/words", "text/plain; charset=utf-8", "OK, thanks", 200}, // a duplicate
	} {
		res, body := s.get(tt.path + "?click_id=" + id)
		wantAnswer(t, res, body, tt.status, tt.body)
		if ct := res.Header.Get("Content-Type"); ct != tt.contentType {
			t.Errorf("%s: Content-Type is %q", tt.path, ct)
		}
	}
	// Only booked postbacks are answered so.
	res, body := s.get("/words?click_id=nonsense")
	if res.StatusCode != 400 || !strings.Contains(body, `"reason":"invalid_click_id"`) {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

func TestPostbackRejects(t *testing.T) {
	s := newSite(t)
	s.conf = "servers {\n trusted_proxies static 127.0.0.1/32\n}"
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n max_body 10B\n}\n"+
		"postback /token {\n token sesame-open\n}\n"+
		"postback /allow {\n allow 192.0.2.0/24 private_ranges\n allow_http\n}")
	id := click(t, "acme", 0)
	for name, tt := range map[string]struct {
		method, path, body string
		header             map[string]string
		status             int
		reason             string
	}{
		"no click ID":   {path: "/pb", status: 400, reason: "missing_click_id"},
		"macro":         {path: "/pb?click_id={sub1}", status: 400, reason: "unresolved_macro"},
		"forged":        {path: "/pb?click_id=" + strings.Repeat("0", len(id)), status: 400, reason: "invalid_click_id"},
		"no token":      {path: "/token?click_id=" + id, status: 401, reason: "bad_token"},
		"wrong token":   {path: "/token?token=sesame&click_id=" + id, status: 401, reason: "bad_token"},
		"other address": {path: "/allow?click_id=" + id, header: map[string]string{"X-Forwarded-For": "198.51.100.1"}, status: 403, reason: "address_not_allowed"},
		"plain HTTP": {path: "/pb?click_id=" + id, header: map[string]string{
			"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http",
		}, status: 403, reason: "insecure_transport"},
		"PUT":        {method: "PUT", path: "/pb", status: 405, reason: "method_not_allowed"},
		"large body": {method: "POST", path: "/pb", body: "txid=12345678901234567890", status: 413, reason: "body_too_large"},
	} {
		method := tt.method
		if method == "" {
			method = http.MethodGet
		}
		before := testutil.ToFloat64(postbacksTotal.WithLabelValues(strings.SplitN(tt.path, "?", 2)[0], "rejected", tt.reason))
		req, _ := http.NewRequest(method, s.url(tt.path), strings.NewReader(tt.body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for k, v := range tt.header {
			req.Header.Set(k, v)
		}
		res, body := s.do(req)
		var b postbackBody
		if err := json.Unmarshal([]byte(body), &b); err != nil {
			t.Errorf("%s: %v in %s", name, err, body)
		}
		if res.StatusCode != tt.status || b.Outcome != capture.Rejected || string(b.Reason) != tt.reason || b.Detail == "" {
			t.Errorf("%s: got %d %s", name, res.StatusCode, body)
		}
		wantAnswer(t, res, body, tt.status, strings.TrimSpace(body))
		if (res.Header.Get("Allow") != "") != (tt.status == 405) {
			t.Errorf("%s: Allow is %q", name, res.Header.Get("Allow"))
		}
		after := testutil.ToFloat64(postbacksTotal.WithLabelValues(strings.SplitN(tt.path, "?", 2)[0], "rejected", tt.reason))
		if after != before+1 {
			t.Errorf("%s: counted %v times", name, after-before)
		}
	}
	req, _ := http.NewRequest(http.MethodHead, s.url("/pb?click_id="+id), nil)
	if res, body := s.do(req); res.StatusCode != 405 || body != "" || res.Header.Get("Allow") == "" {
		t.Errorf("HEAD: got %d %q", res.StatusCode, body)
	}
	// By the trusted proxy's word it came by HTTPS, and from a good address.
	for _, path := range []string{"/pb", "/allow"} {
		req, _ := http.NewRequest(http.MethodGet, s.url(path+"?click_id="+id), nil)
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		req.Header.Set("X-Forwarded-Proto", "https")
		if res, body := s.do(req); res.StatusCode != 200 {
			t.Errorf("%s: got %d %s", path, res.StatusCode, body)
		}
	}
	if n := reported(t); n != 1 {
		t.Errorf("%d conversions in the report", n)
	}
}

// Without trusted_proxies nobody's word is taken for his address.
func TestPostbackBelievesNoForgedAddress(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n allow 192.0.2.1\n}")
	req, _ := http.NewRequest(http.MethodGet, s.url("/pb?click_id=x"), nil)
	req.Header.Set("X-Forwarded-For", "192.0.2.1")
	if res, body := s.do(req); res.StatusCode != 403 {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

func TestPostbackArrival(t *testing.T) {
	t.Parallel()
	p := &Postback{app: &App{rules: new(capture.Rules)}}
	for name, tt := range map[string]struct {
		vars          map[string]any
		tls           *tls.ConnectionState
		proto         string
		sender        string
		secure, early bool
	}{
		"nothing known":     {sender: "invalid IP"},
		"plain":             {vars: map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"}, sender: "192.0.2.1"},
		"no address":        {vars: map[string]any{caddyhttp.ClientIPVarKey: "@"}, sender: "invalid IP"},
		"mapped":            {vars: map[string]any{caddyhttp.ClientIPVarKey: "::ffff:192.0.2.1"}, sender: "192.0.2.1"},
		"zone":              {vars: map[string]any{caddyhttp.ClientIPVarKey: "fe80::1%eth0"}, sender: "fe80::1"},
		"TLS":               {tls: &tls.ConnectionState{HandshakeComplete: true}, sender: "invalid IP", secure: true},
		"early data":        {tls: &tls.ConnectionState{}, sender: "invalid IP", secure: true, early: true},
		"untrusted proxy":   {vars: map[string]any{caddyhttp.TrustedProxyVarKey: false}, proto: "https", sender: "invalid IP"},
		"trusted proxy":     {vars: map[string]any{caddyhttp.TrustedProxyVarKey: true}, proto: "HTTPS , http", sender: "invalid IP", secure: true},
		"trusted but plain": {vars: map[string]any{caddyhttp.TrustedProxyVarKey: true}, proto: "http, https", sender: "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/pb", nil)
		vars := tt.vars
		if vars == nil {
			vars = make(map[string]any)
		}
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
		r.TLS = tt.tls
		r.Header.Set("X-Forwarded-Proto", tt.proto)
		a := p.arrival(r)
		if a.Sender.String() != tt.sender || a.Secure != tt.secure || a.Early != tt.early {
			t.Errorf("%s: got %+v", name, a)
		}
	}
}

func TestPostbackInEarlyData(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	p := handler(t, &Postback{})
	r := httptest.NewRequest(http.MethodGet, "/pb?click_id="+id, nil)
	r.TLS = new(tls.ConnectionState)
	w := httptest.NewRecorder()
	if err := p.ServeHTTP(w, r, nil); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusTooEarly || !strings.Contains(w.Body.String(), `"reason":"early_data"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// handler provisions a handler for the configuration that runs.
func handler(t testing.TB, p *Postback) *Postback {
	t.Helper()
	p.app = runningApp(t)
	p.logger = zap.NewNop()
	p.rejects, p.quarantine, p.failures = newBoundedLog(), newBoundedLog(), newBoundedLog()
	var err error
	if err = p.setDefaults(); err == nil {
		p.route, err = p.compile()
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPostbackUnavailable(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	fail := fmt.Errorf("%w: the disk said /secret/path", capture.ErrUnavailable)
	place.hook(func(b *capture.Batch) error { return fail })
	const want = `{"outcome":"unavailable","detail":"the store cannot take it now; nothing was booked: send it again later"}`
	res, body := s.get("/pb?click_id=" + id)
	wantAnswer(t, res, body, 503, want)
	if ra := res.Header.Get("Retry-After"); ra != "30" {
		t.Errorf("Retry-After is %q", ra)
	}
	place.hook(nil)
	eventually(t, "the store takes postbacks again", func() bool {
		res, _ := s.get("/pb?click_id=" + id)
		return res.StatusCode == 200
	})
	if n := reported(t); n != 1 {
		t.Errorf("%d conversions in the report", n)
	}
}

func TestPostbackOfTest(t *testing.T) {
	s := newSite(t)
	option, _ := memoryOption(t)
	s.load(option, "postback /tested")
	id := click(t, "acme", capture.FlagTest)
	before := testutil.ToFloat64(postbacksTotal.WithLabelValues("/tested", "recorded", ""))
	res, body := s.get("/tested?click_id=" + id)
	wantAnswer(t, res, body, 200, strings.TrimSpace(body))
	if !strings.HasSuffix(body, `"status":"approved","test":true}`+"\n") {
		t.Errorf("got %s", body)
	}
	if testutil.ToFloat64(postbacksTotal.WithLabelValues("/tested", "recorded", "")) != before || reported(t) != 0 {
		t.Error("a test was counted")
	}
}

// A flood of bad postbacks must not fill the log, and no line gives away a
// secret or a whole address.
func TestPostbackLog(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.dir, "log.json")
	s.conf = "servers {\n trusted_proxies static 127.0.0.1/32\n}\nlog {\n output file " + file + "\n format json\n level DEBUG\n include capture\n}"
	option, _ := memoryOption(t)
	s.load(option, "postback /pb {\n token the-secret-token\n allow_http\n}")
	id := click(t, "acme", 0)
	ask := func(path string) {
		req, _ := http.NewRequest(http.MethodGet, s.url(path), nil)
		req.Header.Set("X-Forwarded-For", "203.0.113.77")
		s.do(req)
	}
	began := time.Now()
	for range 50 {
		ask("/pb?token=wrong-secret&click_id=" + id)
	}
	ask("/pb?token=the-secret-token&click_id=" + id)
	ask("/pb?token=the-secret-token&click_id={sub}")

	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, secret := range []string{"the-secret-token", "wrong-secret", "203.0.113.77", "token="} {
		if strings.Contains(text, secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
	count := make(map[string]int)
	for line := range strings.Lines(text) {
		var e struct{ Level, Logger, Msg, Sender, Reason string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Logger != "capture" && !strings.HasPrefix(e.Logger, "capture.") {
			t.Errorf("logger %q", e.Logger)
		}
		count[e.Level+" "+e.Msg]++
		if e.Msg == "postback rejected" && (e.Sender != "203.0.113.0" || e.Reason != "bad_token") {
			t.Errorf("got %s", line)
		}
	}
	if n := count["warn postback rejected"]; n < 1 || n > 6+int(time.Since(began)/(10*time.Second)) {
		t.Errorf("%d lines of 50 rejected postbacks", n)
	}
	if count["warn postback quarantined"] != 1 || count["debug postback"] != 2 {
		t.Errorf("got %v", count)
	}
	if count["info postback"] > 0 {
		t.Error("single requests should not be logged at Info")
	}
}

func TestBoundedLog(t *testing.T) {
	t.Parallel()
	b := newBoundedLog()
	logged := 0
	for range 100 {
		if _, ok := b.allow(); ok {
			logged++
		}
	}
	if logged != 5 || b.suppressed.Load() != 95 {
		t.Errorf("logged %d, suppressed %d", logged, b.suppressed.Load())
	}
}

func TestPostbackProvisionErrors(t *testing.T) {
	option, _ := memoryOption(t)
	t.Setenv("EMPTY_TOKEN", "")
	for directives, want := range map[string]string{
		"postback /pb {\n token {env.NO_SUCH_TOKEN}\n}":               `postback "/pb": token 1: replacing placeholders`,
		"postback /pb {\n token good-enough {env.EMPTY_TOKEN}\n}":     `token 2: replacing placeholders`,
		"postback /pb {\n allow {env.NO_SUCH_RANGE}\n}":               `allow "{env.NO_SUCH_RANGE}": replacing placeholders`,
		"postback /pb {\n fields {\n txid token\n}\n token sesame\n}": `postback "/pb": fields: txid`,
	} {
		err := (&site{t: t, addr: "127.0.0.1:0", dir: t.TempDir()}).validate(option, directives)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v; want %q in it", directives, err, want)
		}
	}
	for cfg, want := range map[string]string{
		`{"fields":{"clickid":["a"]}}`:           `"clickid" is no field`,
		`{"statuses":{"paid":["a"]}}`:            `unknown status "paid"; allowed are approved`,
		`{"payout":"1"}`:                         "payout:",
		`{"payout":"x","payout_currency":"USD"}`: "payout:",
		`{"currency":"dollar"}`:                  "currency:",
		`{"allow":["here"]}`:                     `allow "here" is no address`,
		`{"allow":["  "]}`:                       "is empty",
		`{"answer":{"status":404}}`:              "answer has the status 404",
		`{"quarantine_status":500}`:              "quarantine_status is 500",
		`{"max_body":-1}`:                        "max_body is -1 bytes",
		`{"max_body":524289}`:                    "max_body is 524289 bytes",
		`{"token":["misspelled"]}`:               "unknown field",
	} {
		p := &Postback{app: new(App), logger: zap.NewNop()}
		err := caddy.StrictUnmarshalJSON([]byte(cfg), p)
		if err == nil {
			err = p.setDefaults()
		}
		if err == nil {
			_, err = p.compile()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q in it", cfg, err, want)
		}
	}
}

func TestPostbackDefaults(t *testing.T) {
	t.Parallel()
	t.Run("route", func(t *testing.T) {
		p := &Postback{
			app: new(App), logger: zap.NewNop(), Answer: new(PostbackAnswer),
			Allow: []string{"private_ranges", "192.0.2.7", "2001:db8::/32"}, Payout: "3", PayoutCurrency: "eur",
			Statuses: map[string][]string{"approved": {"OK", "paid"}},
		}
		if err := p.setDefaults(); err != nil {
			t.Fatal(err)
		}
		rt, err := p.compile()
		if err != nil {
			t.Fatal(err)
		}
		if p.Name != "postback" || p.QuarantineStatus != 202 || p.MaxBody != 65536 || p.Answer.Status != 200 {
			t.Errorf("got %+v", p)
		}
		if rt.Payout.String() != "3.00 EUR" || rt.Statuses["ok"] != attribution.Approved {
			t.Errorf("got %+v", rt)
		}
		if n := len(caddyhttp.PrivateRangesCIDR()) + 2; len(rt.Allow) != n || rt.Allow[n-2].String() != "192.0.2.7/32" {
			t.Errorf("allow is %v", rt.Allow)
		}
	})
}

func TestPostbackOfGoneSender(t *testing.T) {
	s := newSite(t)
	option, place := memoryOption(t)
	s.load(option, "postback /pb")
	id := click(t, "acme", 0)
	p := handler(t, &Postback{})
	block := make(chan struct{})
	place.hook(func(*capture.Batch) error { <-block; return nil })
	ctx, cancel := context.WithCancelCause(t.Context())
	r := httptest.NewRequest(http.MethodGet, "/pb?click_id="+id, nil).WithContext(
		context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "127.0.0.1"}))
	w := httptest.NewRecorder()
	cancel(errors.New("gone"))
	if err := p.ServeHTTP(w, r, nil); err != nil || w.Code != 503 {
		t.Errorf("got %d %s, %v", w.Code, w.Body, err)
	}
	close(block)
	place.hook(nil)
}

// BenchmarkPostback measures the handler's own work: the store is in memory.
func BenchmarkPostback(b *testing.B) {
	s := newSite(b)
	s.conf = "log {\n output discard\n}"
	option, _ := memoryOption(b)
	s.load(option, "postback /pb")
	id := click(b, "acme", 0)
	p := handler(b, &Postback{})
	a := capture.Arrival{Rules: p.app.rules, Secure: true}
	held, err := p.app.acquire()
	if err != nil {
		b.Fatal(err)
	}
	a.Codec = held.codec()
	r := httptest.NewRequest(http.MethodGet, "/pb?click_id="+id+"&txid=1&payout=12.50&currency=USD", nil)
	r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	pb, rej := p.route.Receive(r, a)
	if rej != nil {
		b.Fatal(rej)
	}
	if err := held.ledger.Book(b.Context(), pb); err != nil {
		b.Fatal(err)
	}
	b.Run("receive", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			a := p.arrival(r)
			a.Codec = held.codec()
			if _, rej := p.route.Receive(r, a); rej != nil {
				b.Fatal(rej)
			}
		}
	})
	b.Run("answer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = p.answer(discard{http.Header{}}, pb)
		}
	})
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header       { return d.h }
func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (discard) WriteHeader(int)             {}
