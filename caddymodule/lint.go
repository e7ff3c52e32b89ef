package caddymodule

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Finding is something in a configuration that works and is most likely not
// what its owner wants.
type Finding struct {
	// Rule names the kind of finding, such as `open_route`.
	Rule string `json:"rule"`
	// Where is the directive or the campaign that it is about.
	Where string `json:"where,omitempty"`
	// Text says what is wrong and what to do.
	Text string `json:"text"`
}

// linter looks at a configuration as a whole, when all of it is provisioned.
type linter struct {
	app      *App
	findings []Finding
}

func (l *linter) found(rule, where, format string, args ...any) {
	f := Finding{Rule: rule, Where: where, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(l.findings, f) {
		l.findings = append(l.findings, f)
	}
}

// lint looks through the configuration, and logs and keeps what it finds. It
// comes when every app is provisioned: at the start, or after a validation.
func (a *App) lint(ctx caddy.Context) {
	l := linter{app: a}
	l.windows()
	if s, ok := a.store.(*PostgresStore); ok {
		l.postgres(s)
	}
	// The HTTP app's own failure is not ours to report.
	if v, err := ctx.AppIfConfigured("http"); err == nil {
		if app, ok := v.(*caddyhttp.App); ok {
			l.routes(app)
		}
	}
	log := a.logger.Named("lint")
	for _, f := range l.findings {
		log.Warn(f.Text, zap.String("rule", f.Rule), zap.String("where", f.Where))
	}
	a.mu.Lock()
	a.findings = l.findings
	a.mu.Unlock()
	if linted != nil {
		linted(a)
	}
}

// linted, if set, is told of each linted app: a configuration that is only
// checked cannot be asked afterwards.
var linted func(*App)

// Findings returns what the linter found in this configuration.
func (a *App) Findings() []Finding {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.findings
}

func (l *linter) routes(app *caddyhttp.App) {
	clicks, postbacks := findRoutes(app)
	for _, r := range postbacks {
		l.everything(r, "postback "+r.postback.Name)
		l.open(r.postback)
		l.clear(app, r)
		l.addresses(app, r)
		l.network(r.postback, clicks)
	}
	for _, r := range clicks {
		l.everything(r, r.click.where())
		l.destinations(r.click)
	}
}

// windows finds windows that end after the click is gone.
func (l *linter) windows() {
	kept := l.app.rules.Retain.Clicks
	check := func(window time.Duration, where string) {
		if kept > 0 && window > kept {
			l.found("window_outlives_clicks", where,
				"the window of %s is longer than clicks are kept, %s: a conversion later than that finds no click; "+
					"set retain { clicks %s }", capture.Days(window), capture.Days(kept), capture.Days(window))
		}
	}
	check(l.app.rules.Window, "capture")
	for _, name := range slices.Sorted(maps.Keys(l.app.rules.Campaigns)) {
		check(l.app.rules.Campaigns[name].Window, "campaign "+name)
	}
}

// open finds routes that anyone could call.
func (l *linter) open(p *Postback) {
	if len(p.Tokens)+len(p.Allow)+len(p.verifiers) > 0 {
		return
	}
	const text = "anyone who has a click ID, and every visitor has one, can report conversions here: add "
	if scheme := p.signedBy(); scheme != "" {
		l.found("open_route", "postback "+p.Name, text+"%s, since %s signs what it sends", scheme, p.Network)
		return
	}
	l.found("open_route", "postback "+p.Name, text+"a token, for example token {env.POSTBACK_TOKEN}, "+
		"or the sender's addresses with allow, or verify if it signs what it sends")
}

// clear finds tokens that travel in the clear, and routes that nobody
// elsewhere can call.
func (l *linter) clear(app *caddyhttp.App, r *foundRoute) {
	srv, p := app.Servers[r.server.name], r.postback
	if r.server.tls || r.server.problem != "" || r.local() {
		return
	}
	switch {
	case !p.AllowHTTP && len(trustedProxies(srv)) > 0: // one of them serves HTTPS
	case !p.AllowHTTP:
		l.found("plain_http", "postback "+p.Name, "this site is served by plain HTTP, and postbacks from other machines "+
			"are taken by HTTPS only: serve it by HTTPS, or set trusted_proxies if a proxy in front does")
	case len(p.Tokens) > 0:
		l.found("token_in_clear", "postback "+p.Name, "the token travels in the clear, since this site is served by "+
			"plain HTTP: serve it by HTTPS, and remove allow_http")
	}
}

// local tells whether a route has only names that are of the machine itself: the
// site is one to try things on.
func (r *foundRoute) local() bool {
	local := false
	r.eachMatcher(func(m any, _ condition) {
		if hosts, ok := deref(m).(caddyhttp.MatchHost); ok {
			local = len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h string) bool { return !isLocalName(h) })
		}
	})
	return local
}

