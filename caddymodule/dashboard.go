package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/caddymodule/dashboard"
)

func init() {
	caddy.RegisterModule(Dashboard{})
	httpcaddyfile.RegisterHandlerDirective("capture_dashboard", parseDashboard)
	// After all that authenticates, so that it sees what they found.
	httpcaddyfile.RegisterDirectiveOrder("capture_dashboard", httpcaddyfile.After, "forward_auth")
}

// Dashboard serves read-only pages about clicks and conversions: what happens
// now, reports, the journal and the quarantine, single clicks and conversions,
// and the setup. It serves them at the root of the path that it is given, so
// that a prefix has to be stripped before it, as `handle_path` does.
//
// It answers 403 unless Caddy has authenticated somebody, that is, unless the
// placeholder `{http.auth.user.id}` has a value. That holds for requests from
// this machine, too: behind a tunnel everybody comes from there.
type Dashboard struct {
	// Serves the pages to everybody who gets to this handler: something else
	// in front keeps others out, or nobody has to be kept out. Default: false.
	Open bool `json:"open,omitempty"`

	pages  *dashboard.Handler
	denied *boundedLog
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Dashboard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.capture_dashboard", New: func() caddy.Module { return new(Dashboard) }}
}

// Provision prepares the pages. It opens nothing and starts nothing.
func (d *Dashboard) Provision(ctx caddy.Context) error {
	mod, err := ctx.App("capture")
	if err != nil {
		return fmt.Errorf("capture_dashboard: loading the capture app: %w", err)
	}
	app, ok := mod.(*App)
	if !ok {
		return fmt.Errorf("capture_dashboard: the app capture is a %T", mod)
	}
	d.logger, d.denied = app.logger.Named("dashboard"), newBoundedLog()
	d.pages = dashboard.New(newDashboardSource(app, d.Open))
	return d.endWithServer(ctx)
}

// endWithServer ends live streams as soon as their servers are to stop: these
// wait for all requests, and only then clean up.
func (d *Dashboard) endWithServer(ctx caddy.Context) error {
	mod, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("capture_dashboard: loading the events app: %w", err)
	}
	events, ok := mod.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("capture_dashboard: the app events is a %T", mod)
	}
	return events.On("stopping", stopping(d.pages.Close))
}

// stopping handles the event by which Caddy says that a configuration ends.
type stopping func()

// Handle implements caddyevents.Handler.
func (s stopping) Handle(context.Context, caddy.Event) error {
	s()
	return nil
}

// Cleanup ends what is still being followed.
func (d *Dashboard) Cleanup() error {
	if d.pages != nil {
		d.pages.Close()
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It answers every request.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if !d.Open && !authenticated(r) {
		if suppressed, ok := d.denied.allow(); ok {
			d.logger.Warn("dashboard not shown: "+dashboard.ForbiddenHint, zap.Int64("suppressed", suppressed))
		}
		dashboard.Forbidden(w, r)
		return nil
	}
	if to := missingSlash(r); to != "" {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	d.pages.ServeHTTP(w, r)
	return nil
}

// authenticated tells whether a handler before this one has found out who the
// request is from.
func authenticated(r *http.Request) bool {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return false
	}
	id, _ := repl.GetString("http.auth.user.id")
	return id != ""
}

// missingSlash returns where the first page really is if the request names it
// without the slash at the end: relative links would lead beside it.
func missingSlash(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil || r.URL.Path != "" && r.URL.Path != "/" {
		return ""
	}
	given := original.URL.EscapedPath()
	if given == "" || strings.HasSuffix(given, "/") {
		return ""
	}
	// With ./ in front the last element can neither be a host nor a scheme.
	to := url.URL{RawQuery: original.URL.RawQuery}
	return "./" + path.Base(given) + "/" + to.String()
}

func parseDashboard(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	d := new(Dashboard)
	if err := d.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return d, nil
}

// UnmarshalCaddyfile reads the directive:
//
//	capture_dashboard [<matcher>] {
//		open
//	}
func (d *Dashboard) UnmarshalCaddyfile(h *caddyfile.Dispenser) error {
	h.Next() // capture_dashboard
	if h.NextArg() {
		return h.Errf("capture_dashboard has no argument %q, only a matcher and a block", h.Val())
	}
	for h.NextBlock(0) {
		switch h.Val() {
		case "open":
			if h.NextArg() {
				return h.ArgErr()
			}
			if d.Open {
				return h.Err("open is given twice: give it once")
			}
			d.Open = true
		default:
			return h.Errf("unknown option %q: capture_dashboard has only open", h.Val())
		}
	}
	return nil
}

// Interface guards.
var (
	_ caddy.CleanerUpper          = (*Dashboard)(nil)
	_ caddy.Provisioner           = (*Dashboard)(nil)
	_ caddyfile.Unmarshaler       = (*Dashboard)(nil)
	_ caddyhttp.MiddlewareHandler = (*Dashboard)(nil)
	_ caddyevents.Handler         = stopping(nil)
)
