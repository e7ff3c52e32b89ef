package attribution

import "github.com/shopspring/decimal"

// MaxPlaces bounds the places after the decimal point of what [Amount.Scaled]
// returns.
const MaxPlaces = 18

// Scaled returns the amount as n / 10^places, for those that add up millions of
// them; ok is false if it is not so small and so short.
func (a Amount) Scaled() (n int64, places uint8, ok bool) {
	exp := a.d.Exponent()
	if exp > 0 || exp < -MaxPlaces || a.d.NumDigits() > MaxPlaces {
		return 0, 0, false
	}
	return a.d.CoefficientInt64(), uint8(-exp), true
}

// AmountOf returns n / 10^places.
func AmountOf(n int64, places uint8) Amount { return Amount{d: decimal.New(n, -int32(places))} }
