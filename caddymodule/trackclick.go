package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(TrackClick{})
}

// TrackClick records a visit as a click and redirects the visitor to the
// advertiser with a click ID, which comes back in the postback that reports a
// conversion. The click is on disk before the redirect is answered, unless the
// store is slow or failing: the visitor is redirected in any case.
//
// With `inject` it lets the rest of the site answer instead, and sets the click
// ID in the redirect that comes of it.
//
// A HEAD request is redirected and not recorded; any other method than GET and
// HEAD gets 405, or with `inject` passes untouched. Prefetches and known bots
// are recorded and flagged, and do not count as clicks.
//
// In `to`, the placeholders `{click_id}`, `{campaign}`, `{source}` and
// `{sub.<name>}` stand for the click's own values; all options that take
// placeholders take all of Caddy's. What comes after this handler has
// `{http.capture.click_id}`, `{http.capture.campaign}` and
// `{http.capture.source}`.
type TrackClick struct {
	// Where visitors are sent. Of several, one is chosen by weight for each
	// visit. Required, unless `inject` is used.
	To []Destination `json:"to,omitempty"`

	// The query parameter in which the click ID is set in the `Location` of
	// whatever redirect the handlers after this one answer with. Answers that
	// are no redirects pass untouched and record nothing. Instead of `to`.
	Inject string `json:"inject,omitempty"`

	// The name under which clicks and their conversions are counted together.
	// May have placeholders. Default: the last element of the request's path.
	Campaign string `json:"campaign,omitempty"`

	// Where the visitor came from. May have placeholders. Default: the query
	// parameter `source`, else `utm_source`.
	Source string `json:"source,omitempty"`

	// Further values by which reports can be divided. The query parameters
	// `sub1` to `sub9` are taken without being named here.
	Subs []SubID `json:"subs,omitempty"`

	// Query parameters to keep with the click, in addition to `utm_*` and the
	// click IDs of the known ad platforms, which are kept anyway.
	Keep []string `json:"keep,omitempty"`

	// Query parameters to hand on to the destination. An empty list hands on
	// all. A parameter that `to` sets by itself is never overridden. Default:
	// none are handed on.
	Pass *[]string `json:"pass,omitempty"`

	// What the visit cost, such as `0.12`. May have placeholders; where these
	// give no amount, the cost of that click is unknown.
	Cost string `json:"cost,omitempty"`

	// The ISO 4217 currency of the cost, where the amount does not name one.
	// May have placeholders. Default: `USD`.
	CostCurrency string `json:"cost_currency,omitempty"`

	// The status of the redirect: 302, 303 or 307. A permanent one is refused:
	// browsers would cache it, and clicks would be lost. Default: 302.
	Status int `json:"status,omitempty"`

	// How long a visitor waits at most for the click to be on disk. Default:
	// 50ms.
	MaxWait caddy.Duration `json:"max_wait,omitempty"`

	app    *App
	logger *zap.Logger
	codec  func() fallbackCodec
	late   *boundedLog
	lost   *boundedLog
	closed *boundedLog
	macros *macroLog

	destinations []*destination
	weights      []int // running sums, if there are several destinations
	parameter    string
	campaign     template
	source       template
	subs         []subTemplate
	ownSub       [10]bool // sub1 to sub9 that the configuration sets
	keep         map[string]struct{}
	pass         *passing
	cost         costRule
}

// Destination is one place where visitors are sent.
type Destination struct {
	// A URL, or a path on this host. May have placeholders after the host;
	// their values are percent-encoded for their place. A placeholder in
	// scheme, host or port is refused, so that no visitor can choose where the
	// redirect leads.
	URL string `json:"url"`

	// How often this destination is chosen in relation to the others, from 1
	// to 1000. Default: 1.
	Weight int `json:"weight,omitempty"`
}

// SubID is a value that is kept with the click under a name.
type SubID struct {
	// The name: 1 to 64 characters of `a-z`, `0-9`, `_`, `.` and `-`.
	Name string `json:"name"`
	// The value. May have placeholders.
	Value string `json:"value"`
}

const (
	defaultMaxWait = 50 * time.Millisecond
	maxWeight      = 1000
)

// CaddyModule returns the Caddy module information.
func (TrackClick) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.track_click",
		New: func() caddy.Module { return new(TrackClick) },
	}
}

// Provision reads the configuration.
func (t *TrackClick) Provision(ctx caddy.Context) error {
	mod, err := ctx.App("capture")
	if err != nil {
		return fmt.Errorf("track_click: %w", err)
	}
	app, ok := mod.(*App)
	if !ok {
		return fmt.Errorf("track_click: the app capture is a %T", mod)
	}
	if err := t.provision(app); err != nil {
		return fmt.Errorf("track_click: %w", err)
	}
	return nil
}

func (t *TrackClick) provision(app *App) error {
	t.app, t.logger = app, app.logger.Named("track_click")
	t.codec = fallbackFor(app.keys)
	t.late, t.lost, t.closed = newBoundedLog(), newBoundedLog(), newBoundedLog()
	t.macros = newMacroLog()
	if t.Status == 0 {
		t.Status = http.StatusFound
	}
	if t.MaxWait == 0 {
		t.MaxWait = caddy.Duration(defaultMaxWait)
	}
	for _, read := range []func() error{t.checkOptions, t.readValues, t.readCost, t.readDestinations, t.readPass} {
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

func (t *TrackClick) checkOptions() error {
	switch t.Status {
	case http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
	case http.StatusMovedPermanently, http.StatusPermanentRedirect:
		return fmt.Errorf("status %d is permanent: browsers would cache it and clicks be lost; "+
			"allowed are 302, 303 and 307", t.Status)
	default:
		return fmt.Errorf("status is %d; allowed are 302, 303 and 307", t.Status)
	}
	if t.MaxWait < 0 {
		return fmt.Errorf("max_wait is %s; it must not be negative", time.Duration(t.MaxWait))
	}
	if t.Inject == "" {
		return nil
	}
	switch {
	case len(t.To) > 0:
		return errors.New("inject and to exclude each other: with inject, the rest of the site makes the redirect")
	case t.Pass != nil:
		return errors.New("inject and pass exclude each other: pass is for the destinations of to")
	case t.Status != http.StatusFound:
		return errors.New("inject and status exclude each other: with inject, the rest of the site makes the redirect")
	case !isParameterName(t.Inject):
		return fmt.Errorf("inject is %q; wanted is the name of a query parameter", t.Inject)
	}
	t.parameter = string(appendEncoded(nil, t.Inject, asValue))
	return nil
}

// isParameterName refuses what is meant to be something else: a placeholder, a
// whole query.
func isParameterName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsAny(s, "{}?&=#/ \t\r\n")
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*TrackClick)(nil)
	_ caddyhttp.MiddlewareHandler = (*TrackClick)(nil)
)
