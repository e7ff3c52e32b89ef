#!/bin/sh
# Builds ./caddy: Caddy with the Capture module of this checkout, at the versions of go.mod.
# It needs Go and a shell, and nothing else. See: ./xcaddy-build.sh help
set -eu

usage() {
	cat <<'EOF'
usage: ./xcaddy-build.sh              build ./caddy
       ./xcaddy-build.sh run [args]   build it if it is missing or out of date, then run
                                      caddyfile.example; args are handed to "caddy run"
       ./xcaddy-build.sh help         print this

environment:
  CAPTURE_VERSION         the version the build carries
                          (default: git describe --tags --always --dirty, else "dev")
  XCADDY_GO_BUILD_FLAGS   further flags for "go build"
  GOOS, GOARCH, ...       build for another system, as with any Go program
EOF
}

die() {
	printf '%s: %s\n' "${0##*/}" "$1" >&2
	exit 1
}

# check_go makes sure that the go command is there and not older than go.mod asks for.
check_go() {
	want=$(awk '$1 == "go" { print $2; exit }' go.mod)
	command -v go >/dev/null 2>&1 ||
		die "the go command was not found in PATH; Go $want or newer is needed: https://go.dev/dl/"
	# Where it may, an older Go fetches the toolchain go.mod asks for and answers as that one.
	said=$(go version 2>&1) ||
		die "\"go version\" failed; Go $want or newer is needed: https://go.dev/dl/
$said"
	have=$(printf '%s\n' "$said" | sed -n 's/.*go\([0-9][0-9]*\.[0-9][0-9.]*\).*/\1/p' | head -n 1)
	awk -v have="$have" -v want="$want" 'BEGIN {
		split(have, h, "."); split(want, w, ".")
		for (i = 1; i <= 3; i++) if (h[i] + 0 != w[i] + 0) exit h[i] + 0 < w[i] + 0
	}' || die "Go $want or newer is needed, this is: $said
get it from https://go.dev/dl/"
}

# capture_version prints the version that the build carries.
capture_version() {
	v=${CAPTURE_VERSION:-}
	if [ -z "$v" ] && [ -e .git ] && command -v git >/dev/null 2>&1; then
		v=$(git describe --tags --always --dirty 2>/dev/null) || v=
	fi
	v=${v:-dev}
	case $v in
	*[!0-9A-Za-z._+~/-]*) die "CAPTURE_VERSION may hold letters, digits and . _ + ~ / - only, this is: $v" ;;
	esac
	printf '%s\n' "$v"
}

# module_version turns that into something Go takes for a module's version: "caddy build-info"
# lists our module under it.
module_version() {
	id='(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)'
	n='(0|[1-9][0-9]*)'
	if printf '%s\n' "$1" | grep -Eq "^v[01]\.$n\.$n(-$id(\.$id)*)?\$"; then
		printf '%s\n' "$1"
	elif [ "$1" = dev ]; then
		echo v0.0.0-dev
	else
		printf 'v0.0.0-dev-%s\n' "$(printf '%s\n' "$1" | sed 's/[^0-9A-Za-z-]/-/g')"
	fi
}

# check_versions fails if a dependency in the binary has another version than in go.mod.
check_versions() {
	go version -m "$1" | awk '
		FNR == NR { if ($1 == "dep") built[$2] = $3; next }
		$1 == "require" { $1 = ""; $0 = $0 }
		$2 ~ /^v[0-9]/ && ($1 in built) && built[$1] != $2 {
			print $1 ": go.mod says " $2 ", built with " built[$1]; bad = 1
		}
		END { exit bad }
	' - go.mod >&2 || die "these dependencies are not at the versions of go.mod; ./caddy was left as it was"
}

