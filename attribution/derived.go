package attribution

// What follows from the counts of a row. All figures of reports that people
// see are made here, so that a page, a CSV file and a command agree.

// Places after the decimal point of what is divided. Quotients are rounded
// once, halves away from zero; nothing else is rounded.
const (
	rateDigits = 2 // of a percentage
	epcDigits  = 2 // more than the currency's minor unit has
)

// Rate is the conversion rate in percent: conversions of every status, as the
// column of conversions counts them, for each hundred clicks, without bots.
// What an advertiser rejected or took back shows how visitors behaved all the
// same; what it did to the money shows in the revenue. ok is false where there
// are no clicks.
func (c *Counts) Rate() (percent Amount, ok bool) {
	if c.Clicks <= 0 {
		return Amount{}, false
	}
	return AmountOf(c.Conversions*100, 0).over(c.Clicks, rateDigits), true
}

// Profit is the revenue less the cost, for each currency that either has. One
// that comes to zero is not in it.
func (c *Counts) Profit() Totals {
	var t Totals
	t.AddAll(c.Revenue)
	t.SubAll(c.Cost)
	return t
}

// EPC is what a click earned, the revenue for each click without bots, for
// each currency; nil where there are no clicks. It has two places more than the
// currency.
func (c *Counts) EPC() Totals {
	if c.Clicks <= 0 {
		return nil
	}
	t := make(Totals, len(c.Revenue))
	for currency, sum := range c.Revenue {
		t[currency] = sum.over(c.Clicks, epcPlaces(currency))
	}
	return t
}

// PercentChange is how much more or less now is than then, in percent of then;
// ok is false where then is not more than zero.
func PercentChange(then, now Amount) (percent Amount, ok bool) {
	if then.Sign() <= 0 {
		return Amount{}, false
	}
	return Amount{d: now.d.Sub(then.d).Shift(2).DivRound(then.d, rateDigits)}, true
}

// Profit is the converted revenue less the converted cost.
func (c *Converted) Profit() Amount { return c.Revenue.Sub(c.Cost) }

// EPC is the converted revenue for each of so many clicks; ok is false where
// there are none.
func (c *Converted) EPC(clicks int64) (a Amount, ok bool) {
	if clicks <= 0 {
		return Amount{}, false
	}
	return c.Revenue.over(clicks, epcPlaces(c.Currency)), true
}

// Rounded returns the amount rounded to the minor unit of its currency, halves
// to even, as converted totals are written.
func (m Money) Rounded() Money {
	return Money{Amount{d: m.Amount.d.RoundBank(int32(m.Currency.Digits()))}, m.Currency} //nolint:gosec // at most 4
}

// Fixed writes the amount with so many places after the decimal point, rounded
// if need be.
func (a Amount) Fixed(places int) string {
	return a.d.StringFixed(int32(places)) //nolint:gosec // a few
}

// RateDigits and EPCDigits are the places with which the two are written.
func RateDigits() int { return rateDigits }

// EPCDigits returns the places of earnings per click in a currency.
func EPCDigits(c Currency) int { return int(epcPlaces(c)) }

func epcPlaces(c Currency) int32 { return int32(c.Digits() + epcDigits) } //nolint:gosec // at most 6

// Merge adds what another report says of the same row: both have to be of the
// same rates, and exact. How late conversions came does not add up and is dropped.
func (e *Extra) Merge(o Extra) {
	e.Lag = nil
	if o.Converted == nil {
		return
	}
	sum := Converted{Currency: o.Converted.Currency}
	if e.Converted != nil {
		sum.merge(e.Converted)
	}
	sum.merge(o.Converted)
	e.Converted = &sum
}
