-- Text columns hold text as escape.go writes it: PostgreSQL's has no zero byte.
-- Times of records are whole milliseconds.

CREATE TABLE {s}.store (
	one               boolean PRIMARY KEY DEFAULT true CHECK (one),
	id                text NOT NULL,
	secret            bytea NOT NULL,
	created           timestamptz NOT NULL DEFAULT now(),
	swept_clicks      bigint NOT NULL DEFAULT 0, -- ms: up to when clicks were deleted
	swept_conversions bigint NOT NULL DEFAULT 0
);

-- One row whose lock lets a batch of one node go before those of the others.
CREATE TABLE {s}.turn (one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO {s}.turn DEFAULT VALUES;

CREATE TABLE {s}.nodes (
	node    int PRIMARY KEY CHECK (node BETWEEN 1 AND 4095),
	token   text NOT NULL UNIQUE,      -- kept by the node, in its own file
	host    text NOT NULL DEFAULT '',  -- its name, for people
	joined  timestamptz NOT NULL DEFAULT now(),
	holder  text NOT NULL DEFAULT '',  -- the process that writes as this node
	batch   bigint NOT NULL DEFAULT 0, -- the last one that was applied
	attempt bigint NOT NULL DEFAULT 0, -- which of the attempts at it
	seqs    bigint[] NOT NULL DEFAULT '{}', -- the journal numbers of its postbacks
	lease   bigint NOT NULL DEFAULT 1  -- block numbers below it may be in use
);

-- Apart from nodes, so that a heartbeat never meets a commit.
CREATE TABLE {s}.alive (
	node  int PRIMARY KEY,
	until timestamptz NOT NULL
);

CREATE TABLE {s}.blocks (
	day          date NOT NULL, -- of its earliest click, UTC
	node         int NOT NULL,
	number       bigint NOT NULL,
	first_ms     bigint NOT NULL,
	last_ms      bigint NOT NULL,
	data         bytea NOT NULL,
	front        int NOT NULL, -- how many of its bytes reports read
	-- What the view of clicks shows: one element for each click, in the order of
	-- their slots. Names are their places in words, from 1 on.
	words        text[] NOT NULL,
	after_ms     bigint[] NOT NULL, -- after first_ms
	flags        smallint[] NOT NULL,
	campaigns    smallint[] NOT NULL,
	sources      smallint[] NOT NULL,
	destinations smallint[] NOT NULL,
	costs        numeric[] NOT NULL,  -- NULL: not known
	currencies   smallint[] NOT NULL, -- 0: no cost is known
	subs         jsonb NOT NULL,      -- objects; none at all if no click has any
	PRIMARY KEY (node, number, day)
) PARTITION BY RANGE (day);
CREATE INDEX blocks_last ON {s}.blocks (last_ms);
-- What is packed already is not packed again, and can be read in part.
ALTER TABLE {s}.blocks ALTER COLUMN data SET STORAGE EXTERNAL;

-- The partitions of blocks: blocks_20261122 and so on.
CREATE TABLE {s}.days (day date PRIMARY KEY);

-- Conversions, booked or not. The names clicks, conversions and daily are left
-- to views.
CREATE TABLE {s}.ledger (
	id          bytea PRIMARY KEY,
	name        text NOT NULL,     -- the ID as people see it
	click       bytea NOT NULL,    -- clickid.Ref.Key
	rule        smallint NOT NULL, -- dedup, and 128 if another one added to it
	booked      boolean NOT NULL,
	test        boolean NOT NULL,
	at          timestamptz NOT NULL,
	click_at    timestamptz NOT NULL,
	campaign    text NOT NULL,
	source      text NOT NULL,
	destination text NOT NULL,
	event       text NOT NULL,
	txid        text NOT NULL,
	status      smallint NOT NULL,
	payout      numeric,
	currency    text NOT NULL,
	subs        jsonb NOT NULL,
	data        bytea NOT NULL
);
CREATE INDEX ledger_click ON {s}.ledger (click, rule, id);
CREATE INDEX ledger_at ON {s}.ledger (test, booked, at, id);

CREATE TABLE {s}.txids (
	key        bytea NOT NULL, -- capture.TxKey
	conversion bytea NOT NULL,
	PRIMARY KEY (key, conversion)
);

CREATE SEQUENCE {s}.journal_seq;

CREATE TABLE {s}.journal (
	seq         bigint PRIMARY KEY,
	node        int NOT NULL,
	at          timestamptz NOT NULL,
	route       text NOT NULL,
	outcome     text NOT NULL,
	reason      text NOT NULL,
	campaign    text NOT NULL,
	click       bytea,  -- NULL: it names none
	conversion  bytea,
	waits       boolean NOT NULL,
	test        boolean NOT NULL,
	fingerprint bigint, -- of what waits and can be repeated
	data        bytea NOT NULL
);
CREATE INDEX journal_at ON {s}.journal (at);
CREATE INDEX journal_click ON {s}.journal (click, seq) WHERE click IS NOT NULL;
CREATE INDEX journal_waits ON {s}.journal (seq, reason) WHERE waits;
CREATE INDEX journal_fingerprint ON {s}.journal (fingerprint, seq) WHERE fingerprint IS NOT NULL;

-- What waits and names no click, by the transactions that it names. Those that
-- it awaits make it leave quarantine.
CREATE TABLE {s}.awaiting (
	key    bytea NOT NULL,
	seq    bigint NOT NULL,
	awaits boolean NOT NULL,
	PRIMARY KEY (key, seq)
);
CREATE INDEX awaiting_seq ON {s}.awaiting (seq);

-- Clicks erased lately: a postback may have read one before.
CREATE TABLE {s}.erased (
	click bytea PRIMARY KEY,
	at    timestamptz NOT NULL
);

-- Each node adds to rows of its own. Numbers of things are in the rows without
-- a currency, money in the others.
CREATE TABLE {s}.sums (
	quarter     int NOT NULL, -- quarters of an hour since 1970
	node        int NOT NULL,
	cell        bytea NOT NULL, -- hash of the four names, which can be too long for an index
	currency    text NOT NULL,
	campaign    text NOT NULL,
	source      text NOT NULL,
	destination text NOT NULL,
	event       text NOT NULL,
	clicks      bigint NOT NULL,
	bot_clicks  bigint NOT NULL,
	conversions bigint NOT NULL,
	pending     bigint NOT NULL,
	approved    bigint NOT NULL,
	rejected    bigint NOT NULL,
	reversed    bigint NOT NULL,
	revenue     numeric NOT NULL,
	cost        numeric NOT NULL,
	PRIMARY KEY (quarter, node, cell, currency)
);