func isLocalName(host string) bool {
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// everyone is the length of a prefix that takes in so much of the internet that
// it was not meant to keep anybody out.
const everyone = 3

// addresses finds lists of addresses that keep nobody out.
func (l *linter) addresses(app *caddyhttp.App, r *foundRoute) {
	p := r.postback
	if len(p.Allow) == 0 {
		return
	}
	for _, prefix := range p.route.Allow {
		if prefix.Bits() <= everyone {
			l.found("allow_everyone", "postback "+p.Name, "allow %s lets everyone in: name the sender's addresses", prefix)
		}
	}
	for _, s := range trustedProxies(app.Servers[r.server.name]) {
		if prefix, err := netip.ParsePrefix(s); err == nil && prefix.Bits() <= everyone {
			l.found("trusts_every_proxy", "postback "+p.Name, "trusted_proxies %s lets anyone claim any address in "+
				"X-Forwarded-For, so allow keeps nobody out: name the addresses of your proxies", s)
		}
	}
}

// trustedProxies returns the ranges from which a server believes
// X-Forwarded-For. Caddy keeps them to itself once they are provisioned, so
// this looks through its field; should that change, the rule finds nothing.
func trustedProxies(srv *caddyhttp.Server) []string {
	if srv == nil {
		return nil
	}
	v := reflect.ValueOf(srv).Elem().FieldByName("trustedProxies")
	for v.IsValid() && (v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer) {
		v = v.Elem()
	}
	if !v.IsValid() || v.Kind() != reflect.Struct {
		return nil
	}
	ranges := v.FieldByName("Ranges")
	if !ranges.IsValid() || ranges.Kind() != reflect.Slice || ranges.Type().Elem().Kind() != reflect.String {
		return []string{v.Type().String()} // some other source: there is one
	}
	list := make([]string, ranges.Len())
	for i := range list {
		list[i] = ranges.Index(i).String()
	}
	return list
}

// destinations finds redirects without a click ID: their conversions could
// never be told apart.
func (l *linter) destinations(t *TrackClick) {
	for _, d := range t.destinations {
		if !d.hasID {
			l.found("no_click_id", t.where(), "the destination %s does not carry {click_id}, so no postback can name the "+
				"click: add it in the parameter that your network hands back, for example ?aff_sub={click_id}", d.text)
		}
	}
}

// everything finds directives that take every request of their site.
func (l *linter) everything(r *foundRoute, where string) {
	if r.click != nil && r.click.Inject != "" {
		return // takes nothing away
	}
	narrow := false
	r.eachMatcher(func(m any, _ condition) {
		if _, host := deref(m).(caddyhttp.MatchHost); !host {
			narrow = true
		}
	})
	if !narrow {
		l.found("takes_everything", where, "it has no matcher and answers every request of the site: "+
			"give it a path, for example %s", r.example())
	}
}

func (r *foundRoute) example() string {
	if r.click != nil {
		return "track_click /go/* ..."
	}
	return "postback /postback"
}

// where names a track_click for people.
func (t *TrackClick) where() string {
	switch {
	case t.Inject != "":
		return "track_click inject " + t.Inject
	case len(t.destinations) > 0:
		return "track_click " + t.destinations[0].text
	}
	return "track_click"
}

// network finds presets of which only one half is in use: a sender that signs
// and nothing that verifies, a sender that hands back a parameter of the offer
// link and no link that carries the click ID in it.
func (l *linter) network(p *Postback, clicks []*foundRoute) {
	n := p.sender
	if n == nil {
		return
	}
	where := "postback " + p.Name
	if v := n.Verify; v.Scheme != "" && !v.Optional && !p.verifies(v.Scheme) && len(p.Tokens)+len(p.Allow)+len(p.verifiers) > 0 {
		l.found("unverified", where, "%s signs what it sends, and nothing verifies it: add %s", n.Title, p.signedBy())
	}
	if n.Webhook() || n.Link.Parameter == "" {
		return
	}
	wanted := append([]string{n.Link.Parameter}, n.Link.Also...)
	var others []string
	for _, r := range clicks {
		for _, d := range r.click.destinations {
			name := d.idParameter()
			if !d.hasID {
				continue // said already
			}
			if name == "" || slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, name) }) {
				return
			}
			others = append(others, name)
		}
		if r.click.Inject != "" && slices.ContainsFunc(wanted, func(w string) bool { return strings.EqualFold(w, r.click.Inject) }) {
			return
		}
	}
	if len(others) > 0 {
		l.found("link_parameter", where, "%s hands back the click ID from the parameter %s of its offer link, and no track_click "+
			"puts it there, but into %s: write ...%s={click_id}", n.Title, enumerateOr(wanted), enumerateOr(unique(others)), wanted[0])
	}
}

// verifies tells whether the route checks a scheme, or something that a proxy of
// the owner's own can prove instead.
func (p *Postback) verifies(scheme string) bool {
	return slices.ContainsFunc(p.schemes, func(s string) bool {
		return s == scheme || s == "http_signature" || s == "client_certificate"
	})
}

// idParameter returns the query parameter that holds the click ID, "" if it is
// somewhere else.
func (d *destination) idParameter() string {
	for i := range d.head {
		if d.head[i].kind != partClickID || i == 0 {
			continue
		}
		before := d.head[i-1].text
		if d.head[i-1].kind != partLiteral || !strings.HasSuffix(before, "=") {
			return ""
		}
		before = strings.TrimSuffix(before, "=")
		return before[strings.LastIndexAny(before, "?&=")+1:]
	}
	return ""
}

// enumerateOr writes "a, b or c".
func enumerateOr(words []string) string {
	if n := len(words) - 1; n > 0 {
		return strings.Join(words[:n], ", ") + " or " + words[n]
	}
	return strings.Join(words, "")
}

func unique(words []string) []string {
	words = slices.Clone(words)
	slices.Sort(words)
	return slices.Compact(words)
}
