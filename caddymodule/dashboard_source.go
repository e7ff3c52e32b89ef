package caddymodule

import (
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/dashboard"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/network"
)

// dashboardWait is how long a page waits for a store that is being opened.
const dashboardWait = 5 * time.Second

// dashboardSource is what the pages see of one configuration.
type dashboardSource struct {
	app    *App
	open   bool
	routes func() dashboard.Setup // found once, when all is provisioned
}

func newDashboardSource(app *App, open bool) *dashboardSource {
	s := &dashboardSource{app: app, open: open}
	s.routes = sync.OnceValue(s.findRoutes)
	return s
}

// Reader reads the store of this configuration.
func (s *dashboardSource) Reader() (capture.Reader, error) {
	l, err := s.app.acquireWithin(dashboardWait)
	if err != nil {
		return nil, err
	}
	return l.ledger.Reader()
}

// Health is the state of the ledger, and says why if there is none.
func (s *dashboardSource) Health() capture.Health {
	l, err := s.app.acquireWithin(dashboardWait)
	if err != nil {
		return capture.Health{State: "stopped", Why: err.Error()}
	}
	return l.ledger.Health()
}

// EncodeClick writes a click's ID.
func (s *dashboardSource) EncodeClick(key uint16, ref clickid.Ref) string {
	if l := s.app.held.Load(); l != nil {
		return l.codec().EncodeAs(key, ref)
	}
	return "" // nothing was read either
}

// DecodeClick reads a click's ID.
func (s *dashboardSource) DecodeClick(id string) (clickid.Ref, error) {
	l, err := s.app.acquireWithin(dashboardWait)
	if err != nil {
		return clickid.Ref{}, err
	}
	return l.codec().Decode(id)
}

// Mask masks the parameters that are secrets on any route.
func (s *dashboardSource) Mask(e *capture.Entry) capture.Raw {
	return e.Raw.Masked(s.app.secretParams()...)
}

// Follow subscribes to the journal. Without a ledger there is nothing to come.
func (s *dashboardSource) Follow() (<-chan *capture.Entry, func()) {
	l, err := s.app.acquireWithin(dashboardWait)
	if err != nil {
		none := make(chan *capture.Entry)
		close(none)
		return none, func() {}
	}
	return l.ledger.Follow()
}

// Rates are those of the configuration.
func (s *dashboardSource) Rates() *attribution.Rates { return s.app.rates }

// Rules are those of the configuration.
func (s *dashboardSource) Rules() *capture.Rules { return s.app.rules }

// Now is the time.
func (*dashboardSource) Now() time.Time { return time.Now() }

// Setup shows the configuration.
func (s *dashboardSource) Setup() dashboard.Setup {
	setup := s.routes()
	for _, f := range s.app.Findings() {
		setup.Findings = append(setup.Findings, dashboard.Finding{Rule: f.Rule, Where: f.Where, Text: f.Text})
	}
	return setup
}

// findRoutes looks through the servers of the configuration, which do not
// change any more.
func (s *dashboardSource) findRoutes() dashboard.Setup {
	version, _ := caddy.Version()
	setup := dashboard.Setup{Version: Version(), Caddy: version, Store: withoutPassword(s.app.engine.Key()), Open: s.open}
	v, err := s.app.ctx.AppIfConfigured("http")
	if err != nil {
		return setup
	}
	app, ok := v.(*caddyhttp.App)
	if !ok {
		return setup
	}
	clicks, postbacks := findRoutes(app)
	for _, r := range postbacks {
		setup.Postbacks = append(setup.Postbacks, showPostback(r))
	}
	for _, r := range clicks {
		setup.Clicks = append(setup.Clicks, showTrackClick(r))
	}
	return setup
}

