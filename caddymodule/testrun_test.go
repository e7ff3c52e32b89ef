package caddymodule

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/storetest/memstore"
)

// steps runs a test through the admin API.
func steps(t testing.TB, srv *httptest.Server, body string) []testStep {
	t.Helper()
	resp, err := http.Post(srv.URL+"/capture/test", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	var list []testStep
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var s testStep
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		list = append(list, s)
	}
	return list
}

// wantSteps compares steps with lines of "ok|note|FAIL step: part of the text
// or detail".
func wantSteps(t testing.TB, got []testStep, want ...string) {
	t.Helper()
	var all strings.Builder
	for i, s := range got {
		mark := "ok"
		if s.Note {
			mark = "note"
		} else if !s.OK {
			mark = "FAIL"
		}
		line := mark + " " + s.Step + ": " + s.Text + " | " + s.Detail
		all.WriteString(line + "\n")
		if i >= len(want) {
			continue
		}
		head, part, _ := strings.Cut(want[i], ": ")
		if !strings.HasPrefix(line, head+": ") || !strings.Contains(line, part) {
			t.Errorf("step %d is %s\nwant %s", i, line, want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d steps, want %d", len(got), len(want))
	}
	if t.Failed() {
		t.Logf("all steps:\n%s", all.String())
	}
}

// Nothing of a test may ever count.
func wantNothingCounted(t testing.TB) {
	t.Helper()
	held, err := runningApp(t).acquire()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r, err := held.ledger.Report(t.Context(), attribution.Query{From: now.Add(-time.Hour), To: now.Add(time.Hour)})
	if err != nil || !r.Total.IsZero() {
		t.Errorf("%v: the report counts %+v", err, r.Total)
	}
	if q := held.ledger.Health().Store.Quarantine; len(q) > 0 {
		t.Errorf("in quarantine: %v", q)
	}
}

func TestTestRun(t *testing.T) {
	option, _ := memoryOption(t)
	s := newSite(t)
	srv := adminServer(t, adminAPI{})
	s.load(option, `
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	track_click /out/* {
		inject ref
		campaign injected
	}
	redir /out/* https://shop.example/?x=1
	postback /postback
	handle_path /api/* {
		postback /secret {
			token a-very-secret-token
			campaign injected
			fields {
				click_id ref
				payout data.amount
			}
			payout 5 EUR
			answer 200 OK
		}
	}`)
	got := steps(t, srv, "")
	wantSteps(t, got,
		"ok store: takes clicks",
		"ok routes: found 2 track_clicks and 2 postbacks",
		"ok click: GET http://"+s.addr+"/go/acme?source=test-",
		"ok click ID: the advertiser gets it in parameter aff_sub",
		`ok stored: campaign "acme", source "test-`,
		"ok click: /out/capture-test?source=test-",
		"ok click ID: the advertiser gets it in parameter ref",
		`ok stored: campaign "injected"`,
		"ok postback: /postback?click_id=",
		"ok repeat: the same again -> 200 duplicate",
		"ok conversion: conversion, approved, 1.23 USD",
		"ok report: is as before",
		"ok postback: /api/secret?ref=",
		"ok repeat: the same again -> 200 duplicate",
		"ok conversion: 5.00 EUR",
		"ok report: is as before",
		"ok result: everything works",
	)
	for _, s := range got {
		if strings.Contains(s.Text+s.Detail, "a-very-secret-token") {
			t.Errorf("a step shows the token: %+v", s)
		}
	}
	wantNothingCounted(t)
	var list conversionsAnswer
	adminGet(t, srv, "/capture/conversions?test=1", &list)
	if len(list.Conversions) != 2 || !list.Conversions[0].Test {
		t.Errorf("test conversions: %+v", list)
	}

	// One route of each, chosen by path and by address.
	got = steps(t, srv, `{"click":"/out/books?source=mail","postback":"http://`+s.addr+`/api/secret"}`)
	if len(got) != 10 || !strings.Contains(got[2].Text, "/out/books?source=mail ->") || !strings.Contains(got[4].Text, `source "mail"`) {
		wantSteps(t, got)
	}
	wantNothingCounted(t)

	out, _, err := runCommand(srv.URL, "test")
	if err != nil || !strings.Contains(out, "ok    result      everything works") {
		t.Errorf("%v:\n%s", err, out)
	}
	out, _, err = runCommand(srv.URL, "test", "--click", "/nowhere", "--format", "json")
	if err == nil || !strings.Contains(err.Error(), `"/nowhere" is not the address of a track_click`) ||
		!strings.Contains(err.Error(), "/go/acme") || out != "" {
		t.Errorf("%v: %s", err, out)
	}
	if _, _, err = runCommand(srv.URL, "test", "--postback", "nowhere"); err == nil || !strings.Contains(err.Error(), "neither a path") {
		t.Errorf("%v", err)
	}
}

func TestTestRunFindsFaults(t *testing.T) {
	const good = "track_click /go/acme https://acme.example/?aff_sub={click_id}\n"
	const fine = "ok click|ok click ID|ok stored|"
	for _, tc := range []struct {
		name, directives, want string
	}{
		{"no postback", good, "FAIL routes: no postback|" + fine + "FAIL result"},
		{"no click", "postback /postback", "FAIL routes: no track_click|FAIL result"},
		{
			"hidden click", "handle /go/* {\n respond 404\n}\nhandle {\n" + good + "}\npostback /postback",
			"ok routes|FAIL click: Another handler answered before track_click|FAIL postback: not tested|FAIL result",
		},
		{
			"login before click", "route {\n respond /go/* 401\n" + good + "}\npostback /postback",
			"ok routes|FAIL click: without a login|FAIL postback: not tested|FAIL result",
		},
		{
			"destination without ID", "track_click /go/acme https://acme.example/\npostback /postback",
			"ok routes|ok click|FAIL click ID: Put {click_id} where|FAIL postback: not tested|FAIL result",
		},
		{
			"other redirect", "route {\n redir /go/* /elsewhere 302\n" + good + "}\npostback /postback",
			"ok routes|ok click: 302 /elsewhere|FAIL click ID: does a redir|FAIL postback: not tested|FAIL result",
		},
		{
			"inject without redirect", "track_click /out {\n inject ref\n}\npostback /postback",
			"ok routes|FAIL click: With inject the rest of the site|FAIL postback: not tested|FAIL result",
		},
		{
			"inject without redirect of a wildcard", good + "track_click /out/* {\n inject ref\n}\npostback /postback",
			"ok routes|" + fine + "note click: was made up|ok postback|ok repeat|ok conversion|ok report|ok result: all that could be tested works",
		},
		{
			"inject into a broken application", "track_click /out {\n inject ref\n}\nroute /out {\n respond 502\n}\npostback /postback",
			"ok routes|FAIL click: is the application running?|FAIL postback: not tested|FAIL result",
		},
		{
			"hidden postback", good + "route {\n respond /postback 404\n postback /postback\n}",
			"ok routes|" + fine + "FAIL postback: Another handler answered before the postback|FAIL result",
		},
		{
			"login before postback", good + "route {\n respond /postback 401\n postback /postback\n}",
			"ok routes|" + fine + "FAIL postback: Senders cannot log in|FAIL result",
		},
		{
			"another token", good + "route {\n request_header Authorization nonsense\n postback /postback {\n token some-long-token\n }\n}",
			"ok routes|" + fine + "FAIL postback: 401 rejected bad_token|FAIL result",
		},
		{
			"another address", good + "postback /postback {\n allow 203.0.113.0/24\n}",
			"ok routes|" + fine + "note postback: not in the route's allow list|ok result: all that could be tested works",
		},
		{
			"another campaign", good + "postback /postback {\n campaign shoes\n}",
			`ok routes|` + fine + `FAIL postback: takes only clicks of campaign "shoes"|FAIL result`,
		},
		{
			"campaign of a wildcard", "track_click /go/* https://acme.example/?aff_sub={click_id}\npostback /postback {\n campaign shoes\n}",
			"ok routes|" + fine + "ok click: /go/shoes|ok click ID|ok stored|ok postback|ok repeat|ok conversion|ok report|ok result",
		},
		{
			"two postbacks, one click", good + "postback /a\npostback /b",
			"ok routes|" + fine + "ok postback: /a|ok repeat|ok conversion|ok report|" +
				fine + "ok postback: /b|ok repeat|ok conversion|ok report|ok result",
		},
		{
			"regular expression", "@links path_regexp ^/l/[0-9]+$\ntrack_click @links https://acme.example/?aff_sub={click_id}\npostback /postback",
			"ok routes|note click: also asks for path_regexp|FAIL postback: not tested|FAIL result",
		},
		{
			"query and method", "@links {\n path /l\n query k=v\n method GET\n}\n@post {\n path /pb\n method POST\n}\n" +
				"track_click @links https://acme.example/?aff_sub={click_id}\npostback @post",
			"ok routes|ok click: /l?k=v&source=|ok click ID|ok stored|ok postback: POST|ok repeat|ok conversion|ok report|ok result",
		},
		{
			"rewritten path", "route {\n rewrite /x/* /go/acme\n" + good + "}\npostback /postback",
			"ok routes|" + fine + "ok postback|ok repeat|ok conversion|ok report|ok result",
		},
		{
			"fixed source", "track_click /go/acme https://acme.example/?aff_sub={click_id} {\n source own\n}\npostback /postback",
			"ok routes|ok click|ok click ID|ok stored: source \"own\"|ok postback|ok repeat|ok conversion|ok report|ok result",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			option, _ := memoryOption(t)
			s := newSite(t)
			srv := adminServer(t, adminAPI{})
			s.load(option, tc.directives)
			var want []string
			for line := range strings.SplitSeq("ok store|"+tc.want, "|") {
				if !strings.Contains(line, ": ") {
					line += ": "
				}
				want = append(want, line)
			}
			wantSteps(t, steps(t, srv, "{}"), want...)
			wantNothingCounted(t)
		})
	}
}

func TestTestRunWithoutStore(t *testing.T) {
	s, place := trackedSite(t)
	srv := adminServer(t, adminAPI{})
	s.hasten()
	place.SetHooks(memstore.Hooks{Before: func(*capture.Batch) error { return capture.ErrNoSpace }})
	s.get("/go/acme")
	eventually(t, "the store is degraded", func() bool {
		status, _, _ := adminDo(t, srv, http.MethodGet, "/capture/health")
		return status == 503
	})
	wantSteps(t, steps(t, srv, ""), "FAIL store: the store is degraded", "FAIL result: ")
	if _, _, err := runCommand(srv.URL, "test"); err == nil {
		t.Error("the command has not failed")
	}
	place.SetHooks(memstore.Hooks{})
}

func TestTestRequestRefused(t *testing.T) {
	_, _ = trackedSite(t)
	srv := adminServer(t, adminAPI{})
	for body, want := range map[string]string{
		`{"clicks":"/x"}`:   "unknown field",
		`[]`:                "cannot unmarshal",
		`{"click":"%zz"}`:   "reading",
		`{"click":"/none"}`: "addresses of some are",
		`{"click":"https://` + strings.Repeat("x", maxTestRequest) + `"}`: "too large",
	} {
		resp, err := http.Post(srv.URL+"/capture/test", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), want) {
			t.Errorf("%.40s: %d %s; want %q", body, resp.StatusCode, text, want)
		}
	}
}

