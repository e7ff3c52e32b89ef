package capture

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
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
		rt.compileFields, rt.compileStatuses, rt.compileMoney, rt.compileTokens, rt.compileAllow,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	if v := rt.Event; v != strings.TrimSpace(v) || len(v) > maxEvent || isMacro(v) || v != strings.ToValidUTF8(v, "") {
		return fmt.Errorf("event is %q: allowed are up to %d bytes without blanks around them, and no macro", echo(v), maxEvent)
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

func (rt *Route) compileFields() error {
	fields := DefaultFields()
	for f, names := range rt.Fields {
		if !slices.Contains(Fields, f) {
			return fmt.Errorf("fields: %q is no field: allowed are %s", echo(string(f)), joined(Fields))
		}
		if len(names) == 0 {
			return fmt.Errorf("fields: %s has no parameter name: name at least one", f)
		}
		fields[f] = slices.Clone(names)
	}
	wanted := make(map[string][]target)
	add := func(s slot, index int, name string) {
		lower := strings.ToLower(name)
		wanted[lower] = append(wanted[lower], target{slot: s, index: index, name: name})
	}
	for s, f := range Fields {
		for i, name := range fields[f] {
			if name == "" || len(name) > maxParamName || name != strings.TrimSpace(name) || name != strings.ToValidUTF8(name, "") {
				return fmt.Errorf("fields: %s: parameter name %q: allowed are 1 to %d bytes without blanks around them",
					f, echo(name), maxParamName)
			}
			// What the journal shows of a field must not be the secret.
			if len(rt.Tokens) > 0 && strings.EqualFold(name, tokenParam) {
				return fmt.Errorf("fields: %s: parameter name %q is taken by the route's token: choose another", f, name)
			}
			add(slot(s), i, name)
		}
	}
	add(slotToken, 0, tokenParam)
	rt.Fields, rt.wanted = fields, wanted
	return nil
}

func (rt *Route) compileStatuses() error {
	statuses := make(map[string]attribution.Status, len(rt.Statuses))
	for word, st := range rt.Statuses {
		lower := strings.ToLower(strings.TrimSpace(word))
		if lower == "" || len(lower) > maxStatusWord {
			return fmt.Errorf("statuses: word %q for %v: allowed are 1 to %d bytes", echo(word), st, maxStatusWord)
		}
		if st < attribution.Pending || st > attribution.Reversed {
			return fmt.Errorf("statuses: %q means status number %d: allowed are approved, pending, rejected and reversed",
				echo(word), uint8(st))
		}
		if old, ok := statuses[lower]; ok && old != st {
			return fmt.Errorf("statuses: %q means both %v and %v: choose one", echo(lower), min(old, st), max(old, st))
		}
		statuses[lower] = st
	}
	rt.statuses = statuses
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
