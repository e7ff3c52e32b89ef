package network

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// BlockOptions say what the configuration for a network is written with. All
// have defaults that show what belongs there.
type BlockOptions struct {
	// Link is the offer link, Go the path on our site that redirects to it,
	// and Path that of the postback route.
	Link, Go, Path string
	// Currency is what the network pays in, where it does not say so itself.
	Currency string
}

// Caddyfile returns the part of a site's configuration that works with the
// network, with a placeholder for each secret.
func (n *Network) Caddyfile(o BlockOptions) (string, error) {
	if o.Go == "" {
		o.Go = "/go/" + n.Name
	}
	if o.Path == "" {
		o.Path = "/postback/" + n.Name
	}
	for _, path := range []string{o.Go, o.Path} {
		if !strings.HasPrefix(path, "/") || !fitsCaddyfile(path) {
			return "", fmt.Errorf("path %q: it has to begin with / and have no blanks or quotes in it", clip(path))
		}
	}
	if o.Link != "" && !fitsCaddyfile(o.Link) {
		return "", fmt.Errorf("offer link %q: blanks, quotes and backslashes have no place in it", clip(o.Link))
	}
	if o.Currency != "" {
		code, err := attribution.ParseCurrency(o.Currency)
		if err != nil {
			return "", fmt.Errorf("currency: %w", err)
		}
		o.Currency = string(code)
	}
	var b strings.Builder
	if n.ClickIn != "" {
		fmt.Fprintf(&b, "# The click ID: %s.\n", strings.TrimRight(n.ClickIn, "."))
	}
	switch {
	case n.Link.Parameter != "":
		if o.Link == "" {
			o.Link = "https://offer.example/"
		}
		link, err := n.OfferLink(o.Link)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "track_click %s %s\n", o.Go, link)
	case n.ClickIn == "":
		fmt.Fprintf(&b, "# Put the parameter of the offer link that takes the click ID for <parameter>: %s shows it.\n", n.Title)
		fmt.Fprintf(&b, "track_click %s https://offer.example/?<parameter>=%s\n", o.Go, ourPlaceholder)
	case o.Link != "":
		fmt.Fprintf(&b, "track_click %s %s\n", o.Go, o.Link)
	default:
		fmt.Fprintf(&b, "track_click %s https://shop.example/?click_id=%s\n", o.Go, ourPlaceholder)
	}
	fmt.Fprintf(&b, "postback %s {\n\tnetwork %s\n", o.Path, n.Name)
	switch {
	case o.Currency != "":
		fmt.Fprintf(&b, "\tcurrency %s\n", o.Currency)
	case n.NeedsCurrency():
		fmt.Fprintf(&b, "\t# currency <code>: %s does not say what it pays in, so this line has to\n", n.Title)
	}
	if n.Tokens() {
		fmt.Fprintf(&b, "\ttoken {env.%s_TOKEN}\n", envName(n.Name))
	}
	for line := range strings.Lines(n.VerifyDirective()) {
		b.WriteString("\t" + line)
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// VerifyDirective returns how to write the verifier for what the network
// sends, and "" if it proves nothing.
func (n *Network) VerifyDirective() string {
	v := n.Verify
	if v.Scheme == "" {
		return ""
	}
	secret := "{env." + v.Env + "}"
	if v.Scheme == "hmac" {
		return fmt.Sprintf("verify hmac {\n\tpreset %s\n\tsecret %s\n}\n", v.Preset, secret)
	}
	words := []string{"verify", v.Scheme}
	if v.Field != "" {
		words = append(words, v.Field)
	}
	line := strings.Join(append(words, secret), " ")
	if v.MD5 != "" {
		return fmt.Sprintf("%s {\n\tmd5 %s\n}\n", line, v.MD5)
	}
	return line + "\n"
}

// fitsCaddyfile tells whether a text is one word of a Caddyfile as it stands.
func fitsCaddyfile(s string) bool {
	return s == strings.ToValidUTF8(s, "") && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune("\"`\\", r)
	})
}

// Tokens tells whether a token in the URL is the way to prove who sends: the
// network has nothing better.
func (n *Network) Tokens() bool { return n.Verify.Scheme == "" || n.Verify.Optional }

func envName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
