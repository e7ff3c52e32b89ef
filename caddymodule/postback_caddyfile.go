package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/network"
)

func init() {
	httpcaddyfile.RegisterDirective("postback", parsePostback)
	// Ahead of `handle`, `try_files` and whatever else would swallow the
	// request: a lost conversion is silent.
	httpcaddyfile.RegisterDirectiveOrder("postback", httpcaddyfile.Before, "redir")
}

// parsePostback is what RegisterHandlerDirective does, but it looks at the
// matcher to name the route after it.
func parsePostback(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	p := new(Postback)
	if h.NextArg() {
		p.Name = routeName(h.Val())
		h.Prev()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	if err := p.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, p), nil
}

// routeName names a route after its matcher: its path, or the name of a named
// matcher without the @.
func routeName(matcher string) string {
	if name, named := strings.CutPrefix(matcher, "@"); named {
		return name
	}
	if strings.HasPrefix(matcher, "/") {
		return matcher
	}
	return ""
}

const postbackOptions = "network, campaign, fields, statuses, event, payout, currency, token, allow, verify, allow_http, " +
	"answer, quarantine_status and max_body"

// UnmarshalCaddyfile reads the directive, without its matcher:
//
//	postback [<matcher>] {
//		network  <name>
//		campaign <name>
//		fields {
//			click_id|txid|payout|currency|event|status|time|message_id <parameter> ...
//		}
//		statuses {
//			approved|pending|rejected|reversed <word> ...
//		}
//		event    <name>
//		payout   <amount> <currency>
//		currency <code>
//		token    <secret> ...
//		allow    <CIDR> ...
//		verify   <verifier> ...
//		allow_http
//		answer   <status> [<body>]
//		quarantine_status 200|202|422
//		max_body <size>
//	}
//
// `token`, `allow` and `verify` can be repeated.
func (p *Postback) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // postback
	if d.NextArg() {
		return d.Errf("postback has no argument %q, only a matcher: a path that begins with /, a name with @, or *", d.Val())
	}
	once := make(givenOnce)
	for d.NextBlock(0) {
		if option := d.Val(); option != "token" && option != "allow" && option != "verify" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		if err := p.readOption(d); err != nil {
			return err
		}
	}
	return nil
}

func (p *Postback) readOption(d *caddyfile.Dispenser) (err error) {
	switch option := d.Val(); option {
	case "network":
		if p.Network, err = readNonEmpty(d, "<name>"); err == nil {
			_, err = network.Find(p.Network)
			err = at(d, err)
		}
	case "campaign":
		p.Campaign, err = readNonEmpty(d, "<name>")
	case "fields":
		p.Fields, err = readWordLists(d, fieldNames(), isField)
	case "statuses":
		if p.Statuses, err = readWordLists(d, statusNames, isStatus); err == nil {
			_, err = readStatuses(p.Statuses)
			err = at(d, err)
		}
	case "event":
		p.Event, err = readNonEmpty(d, "<name>")
	case "payout":
		p.Payout, p.PayoutCurrency, err = readPayout(d)
	case "currency":
		if p.Currency, err = readArg(d, "<code>"); err == nil {
			_, err = attribution.ParseCurrency(p.Currency)
			err = at(d, err)
		}
	case "token":
		err = appendArgs(d, &p.Tokens, "<secret> ...")
	case "allow":
		err = p.readAllow(d)
	case "verify":
		err = p.readVerify(d)
	case "allow_http":
		if d.NextArg() {
			return wrongArgs(d, "allow_http")
		}
		p.AllowHTTP = true
	case "answer":
		err = p.readAnswer(d)
	case "quarantine_status":
		err = p.readQuarantineStatus(d)
	case "max_body":
		var size string
		if size, err = readArg(d, "<size>"); err == nil {
			p.MaxBody, err = parseSize(size)
			err = at(d, err)
		}
	default:
		err = d.Errf("unknown option %q of postback; allowed are %s", option, postbackOptions)
	}
	return err
}

func isStatus(word string) bool {
	s, err := attribution.ParseStatus(word)
	return err == nil && s.String() == word
}

// readWordLists reads a block of lines that each begin with a key.
func readWordLists(d *caddyfile.Dispenser, allowed string, isKey func(string) bool) (map[string][]string, error) {
	block := d.Val()
	if d.NextArg() {
		return nil, wrongArgs(d, block+" { ... } with lines that begin with "+allowed)
	}
	lists := make(map[string][]string)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		key := d.Val()
		if !isKey(key) {
			return nil, d.Errf("unknown option %q of %s; allowed are %s", key, block, allowed)
		}
		if _, ok := lists[key]; ok {
			return nil, d.Errf("%s is given twice in %s", key, block)
		}
		words, err := readArgs(d, "<word> ...")
		if err != nil {
			return nil, err
		}
		for _, word := range words {
			if word == "" {
				return nil, d.Errf("%s in %s has an empty word", key, block)
			}
		}
		lists[key] = words
	}
	if len(lists) == 0 {
		return nil, d.Errf("%s is empty; allowed are %s", block, allowed)
	}
	return lists, nil
}

func (p *Postback) readAllow(d *caddyfile.Dispenser) error {
	before := len(p.Allow)
	if err := appendArgs(d, &p.Allow, "<CIDR> ..."); err != nil {
		return err
	}
	for _, s := range p.Allow[before:] {
		if strings.Contains(s, "{") || s == "private_ranges" {
			continue // seen to when it is provisioned
		}
		if _, err := readPrefix(s); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

func (p *Postback) readAnswer(d *caddyfile.Dispenser) error {
	args, err := readArgs(d, "<status> [<body>]")
	if err != nil {
		return err
	}
	if len(args) > 2 {
		return d.Errf("answer has %d arguments; allowed are a status and a body, in quotes if it has blanks", len(args))
	}
	status, err := strconv.Atoi(args[0])
	if err != nil || status == 0 {
		return d.Errf("answer has the status %q; allowed are 200 to 299", args[0])
	}
	p.Answer = &PostbackAnswer{Status: status}
	if len(args) == 2 {
		p.Answer.Body = args[1]
	}
	return at(d, checkAnswer(p.Answer))
}

func (p *Postback) readQuarantineStatus(d *caddyfile.Dispenser) error {
	s, err := readArg(d, "200|202|422")
	if err != nil {
		return err
	}
	if p.QuarantineStatus, err = strconv.Atoi(s); err != nil {
		return d.Errf("quarantine_status is %q; allowed are 200, 202 and 422", s)
	}
	return at(d, checkQuarantineStatus(p.QuarantineStatus))
}

// readNonEmpty reads the one argument of an option, which must not be "".
func readNonEmpty(d *caddyfile.Dispenser, wanted string) (string, error) {
	option := d.Val()
	s, err := readArg(d, wanted)
	if err == nil && s == "" {
		err = d.Errf("%s is empty", option)
	}
	return s, err
}

// appendArgs adds the arguments of an option that can be repeated.
func appendArgs(d *caddyfile.Dispenser, list *[]string, wanted string) error {
	args, err := readArgs(d, wanted)
	for _, s := range args {
		if s == "" {
			return d.Err("an argument is empty")
		}
	}
	*list = append(*list, args...)
	return err
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Postback)(nil)
