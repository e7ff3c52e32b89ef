package caddymodule

import (
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// reportColumn is a column of a report on a terminal or in a file.
type reportColumn struct {
	column
	cell func(*attribution.Row) string
}

// room says how well columns of figures can be missed on a narrow terminal, by
// what they count; those that are not named here never.
var room = map[string]column{
	"bot_clicks": {spare: true, rank: 9}, "pending": {spare: true, rank: 8}, "rejected": {spare: true, rank: 7},
	"reversed": {spare: true, rank: 6}, "approved": {rank: 5}, "epc": {rank: 4}, "cost": {rank: 3}, "rate": {rank: 2},
	"profit": {rank: 1}, "converted_epc": {rank: 4}, "converted_cost": {rank: 3}, "converted_profit": {rank: 1},
}

// programColumns are the columns of a report for programs, named as everywhere.
func programColumns(r *attribution.Report, lag bool) []reportColumn {
	return reportColumns(sheet.ForPrograms(r, lag))
}

func reportColumns(list []*sheet.Column) []reportColumn {
	columns := make([]reportColumn, 0, len(list))
	for _, c := range list {
		col := room[c.Kind()]
		col.title, col.number = strings.ReplaceAll(c.Name, "_", " "), !c.Text
		columns = append(columns, reportColumn{col, c.Cell})
	}
	return columns
}

// peopleColumns are those for people: figures have their signs, and what has
// nothing to say is not there.
func peopleColumns(r *attribution.Report, lag bool) []reportColumn {
	columns := reportColumns(sheet.Columns(r))
	for i := range columns {
		if columns[i].title == sheet.RateKey {
			plain := columns[i].cell
			columns[i].cell = func(r *attribution.Row) string { return withPercent(plain(r)) }
		}
	}
	if total := r.TotalExtra.Converted; total != nil && len(total.WithoutRate) > 0 {
		columns = append(columns, reportColumn{column{title: "without rate"}, sheet.WithoutRate.Cell})
	}
	if lag {
		columns = append(columns,
			lagColumn("lag median", func(l *attribution.Lag) float64 { return l.Median }),
			lagColumn("lag p90", func(l *attribution.Lag) float64 { return l.P90 }))
	}
	return columns
}

func withPercent(rate string) string {
	if rate == "" {
		return ""
	}
	return rate + "%"
}

func lagColumn(title string, of func(*attribution.Lag) float64) reportColumn {
	return reportColumn{column{title: title, number: true}, func(r *attribution.Row) string {
		if r.Lag == nil {
			return ""
		}
		return spanCell(time.Duration(of(r.Lag) * float64(time.Second)))
	}}
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
