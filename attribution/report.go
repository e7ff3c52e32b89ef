package attribution

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Row is one line of a report. Keys are parallel to the report's By.
type Row struct {
	Keys []string
	Counts
	Extra
}

// Report is the answer to a [Query].
type Report struct {
	From, To time.Time
	By       []string
	Rows     []Row
	Total    Counts
	// TotalExtra belongs to Total.
	TotalExtra Extra
}

// Currencies lists those that occur anywhere in one of the report's sums, in
// alphabetical order.
func (r *Report) Currencies(sums func(*Counts) Totals) []Currency {
	all := make(map[Currency]bool)
	add := func(c *Counts) {
		for currency := range sums(c) {
			all[currency] = true
		}
	}
	add(&r.Total)
	for i := range r.Rows {
		add(&r.Rows[i].Counts)
	}
	return slices.Sorted(maps.Keys(all))
}

// countsJSON is what a row and the total have in common.
type countsJSON struct {
	Counts
	Extra
}

// MarshalJSON writes the report as the admin API answers it. In a row the
// dimensions come first, under their own names and in the order of By.
func (r Report) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	head := struct {
		From time.Time `json:"from"`
		To   time.Time `json:"to"`
		By   []string  `json:"by"`
	}{r.From, r.To, r.By}
	if head.By == nil {
		head.By = []string{}
	}
	if err := appendFields(&b, head); err != nil {
		return nil, err
	}
	b.WriteString(`,"rows":[`)
	for i, row := range r.Rows {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := appendRow(&b, r.By, row); err != nil {
			return nil, fmt.Errorf("writing row %d of the report: %w", i, err)
		}
	}
	b.WriteString(`],"total":`)
	total, err := json.Marshal(countsJSON{r.Total, r.TotalExtra})
	if err != nil {
		return nil, fmt.Errorf("writing the total of the report: %w", err)
	}
	b.Write(total)
	b.WriteByte('}')
	return b.Bytes(), nil
}

// appendFields writes a value that is a JSON object and leaves it open.
func appendFields(b *bytes.Buffer, v any) error {
	object, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	b.Write(object[:len(object)-1])
	return nil
}

func appendRow(b *bytes.Buffer, by []string, row Row) error {
	if len(row.Keys) != len(by) {
		return fmt.Errorf("it has %d keys for %d dimensions", len(row.Keys), len(by))
	}
	b.WriteByte('{')
	for i, name := range by {
		for j, s := range [...]string{name, row.Keys[i]} {
			text, err := json.Marshal(s)
			if err != nil {
				return fmt.Errorf("writing %q: %w", s, err)
			}
			b.Write(text)
			b.WriteByte(":,"[j])
		}
	}
	counts, err := json.Marshal(countsJSON{row.Counts, row.Extra})
	if err != nil {
		return err
	}
	b.Write(counts[1:])
	return nil
}

// UnmarshalJSON is the inverse of [Report.MarshalJSON].
func (r *Report) UnmarshalJSON(data []byte) error {
	var raw struct {
		From, To time.Time
		By       []string
		Rows     []json.RawMessage
		Total    countsJSON
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return fmt.Errorf("reading report: %w", err)
	}
	out := Report{From: raw.From, To: raw.To, By: raw.By, Total: raw.Total.Counts, TotalExtra: raw.Total.Extra}
	for i, data := range raw.Rows {
		row, err := readRow(raw.By, data)
		if err != nil {
			return fmt.Errorf("reading row %d of the report: %w", i, err)
		}
		out.Rows = append(out.Rows, row)
	}
	*r = out
	return nil
}

func readRow(by []string, data []byte) (Row, error) {
	row := Row{Keys: make([]string, len(by))}
	var counts countsJSON
	if err := json.Unmarshal(data, &counts); err != nil {
		return Row{}, err
	}
	row.Counts, row.Extra = counts.Counts, counts.Extra
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return Row{}, err
	}
	for i, name := range by {
		value, ok := fields[name]
		if !ok {
			return Row{}, fmt.Errorf("dimension %q is missing", name)
		}
		if err := json.Unmarshal(value, &row.Keys[i]); err != nil {
			return Row{}, fmt.Errorf("reading dimension %q: %w", name, err)
		}
	}
	return row, nil
}
