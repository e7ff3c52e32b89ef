package pgstore

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-capture/caddy-capture/capture"
)

// blockColumns is what the view of clicks reads of a block: for each click an
// element in each of the arrays. A block's clicks share most of their names, so
// that these are in there once, in words; a name is its place there, from 1 on.
type blockColumns struct {
	first, last int64
	words       []string
	after       []int64
	flags       []int16
	campaigns   []int16
	sources     []int16
	// destinations are as configured, without the click ID.
	destinations []int16
	costs        []string // "" where currencies has 0: no cost is known
	currencies   []int16
	subs         []byte

	places map[string]int16
}

// fill reads a block that has clicks.
func (c *blockColumns) fill(b *capture.Block) error {
	c.reset(b)
	hasSubs := false
	for _, click := range b.Clicks {
		c.after = append(c.after, click.Time.UnixMilli()-c.first)
		c.flags = append(c.flags, int16(click.Flags))
		c.campaigns = append(c.campaigns, c.place(click.Campaign))
		c.sources = append(c.sources, c.place(click.Source))
		c.destinations = append(c.destinations, c.place(click.Destination))
		currency, cost := int16(0), ""
		if click.Cost.Currency != "" {
			currency, cost = c.place(string(click.Cost.Currency)), click.Cost.Amount.String()
		}
		c.costs, c.currencies = append(c.costs, cost), append(c.currencies, currency)
		hasSubs = hasSubs || len(click.Subs) > 0
	}
	c.subs = append(c.subs, '[')
	for i := 0; hasSubs && i < len(b.Clicks); i++ {
		if i > 0 {
			c.subs = append(c.subs, ',')
		}
		var err error
		if c.subs, err = appendSubs(c.subs, b.Clicks[i].Subs); err != nil {
			return err
		}
	}
	c.subs = append(c.subs, ']')
	return nil
}

func (c *blockColumns) reset(b *capture.Block) {
	if c.places == nil {
		c.places = make(map[string]int16)
	}
	clear(c.places)
	c.words, c.after, c.flags, c.campaigns, c.sources = c.words[:0], c.after[:0], c.flags[:0], c.campaigns[:0], c.sources[:0]
	c.destinations, c.costs, c.currencies, c.subs = c.destinations[:0], c.costs[:0], c.currencies[:0], c.subs[:0]
	c.first = b.Clicks[0].Time.UnixMilli()
	c.last = c.first
	for _, click := range b.Clicks {
		ms := click.Time.UnixMilli()
		c.first, c.last = min(c.first, ms), max(c.last, ms)
	}
}

func (c *blockColumns) place(word string) int16 {
	i, ok := c.places[word]
	if !ok {
		c.words = append(c.words, escape(word))
		i = int16(len(c.words)) //nolint:gosec // a few for each click
		c.places[word] = i
	}
	return i
}

// appendSubs writes sub-IDs as a JSON object. Of several of one name the first
// counts, as in reports, and PostgreSQL keeps the last.
func appendSubs(b []byte, params []capture.Param) ([]byte, error) {
	b = append(b, '{')
	for i, p := range slices.Backward(params) {
		var err error
		if b, err = appendJSON(b, escape(p.Name)); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = appendJSON(b, escape(p.Value)); err != nil {
			return nil, err
		}
		if i > 0 {
			b = append(b, ',')
		}
	}
	return append(b, '}'), nil
}

func appendJSON(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c > '~' {
			text, err := json.Marshal(s)
			return append(b, text...), err
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}

// numbersLiteral writes an array of numbers as PostgreSQL reads it.
func numbersLiteral[T int16 | int64](list []T) string {
	b := make([]byte, 0, 4*len(list)+2)
	b = append(b, '{')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(append(b, '}'))
}

// costsLiteral writes amounts; what is not known is NULL.
func costsLiteral(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if s == "" {
			s = "NULL"
		}
		b.WriteString(s)
	}
	b.WriteByte('}')
	return b.String()
}
