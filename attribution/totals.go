package attribution

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Totals are sums of money, kept apart by currency. The zero value is ready to
// use. Like every map it is shared by its copies; see [Totals.Clone].
type Totals map[Currency]Amount

// Add adds m. Money without a currency belongs to no sum and is ignored. A sum
// that comes to zero leaves the map.
func (t *Totals) Add(m Money) {
	if m.Currency == "" || m.Amount.IsZero() {
		return
	}
	sum, begun := (*t)[m.Currency]
	if !begun {
		sum = m.Amount // adding to nothing would cost a dozen allocations
	} else if sum = sum.Add(m.Amount); sum.IsZero() {
		delete(*t, m.Currency)
		return
	}
	if *t == nil {
		*t = make(Totals, 1)
	}
	(*t)[m.Currency] = sum
}

// Sub takes m away; see [Totals.Add].
func (t *Totals) Sub(m Money) { t.Add(Money{m.Amount.Neg(), m.Currency}) }

// AddAll adds every sum of o, which is neither changed nor kept.
func (t *Totals) AddAll(o Totals) {
	for c, a := range o {
		t.Add(Money{a, c})
	}
}

// SubAll takes every sum of o away.
func (t *Totals) SubAll(o Totals) {
	for c, a := range o {
		t.Sub(Money{a, c})
	}
}

// Clone returns a copy that shares nothing with t.
func (t Totals) Clone() Totals { return maps.Clone(t) }

// Currencies returns the currencies in alphabetical order.
func (t Totals) Currencies() []Currency { return slices.Sorted(maps.Keys(t)) }

// isZero reports whether every sum is zero.
func (t Totals) isZero() bool {
	for _, a := range t {
		if !a.IsZero() {
			return false
		}
	}
	return true
}

// MarshalJSON writes {"USD":"12.50"}: keys in order, amounts as strings so that
// no reader makes binary floating point of them, {} when there is none.
func (t Totals) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range t.Currencies() {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(string(c))
		if err != nil {
			return nil, fmt.Errorf("writing currency %q: %w", c, err)
		}
		fmt.Fprintf(&b, `%s:"%s"`, key, Money{t[c], c}.Format())
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON is the inverse of [Totals.MarshalJSON]. It takes every code of
// three capital letters, so that sums outlive the currency they are in.
func (t *Totals) UnmarshalJSON(b []byte) error {
	var sums map[string]Amount
	if err := json.Unmarshal(b, &sums); err != nil {
		return fmt.Errorf("reading totals: %w", err)
	}
	*t = nil
	for code, a := range sums {
		if len(code) != 3 || !upper(code) {
			return fmt.Errorf("reading totals: unknown currency %q: use an ISO 4217 code like USD", clip(code))
		}
		t.Add(Money{a, Currency(code)})
	}
	return nil
}

// upper reports whether s holds only A to Z.
func upper(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}