// passwords are the settings of a store that are secret, with all that could be
// their value: in quotes, where a quote is doubled or escaped, or up to what
// separates settings. A quote that is never closed takes the rest.
var passwords = regexp.MustCompile(`(?is)\b((?:ssl|pg)?pass(?:word|phrase|wd)?|pwd|secret|token)(\s*=\s*)` +
	`(?:'(?:\\.|''|[^'\\])*(?:'|$)|"(?:\\.|[^"\\])*(?:"|$)|(?:\\.|[^\s&;#])*)`)

// userinfo is what stands in front of the host of an address.
var userinfo = regexp.MustCompile(`(://[^\s:/?#]*):[^\s/?#]*@`)

// withoutPassword hides the password of a store that is named by an address or
// by settings. What cannot be told apart is hidden, too.
func withoutPassword(key string) string {
	key = userinfo.ReplaceAllString(key, "${1}:xxxxx@")
	return passwords.ReplaceAllString(key, "${1}${2}xxxxx")
}

// Texts about an address that was made up.
const (
	anyPathNote = "The route takes other paths, too: what stands for any of them here is " + testWord + "."
	macroNote   = "Put the sender's own macros in the place of what is in braces."
)

func showPostback(r *foundRoute) dashboard.PostbackRoute {
	p := r.postback
	out := dashboard.PostbackRoute{Name: p.Name, Campaign: p.Campaign, Preset: p.Network}
	if n := p.sender; n != nil {
		out.Network, out.Where, out.Link, out.Preset = n.Title, n.Setup, n.LinkParameter(), n.Name
		out.Notes = append(out.Notes, n.Notes...)
	}
	if len(p.Tokens) > 0 {
		out.Checks = append(out.Checks, "a token")
	}
	if len(p.Allow) > 0 {
		out.Checks = append(out.Checks, "the sender's address")
	}
	for _, v := range p.verifiers {
		out.Checks = append(out.Checks, v.Name())
	}
	target, err := r.target(wish{})
	if err != nil {
		out.Problem = err.Error()
		return out
	}
	if strings.Contains(target.url.Path, testWord) {
		out.Notes = append(out.Notes, anyPathNote)
	}
	token := ""
	if len(p.Tokens) > 0 {
		token = network.MaskedToken
	}
	if n := p.sender; n != nil {
		out.URL, err = n.PostbackURL(target.url.String(), network.URLOptions{Token: token, Currency: p.Currency})
		if err != nil {
			out.Problem = err.Error()
		}
		return out
	}
	out.URL, out.Notes = plainPostbackURL(p, target.url.String(), token), append(out.Notes, macroNote)
	return out
}

// plainPostbackURL names the parameters that the route reads, for a sender
// without a preset.
func plainPostbackURL(p *Postback, base, token string) string {
	var pairs []string
	for _, f := range capture.Fields {
		names := p.route.Fields[f]
		switch {
		case len(names) == 0,
			f == capture.FieldEvent && p.Event != "",
			p.Payout != "" && (f == capture.FieldPayout || f == capture.FieldCurrency),
			f == capture.FieldCurrency && p.Currency != "",
			f == capture.FieldTime || f == capture.FieldMessageID,
			strings.ContainsAny(names[0], ".:"): // in a body or a header
			continue
		}
		pairs = append(pairs, url.QueryEscape(names[0])+"={"+string(f)+"}")
	}
	if token != "" {
		pairs = append(pairs, "token="+token)
	}
	address, query, _ := strings.Cut(base, "?")
	if query = joinQuery(query, strings.Join(pairs, "&")); query != "" {
		address += "?" + query
	}
	return address
}

func showTrackClick(r *foundRoute) dashboard.ClickRoute {
	t := r.click
	out := dashboard.ClickRoute{Campaign: t.Campaign, Inject: t.Inject}
	for _, d := range t.destinations {
		out.Destinations = append(out.Destinations, d.text)
	}
	target, err := r.target(wish{})
	if err != nil {
		out.Problem = err.Error()
		return out
	}
	out.URL = target.url.String()
	return out
}