build() {
	check_go
	GOWORK=off # go.mod alone decides, not a go.work somewhere above
	export GOWORK

	module=$(go list -m)
	caddy_version=$(go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
	version=$(capture_version)
	at=$(module_version "$version")
	tmp=caddy.build.$$
	mark=$tmp.mark
	trap 'rm -f "$tmp" "$mark"' EXIT
	trap 'exit 130' HUP INT TERM
	: >"$mark"

	# Our module comes from this directory and must not be looked for anywhere else (GOPRIVATE).
	# The others come from the module cache or GOPROXY, and version control is not run (GOVCS):
	# so git is not needed. With GOPROXY=direct, set GOVCS, for example to "*:all".
	GOPRIVATE=$module,$(go env GOPRIVATE)
	vcs=$(go env GOVCS)
	GOVCS=$module:off,${vcs:-*:off}
	export GOPRIVATE GOVCS

	# A -mod=... meant for this checkout would hinder xcaddy, whose own module is made as it goes.
	# (An empty GOFLAGS would not override the one of "go env -w".)
	flags=$(go env GOFLAGS)
	case " $flags" in
	*\ -mod=* | *\ --mod=*)
		GOFLAGS=$(printf '%s\n' "$flags -trimpath" | sed 's/--*mod=[^ ]*//g')
		export GOFLAGS
		;;
	esac

	# Flags of ours replace all of xcaddy's, so its default ones are repeated here. xcaddy splits
	# them as a shell would.
	# shellcheck disable=SC2089
	XCADDY_GO_BUILD_FLAGS="-trimpath -tags nobadger,nomysql,nopgx -ldflags '-w -s -X $module/caddymodule.version=$version' ${XCADDY_GO_BUILD_FLAGS:-}"
	XCADDY_PRINT_VERSION=0 # it cannot run what was built for another system; we do it below
	# shellcheck disable=SC2090
	export XCADDY_GO_BUILD_FLAGS XCADDY_PRINT_VERSION

	# xcaddy makes a temporary module that requires Caddy and our module, and resolves the rest
	# by minimal version selection. Our go.mod lists every dependency we link, at versions no
	# lower than Caddy's own go.mod asks for, so selection arrives at the same versions. Only
	# "go mod tidy", which xcaddy runs, could still raise one, by adding a newest module for
	# somebody's test. Pinning with --with mod@version would link packages that nobody uses, so
	# the finished binary is compared with go.mod instead (check_versions).
	#
	# The version is named on both sides so that the binary lists our module under it.
	printf 'building Caddy %s with Capture %s\n' "$caddy_version" "$version"
	go tool xcaddy build "$caddy_version" \
		--with "$module/caddymodule@$at" \
		--replace "$module@$at=$PWD" \
		--output "./$tmp"

	check_versions "$tmp"
	# As old as the start of the build: what was edited meanwhile counts as newer.
	touch -r "$mark" "$tmp"
	mv -f "$tmp" "$binary"
	rm -f "$mark"
	trap - EXIT HUP INT TERM

	printf 'built %s: Caddy %s with Capture %s\n' "$binary" "$caddy_version" "$version"
}

# fresh says whether the binary is there and newer than everything it is built from. All
# directories count, with what is embedded from them; a directory is newer when a file in it
# has come or gone.
fresh() {
	[ -x "$binary" ] &&
		[ -z "$(find ./*/ go.mod go.sum xcaddy-build.sh -newer "$binary" -print 2>/dev/null | head -n 1)" ]
}

run() {
	fresh || build
	cat <<EOF

What to try next, in a second terminal in this directory:

  a visitor clicks the offer link and lands on the advertiser's page, which shows the click ID:
    curl -L 'http://localhost:8080/go/acme?source=newsletter'

  the advertiser reports a sale, with that click ID:
    curl 'http://localhost:8080/postback?click_id=THE_CLICK_ID&txid=order-1&payout=12.50&currency=USD'

  see both counted, in the browser at http://localhost:8080/stats/ or here, then let
  Capture test itself:
    $binary capture report --by campaign,source
    $binary capture test

Ctrl+C ends the server.

EOF
	exec "$binary" run --config caddyfile.example --adapter caddyfile "$@"
}

cd -P -- "$(dirname -- "$0")"
binary=./caddy
if command -v go >/dev/null 2>&1; then
	binary=./caddy$(go env GOEXE)
fi

case ${1:-build} in
build)
	[ $# -le 1 ] || {
		usage >&2
		exit 2
	}
	build
	;;
run)
	shift
	run "$@"
	;;
help | -h | --help)
	usage
	;;
*)
	printf '%s: unknown argument: %s\n' "${0##*/}" "$1" >&2
	usage >&2
	exit 2
	;;
esac
