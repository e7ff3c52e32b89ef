package pgstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

func (r *reader) askClicks(b *pgx.Batch) {
	find := func(l *lookup[clickid.Ref, *capture.Click], far bool) {
		if len(l.want) == 0 {
			return
		}
		blocks := make(map[[2]uint64][]clickid.Ref)
		var places places
		for ref := range l.want {
			key := [2]uint64{uint64(ref.Epoch), ref.Block}
			if blocks[key] == nil || !far {
				places.add(ref)
			}
			blocks[key] = append(blocks[key], ref)
		}
		sql, args := r.s.q(blocksNear), []any{places.days, places.nodes, places.numbers}
		if far {
			sql, args = r.s.q(blocksFar), args[1:]
		}
		var node int32
		var number int64
		var data []byte
		each(b, sql, args, []any{&node, &number, &data}, func() error {
			for _, ref := range blocks[[2]uint64{uint64(node), uint64(number)}] { //nolint:gosec // never negative
				c, err := capture.LookupClick(data, ref)
				if err != nil {
					return fmt.Errorf("%w: block %d of node %d: %w", errDamaged, number, node, err)
				}
				if c != nil {
					l.put(ref, c)
				}
			}
			return nil
		})
	}
	find(&r.clicks, false)
	find(&r.far, true)
	if len(r.erased.want) > 0 {
		refs := make(map[string]clickid.Ref, len(r.erased.want))
		var click []byte
		var at time.Time
		each(b, r.s.q(`SELECT click, at FROM {s}.erased WHERE click = ANY($1::bytea[])`), []any{keysOf(r.erased.want, refs)},
			[]any{&click, &at}, func() error {
				r.erased.put(refs[string(click)], at)
				return nil
			})
	}
}

// askErased looks for what was erased of whole blocks: that is little, and hardly
// ever anything, so each block costs a look into an index.
func (r *reader) askErased(b *pgx.Batch) {
	if len(r.erasedOf.want) == 0 {
		return
	}
	var from, to [][]byte
	for block := range r.erasedOf.want {
		first, beyond := clickid.Ref{Epoch: block.epoch, Block: block.number}.Key(), clickid.Ref{Epoch: block.epoch, Block: block.number + 1}.Key()
		from, to = append(from, first[:]), append(to, beyond[:])
	}
	var click []byte
	each(b, r.s.q(`SELECT e.click FROM unnest($1::bytea[], $2::bytea[]) AS q(lo, hi)
CROSS JOIN LATERAL (SELECT click FROM {s}.erased WHERE click >= q.lo AND click < q.hi) AS e`), []any{from, to}, []any{&click}, func() error {
		if len(click) != len(clickid.Ref{}.Key()) {
			return fmt.Errorf("%w: a click that was erased has a key of %d bytes", errDamaged, len(click))
		}
		ref := refOf(click)
		r.erasedOf.put(blockOf(ref), append(r.erasedOf.got[blockOf(ref)], ref))
		return nil
	})
}

// refOf is the inverse of [clickid.Ref.Key].
func refOf(key []byte) clickid.Ref {
	return clickid.Ref{
		Epoch: binary.BigEndian.Uint16(key), Block: binary.BigEndian.Uint64(key[2:]), Slot: key[10], Second: binary.BigEndian.Uint32(key[11:]),
	}
}

// keysOf returns the keys of refs, and which is whose.
func keysOf(want map[clickid.Ref]struct{}, refs map[string]clickid.Ref) [][]byte {
	var keys [][]byte
	for ref := range want {
		key := ref.Key()
		keys = append(keys, key[:])
		refs[string(key[:])] = ref
	}
	return keys
}

func (r *reader) askConversions(b *pgx.Batch) {
	var data, id, key []byte
	if len(r.some.want) > 0 {
		each(b, r.s.q(`SELECT c.data FROM unnest($1::bytea[]) AS q(click)
CROSS JOIN LATERAL (SELECT data FROM {s}.ledger WHERE click = q.click ORDER BY rule, id LIMIT 1) AS c`),
			[]any{keysOf(r.some.want, make(map[string]clickid.Ref))}, []any{&data}, func() error {
				c, err := decodeConversion(data)
				if err == nil {
					r.some.put(c.Click, c)
				}
				return err
			})
	}
	if len(r.others.want) > 0 {
		r.askOthers(b)
	}
	if len(r.byTxID.want) > 0 {
		keys, asked, limit := transactions(r.byTxID.want)
		each(b, r.s.q(`SELECT q.key, t.conversion FROM (SELECT DISTINCT unnest($1::bytea[])) AS q(key)
CROSS JOIN LATERAL (SELECT conversion FROM {s}.txids WHERE key = q.key ORDER BY conversion LIMIT $2) AS t`),
			[]any{keys, int64(limit)}, []any{&key, &id}, func() error {
				for _, q := range asked[string(key)] {
					r.byTxID.put(q, append(r.byTxID.got[q], attribution.ConversionID(id)))
				}
				return nil
			})
	}
	if len(r.convs.want) > 0 {
		var ids [][]byte
		for want := range r.convs.want {
			ids = append(ids, append([]byte(nil), want[:]...))
		}
		each(b, r.s.q(`SELECT data FROM {s}.ledger WHERE id = ANY($1::bytea[])`), []any{ids}, []any{&data}, func() error {
			c, err := decodeConversion(data)
			if err == nil {
				r.convs.put(c.ID, c)
			}
			return err
		})
	}
}

