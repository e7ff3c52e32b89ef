package capture

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// Some senders' messages name no click: a checkout's message about a refund has
// only the number of the order. Its click is then that of the conversion that
// was booked on the same route with the same transaction ID. Routes that need
// this ask for an index (Postback.IndexTxID); the others have none. A message
// that comes before its sale waits for it: see waiting.go.

// TxKey is the name of a transaction of one route: of bounded length whatever
// the sender's own is. It is stored for ever: how it is made must not change.
type TxKey [16]byte

// NewTxKey returns the first 16 bytes of the SHA-256 of the host that was
// called, the route's name and the transaction ID, each preceded by its length
// in 8 bytes, most significant first.
//
// Order numbers are small and easy to guess, so what a key leads to must be
// within reach of none but the senders of that very route. A route's name is its
// path, unless it was given another, and two sites of one server may well use
// the same path with other secrets: the host tells them apart. That the sender
// writes the host itself does no harm as long as it is by the host that the
// server chose the site: whoever writes another site's host is on that site's
// route, and has to have its secret. It would not be enough for two sites that
// take the same hosts, and differ in their ports or have no host at all: there,
// routes with different senders need different names.
//
// A sender goes on calling the address that it was given once. Where that is
// changed, in its host or its path, refunds no longer find what was sold under
// the old one: they wait in quarantine.
func NewTxKey(host, route, txid string) TxKey {
	host = hostName(host)
	b := make([]byte, 0, 24+len(host)+len(route)+len(txid))
	for _, s := range [...]string{host, route, txid} {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
	}
	sum := sha256.Sum256(b)
	return TxKey(sum[:16])
}

// hostName is the host of a request without its port and in lower case: just as
// a server looks at it when it chooses the site. Hosts that it takes for two must
// not become one here.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(host)
}

// key is the name of a transaction of the route that the postback came to.
func (p *Postback) key(txid string) TxKey { return NewTxKey(p.Raw.Host, p.Route, txid) }

// maxTxIDs bounds the transaction IDs of which one may be meant.
const maxTxIDs = 4

// candidates are the transaction IDs of which one may be meant, first choice
// first.
func (p *Postback) candidates() []string {
	var list []string
	for _, txid := range append([]string{p.Claim.TxID}, p.TxIDs...) {
		if txid != "" && len(list) < maxTxIDs && !slices.Contains(list, txid) {
			list = append(list, txid)
		}
	}
	return list
}

// names are the keys of a transaction and of its other names. A message that
// names a payment twice teaches that both are one: what comes later under the
// other name, such as a refund, finds the sale by it.
func (p *Postback) names(txid string) []TxKey {
	var keys []TxKey
	for _, name := range append([]string{txid}, p.candidates()...) {
		if key := p.key(name); name != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

const (
	// maxTxKeys bounds how many transactions lead to one conversion. There is
	// more than one only where dedup leaves the transaction out, where several
	// routes report it, or where it has several names.
	maxTxKeys = 64
	// maxSameTxID bounds how many conversions with one transaction ID are
	// looked through.
	maxSameTxID = 64
)

// index makes the transaction lead to the conversion. Beyond the limit the
// oldest one is forgotten: what was sold last is refunded most.
func (c *Conversion) index(key TxKey) {
	if slices.Contains(c.TxKeys, key) {
		return
	}
	c.TxKeys = append(slices.Clone(c.TxKeys), key)
	if n := len(c.TxKeys) - maxTxKeys; n > 0 {
		c.TxKeys = c.TxKeys[n:]
	}
}

// bookByTxID decides a postback whose click is that of a conversion with its
// transaction ID. Where it names a click all the same, only that one's
// conversions are meant, and not finding one is no reason to wait.
func bookByTxID(tx Tx, s sums, p *Postback, e *Entry) error {
	if len(p.candidates()) == 0 && !p.HasRef {
		reason, detail := p.Problem, p.ProblemDetail
		if reason == "" {
			reason, detail = MissingClickID, "it names neither a click nor a transaction"
		}
		p.quarantine(reason, detail)
		return nil
	}
	found, detail, err := p.findByTxID(tx, e)
	switch {
	case err != nil:
		return err
	case found == nil && p.HasRef:
		return bookClick(tx, s, p, e, nil)
	case found == nil && p.Problem != "":
		p.quarantine(UnknownClick, detail+"; then replay this")
		return nil
	case found == nil:
		p.quarantine(UnknownClick, detail)
		e.Awaits = p.candidates()
		return nil
	}
	e.Click, e.HasClick, e.Key = found.Click, true, found.Key
	return bookClick(tx, s, p, e, found)
}

// findByTxID returns the conversion that is meant, or why it is not known. Of
// several transaction IDs the first counts that leads to just one; what the sale
// itself calls the transaction is noted in the claim of e.
func (p *Postback) findByTxID(tx Tx, e *Entry) (*Conversion, string, error) {
	var unclear string
	candidates := p.candidates()
	for _, txid := range candidates {
		c, detail, err := p.findOne(tx, txid)
		switch {
		case err != nil:
			return nil, "", err
		case c != nil:
			e.Claim.TxID = c.called(candidates)
			return c, "", nil
		case unclear == "":
			unclear = detail
		}
	}
	if unclear == "" {
		unclear = fmt.Sprintf("no conversion with transaction ID %s is known on this route yet: "+
			"it waits for the sale to come in", strings.Join(quoted(candidates), " or "))
	}
	return nil, unclear, nil
}

// called returns what the conversion's own messages call the transaction, which
// may have been found by a name that only another message gave it.
func (c *Conversion) called(candidates []string) string {
	for _, txid := range candidates {
		if slices.ContainsFunc(c.History, func(e attribution.Entry) bool { return e.TxID == txid }) {
			return txid
		}
	}
	return c.State.TxID
}

func quoted(list []string) []string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = fmt.Sprintf("%q", s)
	}
	return q
}

