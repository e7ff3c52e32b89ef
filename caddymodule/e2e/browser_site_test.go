package e2e

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// networkToken is the secret of a route, which no page may show.
const networkToken = "a-network-s-own-token-4711"

const browserSite = `{
	admin $ADMIN
	capture {
		store badger $STORE
	}
}
http://127.0.0.1:$PORT {
	track_click /go/* https://offers.example/landing?clickref={click_id} {
		cost {query.cpc} USD
		sub creative {query.creative}
		sub placement {query.placement}
		keep note
	}
	postback /postback/network {
		token ` + networkToken + `
	}
	postback /postback/open
	handle_path /stats/* {
		capture_dashboard {
			open
		}
	}
	handle_path /private/* {
		basic_auth {
			admin $HASH
		}
		capture_dashboard
	}
	handle_path /closed/* {
		capture_dashboard
	}
}
`

// Somebody who may see the private pages.
var owner = url.UserPassword("admin", "what only the owner knows")

// injection is what somebody may put wherever he can, to have it run.
const injection = `"><script>alert(1)</script><img src=x onerror=alert(2)>'-alert(3)-'`

// A site has a past and a present.
type site struct {
	*server
	click      string // ID of one with a history
	conversion string
}

func startSite(t testing.TB) *site {
	t.Helper()
	hash := strings.TrimSpace((&server{t: t, dir: t.TempDir()}).output("hash-password", "--plaintext", password(owner)))
	s := &site{server: newServer(t, browserSite, "$HASH", hash)}
	makePast(t, s.store)
	s.start()
	s.present()
	return s
}

func password(u *url.Userinfo) string {
	p, _ := u.Password()
	return p
}

// present makes what only just happened, over HTTP.
func (s *site) present() {
	s.t.Helper()
	s.click = s.server.click("/go/nordic-shoes?source=newsletter&creative=story&placement=top&cpc=0.09&note=spring", "clickref",
		"Referer: https://letters.example/2026/spring")
	s.conversion = s.network("recorded", s.click, "txid=A-1001&event=sale&payout=24.90&currency=USD&status=pending")
	s.network("updated", s.click, "txid=A-1001&event=sale&payout=24.90&currency=USD&status=approved")
	s.network("duplicate", s.click, "txid=A-1001&event=sale&payout=24.90&currency=USD&status=approved")

	other := s.server.click("/go/tea-club?source=podcast&creative=video", "clickref")
	s.network("recorded", other, "txid=T-77&event=lead&payout=9.00&currency=USD&status=rejected")
	s.network("quarantined", other, "txid=T-78&event=sale&payout=9.00&currency=USD&status=shipped")
	s.network("quarantined", "{aff_sub}", "txid=T-79&event=sale&payout=9.00&currency=USD")
	s.network("quarantined", other, "txid=T-80&event=sale&payout=12,5O&currency=USD")
}

// attack puts the injection wherever a visitor or a sender may choose.
func (s *site) attack() {
	s.t.Helper()
	q := url.QueryEscape(injection)
	id := s.server.click("/go/"+url.PathEscape(injection)+"?source="+q+"&creative="+q+"&placement="+q+"&note="+q+"&"+q+"="+q, "clickref",
		"User-Agent: "+injection, "Referer: https://"+injection)
	s.network("recorded", id, "txid="+q+"&event="+q+"&payout=1&currency=EUR&"+q+"="+q)
	s.network("quarantined", id, "txid=2&event="+q+"&status="+q)
	s.network("quarantined", q, "txid="+q+"&payout="+q+"&currency="+q+"&time="+q)
	a := s.do("POST", "/postback/network?token="+networkToken, `{"click_id": "`+id+`", "status": "</script><script>alert(4)</script>"}`,
		"Content-Type: application/json; x=<script>", "User-Agent: "+injection)
	if a.status != 202 {
		s.t.Errorf("status %d %s", a.status, a.body)
	}
}

// network sends a postback and returns the conversion's ID.
func (s *site) network(outcome, click, query string) string {
	s.t.Helper()
	a := s.get("/postback/network?token=" + networkToken + "&click_id=" + click + "&" + query)
	var got struct {
		Outcome    string `json:"outcome"`
		Conversion string `json:"conversion_id"`
	}
	decode(s.t, a.body, &got)
	if got.Outcome != outcome {
		s.t.Fatalf("%s: got %s, want %s", query, a.body, outcome)
	}
	return got.Conversion
}

// pages are all the kinds there are.
func (s *site) pages() []struct {
	name, target string
	status       int64
} {
	return []struct {
		name, target string
		status       int64
	}{
		{"now", "/stats/", 200},
		{"report", "/stats/report?by=campaign,source", 200},
		{"report-days", "/stats/report?by=day&from=14d&metric=conversions", 200},
		{"report-total", "/stats/report?by=", 200},
		{"journal", "/stats/journal?limit=20", 200},
		{"quarantine", "/stats/quarantine", 200},
		{"setup", "/stats/setup", 200},
		{"click", "/stats/clicks/" + s.click, 200},
		{"conversion", "/stats/conversions/" + s.conversion, 200},
		{"missing", "/stats/conversions/" + fmt.Sprintf("%026d", 0), 404},
		{"bad-request", "/stats/report?by=moon", 400},
		{"forbidden", "/closed/", 403},
	}
}
