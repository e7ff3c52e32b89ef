package badgerstore

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"

	"github.com/caddy-capture/caddy-capture/attribution"
)

// figures are counts in a form in which millions of them are added up quickly:
// no maps, and whole numbers for money as far as they reach.
type figures struct {
	// n are clicks, bot clicks, conversions, pending, approved, rejected and
	// reversed.
	n     [7]int64
	money []sumOfMoney
}

// sumOfMoney is n / 10^places + more.
type sumOfMoney struct {
	currency string
	cost     bool // else revenue
	places   uint8
	n        int64
	more     attribution.Amount
}

// addMoney adds n / 10^places to one of the sums of money.
func (f *figures) addMoney(currency string, cost bool, n int64, places uint8) {
	m := f.sumOf(currency, cost)
	for m.places < places && fitsTenfold(m.n) {
		m.n *= 10
		m.places++
	}
	scaled, at := n, places
	for at < m.places && fitsTenfold(scaled) {
		scaled *= 10
		at++
	}
	sum := m.n + scaled
	if at != m.places || n != 0 && (sum > m.n) != (n > 0) { // it does not fit, or overflows
		m.more = m.more.Add(attribution.AmountOf(n, places))
		return
	}
	m.n = sum
}

func fitsTenfold(n int64) bool { return n <= math.MaxInt64/10 && n >= math.MinInt64/10 }

func (f *figures) addAmount(currency string, cost bool, a attribution.Amount) {
	if n, places, ok := a.Scaled(); ok {
		f.addMoney(currency, cost, n, places)
		return
	}
	m := f.sumOf(currency, cost)
	m.more = m.more.Add(a)
}

func (f *figures) sumOf(currency string, cost bool) *sumOfMoney {
	for i := range f.money {
		if m := &f.money[i]; m.cost == cost && m.currency == currency {
			return m
		}
	}
	f.money = append(f.money, sumOfMoney{currency: strings.Clone(currency), cost: cost})
	return &f.money[len(f.money)-1]
}

func (m *sumOfMoney) amount() attribution.Amount {
	return attribution.AmountOf(m.n, m.places).Add(m.more)
}

// addCounts adds c.
func (f *figures) addCounts(c *attribution.Counts) {
	for i, n := range [...]int64{
		c.Clicks, c.BotClicks, c.Conversions, c.Pending, c.Approved, c.Rejected, c.Reversed,
	} {
		f.n[i] += n
	}
	for currency, a := range c.Revenue {
		f.addAmount(string(currency), false, a)
	}
	for currency, a := range c.Cost {
		f.addAmount(string(currency), true, a)
	}
}

// add adds o.
func (f *figures) add(o *figures) {
	for i, n := range o.n {
		f.n[i] += n
	}
	for i := range o.money {
		m := &o.money[i]
		f.addMoney(m.currency, m.cost, m.n, m.places)
		if !m.more.IsZero() {
			f.addAmount(m.currency, m.cost, m.more)
		}
	}
}

// counts returns the same as attribution has it.
func (f *figures) counts() attribution.Counts {
	c := attribution.Counts{
		Clicks: f.n[0], BotClicks: f.n[1], Conversions: f.n[2], Pending: f.n[3], Approved: f.n[4], Rejected: f.n[5],
		Reversed: f.n[6],
	}
	for i := range f.money {
		m := &f.money[i]
		t := &c.Revenue
		if m.cost {
			t = &c.Cost
		}
		t.Add(attribution.Money{Amount: m.amount(), Currency: attribution.Currency(m.currency)})
	}
	return c
}

func (f *figures) isZero() bool {
	for _, n := range f.n {
		if n != 0 {
			return false
		}
	}
	for i := range f.money {
		if !f.money[i].amount().IsZero() {
			return false
		}
	}
	return true
}

// On disk: a byte with a bit for each of the seven numbers that is not zero,
// these as varints; then, if bit 7 is set, uvarint how many sums of money, and
// for each: uvarint of the index of its currency, times four, plus 2 for costs;
// uvarint places, varint n. If the 1 is set, too, there is an amount as text
// instead: the uvarint of its index.
const figuresMoney = 1 << 7

// appendTo writes the figures; intern gives strings their indexes.
func (f *figures) appendTo(b []byte, intern func(string) uint64) []byte {
	at := len(b)
	b = append(b, 0)
	for i, n := range f.n {
		if n != 0 {
			b[at] |= 1 << i
			b = binary.AppendVarint(b, n)
		}
	}
	money := make([]attribution.Amount, len(f.money))
	count := uint64(0)
	for i := range f.money {
		if money[i] = f.money[i].amount(); !money[i].IsZero() {
			count++
		}
	}
	if count == 0 {
		return b
	}
	b[at] |= figuresMoney
	b = binary.AppendUvarint(b, count)
	for i, a := range money {
		if a.IsZero() {
			continue
		}
		head := intern(f.money[i].currency) << 2
		if f.money[i].cost {
			head |= 2
		}
		if n, places, ok := a.Scaled(); ok {
			b = binary.AppendUvarint(b, head)
			b = append(b, places)
			b = binary.AppendVarint(b, n)
		} else {
			b = binary.AppendUvarint(b, head|1)
			b = binary.AppendUvarint(b, intern(a.String()))
		}
	}
	return b
}

// textReader reads numbers and texts. After damage it reads zeros.
type textReader struct {
	text []byte
	at   int
	bad  bool
}

func (r *textReader) byte() byte {
	if r.at >= len(r.text) {
		r.bad = true
		return 0
	}
	r.at++
	return r.text[r.at-1]
}

func (r *textReader) uvarint() uint64 {
	if r.at < len(r.text) {
		if b := r.text[r.at]; b < 0x80 {
			r.at++
			return uint64(b)
		}
	}
	var v uint64
	for i := 0; i < binary.MaxVarintLen64; i++ {
		b := r.byte()
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *textReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1) //nolint:gosec // zigzag, as binary.Varint
}

func (r *textReader) take(n uint64) []byte {
	if n > uint64(len(r.text)-r.at) { //nolint:gosec // not negative
		r.bad = true
		return nil
	}
	s := r.text[r.at : r.at+int(n)] //nolint:gosec // bounded
	r.at += len(s)
	return s
}

// pick reads the index of one of the strings.
func (r *textReader) pick(list []string) string { return r.choose(list, r.uvarint()) }

func (r *textReader) choose(list []string, i uint64) string {
	if i >= uint64(len(list)) {
		r.bad = true
		return ""
	}
	return list[i]
}

// figures adds what is written next to f.
func (r *textReader) figures(f *figures, list []string) {
	head := r.byte()
	for set := head &^ figuresMoney; set != 0 && !r.bad; set &= set - 1 {
		f.n[bits.TrailingZeros8(set)] += r.varint()
	}
	if head&figuresMoney == 0 {
		return
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		h := r.uvarint()
		currency, cost := r.choose(list, h>>2), h&2 != 0
		if h&1 == 0 {
			if places := r.byte(); places <= attribution.MaxPlaces {
				f.addMoney(currency, cost, r.varint(), places)
			} else {
				r.bad = true
			}
			continue
		}
		var a attribution.Amount
		if a.UnmarshalText([]byte(r.pick(list))) != nil {
			r.bad = true
			return
		}
		f.addAmount(currency, cost, a)
	}
}
