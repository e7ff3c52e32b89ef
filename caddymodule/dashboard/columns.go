package dashboard

import (
	"cmp"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// columnsOf lists the columns of a report as pages have them: what matters most,
// the money, and the details.
func columnsOf(r *attribution.Report) []*sheet.Column {
	columns := sheet.Columns(r)
	slices.SortStableFunc(columns, func(a, b *sheet.Column) int { return cmp.Compare(place(a.Key), place(b.Key)) })
	return columns
}

// place is where a column stands on a page, among others of its place in the
// order of all lists.
func place(key string) int {
	switch key {
	case "clicks", "conversions", sheet.RateKey:
		return 0
	case "pending", "approved", "rejected", "reversed":
		return 2
	case "bots":
		return 3
	}
	return 1
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
