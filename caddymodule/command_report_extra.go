package caddymodule

import (
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// extraColumn is a column of a report beyond its counts.
type extraColumn struct {
	column
	cell func(*attribution.Row) string
}

// addExtras adds the columns of what a report says beyond its counts: the
// converted total, if there are rates, and the lag, if it was asked for.
func (t *table) addExtras(r *attribution.Report, lag, programs bool) {
	columns := convertedColumns(r, programs)
	if lag {
		columns = append(columns, lagColumns(programs)...)
	}
	for _, c := range columns {
		t.columns = append(t.columns, c.column)
		for i := range t.rows {
			t.rows[i] = append(t.rows[i], c.cell(&r.Rows[i]))
		}
		t.total = append(t.total, c.cell(&attribution.Row{Counts: r.Total, Extra: r.TotalExtra}))
	}
}

func convertedColumns(r *attribution.Report, programs bool) []extraColumn {
	total := r.TotalExtra.Converted
	if total == nil {
		return nil
	}
	// The amounts are rounded to the currency as the JSON has them.
	money := func(title string, rank int, of func(*attribution.Converted) attribution.Amount) extraColumn {
		return extraColumn{
			column{title: title + string(total.Currency), number: true, rank: rank},
			func(e *attribution.Row) string {
				if e.Converted == nil {
					return ""
				}
				return attribution.Money{Amount: of(e.Converted), Currency: total.Currency}.Format()
			},
		}
	}
	columns := []extraColumn{
		money("converted revenue ", 0, func(c *attribution.Converted) attribution.Amount { return c.Revenue }),
	}
	if len(r.Total.Cost) > 0 {
		columns = append(columns,
			money("converted cost ", 3, func(c *attribution.Converted) attribution.Amount { return c.Cost }),
			money("converted profit ", 1, (*attribution.Converted).Profit))
	}
	columns = append(columns, extraColumn{
		column{title: "converted epc " + string(total.Currency), number: true, rank: 4},
		func(e *attribution.Row) string {
			if e.Converted == nil {
				return ""
			}
			epc, ok := e.Converted.EPC(e.Clicks)
			if !ok {
				return ""
			}
			return epc.Fixed(attribution.EPCDigits(total.Currency))
		},
	})
	if !programs && len(total.WithoutRate) == 0 {
		return columns
	}
	return append(columns, extraColumn{
		column{title: "without rate"},
		func(e *attribution.Row) string {
			if e.Converted == nil {
				return ""
			}
			names := make([]string, len(e.Converted.WithoutRate))
			for i, c := range e.Converted.WithoutRate {
				names[i] = string(c)
			}
			return strings.Join(names, " ")
		},
	})
}

// lagColumns are in seconds for programs.
func lagColumns(programs bool) []extraColumn {
	unit := ""
	if programs {
		unit = " seconds"
	}
	span := func(title string, of func(*attribution.Lag) float64) extraColumn {
		return extraColumn{
			column{title: title + unit, number: true},
			func(e *attribution.Row) string {
				switch {
				case e.Lag == nil:
					return ""
				case programs:
					return strconv.FormatFloat(of(e.Lag), 'f', -1, 64)
				}
				return spanCell(time.Duration(of(e.Lag) * float64(time.Second)))
			},
		}
	}
	return []extraColumn{
		span("median lag", func(l *attribution.Lag) float64 { return l.Median }),
		span("p90 lag", func(l *attribution.Lag) float64 { return l.P90 }),
	}
}

// spanCell writes a time span for people, like "2d 3h" or "14m 5s".
func spanCell(d time.Duration) string {
	d = d.Round(time.Second)
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units {
		n := d / u.size
		if n == 0 {
			continue
		}
		s := strconv.FormatInt(int64(n), 10) + u.name
		if i+1 < len(units) {
			if rest := (d % u.size) / units[i+1].size; rest > 0 {
				s += " " + strconv.FormatInt(int64(rest), 10) + units[i+1].name
			}
		}
		return s
	}
	return "0s"
}
