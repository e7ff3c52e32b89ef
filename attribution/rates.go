package attribution

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Rates convert amounts of several currencies into one, the base, at the rate
// of their day. The originals are never replaced: a converted total stands
// beside them.
type Rates struct {
	base  Currency
	rates map[Currency][]rate // oldest first
}

// rate is the worth of one unit in the base currency from a day on.
type rate struct {
	day   int64 // days since 1970, UTC
	value Amount
}

// maxRates bounds a file of rates: 180 currencies a day for fifty years.
const maxRates = 4_000_000

// ParseRates reads CSV lines of currency, rate, date: what one unit of the
// currency is worth in the base from that day (UTC) until the next line for
// it. The first line whose rate is 1 names the base. A heading
// "currency,rate,date", empty lines and lines beginning with # are skipped.
// An error names the line.
func ParseRates(data []byte) (*Rates, error) {
	r := &Rates{rates: make(map[Currency][]rate)}
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	in.Comment, in.FieldsPerRecord, in.TrimLeadingSpace, in.ReuseRecord = '#', 3, true, true
	one, _ := ParseAmount("1")
	for n := 0; ; n++ {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("reading rates: %w", err)
		}
		line, _ := in.FieldPos(0)
		if n == 0 && strings.EqualFold(strings.TrimSpace(record[0]), "currency") {
			continue
		}
		if n > maxRates {
			return nil, fmt.Errorf("reading rates: more than %d lines", maxRates)
		}
		c, v, err := readRate(record)
		if err != nil {
			return nil, fmt.Errorf("reading rates, line %d: %w", line, err)
		}
		if r.base == "" && v.value.Equal(one) {
			r.base = c
		}
		r.rates[c] = append(r.rates[c], v)
	}
	if r.base == "" {
		return nil, errors.New("reading rates: no line has the rate 1, which names the currency to convert to: " +
			"add one like EUR,1,2026-01-01")
	}
	for c, list := range r.rates {
		slices.SortStableFunc(list, func(a, b rate) int { return int(a.day - b.day) })
		for i := 1; i < len(list); i++ {
			if list[i].day == list[i-1].day && !list[i].value.Equal(list[i-1].value) {
				return nil, fmt.Errorf("reading rates: %s has two rates on %s", c,
					time.Unix(list[i].day*secondsPerDay, 0).UTC().Format(time.DateOnly))
			}
		}
	}
	return r, nil
}

func readRate(record []string) (Currency, rate, error) {
	c, err := ParseCurrency(record[0])
	if err != nil {
		return "", rate{}, err
	}
	v, err := ParseAmount(strings.TrimSpace(record[1]))
	if err != nil {
		return "", rate{}, err
	}
	if v.Sign() <= 0 {
		return "", rate{}, fmt.Errorf("the rate of %s is %s; it must be more than 0", c, v)
	}
	day, err := time.Parse(time.DateOnly, strings.TrimSpace(record[2]))
	if err != nil {
		return "", rate{}, fmt.Errorf("the date %q is not one like 2026-01-31", clip(record[2]))
	}
	return c, rate{day: floorDiv(day.Unix(), secondsPerDay), value: v}, nil
}

// Base is the currency that is converted to.
func (r *Rates) Base() Currency { return r.base }

// Convert returns the worth of m in the base currency on the day (UTC) of at,
// exactly; false if no rate is known for that day.
func (r *Rates) Convert(m Money, at time.Time) (Amount, bool) {
	if m.Currency == r.base {
		return m.Amount, true
	}
	list := r.rates[m.Currency]
	day := floorDiv(at.Unix(), secondsPerDay)
	i, found := slices.BinarySearchFunc(list, day, func(x rate, day int64) int { return int(x.day - day) })
	if !found {
		i-- // the last one before that day
	}
	if i < 0 {
		return Amount{}, false
	}
	return Amount{d: m.Amount.d.Mul(list[i].value.d)}, true
}