func TestNonces(t *testing.T) {
	t.Parallel()
	var s nonceSet
	now := testNow
	a, b := s.issue(now), s.issue(now)
	if a == b || len(a) < 20 {
		t.Errorf("nonces %q and %q", a, b)
	}
	for _, guess := range []string{"", "x", a[:len(a)-1], a + "x", strings.ToLower(a)} {
		if s.spend(guess, now) {
			t.Errorf("%q is taken for %q", guess, a)
		}
	}
	if !s.spend(a, now) || s.spend(a, now) {
		t.Error("a nonce is good once")
	}
	if s.spend(b, now.Add(testNonceLife+time.Second)) {
		t.Error("an old nonce is good")
	}
	first := s.issue(now)
	for range maxTestNonces {
		s.issue(now)
	}
	if s.spend(first, now) || len(s.issued) != maxTestNonces {
		t.Errorf("%d nonces are kept", len(s.issued))
	}
}

func TestIsTestRequest(t *testing.T) {
	t.Parallel()
	plain := httptest.NewRequest(http.MethodGet, "/", nil)
	if isTestRequest(plain) {
		t.Error("a plain request is a test")
	}
	guess := httptest.NewRequest(http.MethodGet, "/", nil)
	guess.Header.Set(testHeader, "1")
	if isTestRequest(guess) {
		t.Error("a guess is a test")
	}
	nonce := testNonces.issue(time.Now())
	genuine := httptest.NewRequest(http.MethodGet, "/", nil)
	genuine.Header.Set(testHeader, nonce)
	genuine = genuine.WithContext(contextWithVars(t))
	for handler := range 2 {
		if !isTestRequest(genuine) {
			t.Errorf("the genuine request is no test for handler %d", handler)
		}
	}
	copied := httptest.NewRequest(http.MethodGet, "/", nil)
	copied.Header.Set(testHeader, nonce)
	if isTestRequest(copied.WithContext(contextWithVars(t))) {
		t.Error("a copy of the nonce is good for another request")
	}
	double := httptest.NewRequest(http.MethodGet, "/", nil)
	double.Header[testHeader] = []string{testNonces.issue(time.Now()), "x"}
	if isTestRequest(double) {
		t.Error("two headers are taken")
	}
}

