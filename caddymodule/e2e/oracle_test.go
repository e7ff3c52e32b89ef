package e2e

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// The oracle knows what a day must add up to. It shares nothing with the implementation: it keeps
// every click and conversion in memory, counts in rationals, and adds up by walking over all.
type oracle struct {
	mu      sync.Mutex
	clicks  []*seenClick
	answers map[verdict]int // postbacks by what was answered
}

// A seenClick is a click that was redirected.
type seenClick struct {
	id, campaign, source, destination string
	subs                              map[string]string
	at                                time.Time
	flagged                           bool // a bot's or a prefetch
	cost                              *big.Rat
	costCurrency                      string
	conversions                       map[string]*booking // by event and txid
}

type booking struct {
	event, txid, status, currency string
	payout                        *big.Rat // nil: none was ever reported
	at                            time.Time
}

// A verdict is what a sender is told.
type verdict struct {
	status          int
	outcome, reason string
}

// A posted is a postback as far as the rules look at it: what the sender's words mean on its route.
type posted struct {
	click         *seenClick // nil: the ID names none
	id            string
	authenticated bool // the route asks for a token
	goodToken     bool
	status        string // canonical; "" for none, "?" for an unknown word
	payout        string
	currency      string // the sender's, or the route's
	event, txid   string
	at            time.Time
}

var (
	decimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	iso4217 = regexp.MustCompile(`^(USD|EUR|GBP|SEK|JPY)$`)
	macros  = regexp.MustCompile(`^(\{.*\}|#.*#|!!!.*!!!)$`)
)

// judge says what a postback must be answered, and books it. Postbacks of one click must come one
// after the other.
func (o *oracle) judge(p posted) verdict {
	v := p.check()
	if v.outcome == "" {
		v = verdict{status: 200, outcome: p.book()}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers[v]++
	return v
}

// check finds what is wrong with a postback.
func (p posted) check() verdict {
	unbooked := func(reason string) verdict { return verdict{202, "quarantined", reason} }
	bad := unbooked
	if !p.authenticated {
		bad = func(reason string) verdict { return verdict{400, "rejected", reason} }
	}
	switch {
	case p.authenticated && !p.goodToken:
		return verdict{401, "rejected", "bad_token"}
	case p.id == "":
		return bad("missing_click_id")
	case macros.MatchString(p.id):
		return bad("unresolved_macro")
	case p.click == nil:
		return bad("invalid_click_id")
	case p.status == "?":
		return unbooked("unmapped_status")
	case macros.MatchString(p.payout):
		return unbooked("unresolved_macro")
	case p.payout != "" && !decimal.MatchString(p.payout):
		return unbooked("bad_payout")
	case p.payout != "" && !iso4217.MatchString(strings.ToUpper(p.currency)):
		return unbooked("bad_currency")
	}
	return verdict{}
}

// book changes the click's conversions and says how.
func (p posted) book() string {
	event, status := p.event, p.status
	if event == "" {
		event = "conversion"
	}
	if status == "" {
		status = "approved"
	}
	var payout *big.Rat
	if p.payout != "" {
		payout, _ = new(big.Rat).SetString(p.payout)
	}
	key := event + "\x00" + p.txid
	b := p.click.conversions[key]
	if b == nil {
		p.click.conversions[key] = &booking{event, p.txid, status, strings.ToUpper(p.currency), payout, p.at}
		return "recorded"
	}
	if status == "pending" && b.status != "pending" {
		return "duplicate"
	}
	if status == b.status && (payout == nil || b.payout != nil && payout.Cmp(b.payout) == 0) {
		return "duplicate"
	}
	b.status = status
	if payout != nil {
		b.payout = payout
	}
	return "updated"
}

// A question is a report asked for.
type question struct {
	by               []string
	campaign, source string // only these; "" for all
	zone             *time.Location
	from             time.Time // what happened before is left out
}

// sum collects a row.
type sum struct {
	figures
	revenue, cost map[string]*big.Rat
}

func newSum() *sum { return &sum{revenue: make(map[string]*big.Rat), cost: make(map[string]*big.Rat)} }

func (s *sum) String() string {
	f := s.figures
	f.Revenue, f.Cost = written(s.revenue), written(s.cost)
	return f.String()
}

func written(sums map[string]*big.Rat) map[string]string {
	text := make(map[string]string)
	for currency, amount := range sums {
		text[currency] = amount.RatString()
	}
	return text
}

func add(sums map[string]*big.Rat, currency string, amount *big.Rat) {
	if amount == nil {
		return
	}
	if sums[currency] == nil {
		sums[currency] = new(big.Rat)
	}
	sums[currency].Add(sums[currency], amount)
}

// expected is the report that answers a question: its rows and its total.
func (o *oracle) expected(q question) (rows map[string]string, total string) {
	sums, all := make(map[string]*sum), newSum()
	row := func(c *seenClick, event string, at time.Time) []*sum {
		var values []string
		for _, dimension := range q.by {
			values = append(values, q.value(dimension, c, event, at))
		}
		key := strings.Join(values, "|")
		if sums[key] == nil {
			sums[key] = newSum()
		}
		return []*sum{sums[key], all}
	}
	for _, c := range o.clicks {
		if q.campaign != "" && c.campaign != q.campaign || q.source != "" && c.source != q.source {
			continue
		}
		if !c.at.Before(q.from) {
			for _, s := range row(c, "", c.at) {
				s.addClick(c)
			}
		}
		for _, b := range c.conversions {
			if !b.at.Before(q.from) {
				for _, s := range row(c, b.event, b.at) {
					s.addConversion(b)
				}
			}
		}
	}
	rows = make(map[string]string)
	for key, s := range sums {
		rows[key] = s.String()
	}
	return rows, all.String()
}

func (s *sum) addClick(c *seenClick) {
	if c.flagged {
		s.BotClicks++
		return
	}
	s.Clicks++
	add(s.cost, c.costCurrency, c.cost)
}

func (s *sum) addConversion(b *booking) {
	s.Conversions++
	switch b.status {
	case "pending":
		s.Pending++
	case "approved":
		s.Approved++
		add(s.revenue, b.currency, b.payout)
	case "rejected":
		s.Rejected++
	case "reversed":
		s.Reversed++
	}
}

func (q question) value(dimension string, c *seenClick, event string, at time.Time) string {
	if q.zone != nil {
		at = at.In(q.zone)
	} else {
		at = at.UTC()
	}
	switch dimension {
	case "campaign":
		return c.campaign
	case "source":
		return c.source
	case "event":
		return event
	case "destination":
		return c.destination
	case "hour":
		return at.Format("2006-01-02T15:00:00Z07:00")
	case "day":
		return at.Format("2006-01-02")
	case "month":
		return at.Format("2006-01")
	}
	name, ok := strings.CutPrefix(dimension, "sub.")
	if !ok {
		panic("unknown dimension " + dimension)
	}
	return c.subs[name]
}

// describe prints how many postbacks got which answer.
func describe(answers map[verdict]int) string {
	var lines []string
	for v, n := range answers {
		lines = append(lines, fmt.Sprintf("%4d  %d %s %s", n, v.status, v.outcome, v.reason))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// outcomes counts answers by outcome and reason alone.
func outcomes(answers map[verdict]int, keep func(verdict) bool) map[string]int {
	counted := make(map[string]int)
	for v := range maps.Keys(answers) {
		if keep(v) {
			counted[v.outcome+" "+v.reason] += answers[v]
		}
	}
	return counted
}
