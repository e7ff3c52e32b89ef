package attribution

import "fmt"

// FromMinor turns an amount in its currency's minor unit into one in the
// currency itself, exactly: 1250 becomes 12.50 for USD and stays 1250 for JPY.
// Part of a minor unit is refused: then the amount is not in minor units.
func FromMinor(m Money) (Money, error) {
	if !m.Amount.d.IsInteger() {
		return Money{}, fmt.Errorf("amount %s: there are no parts of the minor unit of %s: either the amount is in %s itself, "+
			"or it is wrong", clip(m.Amount.String()), m.Currency, m.Currency)
	}
	return Money{Amount: Amount{d: m.Amount.d.Shift(-int32(m.Currency.Digits()))}, Currency: m.Currency}, nil
}
