package caddymodule

import (
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-capture/caddy-capture/capture/network"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func init() {
	caddy.RegisterModule(HMAC{})
}

// HMAC verifies a keyed hash of the message in a header or parameter, which is
// how most webhooks and many networks sign. With `preset`, or on a route with a
// `network` that has one, only the secret is needed.
type HMAC struct {
	// A known sender's scheme: `copecart`, `dub`, `github`, `paddle`,
	// `rewardful`, `shopify`, `stripe` or `woocommerce`. What else is
	// configured refines it. Default: that of the route's network.
	Preset string `json:"preset,omitempty"`
	// The secrets, of which any may have been used, so that one can be
	// replaced without a gap. Placeholders such as `{env.SECRET}` and
	// `{file./path}` are replaced at start.
	Secrets []string `json:"secrets,omitempty"`
	// `hex` or `base64` if the secrets are written so, but the bytes behind
	// them are the key. Default: the key is the text itself.
	SecretEncoding string `json:"secret_encoding,omitempty"`
	// `sha256`, `sha512` or `sha1`. Default: `sha256`.
	Algorithm string `json:"algorithm,omitempty"`
	// The header that holds the signature.
	Header string `json:"header,omitempty"`
	// What stands before the signature in the header, such as `sha256=`.
	Prefix string `json:"prefix,omitempty"`
	// The parameter of the query or the body that holds the signature, instead
	// of a header.
	Parameter string `json:"parameter,omitempty"`
	// How a header like `t=1492774577,v1=...` lists its values.
	List *HMACList `json:"list,omitempty"`
	// What is signed: a text with `{body}`, `{timestamp}`, `{id}`, `{method}`,
	// `{path}`, `{query}`, `{query_sorted}`, `{header.<name>}` and
	// `{field.<name>}`; the queries are without the signature's parameter.
	// Default: `{body}` with a header, `{query}` with a parameter.
	Payload string `json:"payload,omitempty"`
	// `hex` or `base64`. Default: `hex`.
	Encoding string `json:"encoding,omitempty"`
	// The header that holds the time of signing.
	TimestampHeader string `json:"timestamp_header,omitempty"`
	// The parameter that holds the time of signing.
	TimestampParameter string `json:"timestamp_parameter,omitempty"`
	// The header that holds the message's ID.
	IDHeader string `json:"id_header,omitempty"`
	// The parameter that holds the message's ID.
	IDParameter string `json:"id_parameter,omitempty"`
	// How far the time of signing may be from now. Default: 5m.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`
}

// HMACList says how a header lists `key=value` pairs.
type HMACList struct {
	// What stands between the pairs. Default: `,`.
	Separator string `json:"separator,omitempty"`
	// The keys of signatures, such as `v1`.
	Signatures []string `json:"signatures,omitempty"`
	// The key of the time of signing, such as `t`.
	Timestamp string `json:"timestamp,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (HMAC) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".hmac", New: func() caddy.Module { return new(HMAC) }}
}

// Verifier implements VerifierModule.
func (v *HMAC) Verifier(sender *network.Network) (signature.Verifier, error) {
	secrets, err := verifierSecrets(v.Secrets)
	if err != nil {
		return nil, err
	}
	c := signature.HMACConfig{
		Preset: v.Preset, Secrets: secrets, SecretEncoding: v.SecretEncoding, Algorithm: v.Algorithm,
		Header: v.Header, Prefix: v.Prefix, Parameter: v.Parameter, Payload: v.Payload, Encoding: v.Encoding,
		TimestampHeader: v.TimestampHeader, TimestampParameter: v.TimestampParameter,
		IDHeader: v.IDHeader, IDParameter: v.IDParameter, Tolerance: time.Duration(v.Tolerance),
	}
	if v.List != nil {
		c.List = &signature.HMACList{
			Separator: v.List.Separator, Signatures: v.List.Signatures, Timestamp: v.List.Timestamp,
		}
	}
	if c.Preset == "" && sender != nil && sender.Verify.Scheme == "hmac" {
		c.Preset = sender.Verify.Preset
	}
	return signature.NewHMAC(c)
}

const hmacOptions = "preset, secret, secret_encoding, algorithm, header, parameter, list, payload, encoding, timestamp_header, " +
	"timestamp_parameter, id_header, id_parameter and tolerance"

// UnmarshalCaddyfile reads
//
//	hmac {
//		preset    <name>
//		secret    <secret> ...
//		secret_encoding hex|base64
//		algorithm sha256|sha512|sha1
//		header    <name> [<prefix>]
//		parameter <name>
//		list      <separator> <timestamp key> <signature key> ...
//		payload   <template>
//		encoding  hex|base64
//		timestamp_header|timestamp_parameter|id_header|id_parameter <name>
//		tolerance <duration>
//	}
func (v *HMAC) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the verifier
	if d.NextArg() {
		return wrongArgs(d, "verify hmac { secret <secret> ... }, with options "+hmacOptions)
	}
	once := make(givenOnce)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "secret" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		if err := v.readOption(d); err != nil {
			return err
		}
	}
	return nil
}

func (v *HMAC) readOption(d *caddyfile.Dispenser) (err error) {
	texts := map[string]*string{
		"preset": &v.Preset, "secret_encoding": &v.SecretEncoding, "algorithm": &v.Algorithm, "parameter": &v.Parameter,
		"payload": &v.Payload, "encoding": &v.Encoding, "timestamp_header": &v.TimestampHeader,
		"timestamp_parameter": &v.TimestampParameter, "id_header": &v.IDHeader, "id_parameter": &v.IDParameter,
	}
	option := d.Val()
	if text, ok := texts[option]; ok {
		*text, err = readNonEmpty(d, "<"+strings.ReplaceAll(option, "_", " ")+">")
		return err
	}
	switch option {
	case "secret":
		return appendArgs(d, &v.Secrets, "<secret> ...")
	case "header":
		return v.readHeader(d)
	case "list":
		args, err := readArgs(d, "<separator> <timestamp key> <signature key> ...")
		if err != nil {
			return err
		}
		if len(args) < 3 {
			return wrongArgs(d, `list <separator> <timestamp key> <signature key> ..., such as list , t v1; "" for no timestamp`)
		}
		v.List = &HMACList{Separator: args[0], Timestamp: args[1], Signatures: args[2:]}
	case "tolerance":
		v.Tolerance, err = readDuration(d, false)
		return err
	default:
		return d.Errf("unknown option %q of hmac; allowed are %s", option, hmacOptions)
	}
	return nil
}

func (v *HMAC) readHeader(d *caddyfile.Dispenser) error {
	args, err := readArgs(d, "<name> [<prefix>]")
	if err != nil {
		return err
	}
	if len(args) > 2 || args[0] == "" {
		return wrongArgs(d, "header <name> [<prefix>]")
	}
	v.Header = args[0]
	if len(args) == 2 {
		v.Prefix = args[1]
	}
	return nil
}

// Interface guards.
var (
	_ VerifierModule        = (*HMAC)(nil)
	_ caddyfile.Unmarshaler = (*HMAC)(nil)
)
