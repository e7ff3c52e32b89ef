package e2e

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"
)

// dayLinks are the site's tracked links.
const dayLinks = `
	track_click /go/acme https://acme.example/offer?aff_sub={click_id}
	track_click /go/shoes {
		to https://spring.shoes.example/lp?clickref={click_id}&src={source} 3
		to https://sale.shoes.example/?clickref={click_id} 1
		campaign shoes-spring
		source {query.src}
		sub creative {query.creative}
		sub placement {query.pl}
		cost 0.12 EUR
		keep coupon
		pass coupon
	}
	track_click /c/* {
		to https://wild.example/{campaign}?cid={click_id}&s={source}&k={sub.kw}
		sub kw {query.kw}
		cost {query.cpc}
		status 303
	}
	track_click /out/* {
		inject clickref
	}
	redir /out/books https://books.example/?partner=42
	redir /out/tea https://tea.example/
`

// A link is one of them, as its visitors use it.
type link struct {
	path     string
	campaign string
	status   int
	id       string   // the parameter of the Location with the click ID
	source   string   // the parameter with the source
	subs     []string // a sub's name and its parameter, in pairs
	cost     string   // "" for none, "cpc" for the parameter's
	currency string
	to       map[string]string // from the Location's host to the destination as reports name it
}

var dayDefaults = []string{"sub1", "sub1", "sub2", "sub2"}

var links = []*link{
	{path: "/go/acme", campaign: "acme", status: 302, id: "aff_sub", source: "source", subs: dayDefaults,
		to: map[string]string{"acme.example": "https://acme.example/offer?aff_sub={click_id}"}},
	{path: "/go/shoes", campaign: "shoes-spring", status: 302, id: "clickref", source: "src", subs: []string{"creative", "creative", "placement", "pl"},
		cost: "0.12", currency: "EUR",
		to: map[string]string{
			"spring.shoes.example": "https://spring.shoes.example/lp?clickref={click_id}&src={source}",
			"sale.shoes.example":   "https://sale.shoes.example/?clickref={click_id}",
		}},
	wildLink("spring", "spring"), wildLink("summer%20sale", "summer sale"), wildLink("%C3%A9t%C3%A9", "été"),
	{path: "/out/books", campaign: "books", status: 302, id: "clickref", source: "source", subs: dayDefaults,
		to: map[string]string{"books.example": "https://books.example/"}},
	{path: "/out/tea", campaign: "tea", status: 302, id: "clickref", source: "source", subs: dayDefaults,
		to: map[string]string{"tea.example": "https://tea.example/"}},
}

func wildLink(element, campaign string) *link {
	return &link{path: "/c/" + element, campaign: campaign, status: 303, id: "cid", source: "source", subs: []string{"kw", "kw"},
		cost: "cpc", currency: "USD",
		to: map[string]string{"wild.example": "https://wild.example/{campaign}?cid={click_id}&s={source}&k={sub.kw}"}}
}

// A visit is a request for a tracked link.
type visit struct {
	link    *link
	method  string
	query   string
	headers []string
	flagged bool
	clean   bool // nothing in the query string is broken
}

var humans = []string{
	browser,
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/22B83 [FBAN/FBIOS;FBAV/490.0.0.47.109;FBBV/662512345]",
	"Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Linux; Android 10; CUBOT X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
}

var bots = []string{
	"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
	"facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
	"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.0.0 Safari/537.36",
	"Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
	"Twitterbot/1.0",
	"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
}

var purposes = []string{"Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Purpose: prefetch"}

// newVisit makes up a visitor.
func newVisit(r *rand.Rand) visit {
	v := visit{link: links[weighted(r, 6, 5, 3, 2, 1, 2, 1)], method: "GET"}
	agent := pick(r, humans)
	switch n := r.IntN(100); {
	case n < 4:
		agent, v.flagged = pick(r, bots), true
	case n < 6:
		v.headers, v.flagged = append(v.headers, pick(r, purposes)), true
	case n < 7:
		v.method = "HEAD"
	}
	v.headers = append(v.headers, "User-Agent: "+agent, "Accept-Language: de,en;q=0.7")
	if r.IntN(2) == 0 {
		v.headers = append(v.headers, "Referer: https://blog.example/post/"+fmt.Sprint(r.IntN(50)))
	}
	v.query, v.clean = v.link.newQuery(r)
	return v
}

