package capture

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/signature"
)

const (
	// maxMaxBody keeps a journal entry, which holds the body, well below what
	// a store writes at once.
	maxMaxBody = 512 << 10
	// maxStatusWord is more than any sender's status needs.
	maxStatusWord = 128
)

// Compile checks the configuration, fills in defaults and prepares the Route
// for serving.
func (rt *Route) Compile() error {
	for _, step := range []func() error{
		rt.compileTokens, rt.compileAllow, rt.compileVerifiers, rt.compileFields, rt.compileStatuses, rt.compileKinds,
		rt.compileMoney,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := checkEvent(rt.Event); err != nil {
		return err
	}
	if rt.MaxBody == 0 {
		rt.MaxBody = DefaultMaxBody
	}
	if rt.MaxBody < 0 || rt.MaxBody > maxMaxBody {
		return fmt.Errorf("max_body is %d: allowed are 1 to %d bytes", rt.MaxBody, maxMaxBody)
	}
	if rt.Address > AddressNone {
		return fmt.Errorf("visitor_address is %d: allowed are full, truncated and none", rt.Address)
	}
	return nil
}

func (rt *Route) compileVerifiers() error {
	rt.decoders, rt.secrets = nil, nil
	for _, v := range rt.Verifiers {
		if v == nil {
			return errors.New("verifiers: one is nil")
		}
		if d, ok := v.(signature.Decoder); ok {
			rt.decoders = append(rt.decoders, d)
		}
		if m, ok := v.(signature.Masker); ok {
			rt.secrets = append(rt.secrets, m.Secrets()...)
		}
	}
	rt.shielded = slices.Clone(rt.secrets)
	if len(rt.Tokens) > 0 {
		rt.secrets = append(rt.secrets, tokenParam)
	}
	if rt.Memory == nil && len(rt.Verifiers) > 0 {
		rt.Memory = new(signature.Memory)
	}
	rt.proof = rt.authenticity()
	return nil
}

func (rt *Route) compileFields() (err error) {
	fields := DefaultFields()
	maps.Copy(fields, rt.Fields)
	rt.match, rt.unwrap, rt.all = matcher{}, nil, nil
	if rt.fields, err = rt.fieldParams(rt.Fields, fields); err != nil {
		return err
	}
	if rt.Unwrap != "" {
		n, err := rt.param(rt.Unwrap)
		if err != nil {
			return fmt.Errorf("unwrap: %w", err)
		}
		if p := rt.match.params[n]; p.plain == "" || p.query != "" {
			return fmt.Errorf("unwrap is %q: it takes the plain name of a form's field", rt.Unwrap)
		}
		rt.unwrap = []int{n}
	}
	rt.Fields = fields
	rt.all = rt.match.several(rt.fields[slotClickID])
	if rt.major, err = rt.majors(); err != nil {
		return err
	}
	if len(rt.Kinds) == 0 { // else some of them have it elsewhere
		rt.match.txids = rt.fields[slotTxID]
	}
	n, err := rt.match.add(tokenParam)
	rt.token = []int{n}
	return err
}

// fieldParams registers the parameters of fields in the matcher; those in
// named are the configuration's own and must have some.
func (rt *Route) fieldParams(named, fields map[Field][]string) (out fieldParams, err error) {
	for f, names := range named {
		if !slices.Contains(Fields, f) {
			return out, fmt.Errorf("fields: %q is no field: allowed are %s", echo(string(f)), joined(Fields))
		}
		if len(names) == 0 {
			return out, fmt.Errorf("fields: %s has no parameter name: name at least one", f)
		}
	}
	for s, f := range Fields {
		for _, name := range fields[f] {
			n, err := rt.param(name)
			if err != nil {
				return out, fmt.Errorf("fields: %s: %w", f, err)
			}
			out[s] = append(out[s], n)
		}
	}
	return out, nil
}

// majors registers the parameters whose amounts are never in minor units.
func (rt *Route) majors() (out []int, err error) {
	for _, name := range rt.Major {
		n, err := rt.param(name)
		if err != nil {
			return nil, fmt.Errorf("amounts in major units: %w", err)
		}
		out = append(out, n)
	}
	return out, nil
}

// param registers a parameter whose value the journal may show, so it must
// not be a secret.
func (rt *Route) param(name string) (int, error) {
	n, err := rt.match.add(name)
	if err != nil {
		return 0, err
	}
	for _, secret := range rt.secrets {
		if strings.EqualFold(name, secret) {
			return 0, fmt.Errorf("parameter name %q is taken by the route's %s: choose another", name, secretName(secret))
		}
	}
	return n, nil
}

func secretName(param string) string {
	if param == tokenParam {
		return "token"
	}
	return "signature"
}

func (rt *Route) compileStatuses() (err error) {
	rt.statuses, err = foldStatuses(rt.Statuses)
	return err
}

// foldStatuses returns the words in lower case.
func foldStatuses(words map[string]attribution.Status) (map[string]attribution.Status, error) {
	statuses := make(map[string]attribution.Status, len(words))
	for word, st := range words {
		lower := strings.ToLower(strings.TrimSpace(word))
		if lower == "" || len(lower) > maxStatusWord {
			return nil, fmt.Errorf("statuses: word %q for %v: allowed are 1 to %d bytes", echo(word), st, maxStatusWord)
		}
		if st < attribution.Pending || st > attribution.Reversed {
			return nil, fmt.Errorf("statuses: %q means status number %d: allowed are approved, pending, rejected and reversed",
				echo(word), uint8(st))
		}
		if old, ok := statuses[lower]; ok && old != st {
			return nil, fmt.Errorf("statuses: %q means both %v and %v: choose one", echo(lower), min(old, st), max(old, st))
		}
		statuses[lower] = st
	}
	return statuses, nil
}

// checkEvent checks an event of the configuration.
func checkEvent(v string) error {
	if v != strings.TrimSpace(v) || len(v) > maxEvent || IsMacro(v) || v != strings.ToValidUTF8(v, "") {
		return fmt.Errorf("event is %q: allowed are up to %d bytes without blanks around them, and no macro", echo(v), maxEvent)
	}
	return nil
}

func (rt *Route) compileMoney() error {
	if rt.Payout.Currency == "" && !rt.Payout.Amount.IsZero() {
		return fmt.Errorf("payout is %s without a currency: write it like %s USD", rt.Payout.Amount, rt.Payout.Amount)
	}
	for _, c := range []struct {
		name string
		code *attribution.Currency
	}{{"payout", &rt.Payout.Currency}, {"currency", &rt.Currency}} {
		if *c.code == "" {
			continue
		}
		code, err := attribution.ParseCurrency(string(*c.code))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		*c.code = code
	}
	return nil
}

func (rt *Route) compileTokens() error {
	rt.tokens = nil
	for _, t := range rt.Tokens {
		// The value is a secret: errors do not show it.
		if len(t) == 0 {
			return errors.New("token: one is empty: an unset variable? Every token needs a value")
		}
		if len(bytes.TrimSpace(t)) != len(t) {
			return errors.New("token: one has blanks or line breaks around it, which no sender can send: remove them")
		}
		rt.tokens = append(rt.tokens, sha256.Sum256(t))
	}
	return nil
}

func (rt *Route) compileAllow() error {
	rt.allow = nil
	for _, p := range rt.Allow {
		if !p.IsValid() {
			return errors.New("allow: one entry is no network: write it like 192.0.2.0/24 or 2001:db8::/32")
		}
		if a := p.Addr(); a.Is4In6() {
			if p.Bits() < 96 {
				return fmt.Errorf("allow: %s is neither an IPv4 nor an IPv6 network: write it like 192.0.2.0/24", p)
			}
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		rt.allow = append(rt.allow, p.Masked())
	}
	return nil
}

func joined[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}
