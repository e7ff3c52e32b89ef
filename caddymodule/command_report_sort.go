package caddymodule

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// sortReport puts the rows in the order of a column, named as in CSV or as on
// the pages: "clicks", "revenue_USD", "revenue.USD", or "revenue" where that is
// one column or there is a converted one. With a - in front the order falls.
// Rows that have nothing there come last.
func sortReport(r *attribution.Report, by string, lag bool) error {
	name, falling := strings.CutPrefix(by, "-")
	for _, c := range sheet.ForPrograms(r, lag) {
		if c.Key == name {
			name = c.Name
		}
	}
	t := reportTable(r, programColumns(r, lag))
	col, err := t.find(name)
	if err != nil {
		return err
	}
	order := make([]int, len(r.Rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := t.rows[a][col], t.rows[b][col]
		if x == "" || y == "" {
			return cmp.Compare(len(y), len(x)) // the empty one is last
		}
		var c int
		switch {
		case col < len(r.By):
			c = attribution.CompareKeys(r.By[col], x, y)
		case t.columns[col].number:
			c = number(x).Cmp(number(y))
		default:
			c = strings.Compare(x, y)
		}
		if falling {
			c = -c
		}
		return c
	})
	rows := make([]attribution.Row, len(order))
	for i, from := range order {
		rows[i] = r.Rows[from]
	}
	r.Rows = rows
	return nil
}

// number reads a cell of figures, exactly.
func number(cell string) *big.Rat {
	n, ok := new(big.Rat).SetString(cell)
	if !ok {
		return new(big.Rat)
	}
	return n
}

// find returns the column that a name means.
func (t *table) find(name string) (int, error) {
	plain := strings.NewReplacer(".", "_", " ", "_", "-", "_")
	want := plain.Replace(strings.ToLower(name))
	var begin []int
	for i, known := range t.names() {
		known = plain.Replace(strings.ToLower(known))
		switch {
		case known == want:
			return i, nil
		case strings.HasPrefix(known, "converted_"+want+"_"):
			return i, nil
		case strings.HasPrefix(known, want+"_") && t.columns[i].number:
			begin = append(begin, i)
		}
	}
	// The converted one stands behind those that it sums up.
	if len(begin) == 1 {
		return begin[0], nil
	}
	if len(begin) > 1 {
		return 0, fmt.Errorf("--sort %q could be one of several columns: name the currency, as in %s", name, t.names()[begin[0]])
	}
	return 0, fmt.Errorf("--sort %q is no column of this report: use one of %s", name, strings.Join(t.names(), ", "))
}
