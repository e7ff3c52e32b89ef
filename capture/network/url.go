package network

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// MaskedToken stands in a postback URL for a token that is not to be shown.
const MaskedToken = "***"

// tokenParam is the parameter in which a sender sends the route's token.
const tokenParam = "token"

// URLOptions say what goes into a postback URL beyond macros.
type URLOptions struct {
	// Token is the route's token, or [MaskedToken], or "" if it has none.
	Token string
	// Currency is what the network pays in, where it does not say so itself.
	Currency string
}

// PostbackURL returns the URL to paste into the network: our address with the
// network's macros, which stand there as they are, since hardly a network
// recognises one that is percent-encoded. A webhook gets the bare address.
func (n *Network) PostbackURL(base string, o URLOptions) (string, error) {
	a, err := readBase(base)
	if err != nil {
		return "", err
	}
	if o.Currency != "" {
		if _, err := attribution.ParseCurrency(o.Currency); err != nil {
			return "", fmt.Errorf("currency: %w", err)
		}
	}
	params := a.params
	if !n.Webhook() {
		for _, f := range capture.Fields {
			if m := n.Macros[f]; m != "" {
				params = append(params, string(f)+"="+m)
			} else if f == capture.FieldCurrency && n.currency(o.Currency) != "" {
				params = append(params, string(f)+"="+n.currency(o.Currency))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(n.Extra)) {
			params = append(params, name+"="+n.Extra[name])
		}
	}
	if o.Token == "" {
		o.Token = a.token
	}
	if o.Token != "" {
		params = append(params, tokenParam+"="+escapeToken(o.Token))
	}
	out := a.prefix()
	if len(params) > 0 {
		out += "?" + strings.Join(params, "&")
	}
	if n.URLLimit > 0 && len(out) > n.URLLimit {
		return "", fmt.Errorf("the postback URL has %d characters, and %s takes up to %d: choose a shorter path or token",
			len(out), n.Title, n.URLLimit)
	}
	return out, nil
}

// currency is the one that all payouts of the network are in, if it never
// says so itself: the caller's or else the catalogue's.
func (n *Network) currency(given string) string {
	if n.Macros[capture.FieldCurrency] != "" || n.Macros[capture.FieldPayout] == "" {
		return ""
	}
	if given != "" {
		return strings.ToUpper(strings.TrimSpace(given))
	}
	return n.Currency
}

// NeedsCurrency tells whether the route has to say which currency the payouts
// are in, because neither the network's messages nor the catalogue do.
func (n *Network) NeedsCurrency() bool {
	if n.Currency != "" || n.Macros[capture.FieldCurrency] != "" || len(n.Fields[capture.FieldCurrency]) > 0 {
		return false
	}
	return n.Macros[capture.FieldPayout] != "" || len(n.Fields[capture.FieldPayout]) > 0
}

// escapeToken encodes a token for a query, but leaves a mask as it is.
func escapeToken(token string) string {
	if token == MaskedToken {
		return token
	}
	return url.QueryEscape(token)
}

// address is one of our own postback URLs, taken apart.
type address struct {
	scheme, host, path string
	params             []string // as they are written, without the token
	token              string
}

func (a *address) prefix() string { return a.scheme + "://" + a.host + a.path }

var (
	plainAddress = regexp.MustCompile(`^[\p{L}\p{N}._~:%/\[\]-]+$`)
	plainQuery   = regexp.MustCompile(`^[\p{L}\p{N}._~:%/=&*+-]*$`)
)

// readBase reads the address of our route. It may have parameters of its own,
// and the token that senders are to send.
func readBase(base string) (*address, error) {
	u, err := url.Parse(strings.TrimSpace(base))
	switch {
	case err != nil:
		return nil, errors.New("our postback URL cannot be read: write it like https://example.com/postback")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("our postback URL is %q: write it like https://example.com/postback", clip(u.Redacted()))
	case u.User != nil || u.Fragment != "":
		return nil, fmt.Errorf("our postback URL %q: user names and # have no place in it", clip(u.Redacted()))
	}
	a := &address{scheme: u.Scheme, host: strings.ToLower(u.Host), path: u.EscapedPath()}
	if a.path == "" {
		a.path = "/"
	}
	// Anything else would have to be escaped, and networks' forms are not to
	// be trusted with that.
	if !plainAddress.MatchString(a.host+a.path) || !plainQuery.MatchString(u.RawQuery) {
		return nil, fmt.Errorf("our postback URL %q: use letters, digits and - . _ ~ / only", clip(a.host+a.path))
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case strings.EqualFold(name, tokenParam):
			if a.token, err = url.QueryUnescape(value); err != nil {
				return nil, errors.New("our postback URL: the token is not percent-encoded as it should be")
			}
		default:
			a.params = append(a.params, pair)
		}
	}
	return a, nil
}

// LinkParameter returns what to add to the offer link, like
// aff_sub={click_id}; "" if the network has no offer links, or its parameter
// is not known.
func (n *Network) LinkParameter() string {
	if n.Link.Parameter == "" {
		return ""
	}
	return n.Link.Parameter + "=" + ourPlaceholder
}

// ourPlaceholder is what track_click puts the click ID in the place of.
const ourPlaceholder = "{click_id}"

// OfferLink adds the parameter for the click ID to an offer link, where the
// network wants it: some read no further than a certain parameter. If it is
// there already, its value is replaced.
func (n *Network) OfferLink(link string) (string, error) {
	if n.Link.Parameter == "" {
		return "", fmt.Errorf("%s has no known parameter of the offer link for a click ID: %s", n.Title, n.clickIn())
	}
	link = strings.TrimSpace(link)
	if scheme, rest, ok := strings.Cut(link, "://"); !ok || rest == "" || !strings.EqualFold(scheme, "https") && !strings.EqualFold(scheme, "http") {
		return "", fmt.Errorf("offer link %q: write it like https://offer.example/?id=1", clip(link))
	}
	link, fragment, hasFragment := strings.Cut(link, "#")
	address, query, _ := strings.Cut(link, "?")
	var pairs []string
	at := -1
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if pair == "" || name == n.Link.Parameter {
			continue
		}
		if at < 0 && slices.Contains(n.Link.Before, name) {
			at = len(pairs)
		}
		pairs = append(pairs, pair)
	}
	if at < 0 {
		at = len(pairs)
	}
	pairs = slices.Insert(pairs, at, n.LinkParameter())
	link = address + "?" + strings.Join(pairs, "&")
	if hasFragment {
		link += "#" + fragment
	}
	return link, nil
}

func (n *Network) clickIn() string {
	if n.ClickIn != "" {
		return n.ClickIn
	}
	return "ask its support"
}
