package signature

import (
	"maps"
	"net/textproto"
	"slices"
	"strings"
)

// preset is a well-known sender's scheme.
type preset struct {
	HMACConfig
	hint string
}

var hmacPresets = map[string]preset{
	"stripe": {HMACConfig{
		Header:  "Stripe-Signature",
		List:    &HMACList{Separator: ",", Signatures: []string{"v1"}, Timestamp: "t"},
		Payload: "{timestamp}.{body}",
	}, "is this URL registered as a webhook endpoint in Stripe?"},
	"paddle": {HMACConfig{
		Header:  "Paddle-Signature",
		List:    &HMACList{Separator: ";", Signatures: []string{"h1"}, Timestamp: "ts"},
		Payload: "{timestamp}:{body}",
	}, "is this URL a notification destination in Paddle?"},
	"shopify": {
		HMACConfig{Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"},
		"is this URL registered as a webhook of the Shopify shop?",
	},
	"woocommerce": {
		HMACConfig{Header: "X-WC-Webhook-Signature", Encoding: "base64"},
		"is this URL the delivery URL of a webhook in WooCommerce, and has the webhook a secret?",
	},
	"github": {
		HMACConfig{Header: "X-Hub-Signature-256", Prefix: "sha256="},
		"has the sender's webhook a secret?",
	},
	"dub": {
		HMACConfig{Header: "Dub-Signature"},
		"is this URL registered as a webhook in Dub?",
	},
	"rewardful": {
		HMACConfig{Header: "X-Rewardful-Signature"},
		"is this URL registered as a webhook endpoint in Rewardful?",
	},
	"copecart": {
		HMACConfig{Header: "X-Copecart-Signature", Encoding: "base64"},
		"is this URL an IPN connection in CopeCart, and has it a secret?",
	},
}

// HMACPresets lists the names that [HMACConfig] takes as Preset, sorted.
func HMACPresets() []string {
	return slices.Sorted(maps.Keys(hmacPresets))
}

// over puts what c has over what the preset has. What excludes one another
// replaces it: a parameter the header, a prefix the list, and one source of
// the timestamp another one.
func (c HMACConfig) over(p HMACConfig) HMACConfig {
	if c.Header == "" && c.Parameter == "" {
		c.Header = p.Header
	}
	if c.Prefix == "" && c.List == nil {
		if c.Parameter == "" {
			c.Prefix = p.Prefix
		}
		c.List = p.List
		if c.List != nil && (c.TimestampHeader != "" || c.TimestampParameter != "") {
			list := *p.List
			list.Timestamp = ""
			c.List = &list
		}
	}
	if c.Payload == "" {
		c.Payload = p.Payload
	}
	if c.Encoding == "" {
		c.Encoding = p.Encoding
	}
	if c.Payload == "" {
		c.Payload = "{body}" // whatever holds the signature
	}
	return c
}

// canonicalHeader writes a header's name as its sender documents it, or else
// as Go does. Looking it up works either way.
func canonicalHeader(name string) string {
	for _, p := range hmacPresets {
		if strings.EqualFold(p.Header, name) {
			return p.Header
		}
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}
