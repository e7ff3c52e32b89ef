package pgstore

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// conversionRows are rows of conversions.
type conversionRows struct {
	ids, clicks, data                                    [][]byte
	rules, status                                        []int16
	booked, test                                         []bool
	at, clickAt                                          []time.Time
	campaigns, sources, destinations, events, txids, cur []string
	payouts                                              []*string
	names, subs                                          []string
}

func (r *conversionRows) add(c *capture.Conversion) error {
	data, err := capture.EncodeRecord(c)
	if err != nil {
		return err
	}
	subs, err := appendSubs(nil, c.Subs)
	if err != nil {
		return err
	}
	click := c.Click.Key()
	r.ids, r.names = append(r.ids, c.ID[:]), append(r.names, c.ID.String())
	r.clicks, r.data = append(r.clicks, click[:]), append(r.data, data)
	r.rules, r.status = append(r.rules, ruleOf(c.Known())), append(r.status, int16(c.State.Status)) //nolint:gosec // one of a few
	r.booked, r.test = append(r.booked, c.State.Booked), append(r.test, c.Test)
	r.at, r.clickAt = append(r.at, c.State.Time.UTC()), append(r.clickAt, c.ClickTime.UTC())
	r.campaigns, r.sources = append(r.campaigns, escape(c.Campaign)), append(r.sources, escape(c.Source))
	r.destinations, r.events = append(r.destinations, escape(c.Destination)), append(r.events, escape(c.State.Event))
	r.txids, r.subs = append(r.txids, escape(c.State.TxID)), append(r.subs, string(subs))
	var payout *string
	currency := ""
	if c.State.HasPayout {
		text := c.State.Payout.Amount.String()
		payout, currency = &text, escape(string(c.State.Payout.Currency))
	}
	r.payouts, r.cur = append(r.payouts, payout), append(r.cur, currency)
	return nil
}

func (r *conversionRows) put(s schema, b *pgx.Batch) {
	if len(r.ids) == 0 {
		return
	}
	b.Queue(s.q(`INSERT INTO {s}.ledger (id, name, click, rule, booked, test, at, click_at, campaign, source, destination, event, txid, status, payout, currency, subs, data)
SELECT id, name, click, rule, booked, test, at, click_at, campaign, source, destination, event, txid, status, payout::numeric, currency, subs::jsonb, data
FROM unnest($1::bytea[], $2::text[], $3::bytea[], $4::smallint[], $5::boolean[], $6::boolean[], $7::timestamptz[], $8::timestamptz[],
	$9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::smallint[], $15::text[], $16::text[], $17::text[], $18::bytea[])
	AS r(id, name, click, rule, booked, test, at, click_at, campaign, source, destination, event, txid, status, payout, currency, subs, data)
ON CONFLICT (id) DO UPDATE SET rule = excluded.rule, booked = excluded.booked, test = excluded.test, at = excluded.at,
	click_at = excluded.click_at, campaign = excluded.campaign, source = excluded.source, destination = excluded.destination,
	event = excluded.event, txid = excluded.txid, status = excluded.status, payout = excluded.payout, currency = excluded.currency,
	subs = excluded.subs, data = excluded.data`),
		r.ids, r.names, r.clicks, r.rules, r.booked, r.test, r.at, r.clickAt, r.campaigns, r.sources, r.destinations, r.events, r.txids,
		r.status, r.payouts, r.cur, r.subs, r.data)
}

// pairs are rows of txids.
type pairs struct{ keys, ids [][]byte }

func (p *pairs) add(key capture.TxKey, id attribution.ConversionID) {
	p.keys, p.ids = append(p.keys, key[:]), append(p.ids, id[:])
}

func (p *pairs) put(s schema, b *pgx.Batch) {
	if len(p.keys) > 0 {
		b.Queue(s.q(`INSERT INTO {s}.txids (key, conversion) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING`), p.keys, p.ids)
	}
}

func (p *pairs) remove(s schema, b *pgx.Batch) {
	if len(p.keys) > 0 {
		b.Queue(s.q(`DELETE FROM {s}.txids WHERE (key, conversion) IN (SELECT * FROM unnest($1::bytea[], $2::bytea[]))`), p.keys, p.ids)
	}
}
