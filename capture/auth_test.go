package capture

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestReceiveOrder(t *testing.T) {
	t.Parallel()
	// Everything is wrong at first; each step mends the first thing.
	rt := compiled(t, Route{
		Tokens: [][]byte{[]byte("right")}, MaxBody: 80, Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
	})
	method, body, query := http.MethodHead, strings.Repeat("{", 81), "token=wrong"
	a := newArrival()
	a.Early, a.Secure = true, false
	for _, step := range []struct {
		status int
		reason Reason
		mend   func()
	}{
		{405, MethodNotAllowed, func() { method = http.MethodPost }},
		{425, EarlyData, func() { a.Early = false }},
		{403, InsecureTransport, func() { a.Secure = true }},
		{403, AddressNotAllowed, func() { a.Sender = netip.MustParseAddr("::ffff:198.51.100.9") }},
		{413, BodyTooLarge, func() { body = "{" }},
		{401, BadToken, func() { query = "token=right" }},
		{400, MalformedRequest, func() { body = `{"click_id":"{x}","payout":"x"}` }},
	} {
		r := httptest.NewRequest(method, "/postback?"+query, strings.NewReader(body))
		_, rej := received(t, rt, r, a)
		if rej == nil || rej.Status != step.status || rej.Reason != step.reason {
			t.Fatalf("got %v, want %d %s", rej, step.status, step.reason)
		}
		if text := rej.Error(); !strings.HasPrefix(text, string(step.reason)+": ") {
			t.Errorf("the error is %q", text)
		}
		if want := map[bool]string{true: "GET, POST"}[rej.Status == 405]; rej.Allow != want {
			t.Errorf("%s: Allow is %q", rej.Reason, rej.Allow)
		}
		step.mend()
	}
	p, rej := received(t, rt, httptest.NewRequest(method, "/postback?"+query, strings.NewReader(body)), a)
	if rej != nil || p.Problem != UnresolvedMacro || p.HasRef || p.Authentic != "token and address" {
		t.Errorf("got %+v, %v", p, rej)
	}
	for _, method := range []string{"PUT", "DELETE", "OPTIONS", "get", "PATCH"} {
		if _, rej := received(t, rt, httptest.NewRequest(method, "/postback", nil), a); rej == nil || rej.Status != 405 {
			t.Errorf("%s: got %v", method, rej)
		}
	}
}

func TestReceiveTransport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sender        string
		secure, allow bool
		ok            bool
	}{
		{"203.0.113.1", false, false, false}, {"203.0.113.1", true, false, true}, {"203.0.113.1", false, true, true},
		{"127.0.0.1", false, false, true}, {"::1", false, false, true}, {"::ffff:127.0.0.9", false, false, true},
		{"", false, false, false}, {"", true, false, true}, {"fe80::1%eth0", false, false, false},
	} {
		a := newArrival()
		a.Secure, a.Sender = c.secure, netip.Addr{}
		if c.sender != "" {
			a.Sender = netip.MustParseAddr(c.sender)
		}
		_, rej := received(t, compiled(t, Route{AllowHTTP: c.allow}), getRequest("cid=CLICK"), a)
		if (rej == nil) != c.ok || rej != nil && rej.Reason != InsecureTransport {
			t.Errorf("%+v: got %v", c, rej)
		}
	}
}

func TestReceiveAddress(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Allow: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("::ffff:198.51.100.0/120"), netip.MustParsePrefix("2001:db8::/32"),
	}})
	for sender, ok := range map[string]bool{
		"192.0.2.255": true, "192.0.3.0": false, "::ffff:192.0.2.1": true, "198.51.100.7": true, "198.51.101.7": false,
		"2001:db8::1": true, "2001:db8::1%eth0": true, "2001:db9::1": false, "127.0.0.1": false,
	} {
		a := newArrival()
		a.Sender = netip.MustParseAddr(sender)
		p, rej := received(t, rt, getRequest("cid=CLICK&payout=x"), a)
		if (rej == nil) != ok || rej != nil && (rej.Status != 403 || rej.Reason != AddressNotAllowed) {
			t.Errorf("%s: got %v", sender, rej)
		}
		if p != nil && p.Authentic != "address" {
			t.Errorf("%s: authentic by %q", sender, p.Authentic)
		}
	}
	a := newArrival()
	a.Sender = netip.Addr{}
	if _, rej := received(t, rt, getRequest("cid=CLICK"), a); rej == nil || rej.Reason != AddressNotAllowed {
		t.Errorf("no address: got %v", rej)
	}
}

func TestReceiveToken(t *testing.T) {
	t.Parallel()
	rt := compiled(t, Route{Tokens: [][]byte{[]byte("first"), []byte("sec&ond %7B")}})
	for name, c := range map[string]struct {
		header, query, body string
		ok                  bool
	}{
		"none":                   {"", "", "", false},
		"wrong":                  {"", "token=firs", "", false},
		"longer":                 {"", "token=first1", "", false},
		"other case":             {"", "token=First", "", false},
		"empty":                  {"Bearer ", "token=", `{"token":""}`, false},
		"query":                  {"", "token=first", "", true},
		"query, upper-case name": {"", "TOKEN=first", "", true},
		"query, second, escaped": {"", "token=sec%26ond+%257B", "", true},
		"form":                   {"", "", "token=first", true},
		"json":                   {"", "", `{"token":"first"}`, true},
		"json, not at the top":   {"", "", `{"a":{"token":"first"}}`, false},
		"json array":             {"", "", `{"token":["first"]}`, false},
		"header":                 {"Bearer first", "", "", true},
		"header, lower case":     {"bearer   sec&ond %7B ", "", "", true},
		"header, no scheme":      {"first", "", "", false},
		"header, basic":          {"Basic first", "", "", false},
		"header right":           {"Bearer first", "token=wrong", "", true},
		"parameter right":        {"Bearer wrong", "token=first", "", true},
		"both wrong":             {"Bearer wrong", "token=wrong", "", false},
		"halves":                 {"Bearer fir", "token=st", "", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/postback?"+c.query, strings.NewReader(c.body))
		r.Header.Set("Authorization", c.header)
		p, rej := received(t, rt, r, newArrival())
		switch {
		case !c.ok && (rej == nil || rej.Status != 401 || rej.Reason != BadToken):
			t.Errorf("%s: got %v", name, rej)
		case c.ok && (rej != nil || p.Authentic != "token" || p.Problem != MissingClickID || p.HasRef):
			t.Errorf("%s: got %+v, %v", name, p, rej)
		}
		if rej != nil && (strings.Contains(rej.Detail, "first") || strings.Contains(rej.Detail, "wrong\"")) {
			t.Errorf("%s: the detail shows a token: %q", name, rej.Detail)
		}
	}
}

// A Route that was not compiled lets nothing through that has to be proved.
func TestReceiveUncompiled(t *testing.T) {
	t.Parallel()
	for _, rt := range []*Route{
		{Tokens: [][]byte{[]byte("")}}, {Tokens: [][]byte{[]byte("x")}}, {Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, {},
	} {
		if p, rej := received(t, rt, getRequest("token=x&click_id=CLICK"), newArrival()); rej == nil {
			t.Errorf("%+v: got %+v", rt, p)
		}
	}
}
