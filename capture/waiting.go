package capture

import "slices"

// A message that knows its sale only by the transaction may come before it: a
// payment is refunded, and the news of that is faster than the news of the
// payment. It waits in quarantine then, under the keys of all transactions that
// may be meant, and is booked with the message that makes one of them lead to a
// conversion, in the same write. So the order of arrival makes no difference.

// AwaitedKeys are the transactions that the entry awaits: one that leads to a
// conversion takes it out of quarantine. A parked one awaits the block of its
// click in the same way. There are none unless it waits.
func (e *Entry) AwaitedKeys() []TxKey {
	if !e.Waiting() {
		return nil
	}
	var keys []TxKey
	for _, txid := range e.Awaits {
		if key := NewTxKey(e.Raw.Host, e.Route, txid); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if e.Parked != nil && e.HasClick {
		keys = append(keys, clickKeyOf(e.Click))
	}
	return keys
}

// About tells whether the entry waits and names no click, but one of some
// transactions, which makes it one about the visitor of these.
func (e *Entry) About(txids func(TxKey) bool) bool {
	if !e.Waiting() || e.HasClick {
		return false
	}
	return e.Claim.TxID != "" && txids(NewTxKey(e.Raw.Host, e.Route, e.Claim.TxID)) ||
		slices.ContainsFunc(e.AwaitedKeys(), txids)
}

// bookAwaiting books what waits for a transaction that leads to the conversion of
// p now: as if it had come after it, but in its own place in the history, which
// is that of its arrival. What it says may be that the transaction has another
// name, for which other messages wait. What cannot be booked, as it is in another
// currency, waits on and says so. There is a limit to what one postback takes
// along; the next about the transaction takes the rest.
func bookAwaiting(tx Tx, s sums, p *Postback) error {
	keys := slices.Clone(p.sold)
	var tried []uint64 // what waits for several names is listed under each
	bytes := 0
	for i := 0; i < len(keys); i++ {
		list, err := tx.Awaiting(keys[i], maxRepeated)
		if err != nil {
			return err
		}
		for _, w := range list {
			if slices.Contains(tried, w.Seq) {
				continue
			}
			bytes += len(w.Raw.URI) + len(w.Raw.Body)
			if n := len(tried); n == maxRepeated || n > 0 && bytes > maxRepeatedBytes {
				return nil
			}
			tried = append(tried, w.Seq)
			names, err := w.bookWith(tx, s, p)
			if err != nil {
				return err
			}
			for _, key := range names {
				if !slices.Contains(keys, key) {
					keys = append(keys, key)
				}
			}
		}
	}
	return nil
}

// bookWith books an entry that waits for what p says. It returns the
// transactions that lead to its conversion now, if it is known.
func (e *Entry) bookWith(tx Tx, s sums, p *Postback) ([]TxKey, error) {
	again := e.again(p)
	now, err := decide(tx, s, again, e.Seq)
	if err != nil {
		return nil, err
	}
	if !now.Outcome.Booked() {
		return again.sold, e.waitOn(tx, now)
	}
	e.resolve(now)
	if err := tx.PutEntry(e); err != nil {
		return nil, err
	}
	p.Result.follow(again.Result.Conversion)
	return again.sold, nil
}

// again is the postback of an entry that waits for its sale, to be booked with
// p, which came to the same route. It was read without a problem when it
// arrived, or it would not wait for the sale alone.
func (e *Entry) again(p *Postback) *Postback {
	return &Postback{
		Seq: p.Seq, Time: p.Time, Route: e.Route, Rules: p.Rules, OnlyCampaign: p.OnlyCampaign,
		ByTxID: true, TxIDs: e.Awaits, IndexTxID: true, Claim: e.Claim, Notes: e.Notes,
		Authentic: e.Authentic, Sender: e.Sender, Raw: e.Raw, Replays: e.Seq,
	}
}
