package dashboard

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/caddymodule/sheet"
)

// table is a report laid out, sorted and cut to so many rows.
type table struct {
	Heads []head
	Rows  [][]cell
	Total []cell
	// All counts the rows that there are, Left those that are not shown.
	All, Left int
}

// head is the heading of a column.
type head struct {
	Key, Title, Help string
	Number           bool
	// Sort is the address of the table sorted by this column; Sorted is the
	// value of aria-sort, "" if it is sorted by another.
	Sort, Sorted string
}

// cell is one value: Text for people, Plain exactly.
type cell struct {
	Key         string
	Text, Plain string
	Link        string
	Number      bool
	Zero        bool
	// None says that there is no value here.
	None bool
}

// makeTable lays a report out. Limit 0 takes all rows.
func makeTable(v *view, r *attribution.Report, limit uint64) *table {
	columns, rows, left := arrange(v, r, limit)
	t := &table{All: len(rows) + left, Left: left}
	t.heads(v, columns)
	for i := range rows {
		t.Rows = append(t.Rows, rowCells(v, columns, &rows[i]))
	}
	total := totalRow(v, r)
	t.Total = rowCells(nil, columns, &total)
	return t
}

// arrange chooses the columns of a report, sorts its rows and takes the first of
// them; left counts the others.
func arrange(v *view, r *attribution.Report, limit uint64) (columns []*sheet.Column, rows []attribution.Row, left int) {
	columns, rows = columnsOf(r), r.Rows
	if len(v.By) == 0 {
		rows = nil // the total says it all
	}
	key, falling := v.sorting()
	sortRows(v, rows, columns, key, falling)
	if limit > 0 && uint64(len(rows)) > limit {
		left = len(rows) - int(limit) //nolint:gosec // less than the rows
		rows = rows[:limit]
	}
	return columns, rows, left
}

func totalRow(v *view, r *attribution.Report) attribution.Row {
	return attribution.Row{Keys: make([]string, len(v.By)), Counts: r.Total, Extra: r.TotalExtra}
}

func rowCells(v *view, columns []*sheet.Column, r *attribution.Row) []cell {
	cells := make([]cell, 0, len(r.Keys)+len(columns))
	for i, key := range r.Keys {
		c := cell{Text: key, Plain: key}
		if v != nil {
			c.Key, c.Link, c.None = v.By[i], v.drill(v.By[i], key), key == ""
			c.Text = dimensionText(v.By[i], key)
		}
		cells = append(cells, c)
	}
	for _, col := range columns {
		c := cell{Key: col.Key, Number: true}
		if f, ok := col.Of(r); ok {
			c.Plain, c.Text, c.Zero = f.Text, grouped(f.Text), f.Amount.IsZero()
		} else {
			c.None = true
		}
		cells = append(cells, c)
	}
	return cells
}

// dimensionText is a value of a dimension for people.
func dimensionText(dimension, value string) string {
	if dimension != "hour" {
		return value
	}
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t.Format("2006-01-02 15:04 -07:00")
	}
	return value
}

// sorting returns the column by which the rows are sorted: as asked for, else
// times as they pass, else the most clicks first.
func (v *view) sorting() (key string, falling bool) {
	if v.Sort != "" {
		key, falling = strings.CutPrefix(v.Sort, "-")
		return key, falling
	}
	if len(v.By) > 0 && v.By[0] == v.timeDimension() {
		return v.By[0], false
	}
	return "clicks", true
}

// sortRows sorts the rows, which come in the order of their keys and keep it
// where they are alike.
func sortRows(v *view, rows []attribution.Row, columns []*sheet.Column, key string, falling bool) {
	sign := 1
	if falling {
		sign = -1
	}
	if i := slices.Index(v.By, key); i >= 0 {
		slices.SortStableFunc(rows, func(a, b attribution.Row) int {
			return sign * attribution.CompareKeys(key, a.Keys[i], b.Keys[i])
		})
		return
	}
	at := slices.IndexFunc(columns, func(c *sheet.Column) bool { return c.Key == key })
	if at < 0 {
		return // a currency that does not occur
	}
	slices.SortStableFunc(rows, func(a, b attribution.Row) int {
		x, okX := columns[at].Of(&a)
		y, okY := columns[at].Of(&b)
		if !okX || !okY {
			return cmp.Compare(rank(okY), rank(okX)) // what has no figure comes last
		}
		return sign * x.Amount.Cmp(y.Amount)
	})
}

func rank(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

func (t *table) heads(v *view, columns []*sheet.Column) {
	sortKey, falling := v.sorting()
	add := func(h head, fallingFirst bool) {
		next := h.Key
		if h.Key == sortKey {
			h.Sorted = "ascending"
			if falling {
				h.Sorted = "descending"
			}
			fallingFirst = !falling
		}
		if fallingFirst {
			next = "-" + next
		}
		h.Sort = v.with(func(c *view) { c.Sort = next })
		t.Heads = append(t.Heads, h)
	}
	for _, d := range v.By {
		add(head{Key: d, Title: dimensionTitle(d), Help: "Choose a value to look into it"}, false)
	}
	for _, c := range columns {
		add(head{Key: c.Key, Title: c.Title, Help: c.Help, Number: true}, true)
	}
}

// csvChunk is how many lines of a CSV file are made at a time: a report can
// have very many.
const csvChunk = 500

// csv answers with the rows as the page shows them, in a file: without the
// total, which programs make themselves, unless it is all there is. Its columns
// are those of the command's file.
func (c *call) csv(v *view, r *attribution.Report, name string) error {
	_, rows, _ := arrange(v, r, v.Limit)
	if len(v.By) == 0 {
		rows = []attribution.Row{totalRow(v, r)}
	}
	columns := sheet.ForPrograms(r, false)
	hd := c.w.Header()
	hd.Set("Content-Type", "text/csv; charset=utf-8")
	hd.Set("Content-Disposition", "attachment; filename="+strconv.Quote(name))
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	records := [][]string{append(slices.Clone(v.By), sheet.Names(columns)...)}
	for i := range rows {
		record := slices.Clone(rows[i].Keys)
		for _, col := range columns {
			record = append(record, col.Cell(&rows[i]))
		}
		records = append(records, record)
		if len(records) >= csvChunk {
			if err := sheet.Write(c.w, records); err != nil {
				return &sentError{fmt.Errorf("writing the CSV file: %w", err)}
			}
			records = records[:0]
		}
	}
	if err := sheet.Write(c.w, records); err != nil {
		return &sentError{fmt.Errorf("writing the CSV file: %w", err)}
	}
	return nil
}

// filterList lists the filters in a stable order.
func (v *view) filterList() [][2]string {
	list := make([][2]string, 0, len(v.Filters))
	for name, value := range v.Filters {
		list = append(list, [2]string{name, value})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return list
}
