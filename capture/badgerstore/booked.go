package badgerstore

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture"
)

// The listing of booked conversions says beside each what reports read of it,
// so that they need not look up the records, each of which is in another place
// and mostly history:
//
//	format byte
//	campaign, source, destination, event   uvarint length, bytes
//	time                                    uvarint: nanoseconds beyond the key's ms
//	lag                                     uvarint: nanoseconds
//	status                                  byte
//	payout                                  byte: none, scaled or text
//	  scaled                                byte places, varint n; currency
//	  text                                  amount, currency
//	sub-IDs                                 uvarint count; name, value
//
// Listings that were written before this was so are empty.
const (
	noPayout = iota
	scaledPayout
	textPayout
)

// listedOf is what the listing that the conversion is in says of it. Nobody
// adds up tests, or what is not booked.
func listedOf(c *capture.Conversion) []byte {
	if !c.State.Booked || c.Test {
		return nil
	}
	return encodeBooked(c)
}

// encodeBooked writes what the listing says of a booked conversion.
func encodeBooked(c *capture.Conversion) []byte {
	b := make([]byte, 0, 128)
	b = append(b, recordFormat)
	for _, s := range [...]string{c.Campaign, c.Source, c.Destination, c.State.Event} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(c.State.Time.Nanosecond()%int(time.Millisecond))) //nolint:gosec // not negative
	b = binary.AppendUvarint(b, uint64(c.Lag()))                                         //nolint:gosec // not negative
	b = append(b, byte(c.State.Status))
	if !c.State.HasPayout {
		b = append(b, noPayout)
	} else {
		if n, places, ok := c.State.Payout.Amount.Scaled(); ok {
			for places > 0 && n%10 == 0 { // 12.50 is 12.5
				n, places = n/10, places-1
			}
			b = binary.AppendVarint(append(b, scaledPayout, places), n)
		} else {
			b = appendText(append(b, textPayout), c.State.Payout.Amount.String())
		}
		b = appendText(b, string(c.State.Payout.Currency))
	}
	b = binary.AppendUvarint(b, uint64(len(c.Subs)))
	for _, p := range c.Subs {
		b = appendText(appendText(b, p.Name), p.Value)
	}
	return b
}

// decodeBooked reads what the listing says of a conversion into c, which has
// nothing else then. Its click's time is as early as the lag says.
func decodeBooked(key, value []byte, c *capture.Conversion) error {
	r := cellReader{bad: value[0] != recordFormat, data: string(value[1:])} // one piece of memory for all texts
	*c = capture.Conversion{
		ID: indexID(key), Campaign: r.text(), Source: r.text(), Destination: r.text(), Subs: c.Subs[:0],
		State: attribution.State{Booked: true, Event: r.text()},
	}
	s := &c.State
	s.Time = indexTime(key).Add(time.Duration(r.atMost(uint64(time.Millisecond - 1)))) //nolint:gosec // bounded
	c.ClickTime = s.Time.Add(-time.Duration(r.atMost(math.MaxInt64)))                  //nolint:gosec // bounded
	s.Status = attribution.Status(r.atMost(uint64(attribution.Reversed)))              //nolint:gosec // bounded
	switch kind := r.byte(); kind {
	case noPayout:
	case scaledPayout:
		places := r.byte()
		r.bad = r.bad || places > attribution.MaxPlaces
		s.HasPayout, s.Payout.Amount = true, attribution.AmountOf(r.varint(), min(places, attribution.MaxPlaces))
	case textPayout:
		s.HasPayout = true
		r.bad = s.Payout.Amount.UnmarshalText([]byte(r.text())) != nil || r.bad
	default:
		r.bad = true
	}
	if s.HasPayout {
		s.Payout.Currency = attribution.Currency(r.text())
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		c.Subs = append(c.Subs, capture.Param{Name: r.text(), Value: r.text()})
	}
	if r.bad || r.data != "" {
		return fmt.Errorf("%w: what the listing says of conversion %s", errDamaged, c.ID)
	}
	return nil
}

// saysOf tells whether the listing says of c what its record does.
func saysOf(key, value []byte, c *capture.Conversion) (bool, error) {
	var listed capture.Conversion
	if err := decodeBooked(key, value, &listed); err != nil {
		return false, err
	}
	listed.State.TxID = c.State.TxID // no report asks for it
	return !c.Test && listed.State.Equal(c.State) && listed.Cell() == c.Cell() && listed.Lag() == c.Lag() &&
		slices.Equal(listed.Subs, c.Subs), nil
}