func TestFindClickID(t *testing.T) {
	held := clickCodec(t)
	id := held.Encode(capture.Click{}.Ref)
	for address, want := range map[string]string{
		"https://a.example/?x=1&aff_sub=" + id:                  "in parameter aff_sub",
		"https://a.example/?sub=pre_" + id + "_suf":             "in parameter sub",
		"https://a.example/?u=https%3A%2F%2Fb%2F" + id:          "in parameter u",
		"https://a.example/t/" + id + "/x":                      "in the path",
		"https://a.example/#" + strings.ToUpper(id):             "in the fragment, which is not sent to the advertiser's server",
		"https://" + id + ".a.example/":                         "in the host",
		"https://a.example/?a;b=" + id:                          "in the query",
		"https://a.example/?aff_sub=" + id[:25]:                 "",
		"https://a.example/?aff_sub=" + "v" + id[1:]:            "",
		"https://a.example/?aff_sub=" + strings.Repeat("a", 40): "",
	} {
		if id[0] == 'v' && want == "" {
			continue
		}
		if _, got, where := findClickID(held, address); where != want || (got == "") != (want == "") {
			t.Errorf("%s: %q %q, want %q", address, got, where, want)
		}
	}
}

func TestDialAddresses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		listen []string
		tls    bool
		origin string
		dial   string
	}{
		{[]string{":8080"}, false, "http://h:8080", "127.0.0.1:8080 [::1]:8080"},
		{[]string{":80", ":443"}, true, "https://h", "127.0.0.1:443 [::1]:443"},
		{[]string{":80"}, true, "http://h", "127.0.0.1:80 [::1]:80"},
		{[]string{"192.0.2.1:8443"}, true, "https://h:8443", "192.0.2.1:8443"},
		{[]string{"[::]:8080"}, false, "http://h:8080", "127.0.0.1:8080 [::1]:8080"},
		{[]string{"unix//run/x.sock|0220"}, false, "http://h", "/run/x.sock"},
		{[]string{"udp/:53", "tcp/:8081"}, false, "http://h:8081", "127.0.0.1:8081 [::1]:8081"},
		{[]string{"fd/3"}, false, "", ""},
	} {
		srv := &caddyhttp.Server{Listen: tc.listen}
		if tc.tls {
			srv.TLSConnPolicies = append(srv.TLSConnPolicies, nil)
		}
		s := newTestServer(&caddyhttp.App{}, "srv0", srv)
		if tc.dial == "" {
			if s.problem == "" {
				t.Errorf("%v can be dialled: %+v", tc.listen, s)
			}
			continue
		}
		if got := strings.Join(s.dial, " "); got != tc.dial || s.origin("h") != tc.origin || s.problem != "" {
			t.Errorf("%v: dial %s, origin %s, %s; want %s, %s", tc.listen, got, s.origin("h"), s.problem, tc.dial, tc.origin)
		}
	}
}

func TestFillPath(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{
		"/go/acme":     "/go/acme",
		"/go/*":        "/go/capture-test",
		"/go*":         "/go/capture-test",
		"*":            "/capture-test",
		"/*":           "/capture-test",
		"/a/*/b":       "/a/capture-test/b",
		"*.php":        "/capture-test.php",
		"*word*":       "/capture-testword/capture-test",
		"/go/{http.x}": "",
	} {
		if got := fillPath(pattern, testWord); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}

func contextWithVars(t testing.TB) context.Context {
	return context.WithValue(t.Context(), caddyhttp.VarsCtxKey, make(map[string]any))
}

func clickCodec(t testing.TB) *clickid.Codec {
	t.Helper()
	c, err := clickid.New([]byte("a secret of sixteen bytes and more"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
