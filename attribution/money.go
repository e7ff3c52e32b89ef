package attribution

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shopspring/decimal"
)

// Limits of what is read from outside. They are far above every real payout
// and keep a hostile number from growing every sum it enters.
const (
	maxIntegerDigits = 18
	maxDecimals      = 9
	maxStoredAmount  = 64 // bytes; sums may outgrow the two limits above
)

// Amount is an exact decimal number. The zero value is 0. Two equal amounts may
// differ inside (12.5 and 12.50), so == does not compile; use [Amount.Equal].
type Amount struct {
	_ [0]func()
	d decimal.Decimal
}

// ParseAmount reads a plain decimal: an optional sign, digits and, optionally,
// a point and more digits; at most 18 digits before the point and 9 after it.
// It is meant for configuration and storage; see [ParsePayout] for senders.
func ParseAmount(s string) (Amount, error) {
	return parsePlain(s, maxIntegerDigits, maxDecimals)
}

// parsePlain is [ParseAmount] with limits of the caller's choice.
func parsePlain(s string, maxInt, maxFrac int) (Amount, error) {
	unsigned := s
	if s != "" && (s[0] == '+' || s[0] == '-') {
		unsigned = s[1:]
	}
	whole, frac, point := strings.Cut(unsigned, ".")
	var err error
	switch {
	case s == "":
		return Amount{}, errors.New("reading amount: it is empty")
	case !digits(whole) || point && !digits(frac):
		err = errors.New("not a plain decimal number: write it like 12.50")
	case len(whole) > maxInt:
		err = fmt.Errorf("more than %d digits before the decimal point", maxInt)
	case len(frac) > maxFrac:
		err = fmt.Errorf("more than %d decimals", maxFrac)
	default:
		var d decimal.Decimal
		if d, err = decimal.NewFromString(s); err == nil {
			return Amount{d: d}, nil
		}
	}
	return Amount{}, fmt.Errorf("reading amount %q: %w", clip(s), err)
}

// digits reports whether s is one or more ASCII digits.
func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// over returns a / n to so many places, halves away from zero.
func (a Amount) over(n int64, places int32) Amount {
	return Amount{d: a.d.DivRound(decimal.NewFromInt(n), places)}
}

// Add returns a + b.
func (a Amount) Add(b Amount) Amount { return Amount{d: a.d.Add(b.d)} }

// Sub returns a - b.
func (a Amount) Sub(b Amount) Amount { return Amount{d: a.d.Sub(b.d)} }

// Neg returns -a.
func (a Amount) Neg() Amount { return Amount{d: a.d.Neg()} }

// Cmp returns -1, 0 or +1 as a is less than, equal to or greater than b.
func (a Amount) Cmp(b Amount) int { return a.d.Cmp(b.d) }

// Equal reports whether both are the same number.
func (a Amount) Equal(b Amount) bool { return a.d.Equal(b.d) }

// Sign returns -1, 0 or +1.
func (a Amount) Sign() int { return a.d.Sign() }

// IsZero reports whether a is 0.
func (a Amount) IsZero() bool { return a.d.IsZero() }

// String returns the exact number without needless zeros: "12.5".
func (a Amount) String() string { return a.d.String() }

// MarshalText writes what [Amount.String] returns.
func (a Amount) MarshalText() ([]byte, error) {
	s := a.String()
	if len(s) > maxStoredAmount {
		return nil, fmt.Errorf("writing amount %q: longer than %d bytes", clip(s), maxStoredAmount)
	}
	return []byte(s), nil
}

// UnmarshalText reads a plain decimal of up to 64 bytes, which is more than
// [ParseAmount] takes because sums are written this way too.
func (a *Amount) UnmarshalText(b []byte) error {
	if len(b) > maxStoredAmount {
		return fmt.Errorf("reading amount %q: longer than %d bytes", clip(string(b)), maxStoredAmount)
	}
	v, err := parsePlain(string(b), maxStoredAmount, maxStoredAmount)
	if err != nil {
		return err
	}
	*a = v
	return nil
}

// MarshalBinary writes the bytes of [Amount.MarshalText].
func (a Amount) MarshalBinary() ([]byte, error) { return a.MarshalText() }

// UnmarshalBinary is the inverse of [Amount.MarshalBinary].
func (a *Amount) UnmarshalBinary(b []byte) error { return a.UnmarshalText(b) }

// Money is an amount of one currency. With Currency "" nobody has said which.
type Money struct {
	Amount   Amount   `cbor:"1,keyasint"`
	Currency Currency `cbor:"2,keyasint,omitempty"`
}

// Equal reports whether both are the same amount of the same currency.
func (m Money) Equal(o Money) bool { return m.Currency == o.Currency && m.Amount.Equal(o.Amount) }

// Format returns the amount with at least the currency's minor units and never
// rounds: "12.50", "0.125", and "500" for yen.
func (m Money) Format() string {
	s, want := m.Amount.String(), m.Currency.Digits()
	have := 0
	if i := strings.IndexByte(s, '.'); i >= 0 {
		have = len(s) - i - 1
	}
	if have >= want {
		return s
	}
	if have == 0 {
		s += "."
	}
	return s + strings.Repeat("0", want-have)
}

// String returns "12.50 USD", or the bare amount if the currency is unknown.
func (m Money) String() string {
	if m.Currency == "" {
		return m.Format()
	}
	return m.Format() + " " + string(m.Currency)
}
