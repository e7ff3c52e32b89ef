package pgstore

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// sumRows are what is added to rows of sums.
type sumRows struct {
	quarters, nodes                               []int32
	cells                                         [][]byte
	currencies, campaigns, sources, dests, events []string
	numbers                                       [7][]int64
	revenue, cost                                 []string
}

// cellHash stands for the names of a cell, which can be too long for an index.
func cellHash(c *capture.Cell) []byte {
	var b []byte
	for _, s := range [...]string{c.Campaign, c.Source, c.Destination, c.Event} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return sum[:16]
}

func (r *sumRows) add(node int32, cell *capture.Cell, c *attribution.Counts) {
	hash := cellHash(cell)
	row := func(currency string, n [7]int64, revenue, cost attribution.Amount) {
		r.quarters, r.nodes, r.cells = append(r.quarters, int32(cell.Quarter)), append(r.nodes, node), append(r.cells, hash) //nolint:gosec // good until the year 61,000
		r.currencies, r.campaigns = append(r.currencies, escape(currency)), append(r.campaigns, escape(cell.Campaign))
		r.sources, r.dests, r.events = append(r.sources, escape(cell.Source)), append(r.dests, escape(cell.Destination)), append(r.events, escape(cell.Event))
		for i := range n {
			r.numbers[i] = append(r.numbers[i], n[i])
		}
		r.revenue, r.cost = append(r.revenue, revenue.String()), append(r.cost, cost.String())
	}
	n := [7]int64{c.Clicks, c.BotClicks, c.Conversions, c.Pending, c.Approved, c.Rejected, c.Reversed}
	if n != [7]int64{} {
		row("", n, attribution.Amount{}, attribution.Amount{})
	}
	currencies := make(map[attribution.Currency]bool)
	for _, totals := range []attribution.Totals{c.Revenue, c.Cost} {
		for currency := range totals {
			currencies[currency] = true
		}
	}
	for _, currency := range slices.Sorted(maps.Keys(currencies)) {
		row(string(currency), [7]int64{}, c.Revenue[currency], c.Cost[currency])
	}
}

func (r *sumRows) put(s schema, b *pgx.Batch) {
	if len(r.quarters) == 0 {
		return
	}
	b.Queue(s.q(`INSERT INTO {s}.sums AS t (quarter, node, cell, currency, campaign, source, destination, event,
	clicks, bot_clicks, conversions, pending, approved, rejected, reversed, revenue, cost)
SELECT quarter, node, cell, currency, campaign, source, destination, event,
	clicks, bot_clicks, conversions, pending, approved, rejected, reversed, revenue::numeric, cost::numeric
FROM unnest($1::int[], $2::int[], $3::bytea[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
	$9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[], $17::text[])
	AS r(quarter, node, cell, currency, campaign, source, destination, event,
		clicks, bot_clicks, conversions, pending, approved, rejected, reversed, revenue, cost)
ON CONFLICT (quarter, node, cell, currency) DO UPDATE SET clicks = t.clicks + excluded.clicks, bot_clicks = t.bot_clicks + excluded.bot_clicks,
	conversions = t.conversions + excluded.conversions, pending = t.pending + excluded.pending, approved = t.approved + excluded.approved,
	rejected = t.rejected + excluded.rejected, reversed = t.reversed + excluded.reversed,
	revenue = t.revenue + excluded.revenue, cost = t.cost + excluded.cost`),
		r.quarters, r.nodes, r.cells, r.currencies, r.campaigns, r.sources, r.dests, r.events,
		r.numbers[0], r.numbers[1], r.numbers[2], r.numbers[3], r.numbers[4], r.numbers[5], r.numbers[6], r.revenue, r.cost)
}
