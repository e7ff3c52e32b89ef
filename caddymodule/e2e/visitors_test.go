package e2e

import (
	"fmt"
	"testing"
)

const visitorsSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	postback /postback
	respond "the site"
}
`

// Who visits, and whether the visit counts as a click.
var visitors = []struct {
	name   string
	header string
	counts bool
}{
	{"Firefox", "User-Agent: " + browser, true},
	{"Chrome", "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", true},
	{"Facebook's app", "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22B83 [FBAN/FBIOS;FBAV/490.0.0.47.109;FBBV/662512345]", true},
	{"a phone named Cubot", "User-Agent: Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36", true},
	{"no purpose", "Purpose: navigate", true},
	{"Googlebot", "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", false},
	{"Facebook's preview", "User-Agent: facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", false},
	{"bingbot", "User-Agent: Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.0.0 Safari/537.36", false},
	{"prefetch", "Sec-Purpose: prefetch", false},
	{"prerender", "Sec-Purpose: prefetch;prerender", false},
	{"old prefetch", "Purpose: prefetch", false},
}

func TestVisitors(t *testing.T) {
	s := startServer(t, visitorsSite)
	var clicks, bots int64
	for _, v := range visitors {
		id := s.click("/go/acme?source="+fmt.Sprint(v.counts), "aff_sub", v.header)
		if v.counts {
			clicks++
		} else {
			bots++
		}
		a := s.get("/postback?click_id=" + id + "&payout=1&currency=EUR")
		if a.status != 200 || !containsAll(a.body, `"outcome":"recorded"`) {
			t.Errorf("%s: its postback got %d %s", v.name, a.status, a.body)
		}
	}
	eventually(t, waitForClicks, func() error { return s.hasClicks(clicks + bots) })
	row := "clicks %d bots %d conversions %d (pending 0 approved %[3]d rejected 0 reversed 0) revenue [EUR %[3]d] cost []"
	expectRows(t, "source", s.report("by=source").Rows, map[string]string{
		"true":  fmt.Sprintf(row, clicks, 0, clicks),
		"false": fmt.Sprintf(row, 0, bots, bots),
	})
}

func TestOtherMethods(t *testing.T) {
	s := startServer(t, visitorsSite)
	get, head := s.get("/go/acme"), s.do("HEAD", "/go/acme", "")
	if head.status != get.status || head.header.Get("Cache-Control") != "no-store" || head.body != "" {
		t.Errorf("HEAD: status %d, Cache-Control %q, body %q", head.status, head.header.Get("Cache-Control"), head.body)
	}
	if got, want := head.header.Get("Location"), "https://acme.example/offer?aff_sub="; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("HEAD: Location %q", got)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if a := s.do(method, "/go/acme", ""); a.status != 405 || a.header.Get("Location") != "" {
			t.Errorf("%s: status %d, Location %q", method, a.status, a.header.Get("Location"))
		}
	}
	if a := s.do("POST", "/elsewhere", ""); a.status != 200 {
		t.Errorf("POST elsewhere: status %d", a.status)
	}
	eventually(t, waitForClicks, func() error { return s.hasClicks(1) })
	s.stop()
	s.start()
	if err := s.hasClicks(1); err != nil {
		t.Error(err)
	}
}
