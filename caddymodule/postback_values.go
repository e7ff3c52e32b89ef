package caddymodule

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// This file reads the values of a postback route's configuration.

// readFields names the fields as package capture does, which checks them.
func readFields(named map[string][]string) map[capture.Field][]string {
	fields := make(map[capture.Field][]string, len(named))
	for name, params := range named {
		fields[capture.Field(name)] = params
	}
	return fields
}

func isField(name string) bool {
	return slices.Contains(capture.Fields, capture.Field(name))
}

func fieldNames() string {
	names := make([]string, len(capture.Fields))
	for i, f := range capture.Fields {
		names[i] = string(f)
	}
	return enumerate(names)
}

// enumerate writes "a, b and c".
func enumerate(words []string) string {
	if n := len(words) - 1; n > 0 {
		return strings.Join(words[:n], ", ") + " and " + words[n]
	}
	return strings.Join(words, "")
}

const statusNames = "approved, pending, rejected and reversed"

// readStatuses turns the sender's words round.
func readStatuses(words map[string][]string) (map[string]attribution.Status, error) {
	statuses := make(map[string]attribution.Status)
	for _, name := range slices.Sorted(maps.Keys(words)) { // in order, so that errors are always the same
		list := words[name]
		status, err := attribution.ParseStatus(name)
		if err != nil {
			return nil, fmt.Errorf("unknown status %q; allowed are %s", name, statusNames)
		}
		for _, word := range list {
			key := strings.ToLower(word)
			if other, ok := statuses[key]; ok && other != status {
				return nil, fmt.Errorf("the status word %q cannot mean both %s and %s",
					word, min(other, status), max(other, status))
			}
			statuses[key] = status
		}
	}
	return statuses, nil
}

// readPrefixes reads addresses and ranges. A placeholder may stand for
// several, with blanks between them.
func readPrefixes(list []string) ([]netip.Prefix, error) {
	repl := caddy.NewReplacer()
	var prefixes []netip.Prefix
	for _, entry := range list {
		v, err := repl.ReplaceOrErr(entry, true, true)
		if err != nil {
			return nil, fmt.Errorf("allow %q: replacing placeholders: %w", entry, err)
		}
		ranges := strings.Fields(v)
		if v == "private_ranges" {
			ranges = caddyhttp.PrivateRangesCIDR()
		}
		if len(ranges) == 0 {
			return nil, fmt.Errorf("allow %q is empty; %s", entry, allowedRanges)
		}
		for _, s := range ranges {
			prefix, err := readPrefix(s)
			if err != nil {
				return nil, err
			}
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes, nil
}

const allowedRanges = "allowed are addresses like 192.0.2.7, ranges like 192.0.2.0/24 or 2001:db8::/32, and private_ranges"

func readPrefix(s string) (netip.Prefix, error) {
	if prefix, err := netip.ParsePrefix(s); err == nil {
		return prefix.Masked(), nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("allow %q is no address; %s", s, allowedRanges)
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// parseSize reads a size of the Caddyfile: "64KiB", "100kB", "5000".
func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > maxMaxBody {
		return 0, fmt.Errorf("max_body is %q; allowed are sizes like 64KiB, up to 512KiB", s)
	}
	return int64(n), checkMaxBody(int64(n))
}
