package caddymodule

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const wantDestination = "wanted is a URL like https://example.com/path, or a path on this host that begins with a single /"

// refusedSchemes run or open something in the visitor's browser.
var refusedSchemes = map[string]bool{"javascript": true, "data": true, "vbscript": true, "file": true}

// checkOrigin checks the literal text that a destination begins with and
// returns how much of it is scheme and host. next is the placeholder that
// follows, if one does.
func checkOrigin(lit, next string) (int, error) {
	if i := strings.IndexFunc(lit, isControl); i >= 0 {
		return 0, fmt.Errorf("it has the control character %q", lit[i])
	}
	if strings.HasPrefix(lit, "/") {
		return 0, checkPathStart(lit, next)
	}
	i := strings.IndexByte(lit, ':')
	if i < 0 && next != "" {
		if strings.ContainsAny(lit, "./?") {
			return 0, errors.New("it names no scheme: begin it with https://")
		}
		return 0, fmt.Errorf("the placeholder %s stands in the scheme or the host: a visitor could choose where "+
			"the redirect leads (open redirect), so write scheme, host and port out", next)
	}
	if i < 0 || !isScheme(lit[:i]) || !strings.HasPrefix(lit[i:], "://") {
		return 0, errors.New(wantDestination)
	}
	scheme := strings.ToLower(lit[:i])
	if refusedSchemes[scheme] {
		return 0, fmt.Errorf("the scheme %s is not allowed", scheme)
	}
	start := i + len("://")
	end := strings.IndexAny(lit[start:], "/?#")
	if end < 0 {
		if next != "" {
			return 0, fmt.Errorf("the placeholder %s stands in the host or the port: a visitor could choose where "+
				"the redirect leads (open redirect); if it is a path, write a / before it", next)
		}
		end = len(lit) - start
	}
	web := scheme == "http" || scheme == "https"
	return start + end, checkAuthority(lit[start:start+end], web)
}

func checkPathStart(lit, next string) error {
	switch {
	case len(lit) == 1 && next != "":
		return fmt.Errorf("the placeholder %s follows the first / of a path: an empty or a strange value could make "+
			"a host of what follows (open redirect); begin the path with a fixed name", next)
	case len(lit) > 1 && (lit[1] == '/' || lit[1] == '\\'):
		return errors.New("it begins with two slashes, which browsers take for a host: " + wantDestination)
	}
	return nil
}

// checkAuthority checks host and port. An app's own scheme may do without.
func checkAuthority(s string, web bool) error {
	if strings.Contains(s, "@") {
		return errors.New("it has a user name or a password before the host, which browsers drop or refuse")
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && !strings.ContainsRune("-._:[]", rune(c)) {
			return fmt.Errorf("the host %q has a character that no host has; "+
				"write names in other alphabets in their xn-- form", s)
		}
	}
	u, err := url.Parse("http://" + s)
	if err != nil {
		return fmt.Errorf("the host %q: %w", s, err)
	}
	if web && u.Hostname() == "" {
		return errors.New("it has no host: " + wantDestination)
	}
	return nil
}
