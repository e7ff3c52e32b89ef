-- Views for people's own SQL; docs/sql.md says what is in them. No test data, no
-- addresses, nothing by which a postback could be forged. Later migrations add
-- columns at their ends with CREATE OR REPLACE VIEW: who drops a view takes it
-- from those it was granted to.

CREATE VIEW {s}.clicks AS
SELECT
	b.node || '-' || b.number || '-' || c.place - 1 AS click,
	timestamptz 'epoch' + (b.first_ms + c.after_ms) * interval '1 millisecond' AS time,
	w.words[c.campaign] AS campaign,
	w.words[c.source] AS source,
	w.words[c.destination] AS destination,
	c.cost,
	CASE WHEN c.currency > 0 THEN w.words[c.currency] END AS currency,
	coalesce(c.subs, '{}') AS subs,
	c.flags & 3 = 0 AS counted,
	c.flags & 1 <> 0 AS bot,
	c.flags & 2 <> 0 AS prefetch,
	c.flags & 4 <> 0 AS early_data,
	c.flags & 16 <> 0 AS cut,
	c.flags & 32 <> 0 AS erased,
	c.flags & 64 <> 0 AS unresolved_macro,
	b.day AS block_day
FROM {s}.blocks b
-- Unpacked once for a block, and not for each name of each click: what comes
-- next asks this part for something, so that it is not run first.
CROSS JOIN LATERAL (SELECT b.words || '{}'::text[] AS words, b.after_ms AS after_ms OFFSET 0) w
CROSS JOIN LATERAL ROWS FROM (
	unnest(w.after_ms, b.flags, b.campaigns, b.sources, b.destinations, b.costs, b.currencies),
	jsonb_array_elements(b.subs)
) WITH ORDINALITY AS c(after_ms, flags, campaign, source, destination, cost, currency, subs, place)
WHERE c.flags & 8 = 0;

CREATE VIEW {s}.conversions AS
SELECT
	name AS id,
	(get_byte(click, 0) << 8 | get_byte(click, 1)) || '-' || ('x' || encode(substr(click, 3, 8), 'hex'))::bit(64)::bigint
		|| '-' || get_byte(click, 10) AS click,
	at AS time,
	click_at AS click_time,
	greatest(at - click_at, interval '0') AS lag,
	campaign,
	source,
	destination,
	event,
	txid,
	CASE status WHEN 1 THEN 'pending' WHEN 2 THEN 'approved' WHEN 3 THEN 'rejected' WHEN 4 THEN 'reversed' END AS status,
	payout,
	nullif(currency, '') AS currency,
	CASE WHEN status = 2 AND payout IS NOT NULL THEN payout ELSE 0 END AS revenue,
	subs
FROM {s}.ledger
WHERE booked AND NOT test;

CREATE INDEX sums_day ON {s}.sums ((date '1970-01-01' + quarter / 96));

-- A cell has one name of each kind; to group by all of them takes twice as long.
-- Conditions on the day and on the campaign are applied before.
CREATE VIEW {s}.daily AS
SELECT
	date '1970-01-01' + quarter / 96 AS day,
	campaign,
	min(source COLLATE "C") COLLATE "default" AS source,
	min(destination COLLATE "C") COLLATE "default" AS destination,
	min(event COLLATE "C") COLLATE "default" AS event,
	nullif(currency, '') AS currency,
	sum(clicks)::bigint AS clicks,
	sum(bot_clicks)::bigint AS bot_clicks,
	sum(conversions)::bigint AS conversions,
	sum(pending)::bigint AS pending,
	sum(approved)::bigint AS approved,
	sum(rejected)::bigint AS rejected,
	sum(reversed)::bigint AS reversed,
	sum(revenue) AS revenue,
	sum(cost) AS cost
FROM {s}.sums
GROUP BY date '1970-01-01' + quarter / 96, campaign, cell, currency
HAVING sum(clicks) <> 0 OR sum(bot_clicks) <> 0 OR sum(conversions) <> 0 OR sum(pending) <> 0 OR sum(approved) <> 0
	OR sum(rejected) <> 0 OR sum(reversed) <> 0 OR sum(revenue) <> 0 OR sum(cost) <> 0;
