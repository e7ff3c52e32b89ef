package network

import (
	"net/url"
	"strings"
	"unicode"
)

// clean takes away what copying and pasting added, and says so.
func (c *checker) clean(text string) string {
	if !strings.Contains(text, "://") && strings.Contains(strings.ToLower(text), "%3a%2f%2f") {
		if plain, err := url.PathUnescape(strings.TrimSpace(text)); err == nil {
			c.say(Error, whereAll, "", "the whole URL is percent-encoded: paste it as it is, starting with https://")
			text = plain
		}
	}
	text = c.cleanBlanks(text)
	trimmed := strings.Trim(text, "\"'`\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb")
	if strings.HasPrefix(trimmed, "<") && strings.HasSuffix(trimmed, ">") {
		trimmed = trimmed[1 : len(trimmed)-1]
	}
	if trimmed != text {
		c.say(Error, whereAll, "", "there are quotes or brackets around the URL: leave them out")
		text = trimmed
	}
	if strings.ContainsAny(text, "\"'`\u201c\u201d\u201e\u2018\u2019") {
		c.say(Error, whereAll, "", "there are quotes in the URL: leave them out")
		text = strings.NewReplacer("\"", "", "'", "", "`", "", "\u201c", "", "\u201d", "", "\u201e", "", "\u2018", "", "\u2019", "").Replace(text)
	}
	if plain := strings.NewReplacer("&amp;", "&", "&AMP;", "&", "&#38;", "&").Replace(text); plain != text {
		c.say(Error, whereAll, "", "it was copied from a web page's source: &amp; has to be a plain &")
		text = plain
	}
	return text
}

// cleanBlanks takes blanks, line breaks and characters without a width out.
func (c *checker) cleanBlanks(text string) string {
	outside := strings.TrimSpace(text)
	breaks, blanks, hidden := false, false, false
	plain := strings.Map(func(r rune) rune {
		switch {
		case r == '\r' || r == '\n':
			breaks = true
			return -1
		case unicode.IsSpace(r):
			blanks = true
			return -1
		case r == unicode.ReplacementChar || unicode.Is(unicode.Cf, r) || unicode.IsControl(r):
			hidden = true
			return -1
		}
		return r
	}, outside)
	if breaks {
		c.say(Error, whereAll, "", "there is a line break in the URL: it was perhaps cut into lines by a mail program")
	}
	if blanks {
		c.say(Error, whereAll, "", "there is a blank in the URL: leave it out")
	}
	if hidden {
		c.say(Error, whereAll, "", "there are invisible characters in the URL: type it anew, or paste it as plain text")
	}
	if outside != text && !breaks && !blanks {
		c.say(Warning, whereAll, "", "there are blanks or line breaks around the URL, which some networks keep: leave them out")
	}
	return plain
}

// split cuts the URL into its address and its query. It does not parse it as
// one: the macros of many networks, like #s2#, have no place in a URL.
func (c *checker) split(text string) (address, query string) {
	address, query, found := strings.Cut(text, "?")
	if !found {
		if first, rest, ok := strings.Cut(text, "&"); ok && strings.Contains(rest, "=") {
			c.say(Error, whereAll, "", "the first parameter has to follow a ?, not a &")
			address, query = first, rest
		}
	}
	if again := strings.Count(query, "?"); again > 0 {
		c.say(Error, whereAll, "", "there is a second ? in the URL: between parameters there has to be a &")
		query = strings.ReplaceAll(query, "?", "&")
	}
	if strings.Contains(query, "&&") || strings.HasPrefix(query, "&") || strings.HasSuffix(query, "&") {
		c.say(Hint, whereAll, "", "there is a & with nothing before or after it, which does no harm")
	}
	query = c.cutFragment(query)
	return address, query
}

// cutFragment finds a # that is no part of a macro: what follows is not sent.
func (c *checker) cutFragment(query string) string {
	for i := 0; i < len(query); i++ {
		if m, ok := macroAt(query, i); ok && !m.style.whole {
			i = m.to - 1
			continue
		}
		if query[i] == '#' {
			c.say(Error, whereAll, "", "there is a # in the URL that belongs to no macro: what follows it is never sent")
			rest := query[i+1:]
			if strings.Contains(rest, "=") {
				return query[:i] + "&" + strings.TrimLeft(rest, "&")
			}
			return query[:i]
		}
	}
	return query
}

// checkAddress compares the address with that of our route.
func (c *checker) checkAddress(text string) {
	fix := c.base.prefix()
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		c.say(Error, whereAddress, fix, "the URL does not begin with %s://", c.base.scheme)
		scheme, rest = c.base.scheme, strings.TrimPrefix(text, "//")
	}
	switch scheme = strings.ToLower(scheme); {
	case scheme == "http" && c.base.scheme == "https":
		c.say(Error, whereAddress, fix, "it is http, not https: plain HTTP is refused, because anybody on the way can read and forge it")
	case scheme != c.base.scheme:
		c.say(Error, whereAddress, fix, "it begins with %s://, and our address with %s://", shown(scheme), c.base.scheme)
	}
	host, path, _ := strings.Cut(rest, "/")
	path = "/" + path
	if i := strings.IndexByte(path, '#'); i >= 0 && len(findMacros(path)) == 0 {
		path = path[:i]
	}
	if _, after, ok := strings.Cut(host, "@"); ok {
		c.say(Error, whereAddress, fix, "there is a user name in the address: leave it out")
		host = after
	}
	if host = plainHost(host, scheme); host != plainHost(c.base.host, c.base.scheme) {
		c.say(Error, whereAddress, fix, "it goes to %s, and our site is %s", shown(host), c.base.host)
	}
	c.checkPath(path, fix)
}

func (c *checker) checkPath(path, fix string) {
	if plain, err := url.PathUnescape(path); err == nil && samePath(plain, c.base.path) {
		return
	}
	switch {
	case len(findMacros(path)) > 0:
		c.say(Error, whereAddress, fix, "there is a macro in the path: the route reads parameters behind the ? only")
	case strings.TrimRight(path, "/") == strings.TrimRight(c.base.path, "/"):
		c.say(Error, whereAddress, fix, "the path ends differently: it is %s here and %s at our site, and the / at the end matters", shown(path), c.base.path)
	case strings.EqualFold(path, c.base.path):
		c.say(Error, whereAddress, fix, "the path is %s here and %s at our site: capital letters matter", shown(path), c.base.path)
	default:
		c.say(Error, whereAddress, fix, "the path is %s, and our route is at %s", shown(path), c.base.path)
	}
}

func samePath(plain, base string) bool {
	p, err := url.PathUnescape(base)
	return err == nil && plain == p
}

// plainHost leaves out the port that a scheme has anyhow.
func plainHost(host, scheme string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if scheme == "https" {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}

// maxShown bounds what of a pasted text a finding repeats.
const maxShown = 80

// shown makes a pasted text fit for a sentence.
func shown(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if r := []rune(s); len(r) > maxShown {
		return string(r[:maxShown]) + "..."
	}
	return s
}
