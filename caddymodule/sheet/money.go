package sheet

import (
	"strconv"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

func money(key, title, help string, currency attribution.Currency, of func(*attribution.Counts) attribution.Totals) *Column {
	code := string(currency)
	return &Column{
		Key: key + "." + code, Name: key + "_" + code, Title: title + " " + code, Help: help,
		Of: func(r *attribution.Row) (Figure, bool) {
			m := attribution.Money{Amount: of(&r.Counts)[currency], Currency: currency}
			return Figure{m.Amount, m.Format()}, true
		},
	}
}

const epcHelp = "Earnings per click: all revenue for each click; the clicks of bots are not in it"

func perClick(currency attribution.Currency) *Column {
	code := string(currency)
	return &Column{
		Key: "epc." + code, Name: "epc_" + code, Title: "EPC " + code, Help: epcHelp,
		Of: func(r *attribution.Row) (Figure, bool) {
			a := r.EPC()[currency]
			return Figure{a, a.Fixed(attribution.EPCDigits(currency))}, r.Clicks > 0
		},
	}
}

// converted lists the columns of all currencies in one, if there are rates.
func converted(r *attribution.Report) []*Column {
	total := r.TotalExtra.Converted
	if total == nil {
		return nil
	}
	currency := total.Currency
	amount := func(key, help string, of func(*attribution.Converted) attribution.Amount) *Column {
		return convertedColumn(key, key, help, currency, func(r *attribution.Row) (Figure, bool) {
			m := attribution.Money{Amount: of(r.Converted), Currency: currency}.Rounded()
			return Figure{m.Amount, m.Format()}, true
		})
	}
	columns := []*Column{amount("revenue", "Revenue of all currencies, each at the rate of its day",
		func(c *attribution.Converted) attribution.Amount { return c.Revenue })}
	if len(r.Total.Cost) > 0 {
		columns = append(columns,
			amount("cost", "Cost of all currencies, each at the rate of its day",
				func(c *attribution.Converted) attribution.Amount { return c.Cost }),
			amount("profit", "Revenue less cost of all currencies, at the rates of the days",
				(*attribution.Converted).Profit))
	}
	return append(columns, convertedColumn("epc", "EPC", epcHelp, currency, func(r *attribution.Row) (Figure, bool) {
		a, ok := r.Converted.EPC(r.Clicks)
		return Figure{a, a.Fixed(attribution.EPCDigits(currency))}, ok
	}))
}

// convertedColumn makes a column of rows that have a converted total.
func convertedColumn(
	key, title, help string, currency attribution.Currency, of func(*attribution.Row) (Figure, bool),
) *Column {
	code := string(currency)
	return &Column{
		Key: "total_" + key + "." + code, Name: "converted_" + key + "_" + code, Title: "All in " + code + ": " + title, Help: help,
		Of: func(r *attribution.Row) (Figure, bool) {
			if r.Converted == nil {
				return Figure{}, false
			}
			return of(r)
		},
	}
}

// WithoutRate names the currencies that a converted total leaves out.
var WithoutRate = &Column{
	Key: "without_rate", Name: "converted_without_rate", Title: "Without rate",
	Help: "Currencies that the converted total leaves out, as no rate is known for the day", Text: true,
	Of: func(r *attribution.Row) (Figure, bool) {
		if r.Converted == nil {
			return Figure{}, false
		}
		names := make([]string, len(r.Converted.WithoutRate))
		for i, c := range r.Converted.WithoutRate {
			names[i] = string(c)
		}
		return Figure{Text: strings.Join(names, " ")}, true
	},
}

// Lags are how long after their clicks conversions came, in seconds, and of how
// many of them that is said.
var Lags = []*Column{
	{
		Key: "lag_conversions", Name: "lag_conversions", Title: "Conversions with a lag",
		Help: "Conversions whose time from the click is known",
		Of: func(r *attribution.Row) (Figure, bool) {
			if r.Lag == nil {
				return Figure{}, false
			}
			return Figure{attribution.AmountOf(r.Lag.Conversions, 0), strconv.FormatInt(r.Lag.Conversions, 10)}, true
		},
	},
	lag("lag_median_seconds", "Median lag", "Half of the conversions came within this time",
		func(l *attribution.Lag) float64 { return l.Median }),
	lag("lag_p90_seconds", "P90 lag", "Nine tenths of the conversions came within this time",
		func(l *attribution.Lag) float64 { return l.P90 }),
}

// lag makes a column of a time span, which is measured in milliseconds.
func lag(name, title, help string, of func(*attribution.Lag) float64) *Column {
	return &Column{Key: name, Name: name, Title: title, Help: help, Of: func(r *attribution.Row) (Figure, bool) {
		if r.Lag == nil {
			return Figure{}, false
		}
		return Figure{Text: strconv.FormatFloat(of(r.Lag), 'f', -1, 64)}, true
	}}
}