// findOne returns the one conversion that a transaction ID leads to; where there
// are several, it says why it is not known which is meant.
func (p *Postback) findOne(tx Tx, txid string) (*Conversion, string, error) {
	key := p.key(txid)
	ids, err := tx.ByTxID(key, maxSameTxID+1)
	if err != nil {
		return nil, "", err
	}
	var list []*Conversion
	for _, id := range ids {
		c, err := tx.Conversion(id)
		if err != nil {
			return nil, "", err
		}
		if c != nil && slices.Contains(c.TxKeys, key) && (!p.HasRef || c.Click == p.Ref) {
			list = append(list, c)
		}
	}
	switch {
	case len(list) == 0:
		return nil, "", nil
	case len(ids) > maxSameTxID:
		return nil, fmt.Sprintf("more than %d conversions of this route have the transaction ID %q, "+
			"so it is not known which is meant", maxSameTxID, txid), nil
	}
	c, detail := choose(list, txid, p.Claim.Event)
	return c, detail, nil
}

// choose returns the conversion that is meant, if only one can be. It must not
// depend on the order of the list.
func choose(list []*Conversion, txid, event string) (*Conversion, string) {
	prefer := func(fits func(*Conversion) bool) {
		if slices.ContainsFunc(list, fits) {
			list = slices.DeleteFunc(list, func(c *Conversion) bool { return !fits(c) })
		}
	}
	prefer(func(c *Conversion) bool { return !c.Test })
	prefer(func(c *Conversion) bool { return c.State.Booked })
	// Two clicks may not claim one sale. Which of them is right is not for us
	// to guess.
	if slices.ContainsFunc(list, func(c *Conversion) bool { return c.Click != list[0].Click }) {
		return nil, fmt.Sprintf("conversions of several clicks have the transaction ID %q on this route, "+
			"so it is not known which is meant", txid)
	}
	prefer(func(c *Conversion) bool { return c.State.Event == event })
	prefer(func(c *Conversion) bool { return c.State.HasPayout })
	if len(list) > 1 {
		return nil, fmt.Sprintf("%d conversions of the click have the transaction ID %q, for events such as %q and %q, "+
			"so it is not known which is meant", len(list), txid, list[0].State.Event, list[1].State.Event)
	}
	return list[0], ""
}

// unfitRefund says why a refund cannot be taken off a conversion, which is nil
// if it is not known yet.
func unfitRefund(claim *attribution.Claim, of *Conversion) (Reason, string) {
	switch {
	case !claim.Refund:
	case claim.Key == "":
		return BadPayout, "the refund has no ID of its own, so a second one could not be told from a repeat"
	case !claim.HasPayout:
		return BadPayout, "the refund says no amount"
	case of != nil && of.State.HasPayout && of.State.Payout.Currency != claim.Payout.Currency:
		return BadCurrency, otherCurrency(claim, of)
	}
	return "", ""
}

func otherCurrency(claim *attribution.Claim, of *Conversion) string {
	return fmt.Sprintf("the refund is %s, but the conversion is booked in %s: it is taken off only in the same currency",
		claim.Payout, of.State.Payout.Currency)
}
