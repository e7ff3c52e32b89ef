package capture

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// Conversion is one conversion with its whole history and what the click said
// of itself, so that it needs the click's own record no more.
type Conversion struct {
	ID    attribution.ConversionID `cbor:"1,keyasint"`
	Click clickid.Ref              `cbor:"2,keyasint"`
	// Key is the tag of the key that signed the click's ID.
	Key       uint16            `cbor:"14,keyasint,omitempty"`
	ClickTime time.Time         `cbor:"3,keyasint"`
	Dedup     attribution.Dedup `cbor:"4,keyasint,omitempty"`

	Campaign    string  `cbor:"5,keyasint,omitempty"`
	Source      string  `cbor:"6,keyasint,omitempty"`
	Destination string  `cbor:"7,keyasint,omitempty"`
	Subs        []Param `cbor:"8,keyasint,omitempty"`

	// Flags are those of the click.
	Flags ClickFlags `cbor:"9,keyasint,omitempty"`
	// Test conversions never count.
	Test bool `cbor:"10,keyasint,omitempty"`

	History attribution.History `cbor:"11,keyasint"`
	// State is what the history amounts to.
	State attribution.State `cbor:"12,keyasint"`

	// Parked are the journal entries that wait in quarantine because all that
	// is known of the conversion is outside the window, or are refunds: at most
	// MaxHistory.
	Parked []uint64 `cbor:"13,keyasint,omitempty"`

	// TxKeys are the transactions by which the conversion is found without its
	// click: at most 64, and none where no route asks for it.
	TxKeys []TxKey `cbor:"15,keyasint,omitempty"`
}

// Known is what the conversion's click knows of it.
func (c *Conversion) Known() Known { return Known{ID: c.ID, Dedup: c.Dedup, Mixed: c.mixed()} }

// mixed tells whether a claim is in the history that another rule than the
// conversion's own put there.
func (c *Conversion) mixed() bool {
	if len(c.History) == 0 || c.Dedup == attribution.DedupClick {
		return false
	}
	first := &c.History[0]
	for i := range c.History {
		e := &c.History[i]
		if e.Event != first.Event || c.Dedup == attribution.DedupTxID && e.TxID != first.TxID {
			return true
		}
	}
	return c.ID != attribution.NewConversionID(c.Dedup, c.Click.Key(), c.Click.Second, first.Event, first.TxID)
}

// Cell names the sum in which the conversion counts.
func (c *Conversion) Cell() Cell {
	return Cell{
		Quarter: QuarterOf(c.State.Time), Campaign: c.Campaign, Source: c.Source,
		Destination: c.Destination, Event: c.State.Event,
	}
}

// Dims returns the conversion's dimensions for a report.
func (c *Conversion) Dims() attribution.Dims {
	return attribution.Dims{
		Campaign: c.Campaign, Source: c.Source, Destination: c.Destination, Event: c.State.Event,
		Sub: func(name string) string { return find(c.Subs, name) },
	}
}

// Counts returns what the conversion adds to a report.
func (c *Conversion) Counts() attribution.Counts {
	if c.Test {
		return attribution.Counts{}
	}
	return c.State.Counts()
}

// Lag is the time from the click to the conversion.
func (c *Conversion) Lag() time.Duration { return max(0, c.State.Time.Sub(c.ClickTime)) }

// Cursor is the conversion's place in a listing.
func (c *Conversion) Cursor() Cursor { return Cursor{Time: c.State.Time, ID: c.ID} }

