package attribution

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// Extra is what a report says of a row beyond its counts, if it was asked for.
type Extra struct {
	Converted *Converted `json:"converted,omitempty"`
	Lag       *Lag       `json:"lag,omitempty"`
}

// Converted is revenue and cost of all currencies in one, at the rates of their
// days. In a finished report both are rounded to the currency's minor unit, halves
// to even, so that whatever follows from them is the same for whoever reads it.
type Converted struct {
	Currency      Currency
	Revenue, Cost Amount
	// WithoutRate lists the currencies that are left out because no rate is
	// known for the day.
	WithoutRate []Currency
}

type convertedJSON struct {
	Currency    Currency   `json:"currency"`
	Revenue     string     `json:"revenue"`
	Cost        string     `json:"cost"`
	WithoutRate []Currency `json:"without_rate,omitempty"`
}

// MarshalJSON writes the amounts rounded to the currency's minor unit, halves
// to even.
func (c Converted) MarshalJSON() ([]byte, error) {
	digits := int32(c.Currency.Digits()) //nolint:gosec // at most 4
	return json.Marshal(convertedJSON{
		c.Currency, c.Revenue.d.StringFixedBank(digits), c.Cost.d.StringFixedBank(digits), c.WithoutRate,
	})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Converted) UnmarshalJSON(data []byte) error {
	var in convertedJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("reading converted total: %w", err)
	}
	out := Converted{Currency: in.Currency, WithoutRate: in.WithoutRate}
	var err error
	if out.Revenue, err = parsePlain(in.Revenue, maxStoredAmount, maxStoredAmount); err != nil {
		return err
	}
	if out.Cost, err = parsePlain(in.Cost, maxStoredAmount, maxStoredAmount); err != nil {
		return err
	}
	*c = out
	return nil
}

// Lag is how long after their clicks the conversions of a row came: half of
// them within Median, nine tenths within P90 (nearest rank), in seconds.
type Lag struct {
	Conversions int64   `json:"conversions"`
	Median      float64 `json:"median_seconds"`
	P90         float64 `json:"p90_seconds"`
}

// lagOf sorts lags, which are milliseconds.
func lagOf(lags []int64) *Lag {
	if len(lags) == 0 {
		return nil
	}
	slices.Sort(lags)
	rank := func(q float64) float64 {
		i := int(math.Ceil(q*float64(len(lags)))) - 1
		return float64(lags[max(i, 0)]) / 1000
	}
	return &Lag{Conversions: int64(len(lags)), Median: rank(0.5), P90: rank(0.9)}
}

// sum is what a Builder collects for one row.
type sum struct {
	Row
	lags []int64 // ms
}

// add counts c at t, with its worth in the base currency if rates are given.
func (s *sum) add(c Counts, t time.Time, rates *Rates) {
	s.Add(c)
	if rates == nil || len(c.Revenue) == 0 && len(c.Cost) == 0 {
		return
	}
	if s.Converted == nil {
		s.Converted = &Converted{Currency: rates.Base()}
	}
	s.Converted.addAll(&s.Converted.Revenue, c.Revenue, t, rates)
	s.Converted.addAll(&s.Converted.Cost, c.Cost, t, rates)
}

func (c *Converted) addAll(to *Amount, from Totals, t time.Time, rates *Rates) {
	for currency, amount := range from {
		v, ok := rates.Convert(Money{amount, currency}, t)
		if ok {
			*to = to.Add(v)
		} else {
			c.missing(currency)
		}
	}
}

func (c *Converted) missing(currency Currency) {
	if i, found := slices.BinarySearch(c.WithoutRate, currency); !found {
		c.WithoutRate = slices.Insert(c.WithoutRate, i, currency)
	}
}

// merge adds another row's conversion.
func (c *Converted) merge(o *Converted) {
	c.Revenue, c.Cost = c.Revenue.Add(o.Revenue), c.Cost.Add(o.Cost)
	for _, currency := range o.WithoutRate {
		c.missing(currency)
	}
}

// Round rounds the converted total as reports have it; see [Query.Exact].
func (e *Extra) Round() {
	if c := e.Converted; c != nil {
		c.Revenue = Money{c.Revenue, c.Currency}.Rounded().Amount
		c.Cost = Money{c.Cost, c.Currency}.Rounded().Amount
	}
}

// merge adds another sum, but for its lags.
func (s *sum) merge(o *sum) {
	s.Add(o.Counts)
	if o.Converted == nil {
		return
	}
	if s.Converted == nil {
		s.Converted = &Converted{Currency: o.Converted.Currency}
	}
	s.Converted.merge(o.Converted)
}

// finish returns the row with its extras, sharing nothing with s.
func (s *sum) finish(q *Query) Row {
	row := Row{Keys: slices.Clone(s.Keys), Counts: s.Counts.Clone()}
	if q.Rates != nil {
		row.Converted = &Converted{Currency: q.Rates.Base()}
		if s.Converted != nil {
			row.Converted.merge(s.Converted)
		}
		if !q.Exact {
			row.Round()
		}
	}
	if q.Lags {
		row.Lag = lagOf(s.lags)
	}
	return row
}
