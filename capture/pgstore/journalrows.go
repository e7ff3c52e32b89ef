package pgstore

import (
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// entryRows are rows of the journal, with what leads to those that wait.
type entryRows struct {
	seqs                               []int64
	nodes                              []int32
	at                                 []time.Time
	routes, outcomes, reasons, campain []string
	clicks, conversions, data          [][]byte // NULL where there is none
	waits, test                        []bool
	prints                             []*int64
	keys                               [][]byte
	keySeqs                            []int64
	awaits                             []bool
	replaced                           []int64 // those that may have been led to
}

// add adds an entry, which was there before if it is replaced.
func (r *entryRows) add(node int32, e *capture.Entry, replaced bool) error {
	data, err := capture.EncodeRecord(e)
	if err != nil {
		return err
	}
	seq := int64(e.Seq) //nolint:gosec // numbers of a sequence
	r.seqs, r.nodes, r.at, r.data = append(r.seqs, seq), append(r.nodes, node), append(r.at, e.Time.UTC()), append(r.data, data)
	r.routes, r.outcomes = append(r.routes, escape(e.Route)), append(r.outcomes, escape(string(e.Outcome)))
	r.reasons, r.campain = append(r.reasons, escape(string(e.Reason))), append(r.campain, escape(e.Campaign))
	var click, conversion []byte
	if e.HasClick {
		key := e.Click.Key()
		click = key[:]
	}
	if e.Conversion != (attribution.ConversionID{}) {
		conversion = e.Conversion[:]
	}
	r.clicks, r.conversions = append(r.clicks, click), append(r.conversions, conversion)
	r.waits, r.test = append(r.waits, e.Waiting()), append(r.test, e.Test)
	var print *int64
	if e.Waiting() {
		if fp, ok := e.Fingerprint(); ok {
			signed := int64(fp) //nolint:gosec // all bits are kept
			print = &signed
		}
		r.lead(e)
	}
	r.prints = append(r.prints, print)
	if replaced {
		r.replaced = append(r.replaced, seq)
	}
	return nil
}

// lead notes the transactions that lead to an entry that waits: those that it
// awaits, and for erasures the one that it names where it names no click.
func (r *entryRows) lead(e *capture.Entry) {
	keys := e.AwaitedKeys()
	n := len(keys)
	if key := capture.NewTxKey(e.Raw.Host, e.Route, e.Claim.TxID); !e.HasClick && e.Claim.TxID != "" && !slices.Contains(keys, key) {
		keys = append(keys, key)
	}
	for i, key := range keys {
		r.keys, r.keySeqs = append(r.keys, append([]byte(nil), key[:]...)), append(r.keySeqs, int64(e.Seq)) //nolint:gosec // of a sequence
		r.awaits = append(r.awaits, i < n)
	}
}

// put queues the rows: of entries that are all new, or have all been there before.
func (r *entryRows) put(s schema, b *pgx.Batch) {
	if len(r.seqs) == 0 {
		return
	}
	sql := `INSERT INTO {s}.journal (seq, node, at, route, outcome, reason, campaign, click, conversion, waits, test, fingerprint, data)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bytea[],
	$10::boolean[], $11::boolean[], $12::bigint[], $13::bytea[])`
	if len(r.replaced) > 0 {
		sql += `
ON CONFLICT (seq) DO UPDATE SET at = excluded.at, route = excluded.route, outcome = excluded.outcome, reason = excluded.reason,
	campaign = excluded.campaign, click = excluded.click, conversion = excluded.conversion, waits = excluded.waits, test = excluded.test,
	fingerprint = excluded.fingerprint, data = excluded.data`
	}
	b.Queue(s.q(sql), r.seqs, r.nodes, r.at, r.routes, r.outcomes, r.reasons, r.campain, r.clicks, r.conversions, r.waits, r.test, r.prints, r.data)
	if len(r.replaced) > 0 {
		b.Queue(s.q(`DELETE FROM {s}.awaiting WHERE seq = ANY($1::bigint[])`), r.replaced)
	}
	if len(r.keys) > 0 {
		b.Queue(s.q(`INSERT INTO {s}.awaiting (key, seq, awaits) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::boolean[])`),
			r.keys, r.keySeqs, r.awaits)
	}
}