// rules are all values of the column rule.
var rules = []int16{0, 1, 2, 128, 129, 130}

func ruleOf(k capture.Known) int16 {
	if k.Mixed {
		return 128 | int16(k.Dedup)
	}
	return int16(k.Dedup)
}

// askOthers looks for each rule that is another one, so that the index leads
// straight to what is wanted, however many conversions a click has.
func (r *reader) askOthers(b *pgx.Batch) {
	var clicks [][]byte
	var own []int16
	var list []othersOf
	limit := 0
	for q := range r.others.want {
		key := q.ref.Key()
		clicks, own, list, limit = append(clicks, key[:]), append(own, int16(q.dedup)), append(list, q), max(limit, q.limit)
	}
	var nth int64
	var id []byte
	each(b, r.s.q(`SELECT q.nth, c.id FROM unnest($1::bytea[], $2::smallint[]) WITH ORDINALITY AS q(click, own, nth)
CROSS JOIN unnest($3::smallint[]) AS r(rule)
CROSS JOIN LATERAL (SELECT id FROM {s}.ledger WHERE click = q.click AND rule = r.rule ORDER BY id LIMIT $4) AS c
WHERE r.rule <> q.own ORDER BY q.nth, c.id`), []any{clicks, own, rules, int64(limit)}, []any{&nth, &id}, func() error {
		q := list[nth-1]
		if len(r.others.got[q]) < q.limit {
			r.others.put(q, append(r.others.got[q], attribution.ConversionID(id)))
		}
		return nil
	})
}

// putEntry notes an entry that was read, whatever led to it.
func (r *reader) putEntry(data []byte) (*capture.Entry, error) {
	e, err := decodeEntry(data)
	if err == nil {
		r.entries.put(e.Seq, e)
	}
	return e, err
}

func (r *reader) askEntries(b *pgx.Batch) {
	var data, key []byte
	if len(r.entries.want) > 0 {
		var seqs []int64
		for seq := range r.entries.want {
			seqs = append(seqs, int64(seq)) //nolint:gosec // numbers of a sequence
		}
		each(b, r.s.q(`SELECT data FROM {s}.journal WHERE seq = ANY($1::bigint[])`), []any{seqs}, []any{&data}, func() error {
			_, err := r.putEntry(data)
			return err
		})
	}
	if len(r.repeated.want) > 0 {
		var prints []int64
		asked := make(map[int64][]repeats)
		limit := 0
		for q := range r.repeated.want {
			print := int64(q.fingerprint) //nolint:gosec // all bits are kept
			prints, limit = append(prints, print), max(limit, q.limit)
			asked[print] = append(asked[print], q)
		}
		var print int64
		each(b, r.s.q(`SELECT q.print, j.data FROM (SELECT DISTINCT unnest($1::bigint[])) AS q(print)
CROSS JOIN LATERAL (SELECT data FROM {s}.journal WHERE fingerprint = q.print ORDER BY seq LIMIT $2) AS j`),
			[]any{prints, int64(limit)}, []any{&print, &data}, func() error {
				e, err := r.putEntry(data)
				if err != nil {
					return err
				}
				for _, q := range asked[print] {
					r.repeated.put(q, append(r.repeated.got[q], e.Seq))
				}
				return nil
			})
	}
	if len(r.awaiting.want) > 0 {
		keys, asked, limit := transactions(r.awaiting.want)
		each(b, r.s.q(`SELECT q.key, j.data FROM (SELECT DISTINCT unnest($1::bytea[])) AS q(key)
CROSS JOIN LATERAL (SELECT seq FROM {s}.awaiting WHERE key = q.key AND awaits ORDER BY seq LIMIT $2) AS a
JOIN {s}.journal j ON j.seq = a.seq ORDER BY a.seq`),
			[]any{keys, int64(limit)}, []any{&key, &data}, func() error {
				e, err := r.putEntry(data)
				if err != nil {
					return err
				}
				for _, q := range asked[string(key)] {
					r.awaiting.put(q, append(r.awaiting.got[q], e.Seq))
				}
				return nil
			})
	}
}

// transactions returns the keys that are asked for, and by what.
func transactions(want map[byTxID]struct{}) (keys [][]byte, asked map[string][]byTxID, limit int) {
	asked = make(map[string][]byTxID, len(want))
	for q := range want {
		key := string(q.key[:])
		keys, limit = append(keys, []byte(key)), max(limit, q.limit)
		asked[key] = append(asked[key], q)
	}
	return keys, asked, limit
}

func decodeConversion(data []byte) (*capture.Conversion, error) {
	c := new(capture.Conversion)
	if err := capture.DecodeRecord(data, c); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return c, nil
}

func decodeEntry(data []byte) (*capture.Entry, error) {
	e := new(capture.Entry)
	if err := capture.DecodeRecord(data, e); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return e, nil
}
