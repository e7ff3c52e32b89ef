package caddymodule

import (
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// maxRouteDepth ends the walk through routes that invoke one another.
const maxRouteDepth = 32

// condition is what a request has to fulfil to get past one route on the way
// to a handler.
type condition struct {
	sets caddyhttp.MatcherSets
	// strip is what the handlers before have cut off the path.
	strip string
}

// foundRoute is a handler of ours and how a request gets there.
type foundRoute struct {
	server   *testServer
	click    *TrackClick // or nil
	postback *Postback   // or nil
	// conditions are in order from the outside in.
	conditions []condition
	// rewritten: a handler before changes the path in a way that cannot be
	// foreseen.
	rewritten bool
}

// findRoutes lists the handlers of ours in all servers, in a stable order.
func findRoutes(app *caddyhttp.App) (clicks, postbacks []*foundRoute) {
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		srv := app.Servers[name]
		w := routeWalk{server: srv, yield: func(r *foundRoute) {
			if r.click != nil {
				clicks = append(clicks, r)
			} else {
				postbacks = append(postbacks, r)
			}
		}}
		w.at = foundRoute{server: newTestServer(app, name, srv)}
		w.routes(srv.Routes)
	}
	return clicks, postbacks
}

// routeWalk is a place in the tree of a server's routes.
type routeWalk struct {
	server *caddyhttp.Server
	yield  func(*foundRoute)
	depth  int
	strip  string
	at     foundRoute
}

func (w routeWalk) routes(list caddyhttp.RouteList) {
	if w.depth++; w.depth > maxRouteDepth {
		return
	}
	for i := range list {
		inner := w
		inner.at.conditions = append(slices.Clone(w.at.conditions), condition{list[i].MatcherSets, w.strip})
		for _, h := range list[i].Handlers {
			inner.handler(h)
		}
		if len(list[i].MatcherSets) == 0 {
			// What this route does to the path, it does for those after it.
			w.strip, w.at.rewritten = inner.strip, inner.at.rewritten
		}
	}
}

// handler visits one handler; what it does to the path stays in w.
func (w *routeWalk) handler(h caddyhttp.MiddlewareHandler) {
	switch h := h.(type) {
	case *TrackClick:
		found := w.at
		found.click = h
		w.yield(&found)
	case *Postback:
		found := w.at
		found.postback = h
		w.yield(&found)
	case *rewrite.Rewrite:
		if h.StripPathPrefix != "" {
			w.strip = path.Join(w.strip, "/"+strings.TrimPrefix(h.StripPathPrefix, "/"))
		}
		if h.URI != "" || h.StripPathSuffix != "" || len(h.URISubstring) > 0 || len(h.PathRegexp) > 0 {
			w.at.rewritten = true
		}
	case *caddyhttp.Subroute:
		w.routes(h.Routes)
	case *caddyhttp.Invoke:
		if route := w.server.NamedRoutes[h.Name]; route != nil {
			w.routes(caddyhttp.RouteList{*route})
		}
	default:
		if routes, ok := routesOf(h); ok {
			w.routes(routes)
		}
	}
}

// routesOf returns the routes of a handler that has some, as those of plugins
// do by convention.
func routesOf(h any) (caddyhttp.RouteList, bool) {
	v := reflect.ValueOf(h)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, false
	}
	f := v.FieldByName("Routes")
	if !f.IsValid() || !f.CanInterface() {
		return nil, false
	}
	routes, ok := f.Interface().(caddyhttp.RouteList)
	return routes, ok
}
