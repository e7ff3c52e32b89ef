package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-capture/caddy-capture/capture/network"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func init() {
	caddy.RegisterModule(HTTPSignature{})
	caddy.RegisterModule(ClientCertificate{})
}

// HTTPSignature verifies HTTP message signatures (RFC 9421). What has to be
// signed is the method, the authority, the path and the query, and with a body
// its `Content-Digest` (RFC 9530).
type HTTPSignature struct {
	// The keys by which senders may sign; `keyid` chooses among them.
	Keys []SignatureKey `json:"keys,omitempty"`
	// How old, or how far ahead, `created` may be. Default: 5m.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`
}

// SignatureKey is a key by which a sender signs.
type SignatureKey struct {
	// The `keyid` of the signatures that are made with it.
	ID string `json:"id"`
	// The algorithm, such as `hmac-sha256` or `ed25519`.
	Algorithm string `json:"algorithm"`
	// The secret, or the public key in PEM or base64. Placeholders such as
	// `{env.KEY}` and `{file./path}` are replaced at start.
	Key string `json:"key"`
}

// CaddyModule returns the Caddy module information.
func (HTTPSignature) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".http_signature", New: func() caddy.Module { return new(HTTPSignature) }}
}

// Verifier implements VerifierModule.
func (v *HTTPSignature) Verifier(*network.Network) (signature.Verifier, error) {
	if len(v.Keys) == 0 {
		return nil, errors.New("it has no key: write key <id> <algorithm> <secret or public key>")
	}
	repl := caddy.NewReplacer()
	var keys []signature.HTTPKey
	for _, k := range v.Keys {
		key, err := resolveSecret(repl, k.Key)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		keys = append(keys, signature.HTTPKey{ID: k.ID, Algorithm: k.Algorithm, Key: []byte(key)})
	}
	return signature.NewHTTPSignature(keys, time.Duration(v.Tolerance))
}

// UnmarshalCaddyfile reads
//
//	http_signature {
//		key       <id> <algorithm> <secret or public key>
//		tolerance <duration>
//	}
func (v *HTTPSignature) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the verifier
	if d.NextArg() {
		return wrongArgs(d, "verify http_signature { key <id> <algorithm> <secret or public key> }")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "key":
			var k SignatureKey
			if !d.AllArgs(&k.ID, &k.Algorithm, &k.Key) {
				return wrongArgs(d, "key <id> <algorithm> <secret or public key>")
			}
			v.Keys = append(v.Keys, k)
		case "tolerance":
			var err error
			if v.Tolerance, err = readDuration(d, false); err != nil {
				return err
			}
		default:
			return d.Errf("unknown option %q of http_signature; allowed are key and tolerance", option)
		}
	}
	return nil
}

// ClientCertificate takes a postback if it came with a client certificate of a
// certain sender. The site has to ask for one: `tls { client_auth { ... } }`.
type ClientCertificate struct {
	// Subjects, as a common name or a whole distinguished name. The
	// certificate has to be verified by the site's `client_auth`.
	Subjects []string `json:"subjects,omitempty"`
	// Subject alternative names: a DNS name, an address, an e-mail address or
	// a URI. The certificate has to be verified by the site's `client_auth`.
	SANs []string `json:"sans,omitempty"`
	// SHA-256 fingerprints of certificates, in hex.
	Fingerprints []string `json:"fingerprints,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (ClientCertificate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".client_certificate", New: func() caddy.Module { return new(ClientCertificate) }}
}

// Verifier implements VerifierModule.
func (v *ClientCertificate) Verifier(*network.Network) (signature.Verifier, error) {
	return signature.NewClientCertificate(signature.ClientCertificateConfig{
		Subjects: v.Subjects, SANs: v.SANs, Fingerprints: v.Fingerprints,
	})
}

// UnmarshalCaddyfile reads
//
//	client_certificate {
//		subject|san|fingerprint <value> ...
//	}
func (v *ClientCertificate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the verifier
	if d.NextArg() {
		return wrongArgs(d, "verify client_certificate { subject|san|fingerprint <value> ... }")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var list *[]string
		switch option := d.Val(); option {
		case "subject":
			list = &v.Subjects
		case "san":
			list = &v.SANs
		case "fingerprint":
			list = &v.Fingerprints
		default:
			return d.Errf("unknown option %q of client_certificate; allowed are subject, san and fingerprint", option)
		}
		if err := appendArgs(d, list, "<value> ..."); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards.
var (
	_ VerifierModule        = (*HTTPSignature)(nil)
	_ VerifierModule        = (*ClientCertificate)(nil)
	_ caddyfile.Unmarshaler = (*HTTPSignature)(nil)
	_ caddyfile.Unmarshaler = (*ClientCertificate)(nil)
)
