package caddymodule

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	if Version() == "" {
		t.Error("no version")
	}
	mod := func(path, version string) *debug.Module { return &debug.Module{Path: path, Version: version} }
	replaced := mod(modulePath, "v0.0.0-00010101000000-000000000000")
	replaced.Replace = mod("/src", "")
	forked := mod(modulePath, "v1.0.0")
	forked.Replace = mod("example.com/fork", "v1.0.1")
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3": {Main: *mod("caddy", ""), Deps: []*debug.Module{mod("x", "v9.9.9"), mod(modulePath, "v1.2.3")}},
		"v1.0.1": {Main: *mod("caddy", ""), Deps: []*debug.Module{forked}},
		"dev":    {Main: *mod("caddy", "v0.1.0"), Deps: []*debug.Module{replaced}},
		"v1.2.4": {Main: *mod(modulePath, "v1.2.4")},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := versionOf(&debug.BuildInfo{Main: *mod(modulePath, "(devel)")}); got != "dev" {
		t.Errorf("got %q", got)
	}
}