// Entry is one line of the journal: an authentic postback and what became of
// it.
type Entry struct {
	Seq     uint64    `cbor:"1,keyasint"`
	Time    time.Time `cbor:"2,keyasint"`
	Route   string    `cbor:"3,keyasint"`
	Outcome Outcome   `cbor:"4,keyasint"`
	Reason  Reason    `cbor:"5,keyasint,omitempty"`
	// Detail says in a sentence what the reason means here.
	Detail string `cbor:"6,keyasint,omitempty"`

	// Click and Conversion are set as far as they are known.
	Click      clickid.Ref              `cbor:"7,keyasint"`
	HasClick   bool                     `cbor:"8,keyasint,omitempty"`
	Key        uint16                   `cbor:"18,keyasint,omitempty"`
	Conversion attribution.ConversionID `cbor:"9,keyasint"`
	Campaign   string                   `cbor:"10,keyasint,omitempty"`

	// What the postback said, as far as it could be read.
	Claim attribution.Claim `cbor:"11,keyasint"`

	// Authentic says what proved the postback authentic: "token", "address",
	// the names of verifiers, or "click ID".
	Authentic string `cbor:"12,keyasint,omitempty"`
	// Sender is the sender's address, kept as visitors' addresses are.
	Sender string `cbor:"13,keyasint,omitempty"`
	Raw    Raw    `cbor:"14,keyasint"`
	Test   bool   `cbor:"15,keyasint,omitempty"`
	// Resolved is the number of the entry by which this one left quarantine.
	Resolved uint64 `cbor:"16,keyasint,omitempty"`
	// Replays is the number of the entry that was booked again by this one.
	Replays uint64 `cbor:"17,keyasint,omitempty"`
	// Notes say what was repaired or assumed, in sentences.
	Notes []string `cbor:"19,keyasint,omitempty"`
	// Awaits are the transaction IDs that it was to find its conversion by. As
	// soon as one leads to a conversion, the entry is booked.
	Awaits []string `cbor:"20,keyasint,omitempty"`
	// Parked is set while the entry waits for its click, which may be on its way
	// from another node: it is booked when the click comes.
	Parked *Parked `cbor:"21,keyasint,omitempty"`
}

// Waiting tells whether the entry still waits in quarantine.
func (e *Entry) Waiting() bool { return e.Outcome == Quarantined && e.Resolved == 0 && !e.Test }

// The records other than clicks are CBOR (RFC 8949) with integer keys, so
// that fields can be added without a migration. Times are seconds since 1970,
// with a fraction as floating-point numbers: these tell milliseconds apart for
// longer than years have four digits, and take a third of what text does.
var (
	recordEnc = must(cbor.EncOptions{
		Time: cbor.TimeUnixDynamic, BinaryMarshaler: cbor.BinaryMarshalerByteString,
	}.UserBufferEncMode())
	recordDec = must(cbor.DecOptions{
		MaxNestedLevels: 16, BinaryUnmarshaler: cbor.BinaryUnmarshalerByteString,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // constant options: cannot happen
	}
	return v
}

// recordFormat is the first byte of every encoded record.
const recordFormat = 1

// EncodeRecord encodes a *Conversion, a *Entry or an attribution.Counts for
// storage.
func EncodeRecord(v any) ([]byte, error) {
	encodable := v
	if e, ok := v.(*Entry); ok {
		encodable = e.encodable()
	}
	buf := recordBuffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // the pool holds nothing else
	defer recordBuffers.Put(buf)
	buf.Reset()
	buf.WriteByte(recordFormat)
	if err := recordEnc.MarshalToBuffer(encodable, buf); err != nil {
		return nil, fmt.Errorf("encoding a %T: %w", v, err)
	}
	return bytes.Clone(buf.Bytes()), nil
}

var recordBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// DecodeRecord reads what EncodeRecord wrote into v, a pointer.
func DecodeRecord(data []byte, v any) error {
	if len(data) == 0 {
		return fmt.Errorf("decoding a %T: it is empty", v)
	}
	if data[0] != recordFormat {
		return fmt.Errorf("decoding a %T: unknown format %d", v, data[0])
	}
	if err := recordDec.Unmarshal(data[1:], v); err != nil {
		return fmt.Errorf("decoding a %T: %w", v, err)
	}
	switch v := v.(type) {
	case *Conversion:
		v.exactTimes()
	case *Entry:
		v.exactTimes()
	}
	return nil
}

// exactTimes takes from the times what reading them as floating-point numbers
// may have added.
func (c *Conversion) exactTimes() {
	exact(&c.ClickTime, &c.State.Time)
	for i := range c.History {
		e := &c.History[i]
		exact(&e.SentAt, &e.ReceivedAt, &e.After, &e.LastSeen)
	}
}

func (e *Entry) exactTimes() {
	exact(&e.Time, &e.Claim.SentAt, &e.Claim.ReceivedAt, &e.Claim.After)
}

func exact(times ...*time.Time) {
	for _, t := range times {
		if !t.IsZero() {
			*t = t.Round(time.Millisecond).UTC()
		}
	}
}
