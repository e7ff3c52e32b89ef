package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-capture/caddy-capture/capture/network"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

func init() {
	caddy.RegisterModule(StandardWebhooks{})
	caddy.RegisterModule(Digistore24{})
	caddy.RegisterModule(JVZoo{})
	caddy.RegisterModule(ClickBank{})
	caddy.RegisterModule(SharedSecret{})
}

// StandardWebhooks verifies webhooks that are signed as standardwebhooks.com
// describes: the headers `webhook-id`, `webhook-timestamp` and
// `webhook-signature`. Secrets are written `whsec_...`, or `whpk_...` for a
// public key.
type StandardWebhooks struct{ secretVerifier }

// CaddyModule returns the Caddy module information.
func (StandardWebhooks) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".standard_webhooks", New: func() caddy.Module { return new(StandardWebhooks) }}
}

// Verifier implements VerifierModule.
func (v *StandardWebhooks) Verifier(*network.Network) (signature.Verifier, error) {
	return v.make(signature.NewStandardWebhooks)
}

// Digistore24 verifies the `sha_sign` of Digistore24's IPN; the secrets are its
// passphrases.
type Digistore24 struct{ secretVerifier }

// CaddyModule returns the Caddy module information.
func (Digistore24) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".digistore24", New: func() caddy.Module { return new(Digistore24) }}
}

// Verifier implements VerifierModule.
func (v *Digistore24) Verifier(*network.Network) (signature.Verifier, error) {
	return v.make(signature.NewDigistore24)
}

// JVZoo verifies the `cverify` of JVZoo's IPN. It has only 32 bits: put a
// token into the URL as well, or limit the rate in front of the route.
type JVZoo struct{ secretVerifier }

// CaddyModule returns the Caddy module information.
func (JVZoo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".jvzoo", New: func() caddy.Module { return new(JVZoo) }}
}

// Verifier implements VerifierModule.
func (v *JVZoo) Verifier(*network.Network) (signature.Verifier, error) {
	return v.make(signature.NewJVZoo)
}

// ClickBank decrypts ClickBank's INS with the secret key of the account; what
// it held is then read like any other body.
type ClickBank struct{ secretVerifier }

// CaddyModule returns the Caddy module information.
func (ClickBank) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".clickbank", New: func() caddy.Module { return new(ClickBank) }}
}

// Verifier implements VerifierModule.
func (v *ClickBank) Verifier(*network.Network) (signature.Verifier, error) {
	return v.make(signature.NewClickBank)
}

// SharedSecret takes a postback if one of its fields is a secret, as
// WarriorPlus, CPAGrip and TUNE send one, or the hash of one.
type SharedSecret struct {
	// The field that holds the secret, such as `WP_SECURITYKEY`.
	Field string `json:"field,omitempty"`
	// The secrets, of which any is taken. Placeholders such as `{env.SECRET}`
	// are replaced at start.
	Secrets []string `json:"secrets,omitempty"`
	// If the field holds the MD5 of something rather than the secret, what it is
	// made of: a text with `{field.<name>}` and `{secret}`, such as
	// `{field.trans_id}-{secret}`. Default: the field is the secret.
	MD5 string `json:"md5,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (SharedSecret) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: verifierNamespace + ".shared_secret", New: func() caddy.Module { return new(SharedSecret) }}
}

// Verifier implements VerifierModule.
func (v *SharedSecret) Verifier(*network.Network) (signature.Verifier, error) {
	secrets, err := verifierSecrets(v.Secrets)
	if err != nil {
		return nil, err
	}
	return signature.NewSharedSecret(v.Field, secrets, v.MD5)
}

// UnmarshalCaddyfile reads
//
//	shared_secret <field> <secret> ... {
//		md5 <template>
//	}
func (v *SharedSecret) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name of the verifier
	const written = "verify shared_secret <field> <secret> ..."
	if !d.NextArg() {
		return wrongArgs(d, written)
	}
	v.Field = d.Val()
	if err := appendArgs(d, &v.Secrets, "<secret> ..."); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if option := d.Val(); option != "md5" || v.MD5 != "" {
			return d.Errf("unknown option %q of shared_secret; allowed is md5, once", option)
		}
		var err error
		if v.MD5, err = readNonEmpty(d, "<template>"); err != nil {
			return err
		}
	}
	return nil
}

// Interface guards.
var (
	_ VerifierModule        = (*StandardWebhooks)(nil)
	_ VerifierModule        = (*Digistore24)(nil)
	_ VerifierModule        = (*JVZoo)(nil)
	_ VerifierModule        = (*ClickBank)(nil)
	_ VerifierModule        = (*SharedSecret)(nil)
	_ caddyfile.Unmarshaler = (*StandardWebhooks)(nil)
	_ caddyfile.Unmarshaler = (*SharedSecret)(nil)
)
