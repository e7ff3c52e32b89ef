// Package caddymodule makes Capture a part of Caddy: the app `capture` with
// its global option, the handlers `track_click`, `postback` and
// `capture_dashboard` with their directives, the admin API, the commands and the metrics. Everything that
// knows Caddy is here; package capture does the work.
package caddymodule
