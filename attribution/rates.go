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

// Limits of a rate. A unit of a weak currency is worth little, so rates have
// more decimals than amounts.
const (
	maxRateDigits   = 12
	maxRateDecimals = 18
)

// ParseRates reads CSV lines of currency, rate, date: what one unit of the
// currency is worth in the base from that day (UTC) until the next line for
// it. The base is the one currency whose rate is 1 on all its lines: one line
// alone proves nothing, for any two currencies can be worth the same one day.
// If none or several are, it is not guessed: the heading says which, in the
// place of "rate", like "currency,USD,date".
//
// A heading "currency,rate,date", empty lines and lines beginning with # are
// skipped. An error names the line.
func ParseRates(data []byte) (*Rates, error) {
	r := &Rates{rates: make(map[Currency][]rate)}
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	in.Comment, in.FieldsPerRecord, in.TrimLeadingSpace, in.ReuseRecord = '#', 3, true, true
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
			if r.base, err = headingBase(record[1]); err != nil {
				return nil, fmt.Errorf("reading rates, line %d: %w", line, err)
			}
			continue
		}
		if n > maxRates {
			return nil, fmt.Errorf("reading rates: more than %d lines", maxRates)
		}
		c, v, err := readRate(record)
		if err != nil {
			return nil, fmt.Errorf("reading rates, line %d: %w", line, err)
		}
		r.rates[c] = append(r.rates[c], v)
	}
	if err := r.findBase(); err != nil {
		return nil, fmt.Errorf("reading rates: %w", err)
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

// headingBase returns the currency that the heading's second cell names, or ""
// if it says "rate".
func headingBase(cell string) (Currency, error) {
	if strings.EqualFold(strings.TrimSpace(cell), "rate") {
		return "", nil
	}
	c, err := ParseCurrency(cell)
	if err != nil {
		return "", fmt.Errorf("the heading's second column is %q: write rate, or the currency to convert to, like EUR", clip(cell))
	}
	return c, nil
}

// findBase finds the base, or checks the one that the heading names.
func (r *Rates) findBase() error {
	one, _ := ParseAmount("1")
	var always, never []Currency // whose rate is 1; others have it on some lines
	for c, list := range r.rates {
		ones := 0
		for _, v := range list {
			if v.value.Equal(one) {
				ones++
			}
		}
		switch ones {
		case len(list):
			always = append(always, c)
		case 0:
			never = append(never, c)
		}
	}
	slices.Sort(always)
	switch {
	case r.base != "":
		if _, given := r.rates[r.base]; given && !slices.Contains(always, r.base) {
			return fmt.Errorf("the heading names %s as the currency to convert to, but its rate is not 1 on all its lines", r.base)
		}
	case len(always) == 1:
		r.base = always[0]
	case len(always) > 1:
		return fmt.Errorf("%s and %s have the rate 1 on all their lines, so either could be the currency to convert to: "+
			"name it in the heading, like currency,%[1]s,date", always[0], always[1])
	case len(never) == len(r.rates):
		return errors.New("no line has the rate 1, which names the currency to convert to: add one like EUR,1,2026-01-01")
	default:
		return errors.New("no currency has the rate 1 on all its lines, which would make it the one to convert to: " +
			"mend its lines, or name it in the heading, like currency,EUR,date")
	}
	return nil
}

func readRate(record []string) (Currency, rate, error) {
	c, err := ParseCurrency(record[0])
	if err != nil {
		return "", rate{}, err
	}
	v, err := parsePlain(strings.TrimSpace(record[1]), maxRateDigits, maxRateDecimals)
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
