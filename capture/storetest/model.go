package storetest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// The model is the contract's section "One conversion, once", as simply as it
// can be said: it looks at all claims of all conversions of the click each time.
type model struct {
	mode        attribution.Dedup // of today
	window      time.Duration     // 0: none
	defaultPays int64             // cents; 0: none
	conversions map[*capture.Click][]*modelConversion
}

type modelConversion struct {
	id     attribution.ConversionID
	claims []modelClaim
	booked bool
	parked int // entries that wait
	state  modelState
	sale   modelState       // before refunds
	taken  map[string]int64 // cents, by the refund's ID
	first  time.Time
}

// modelClaim is comparable but for when it was made.
type modelClaim struct {
	at    time.Time
	timed bool // by its sender
	nth   int  // of all arrivals
	says  modelSays
}

type modelSays struct {
	event, txid string
	status      attribution.Status
	pays        modelPays
	refund      string // the refund's ID; "": it is none
}

type modelPays struct {
	currency string // "": nothing is said
	cents    int64
}

type modelState struct {
	event  string
	status attribution.Status
	pays   modelPays
}

// about returns the conversion that the claim speaks of: the one that knows
// this very transaction; unless the rule looks at transactions, one that knows
// the event; unless it looks at events, any. Failing that, it is a new one.
func (m *model) about(click *capture.Click, says modelSays) *modelConversion {
	own := attribution.NewConversionID(m.mode, click.Ref.Key(), click.Ref.Second, says.event, says.txid)
	list := m.conversions[click]
	slices.SortFunc(list, func(a, b *modelConversion) int {
		return cmp.Or(cmp.Compare(bit(b.id == own), bit(a.id == own)), a.id.Compare(b.id))
	})
	for near := range int(m.mode) + 1 {
		for _, conv := range list {
			for _, c := range conv.claims {
				if near == 2 || c.says.event == says.event && (near == 1 || c.says.txid == says.txid) {
					return conv
				}
			}
		}
	}
	conv := &modelConversion{id: own}
	m.conversions[click] = append(list, conv)
	return conv
}

// book returns the outcome that the contract wants. Whether a repeat without a
// time is news, the sale alone or the refund alone says: either may hide the
// other for a while, and counts again later.
func (m *model) book(click *capture.Click, c modelClaim) (capture.Outcome, capture.Reason) {
	conv := m.about(click, c.says)
	before, was := *conv, conv.booked
	known := slices.ContainsFunc(conv.claims, func(o modelClaim) bool {
		return o.says == c.says && o.timed == c.timed && (!c.timed || o.at.Equal(c.at))
	})
	conv.claims = append(slices.Clone(conv.claims), c)
	conv.decide(m.defaultPays)
	if known && (c.timed || conv.sale == before.sale && maps.Equal(conv.taken, before.taken) && conv.first.Equal(before.first)) {
		*conv = before // a message is as old as its first arrival
	}
	sale := len(conv.sales()) > 0
	conv.booked = was || sale && (m.window == 0 || !conv.first.After(click.Time.Add(m.window)))
	switch {
	case !sale:
		conv.parked++
		return capture.Quarantined, capture.UnknownClick
	case !conv.booked:
		conv.parked++
		return capture.Quarantined, capture.OutsideWindow
	case !was:
		conv.parked = 0
		return capture.Recorded, ""
	case conv.state != before.state:
		return capture.Updated, ""
	}
	return capture.Duplicate, ""
}

// sales are the claims that are no refunds.
func (conv *modelConversion) sales() []modelClaim {
	return slices.DeleteFunc(slices.Clone(conv.claims), func(c modelClaim) bool { return c.says.refund != "" })
}

// decide: the newest final claim decides, or the newest at all; the payout is
// the newest that was named, or the campaign's own, less what was refunded; the
// time is the earliest.
func (conv *modelConversion) decide(defaultPays int64) {
	conv.sale, conv.first = modelState{}, time.Time{}
	for i, c := range slices.SortedFunc(slices.Values(conv.sales()), newer) {
		conv.sale.event, conv.sale.status = c.says.event, c.says.status
		switch {
		case c.says.pays.currency != "":
			conv.sale.pays = c.says.pays
		case i == 0 && defaultPays != 0:
			conv.sale.pays = modelPays{"USD", defaultPays}
		}
		if i == 0 || c.at.Before(conv.first) {
			conv.first = c.at
		}
	}
	conv.taken = make(map[string]int64)
	for _, c := range slices.SortedFunc(slices.Values(conv.claims), newer) { // of each refund the newest word counts
		if c.says.refund == "" {
			continue
		}
		conv.taken[c.says.refund] = 0
		if c.says.status == attribution.Approved || c.says.status == attribution.Reversed {
			conv.taken[c.says.refund] = c.says.pays.cents
		}
	}
	conv.takeOff()
}

// takeOff: when nothing is left, the conversion is reversed.
func (conv *modelConversion) takeOff() {
	back := int64(0)
	for _, cents := range conv.taken {
		back += cents
	}
	conv.state = conv.sale
	s := &conv.state
	switch {
	case back == 0 || s.pays.currency == "" || s.status == attribution.Rejected || s.status == attribution.Reversed:
	case back >= s.pays.cents:
		s.status = attribution.Reversed
	default:
		s.pays.cents -= back
	}
}

// newer sorts claims. What is of the same time is told apart by its arrival,
// if nothing but that is known of it, and else by all that it says.
func newer(a, b modelClaim) int {
	x, y := a.says, b.says
	n := cmp.Or(cmp.Compare(bit(x.status.Final()), bit(y.status.Final())), a.at.Compare(b.at), cmp.Compare(bit(a.timed), bit(b.timed)))
	if n == 0 && !a.timed {
		n = cmp.Compare(a.nth, b.nth)
	}
	return cmp.Or(n, cmp.Compare(x.status, y.status), cmp.Compare(x.pays.currency, y.pays.currency),
		cmp.Compare(x.pays.cents, y.pays.cents), cmp.Compare(x.event, y.event), cmp.Compare(x.txid, y.txid))
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func drawModel(t *rapid.T) *model {
	return &model{
		mode: rapid.SampledFrom(modes).Draw(t, "mode"), conversions: make(map[*capture.Click][]*modelConversion),
		window:      rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "window"),
		defaultPays: rapid.SampledFrom([]int64{0, 900}).Draw(t, "default payout"),
	}
}

var modes = []attribution.Dedup{attribution.DedupTxID, attribution.DedupEvent, attribution.DedupClick}
