package sheet

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// Column is one column of a report. Pages, plots, tables and CSV files all have
// their names and figures from here, so that the same question has the same
// answer everywhere.
type Column struct {
	// Name is what programs call it, in the heading of CSV files: the members of
	// the admin API's JSON that lead to it, and the currency, joined by "_".
	Name string
	// Key is its name in addresses of pages: "revenue.USD".
	Key string
	// Title is for people, and Help says in a sentence what is counted.
	Title, Help string
	// Of returns what a row has there; ok is false where there is nothing.
	Of func(*attribution.Row) (f Figure, ok bool)
	// Text says that it is no number.
	Text bool
}

// Figure is an exact number and how it is written.
type Figure struct {
	Amount attribution.Amount
	Text   string
}

// Cell is the figure of a row as text, empty where there is none.
func (c *Column) Cell(r *attribution.Row) string {
	f, ok := c.Of(r)
	if !ok {
		return ""
	}
	return f.Text
}

// Kind is the name of a column without its currency: "revenue", "rate".
func (c *Column) Kind() string {
	if _, currency, money := strings.Cut(c.Key, "."); money {
		return strings.TrimSuffix(c.Name, "_"+currency)
	}
	return c.Name
}

// RateKey is the key of the conversion rate.
const RateKey = "rate"

// MoneyKeys begin the keys of columns of money; the currency follows.
var MoneyKeys = []string{"revenue", "cost", "profit", "epc", "total_revenue", "total_cost", "total_profit", "total_epc"}

// Names are the headings of columns for programs.
func Names(columns []*Column) []string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return names
}

// Columns lists the columns of figures of a report in the order of its JSON:
// the counts, the money for each currency that occurs, and what follows from
// them.
func Columns(r *attribution.Report) []*Column {
	columns := slices.Clone(Counts)
	revenue := r.Currencies(func(c *attribution.Counts) attribution.Totals { return c.Revenue })
	cost := r.Currencies(func(c *attribution.Counts) attribution.Totals { return c.Cost })
	for _, c := range revenue {
		columns = append(columns, money("revenue", "Revenue", "What is approved pays this much", c,
			func(n *attribution.Counts) attribution.Totals { return n.Revenue }))
	}
	for _, c := range cost {
		columns = append(columns, money("cost", "Cost", "What the clicks cost", c,
			func(n *attribution.Counts) attribution.Totals { return n.Cost }))
	}
	columns = append(columns, rate)
	if len(cost) > 0 { // without any cost it would be the revenue again
		both := slices.Concat(revenue, cost)
		slices.Sort(both)
		for _, c := range slices.Compact(both) {
			columns = append(columns, money("profit", "Profit", "Revenue less cost", c, (*attribution.Counts).Profit))
		}
	}
	for _, c := range revenue {
		columns = append(columns, perClick(c))
	}
	return append(columns, converted(r)...)
}

// ForPrograms lists all that a CSV file of a report has beside its dimensions:
// the columns of figures, what the converted total leaves out, and the time
// from click to conversion, if that was asked for.
func ForPrograms(r *attribution.Report, lag bool) []*Column {
	columns := Columns(r)
	if r.TotalExtra.Converted != nil {
		columns = append(columns, WithoutRate)
	}
	if lag {
		columns = append(columns, Lags...)
	}
	return columns
}

// Counts are the columns that every report has, beside the rate.
var Counts = []*Column{
	counter("clicks", "clicks", "Clicks", "Visits to tracked links, without bots and prefetches",
		func(c *attribution.Counts) int64 { return c.Clicks }),
	counter("bots", "bot_clicks", "Bot clicks", "Visits of known bots and of browsers that fetch ahead",
		func(c *attribution.Counts) int64 { return c.BotClicks }),
	counter("conversions", "conversions", "Conversions", "Conversions of every status, at their own time, those of bots too",
		func(c *attribution.Counts) int64 { return c.Conversions }),
	counter("pending", "pending", "Pending", "Conversions that the advertiser has not decided on",
		func(c *attribution.Counts) int64 { return c.Pending }),
	counter("approved", "approved", "Approved", "Conversions that are paid for; only these are revenue",
		func(c *attribution.Counts) int64 { return c.Approved }),
	counter("rejected", "rejected", "Rejected", "Conversions that the advertiser never accepted",
		func(c *attribution.Counts) int64 { return c.Rejected }),
	counter("reversed", "reversed", "Reversed", "Conversions that were taken back: refunds, chargebacks",
		func(c *attribution.Counts) int64 { return c.Reversed }),
}

func counter(key, name, title, help string, of func(*attribution.Counts) int64) *Column {
	return &Column{Key: key, Name: name, Title: title, Help: help, Of: func(r *attribution.Row) (Figure, bool) {
		n := of(&r.Counts)
		return Figure{attribution.AmountOf(n, 0), strconv.FormatInt(n, 10)}, true
	}}
}

var rate = &Column{
	Key: RateKey, Name: "rate", Title: "Conv. rate, %",
	Help: "Conversions of every status for each hundred clicks; the clicks of bots are not in it",
	Of: func(r *attribution.Row) (Figure, bool) {
		percent, ok := r.Rate()
		return Figure{percent, percent.Fixed(attribution.RateDigits())}, ok
	},
}
