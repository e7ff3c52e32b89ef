package pgstore

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// This file compares the columns that views and reports read with the records.

// storedBlock are the columns of a row of blocks that blockColumns makes.
const storedBlock = `front, words, after_ms, flags, campaigns, sources, destinations, costs::text[], currencies, subs::text`

// storedColumns is such a row as it is read.
type storedColumns struct {
	front                    int32
	words                    []string
	after                    []int64
	flags                    []int16
	campaigns, sources       []int16
	destinations, currencies []int16
	costs                    []*string
	subs                     string
}

func (c *storedColumns) scan() []any {
	return []any{&c.front, &c.words, &c.after, &c.flags, &c.campaigns, &c.sources, &c.destinations, &c.costs, &c.currencies, &c.subs}
}

// same tells whether the row says what it should.
func (c *storedColumns) same(want *blockColumns, front int) bool {
	return int(c.front) == front && slices.Equal(c.words, want.words) && slices.Equal(c.after, want.after) &&
		slices.Equal(c.flags, want.flags) && slices.Equal(c.campaigns, want.campaigns) && slices.Equal(c.sources, want.sources) &&
		slices.Equal(c.destinations, want.destinations) && slices.Equal(c.currencies, want.currencies) &&
		slices.EqualFunc(c.costs, want.costs, sameAmount) && sameSubs([]byte(c.subs), want.subs)
}

func sameAmount(stored *string, want string) bool {
	if stored == nil || want == "" {
		return stored == nil && want == ""
	}
	a, err := attribution.ParseAmount(*stored)
	b, errWant := attribution.ParseAmount(want)
	return err == nil && errWant == nil && a.Equal(b)
}

func sameSubs(stored, want []byte) bool {
	var a, b []map[string]string
	return json.Unmarshal(stored, &a) == nil && json.Unmarshal(want, &b) == nil && slices.EqualFunc(a, b, maps.Equal[map[string]string, map[string]string])
}

// storedLedger are the columns of a row of conversions of which nothing else is
// checked.
const storedLedger = `name, click_at, campaign, source, destination, event, txid, status, payout::text, currency, '[' || subs::text || ']'`

// ledgerColumns is such a row as it is read.
type ledgerColumns struct {
	name, campaign, source, destination, event, txid, currency, subs string
	clickAt                                                          time.Time
	status                                                           int16
	payout                                                           *string
}

func (c *ledgerColumns) scan() []any {
	return []any{
		&c.name, &c.clickAt, &c.campaign, &c.source, &c.destination, &c.event, &c.txid, &c.status, &c.payout, &c.currency, &c.subs,
	}
}

// same tells whether the row says what it should.
func (c *ledgerColumns) same(conv *capture.Conversion) bool {
	s := &conv.State
	payout, currency := "", ""
	if s.HasPayout {
		payout, currency = s.Payout.Amount.String(), escape(string(s.Payout.Currency))
	}
	subs, err := appendSubs([]byte{'['}, conv.Subs)
	return err == nil && c.name == conv.ID.String() && c.clickAt.Equal(conv.ClickTime) && c.campaign == escape(conv.Campaign) &&
		c.source == escape(conv.Source) && c.destination == escape(conv.Destination) && c.event == escape(s.Event) &&
		c.txid == escape(s.TxID) && c.status == int16(s.Status) && sameAmount(c.payout, payout) && c.currency == currency && //nolint:gosec // one of a few
		sameSubs([]byte(c.subs), append(subs, ']'))
}
