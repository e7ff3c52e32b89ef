package network

import (
	"crypto/subtle"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/capture"
)

// checkDuplicates finds fields that two parameters want to fill.
func (c *checker) checkDuplicates() {
	first := make(map[capture.Field]*pasted)
	for _, p := range c.params {
		if p.field == "" || p.drop {
			continue
		}
		other, twice := first[p.field]
		if !twice {
			first[p.field] = p
			continue
		}
		severity := Warning
		if other.out == p.out {
			severity = Hint
		}
		c.say(severity, "parameter "+shown(p.name), "", "it says the %s, which parameter %s says as well: keep one of them", p.field, shown(other.name))
	}
}

// checkToken compares the token, without ever showing it.
func (c *checker) checkToken() {
	const where = "parameter " + tokenParam
	var tokens []string
	for _, p := range c.params {
		if p.token {
			value, err := url.QueryUnescape(p.value)
			if err != nil {
				value = p.value
			}
			tokens = append(tokens, value)
		}
	}
	want := c.base.token
	switch {
	case len(tokens) == 0 && want != "":
		c.say(Error, where, tokenParam+"="+MaskedToken, "the route's token is missing, so every postback is refused")
	case len(tokens) == 0:
	case len(tokens) > 1:
		c.say(Error, where, "", "there are %d tokens in the URL: keep the right one", len(tokens))
	case isPlaceholder(tokens[0]):
		c.say(Error, where, "", "this is not the token but what stands for it: put the route's own there")
	case want != "" && !isPlaceholder(want) && subtle.ConstantTimeCompare([]byte(want), []byte(tokens[0])) == 0:
		c.say(Error, where, "", "this is not the token of the route, so every postback is refused")
	}
}

// isPlaceholder tells whether a token is what people write where one belongs.
func isPlaceholder(token string) bool {
	if strings.Trim(token, "*.xX\u2022\u2026") == "" || len(findMacros(token)) > 0 {
		return true
	}
	plain := fold(token)
	return slices.Contains([]string{
		"token", "yourtoken", "mytoken", "thetoken", "secret", "yoursecret", "changeme", "replace", "replaceme", "redacted", "todo",
	}, plain)
}

// checkMissing says which parameters are not there.
func (c *checker) checkMissing() {
	if c.n.Webhook() {
		return
	}
	read := slices.ContainsFunc(c.params, func(p *pasted) bool { return p.field != "" })
	if !read && strings.Contains(c.n.Method, "POST") && len(c.n.Fields) > 0 {
		c.say(Warning, whereAll, "", "there are no macros in it, which is right only if %s sends by POST what it has; with GET it needs them", c.n.Title)
		return
	}
	missing := func(s Severity, f capture.Field, why string) {
		if m := c.n.Macros[f]; m != "" && !c.has(f) {
			c.say(s, whereAll, string(f)+"="+m, "the %s is missing: %s", f, why)
		}
	}
	missing(Error, capture.FieldClickID, "without it no conversion can be booked")
	missing(Error, capture.FieldPayout, "conversions would be booked without what they earn")
	missing(Warning, capture.FieldTxID, "two sales to one visitor would count as one")
	c.checkCurrency(missing)
	missing(Warning, capture.FieldStatus, "what is rejected or taken back would count as earned")
	missing(Hint, capture.FieldEvent, "all conversions would be of one kind")
	for _, m := range slices.Sorted(maps.Keys(c.n.Needed)) {
		if !slices.ContainsFunc(c.params, func(p *pasted) bool { return strings.Contains(p.out, m) }) {
			c.say(Warning, whereAll, "", "%s is not in the URL, and %s sends %s only if it is", m, c.n.Title, c.n.Needed[m])
		}
	}
}

func (c *checker) checkCurrency(missing func(Severity, capture.Field, string)) {
	if !c.has(capture.FieldPayout) || c.has(capture.FieldCurrency) {
		return
	}
	missing(Error, capture.FieldCurrency, "an amount without a currency is not booked")
	if c.n.NeedsCurrency() {
		c.say(Hint, whereAll, "", "%s does not say what currency it pays in: have `currency` in the route, or add a parameter like currency=USD", c.n.Title)
	}
}

// checkLimits compares lengths with what the network keeps.
func (c *checker) checkLimits() {
	if limit := c.n.Link.Limit; limit > 0 && limit < minClickID {
		c.say(Error, "offer link", "", "%s keeps %d characters of %s, and a click ID has %d: use another parameter",
			c.n.Title, limit, c.n.Link.Parameter, minClickID)
	}
	if limit := c.n.URLLimit; limit > 0 && c.length > limit {
		c.say(Error, whereAll, "", "the URL has %d characters, and %s takes up to %d", c.length, c.n.Title, limit)
	}
}
