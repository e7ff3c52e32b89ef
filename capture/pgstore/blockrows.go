package pgstore

import (
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// dayOf returns the day of a time, UTC.
func dayOf(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// places are where clicks are looked for: a block lies in the partition of its
// first click's day, which may be the day before the click's own.
type places struct {
	days    []time.Time
	nodes   []int32
	numbers []int64
}

func (p *places) add(ref clickid.Ref) {
	day := dayOf(ref.Time())
	for _, d := range []time.Time{day.AddDate(0, 0, -1), day} {
		if !slices.Contains(p.days, d) {
			p.days = append(p.days, d)
		}
	}
	p.nodes = append(p.nodes, int32(ref.Epoch))
	p.numbers = append(p.numbers, int64(ref.Block)) //nolint:gosec // at most clickid.MaxBlock
}

// blocksNear finds blocks where their times say they are: a constant list of
// days, so that partitions are left out before anything is planned. A block
// whose clicks are of several days, as the clock was set in between, is found
// by blocksFar, which looks into all partitions.
const (
	blocksNear = `SELECT b.node, b.number, b.data FROM {s}.blocks b
WHERE b.day = ANY($1::date[]) AND (b.node, b.number) IN (SELECT * FROM unnest($2::int[], $3::bigint[]))`
	blocksFar = `SELECT b.node, b.number, b.data FROM {s}.blocks b
WHERE (b.node, b.number) IN (SELECT * FROM unnest($1::int[], $2::bigint[]))`
)

// blockRows are rows of blocks.
type blockRows struct {
	days                 []time.Time
	nodes, fronts        []int32
	numbers, first, last []int64
	data                 [][]byte
	// Arrays, as text: there are none of arrays of several lengths.
	words, after, flags, campaigns, sources []string
	destinations, costs, currencies, subs   []string

	columns blockColumns // reused
}

func (r *blockRows) add(node int32, b *capture.Block) error {
	if len(b.Clicks) == 0 {
		return fmt.Errorf("%w: block %d of node %d has no clicks", errDamaged, b.Number, node)
	}
	c := &r.columns
	if err := c.fill(b); err != nil {
		return err
	}
	data := capture.EncodeBlock(b)
	r.days, r.nodes, r.numbers = append(r.days, dayOf(time.UnixMilli(c.first))), append(r.nodes, node), append(r.numbers, int64(b.Number)) //nolint:gosec // at most clickid.MaxBlock
	r.first, r.last = append(r.first, c.first), append(r.last, c.last)
	r.data, r.fronts = append(r.data, data), append(r.fronts, int32(capture.FrontLength(data))) //nolint:gosec // small
	r.words, r.after, r.flags = append(r.words, arrayLiteral(c.words)), append(r.after, numbersLiteral(c.after)), append(r.flags, numbersLiteral(c.flags))
	r.campaigns, r.sources = append(r.campaigns, numbersLiteral(c.campaigns)), append(r.sources, numbersLiteral(c.sources))
	r.destinations, r.costs = append(r.destinations, numbersLiteral(c.destinations)), append(r.costs, costsLiteral(c.costs))
	r.currencies, r.subs = append(r.currencies, numbersLiteral(c.currencies)), append(r.subs, string(c.subs))
	return nil
}

// insert queues the rows. What is there already stays, unless it is to be
// replaced.
func (r *blockRows) insert(s schema, b *pgx.Batch, replace bool) {
	if len(r.days) == 0 {
		return
	}
	sql := `INSERT INTO {s}.blocks (day, node, number, first_ms, last_ms, data, front, words, after_ms, flags, campaigns, sources, destinations, costs, currencies, subs)
SELECT day, node, number, first_ms, last_ms, data, front, words::text[], after_ms::bigint[], flags::smallint[], campaigns::smallint[],
	sources::smallint[], destinations::smallint[], costs::numeric[], currencies::smallint[], subs::jsonb
FROM unnest($1::date[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::int[], $8::text[], $9::text[], $10::text[],
	$11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[])
	AS r(day, node, number, first_ms, last_ms, data, front, words, after_ms, flags, campaigns, sources, destinations, costs, currencies, subs)`
	if replace { // an erased visitor is in these
		sql += `
ON CONFLICT (node, number, day) DO UPDATE SET data = excluded.data, front = excluded.front, flags = excluded.flags, subs = excluded.subs`
	}
	b.Queue(s.q(sql), r.days, r.nodes, r.numbers, r.first, r.last, r.data, r.fronts, r.words, r.after, r.flags, r.campaigns, r.sources,
		r.destinations, r.costs, r.currencies, r.subs)
}
