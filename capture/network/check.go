package network

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/capture"
)

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	// Error is what keeps conversions or money from being booked.
	Error Severity = "error"
	// Warning is what does so sometimes, or books something wrong.
	Warning Severity = "warning"
	// Hint is what works and could be better.
	Hint Severity = "hint"
)

// Finding is one thing to say about a postback URL.
type Finding struct {
	Severity Severity `json:"severity"`
	// Where is what it is about: the address, or a parameter.
	Where string `json:"where"`
	// Text is a sentence for somebody who is no programmer.
	Text string `json:"text"`
	// Fix is what to write instead, if that is known.
	Fix string `json:"fix,omitempty"`
}

// maxPasted bounds what is looked at. No network takes a tenth of it.
const maxPasted = 16 << 10

// maxFindings bounds what is said about one URL.
const maxFindings = 64

// minClickID is the length of a click ID.
const minClickID = 26

// Check explains what is wrong with a postback URL that somebody pasted into
// the network. Base is the address of the route, with the parameters that it
// has anyhow; a token among them has to be in the pasted one as well, and one
// that is [MaskedToken] stands for any. No token is ever part of a finding.
func Check(n *Network, pasted, base string) []Finding {
	return inspect(n, pasted, base).findings
}

// Correct returns the pasted URL as it should be, and whether that can be
// said. A token that is not known is [MaskedToken] in it.
func Correct(n *Network, pasted, base string) (string, bool) {
	c := inspect(n, pasted, base)
	if c.base == nil {
		return "", false
	}
	return c.corrected(), true
}

// checker goes through one pasted URL.
type checker struct {
	n        *Network
	base     *address // nil if it is of no use
	findings []Finding
	params   []*pasted
	length   int
}

// pasted is a parameter of the pasted URL.
type pasted struct {
	name, value string
	hasValue    bool
	field       capture.Field // "" if the route does not read it
	token       bool
	ours        bool // a parameter that the route's own address has
	// out is the value as it should be; drop leaves the parameter out.
	out  string
	drop bool
}

func (c *checker) say(s Severity, where, fix, format string, args ...any) {
	if len(c.findings) < maxFindings {
		c.findings = append(c.findings, Finding{
			Severity: s, Where: c.hide(where), Text: c.hide(fmt.Sprintf(format, args...)), Fix: c.hide(fix),
		})
	}
}

// pastedToken finds tokens wherever they ended up.
var pastedToken = regexp.MustCompile(`(?i)(\btoken(?:=|%3d))[^&\s]+`)

// hide takes tokens out of a sentence: it may be shown to anybody.
func (c *checker) hide(s string) string {
	s = pastedToken.ReplaceAllString(s, "${1}"+MaskedToken)
	if c.base != nil && len(c.base.token) > 3 {
		s = strings.ReplaceAll(s, c.base.token, MaskedToken)
	}
	return s
}

const (
	whereAddress = "address"
	whereAll     = "whole URL"
)

func inspect(n *Network, text, base string) *checker {
	c := &checker{n: n, length: len(strings.TrimSpace(text))}
	var err error
	if c.base, err = readBase(base); err != nil {
		c.say(Error, "our own postback URL", "", "%s", err)
		return c
	}
	if len(text) > maxPasted {
		c.say(Error, whereAll, "", "this has %d characters and cannot be a postback URL", len(text))
		text = ""
	}
	text = c.clean(text)
	if text == "" {
		if !slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Severity == Error }) {
			c.say(Error, whereAll, "", "there is no URL: paste the one that was entered at %s", n.Title)
		}
		return c
	}
	address, query := c.split(text)
	c.checkAddress(address)
	c.readParams(query)
	for _, p := range c.params {
		c.checkParam(p)
	}
	c.checkDuplicates()
	c.checkToken()
	c.checkMissing()
	c.checkLimits()
	return c
}

// readParams takes the query apart.
func (c *checker) readParams(query string) {
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		p := &pasted{}
		p.name, p.value, p.hasValue = strings.Cut(pair, "=")
		if plain, err := url.PathUnescape(p.name); err == nil {
			p.name = plain
		}
		p.out = p.value
		p.token = strings.EqualFold(p.name, tokenParam)
		p.ours = slices.ContainsFunc(c.base.params, func(s string) bool {
			name, _, _ := strings.Cut(s, "=")
			return name == p.name
		})
		if !p.ours && !p.token {
			p.field = c.n.fieldNamed(p.name)
		}
		c.params = append(c.params, p)
	}
}

// fieldNamed returns the field that the network's route reads from a
// parameter, or "".
func (n *Network) fieldNamed(name string) capture.Field {
	fields, defaults := n.fields(), capture.DefaultFields()
	for _, f := range capture.Fields {
		names, ok := fields[f]
		if !ok {
			names = defaults[f]
		}
		if slices.ContainsFunc(names, func(s string) bool { return strings.EqualFold(s, name) }) {
			return f
		}
	}
	return ""
}

// corrected puts the URL together again.
func (c *checker) corrected() string {
	params := slices.Clone(c.base.params)
	token := c.base.token
	have := make(map[capture.Field]bool)
	for _, p := range c.params {
		switch {
		case p.token:
			if plain, err := url.QueryUnescape(p.value); err == nil && token == "" && !isPlaceholder(plain) {
				token = plain
			}
		case p.ours || p.drop || p.name == "":
		case p.field != "" && have[p.field]:
		default:
			have[p.field] = true
			params = append(params, url.QueryEscape(p.name)+"="+p.out)
		}
	}
	if !c.n.Webhook() {
		for _, f := range capture.Fields {
			if m := c.n.Macros[f]; m != "" && !have[f] {
				params = append(params, string(f)+"="+m)
			}
		}
	}
	if token != "" {
		params = append(params, tokenParam+"="+escapeToken(token))
	}
	out := c.base.prefix()
	if len(params) > 0 {
		out += "?" + strings.Join(params, "&")
	}
	return out
}
