package caddymodule

import "runtime/debug"

// version is set when a release is built:
//
//	-ldflags "-X github.com/caddy-capture/caddy-capture/caddymodule.version=v1.2.3"
var version = "dev"

// modulePath is where this module lives.
const modulePath = "github.com/caddy-capture/caddy-capture"

// Version returns Capture's version: the one that it was built as, else the
// one that Go's build information tells, else "dev".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if version != "dev" || !ok {
		return version
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	if info.Main.Path == modulePath && tells(info.Main.Version) {
		return info.Main.Version
	}
	for _, dep := range info.Deps {
		if dep.Path != modulePath {
			continue
		}
		if dep.Replace != nil && tells(dep.Replace.Version) {
			return dep.Replace.Version
		}
		// The version of a module that a directory replaces says nothing
		// about what is in the directory.
		if dep.Replace == nil && tells(dep.Version) {
			return dep.Version
		}
	}
	return "dev"
}

// tells whether a version says anything.
func tells(v string) bool {
	return v != "" && v != "(devel)" && v != "v0.0.0-00010101000000-000000000000"
}
