package caddymodule

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-capture/caddy-capture/capture/network"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// verifierNamespace is where the modules that verify postbacks live.
const verifierNamespace = "http.handlers.postback.verifiers"

// VerifierModule is implemented by the modules in the namespace
// http.handlers.postback.verifiers.
type VerifierModule interface {
	// Verifier returns what the module was configured to check; sender is the
	// route's network, or nil. A secret that is missing is an error.
	Verifier(sender *network.Network) (signature.Verifier, error)
}

// loadVerifiers loads the guest modules of the route.
func (p *Postback) loadVerifiers(ctx caddy.Context) error {
	if p.VerifiersRaw == nil {
		return nil
	}
	mods, err := ctx.LoadModule(p, "VerifiersRaw")
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	for _, mod := range mods.([]any) {
		m, ok := mod.(VerifierModule)
		if !ok {
			return fmt.Errorf("verify: module %T is not a verifier", mod)
		}
		v, err := m.Verifier(p.sender)
		if err != nil {
			return fmt.Errorf("verify %s: %w", schemeOf(mod), err)
		}
		p.verifiers, p.schemes = append(p.verifiers, v), append(p.schemes, schemeOf(mod))
	}
	return p.takeMemory()
}

// memories are what the routes' verifiers have seen already, by store and
// route, so that a reload does not open a gap for replays.
var memories = caddy.NewUsagePool()

type pooledMemory struct{ *signature.Memory }

// Destruct has nothing to close.
func (pooledMemory) Destruct() error { return nil }

func (p *Postback) takeMemory() error {
	key := p.app.engine.Key() + "\x00" + p.Name
	v, _, err := memories.LoadOrNew(key, func() (caddy.Destructor, error) {
		return pooledMemory{new(signature.Memory)}, nil
	})
	if err != nil {
		return err
	}
	p.memory, p.memoryKey = v.(pooledMemory).Memory, key
	return nil
}

func schemeOf(mod any) string {
	if m, ok := mod.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", mod)
}

// readVerify reads `verify <scheme> ...`.
func (p *Postback) readVerify(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return wrongArgs(d, "verify <verifier> ..., where the verifier is "+verifierNames())
	}
	scheme := d.Val()
	id := verifierNamespace + "." + scheme
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("verify is %q; allowed are %s", scheme, verifierNames())
	}
	mod, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	p.VerifiersRaw = append(p.VerifiersRaw, caddyconfig.JSONModuleObject(mod, "scheme", scheme, nil))
	return nil
}

// verifierNames lists the verifiers that this Caddy was built with.
func verifierNames() string {
	var names []string
	for _, m := range caddy.GetModules(verifierNamespace) {
		names = append(names, m.ID.Name())
	}
	return enumerate(names)
}

// verifierSecrets resolves the secrets of a verifier: at least one, none of
// them empty.
func verifierSecrets(secrets []string) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errors.New("it has no secret: give the one that the sender shows for this endpoint, " +
			"for example {env.WEBHOOK_SECRET}")
	}
	resolved, err := resolveSecrets(secrets)
	if err != nil {
		return nil, fmt.Errorf("secret %w", err)
	}
	return resolved, nil
}

// readSecrets reads the arguments of a verifier that needs nothing else.
func readSecrets(d *caddyfile.Dispenser) ([]string, error) {
	d.Next() // the name of the verifier
	var secrets []string
	if err := appendArgs(d, &secrets, "<secret> ..."); err != nil {
		return nil, err
	}
	return secrets, noBlock(d, "secrets")
}

// noBlock refuses a block where there is nothing to put into one.
func noBlock(d *caddyfile.Dispenser, takes string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("unknown option %q: this verifier has no options, only %s after its name", d.Val(), takes)
	}
	return nil
}

// secretVerifier is what the schemes share that need secrets alone.
type secretVerifier struct {
	// The secrets, of which any may have been used, so that one can be
	// replaced without a gap. Placeholders such as `{env.SECRET}` and
	// `{file./path}` are replaced at start.
	Secrets []string `json:"secrets,omitempty"`
}

func (v *secretVerifier) make(with func([][]byte) (signature.Verifier, error)) (signature.Verifier, error) {
	secrets, err := verifierSecrets(v.Secrets)
	if err != nil {
		return nil, err
	}
	return with(secrets)
}

// UnmarshalCaddyfile reads the secrets.
func (v *secretVerifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	v.Secrets, err = readSecrets(d)
	return err
}

// signedBy returns how to write the verifier of the route's network, in one
// line; "" if that network signs nothing.
func (p *Postback) signedBy() string {
	if p.sender == nil {
		return ""
	}
	return strings.Join(strings.Fields(p.sender.VerifyDirective()), " ")
}