// newQuery makes up a query string, and breaks some.
func (l *link) newQuery(r *rand.Rand) (query string, clean bool) {
	pairs := []string{}
	put := func(name, value string) { pairs = append(pairs, name+"="+url.QueryEscape(value)) }
	if r.IntN(10) > 0 {
		put(l.source, pick(r, []string{"newsletter", "facebook ads", "google", "reddit", "partner-é", "a&b=c", "100%", "日本"}))
	} else if l.source == "source" {
		put("utm_source", pick(r, []string{"mail", "push"}))
	}
	if l.cost == "cpc" && r.IntN(5) > 0 {
		put("cpc", pick(r, []string{"0.05", "0.125", "1", "0.3333333", "2.50"}))
	}
	for i := 1; i < len(l.subs); i += 2 {
		if r.IntN(3) > 0 {
			put(l.subs[i], fmt.Sprintf("%s-%d", pick(r, []string{"banner", "text", "vidéo"}), r.IntN(4)))
		}
	}
	if r.IntN(3) == 0 {
		put("gclid", strings.Repeat("Cj0KCQ", 15)+fmt.Sprint(r.IntN(1e6)))
		put("utm_campaign", "black friday")
	}
	if l.campaign == "shoes-spring" && r.IntN(2) == 0 {
		put("coupon", "SAVE 10%")
	}
	r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
	if r.IntN(12) == 0 && len(pairs) > 0 {
		return strings.Join(l.broken(r, pairs), "&"), false
	}
	return strings.Join(pairs, "&"), true
}

// broken spoils one of the parameters that reports show, or adds one that they do not.
func (l *link) broken(r *rand.Rand, pairs []string) []string {
	names := []string{l.source, "gclid", "x"}
	for i := 1; i < len(l.subs); i += 2 {
		names = append(names, l.subs[i])
	}
	name := pick(r, names)
	value := pick(r, []string{
		"fb?utm_content=7", "?", "one?two?three",
		"50%off", "100%", "%zz", "%4", "a%2", "%%41", "50%25off",
		"%ff%fe", "caf%E9", "caf\xe9", "%c3", "ok%c3%28", "\xff\xfeboth",
		"plus+and%2Bplus", "%3Cscript%3E", "=", "a=b",
	})
	if r.IntN(10) == 0 {
		value = pick(r, []string{strings.Repeat("x", 10000), "a" + strings.Repeat("é", 5000), strings.Repeat("%E6%97%A5", 1200)})
	}
	for i, pair := range pairs {
		if strings.HasPrefix(pair, name+"=") {
			pairs[i] = name + "=" + value
			return pairs
		}
	}
	return append(pairs, name+"="+value)
}

// seen is what must be known of the visit once it has been redirected to location.
func (v visit) seen(location *url.URL, at time.Time) *seenClick {
	query := readQuery(v.query)
	c := &seenClick{
		id: location.Query().Get(v.link.id), campaign: v.link.campaign, source: query[v.link.source],
		destination: v.link.to[location.Host], subs: make(map[string]string), at: at, flagged: v.flagged,
		costCurrency: v.link.currency, conversions: make(map[string]*booking),
	}
	if c.source == "" && v.link.source == "source" {
		c.source = query["utm_source"]
	}
	for i := 0; i < len(v.link.subs); i += 2 {
		c.subs[v.link.subs[i]] = query[v.link.subs[i+1]]
	}
	cost := v.link.cost
	if cost == "cpc" {
		cost = query["cpc"]
	}
	if decimal.MatchString(cost) {
		c.cost, _ = new(big.Rat).SetString(cost)
	}
	return c
}

// complaint says what is wrong with where the visitor was sent.
func (v visit) complaint(c *seenClick, location *url.URL) string {
	query := location.Query()
	switch {
	case !clickIDs.MatchString(c.id):
		return "no click ID"
	case c.destination == "":
		return "not a destination of this link"
	case location.Host == "wild.example" && location.Path != "/"+c.campaign:
		return fmt.Sprintf("path %q", location.Path)
	case location.Host == "wild.example" && v.clean && (query.Get("s") != c.source || query.Get("k") != c.subs["kw"]):
		return fmt.Sprintf("source %q or kw %q was not handed on", c.source, c.subs["kw"])
	case location.Host == "spring.shoes.example" && v.clean && query.Get("src") != c.source:
		return fmt.Sprintf("source %q was not handed on", c.source)
	case c.campaign == "shoes-spring" && v.clean && query.Get("coupon") != readQuery(v.query)["coupon"]:
		return "the coupon was not handed on"
	case location.Host == "books.example" && query.Get("partner") != "42":
		return "the partner was lost"
	}
	return ""
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// weighted picks an index by weight.
func weighted(r *rand.Rand, weights ...int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := r.IntN(sum)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	panic("unreachable")
}
