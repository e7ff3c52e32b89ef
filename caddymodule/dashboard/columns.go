package dashboard

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// column is one column of figures. Page, CSV file and plot all read their
// figures here.
type column struct {
	// Key is the name in addresses, Name that of CSV files and Title that of
	// people; Help says in a sentence what is counted.
	Key, Name, Title, Help string
	// of returns the figure of a row; ok is false where there is none.
	of func(*attribution.Row) (figure, bool)
}

// figure is an exact number and how it is written.
type figure struct {
	amount attribution.Amount
	text   string
}

func count(n int64) figure {
	return figure{attribution.AmountOf(n, 0), strconv.FormatInt(n, 10)}
}

func counter(key, name, title, help string, of func(*attribution.Counts) int64) *column {
	return &column{key, name, title, help, func(r *attribution.Row) (figure, bool) { return count(of(&r.Counts)), true }}
}

const rateKey = "rate"

// countColumns are the columns that every report has.
var countColumns = []*column{
	counter("clicks", "clicks", "Clicks", "Visits to tracked links, without bots and prefetches",
		func(c *attribution.Counts) int64 { return c.Clicks }),
	counter("conversions", "conversions", "Conversions", "Conversions of every status, at their own time, those of bots too",
		func(c *attribution.Counts) int64 { return c.Conversions }),
	{
		rateKey, "rate", "Conv. rate, %",
		"Conversions of every status for each hundred clicks; the clicks of bots are not in it",
		func(r *attribution.Row) (figure, bool) {
			rate, ok := r.Rate()
			return figure{rate, rate.Fixed(attribution.RateDigits())}, ok
		},
	},
	counter("pending", "pending", "Pending", "Conversions that the advertiser has not decided on",
		func(c *attribution.Counts) int64 { return c.Pending }),
	counter("approved", "approved", "Approved", "Conversions that are paid for; only these are revenue",
		func(c *attribution.Counts) int64 { return c.Approved }),
	counter("rejected", "rejected", "Rejected", "Conversions that the advertiser never accepted",
		func(c *attribution.Counts) int64 { return c.Rejected }),
	counter("reversed", "reversed", "Reversed", "Conversions that were taken back: refunds, chargebacks",
		func(c *attribution.Counts) int64 { return c.Reversed }),
	counter("bots", "bot_clicks", "Bot clicks", "Visits of known bots and of browsers that fetch ahead",
		func(c *attribution.Counts) int64 { return c.BotClicks }),
}

// moneyKeys begin the keys of columns of money; the currency follows.
var moneyKeys = []string{"revenue", "cost", "profit", "epc", "total_revenue", "total_cost", "total_profit", "total_epc"}

// cutKey takes the key of a column apart.
func cutKey(key string) (name, currency string, money bool) { return strings.Cut(key, ".") }

// leading is how many of countColumns stand in front of the money; the others,
// the details, stand behind it.
const leading = 3

// columnsOf lists the columns of a report: what matters most, the money for
// each currency that occurs, and the details.
func columnsOf(r *attribution.Report) []*column {
	columns := slices.Clone(countColumns[:leading])
	revenue := r.Currencies(func(c *attribution.Counts) attribution.Totals { return c.Revenue })
	cost := r.Currencies(func(c *attribution.Counts) attribution.Totals { return c.Cost })
	both := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(revenue), cost...))))
	for _, c := range revenue {
		columns = append(columns, money("revenue", "Revenue", "What is approved pays this much", c,
			func(n *attribution.Counts) attribution.Totals { return n.Revenue }))
	}
	for _, c := range cost {
		columns = append(columns, money("cost", "Cost", "What the clicks cost", c,
			func(n *attribution.Counts) attribution.Totals { return n.Cost }))
	}
	if len(cost) > 0 { // without any cost it would be the revenue again
		for _, c := range both {
			columns = append(columns, money("profit", "Profit", "Revenue less cost", c, (*attribution.Counts).Profit))
		}
	}
	for _, c := range revenue {
		columns = append(columns, epc(c))
	}
	columns = append(columns, convertedColumns(r)...)
	return append(columns, countColumns[leading:]...)
}

func money(key, title, help string, currency attribution.Currency, of func(*attribution.Counts) attribution.Totals) *column {
	code := string(currency)
	return &column{key + "." + code, key + "_" + code, title + " " + code, help, func(r *attribution.Row) (figure, bool) {
		m := attribution.Money{Amount: of(&r.Counts)[currency], Currency: currency}
		return figure{m.Amount, m.Format()}, true
	}}
}

const epcHelp = "Earnings per click: all revenue for each click; the clicks of bots are not in it"

func epc(currency attribution.Currency) *column {
	code := string(currency)
	return &column{"epc." + code, "epc_" + code, "EPC " + code, epcHelp, func(r *attribution.Row) (figure, bool) {
		a := r.EPC()[currency]
		return figure{a, a.Fixed(attribution.EPCDigits(currency))}, r.Clicks > 0
	}}
}

// convertedColumns are those of all currencies in one, if there are rates.
func convertedColumns(r *attribution.Report) []*column {
	total := r.TotalExtra.Converted
	if total == nil {
		return nil
	}
	currency := total.Currency
	of := func(key, title, help string, amount func(*attribution.Converted) attribution.Amount) *column {
		code := string(currency)
		return &column{
			"total_" + key + "." + code, "converted_" + key + "_" + code, "All in " + code + ": " + title, help,
			func(r *attribution.Row) (figure, bool) {
				if r.Converted == nil {
					return figure{}, false
				}
				m := attribution.Money{Amount: amount(r.Converted), Currency: currency}.Rounded()
				return figure{m.Amount, m.Format()}, true
			},
		}
	}
	columns := []*column{of("revenue", "revenue", "Revenue of all currencies, each at the rate of its day",
		func(c *attribution.Converted) attribution.Amount { return c.Revenue })}
	if len(r.Total.Cost) > 0 {
		columns = append(columns,
			of("cost", "cost", "Cost of all currencies, each at the rate of its day",
				func(c *attribution.Converted) attribution.Amount { return c.Cost }),
			of("profit", "profit", "Revenue less cost of all currencies, at the rates of the days",
				(*attribution.Converted).Profit))
	}
	code := string(currency)
	columns = append(columns, &column{
		"total_epc." + code, "converted_epc_" + code, "All in " + code + ": EPC", epcHelp,
		func(r *attribution.Row) (figure, bool) {
			if r.Converted == nil {
				return figure{}, false
			}
			a, ok := r.Converted.EPC(r.Clicks)
			return figure{a, a.Fixed(attribution.EPCDigits(currency))}, ok
		},
	})
	return columns
}

// grouped puts narrow blanks between thousands, for reading only.
func grouped(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "\u2212", s[1:]
	}
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || strings.Trim(whole, "0123456789") != "" {
		return sign + s
	}
	var b strings.Builder
	b.WriteString(sign)
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteString("\u202f")
		}
		b.WriteByte(whole[i])
	}
	if point {
		b.WriteString("." + frac)
	}
	return b.String()
}
