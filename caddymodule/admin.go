package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminAPI serves Capture's part of Caddy's admin endpoint, below /capture/.
type adminAPI struct {
	// findApp returns the app of the running configuration; nil asks Caddy.
	findApp func() (*App, error)
}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.capture", New: func() caddy.Module { return new(adminAPI) }}
}

// adminCall is one request with what it needs of the running configuration.
type adminCall struct {
	w     http.ResponseWriter
	r     *http.Request
	app   *App
	lease *lease
	now   time.Time
}

// adminEndpoint answers the requests of one method to one path.
type adminEndpoint func(*adminCall) error

// Routes returns what the admin endpoint is to serve.
func (a adminAPI) Routes() []caddy.AdminRoute {
	get := func(f adminEndpoint) map[string]adminEndpoint { return map[string]adminEndpoint{http.MethodGet: f} }
	return []caddy.AdminRoute{
		a.route("/capture/report", get(adminReport)),
		a.route("/capture/clicks/{id}", map[string]adminEndpoint{
			http.MethodGet: adminClick, http.MethodDelete: adminErase,
		}),
		a.route("/capture/conversions", map[string]adminEndpoint{
			http.MethodGet: adminConversions, http.MethodPost: adminImport,
		}),
		a.route("/capture/journal", get(adminJournal)),
		a.route("/capture/journal/replay", map[string]adminEndpoint{http.MethodPost: adminReplay}),
		a.route("/capture/export/{what}", get(adminExport)),
		a.route("/capture/backup", get(adminBackup)),
		a.route("/capture/check", get(adminCheck)),
		{Pattern: "/capture/health", Handler: a.methods(map[string]caddy.AdminHandlerFunc{http.MethodGet: a.health})},
		a.route("/capture/test", map[string]adminEndpoint{http.MethodPost: adminTest}),
		{Pattern: "/capture/", Handler: caddy.AdminHandlerFunc(adminNotFound)},
	}
}

// route serves a path with endpoints that need the store to be open.
func (a adminAPI) route(pattern string, endpoints map[string]adminEndpoint) caddy.AdminRoute {
	handlers := make(map[string]caddy.AdminHandlerFunc, len(endpoints))
	for method, endpoint := range endpoints {
		handlers[method] = func(w http.ResponseWriter, r *http.Request) error {
			app, err := a.app()
			if err != nil {
				return err
			}
			l, err := app.acquire()
			if err != nil {
				return adminError(err)
			}
			return adminError(endpoint(&adminCall{w: w, r: r, app: app, lease: l, now: time.Now()}))
		}
	}
	return caddy.AdminRoute{Pattern: pattern, Handler: a.methods(handlers)}
}

// methods chooses by method and answers 405 itself: the one of http.ServeMux
// is not JSON. Where GET is allowed, so is HEAD.
func (adminAPI) methods(handlers map[string]caddy.AdminHandlerFunc) caddy.AdminHandler {
	var allowed []string
	for method := range handlers {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h, ok := handlers[method]; ok {
			if method == http.MethodGet {
				unlimitRead(w)
			}
			return h(w, r)
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return apiErrorf(http.StatusMethodNotAllowed, "%s is not allowed here: use %s", r.Method, strings.Join(allowed, " or "))
	})
}

// unlimitRead lifts the deadline for reading the request: Caddy's admin
// endpoint gives it ten seconds, and would end at that moment the context of a
// request that is still being answered.
func unlimitRead(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// app asks per request for the app of the running configuration, so the
// answer is never that of a configuration that is gone.
func (a adminAPI) app() (*App, error) {
	find := a.findApp
	if find == nil {
		find = activeApp
	}
	app, err := find()
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return nil, apiErrorf(http.StatusNotFound,
			"Capture is not in use: the running configuration has neither a track_click nor a postback nor the global option capture")
	case err != nil:
		return nil, apiErrorf(http.StatusServiceUnavailable, "finding the app: %w", err)
	}
	return app, nil
}

func activeApp() (*App, error) {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil {
		return nil, errors.New("the server is still starting: try again in a moment")
	}
	v, err := ctx.AppIfConfigured("capture")
	if err != nil {
		return nil, err
	}
	app, ok := v.(*App)
	if !ok {
		return nil, fmt.Errorf("module %T is not the capture app", v)
	}
	return app, nil
}

func adminNotFound(_ http.ResponseWriter, r *http.Request) error {
	return apiErrorf(http.StatusNotFound, "there is no %q: try /capture/report, /capture/conversions, /capture/journal, "+
		"/capture/journal/replay, /capture/clicks/<id>, /capture/export/clicks, /capture/backup, /capture/check, "+
		"/capture/health or /capture/test", r.URL.Path)
}

func apiErrorf(status int, format string, args ...any) caddy.APIError {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

func badRequest(err error) error {
	if err == nil {
		return nil
	}
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
}

// adminError gives an error of the ledger its status. Caddy looks for its
// APIError without unwrapping, so it must be the outermost.
func adminError(err error) error {
	var apiErr caddy.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &apiErr):
		return apiErr
	case errors.Is(err, capture.ErrNotFound):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	case errors.Is(err, capture.ErrUnavailable), errors.Is(err, capture.ErrClosed), errors.Is(err, capture.ErrNoSpace),
		errors.Is(err, capture.ErrLocked), errors.Is(err, capture.ErrFatal):
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
}

// answer writes v as JSON.
func (c *adminCall) answer(v any) error { return writeJSON(c.w, http.StatusOK, v) }

func writeJSON(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(append(data, '\n')); err != nil {
		// The status is sent, so this can only be logged.
		caddy.Log().Named("capture.admin").Debug("writing the answer", zap.Error(err))
	}
	return nil
}

// Interface guards.
var _ caddy.AdminRouter = adminAPI{}
