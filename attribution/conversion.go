package attribution

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
)

// Dedup says what makes two postbacks speak of one conversion.
type Dedup uint8

const (
	// DedupTxID keeps one conversion per click, event and transaction ID.
	DedupTxID Dedup = iota
	// DedupEvent keeps one per click and event, whatever the transaction ID.
	DedupEvent
	// DedupClick keeps one per click.
	DedupClick
)

var dedupWords = [...]string{DedupTxID: "txid", DedupEvent: "event", DedupClick: "click"}

// ParseDedup reads the word of the configuration.
func ParseDedup(s string) (Dedup, error) {
	for d, w := range dedupWords {
		if s == w {
			return Dedup(d), nil
		}
	}
	return 0, fmt.Errorf("unknown dedup %q: use txid, event or click", clip(s))
}

// String returns the word of the configuration.
func (d Dedup) String() string {
	if int(d) < len(dedupWords) {
		return dedupWords[d]
	}
	return fmt.Sprintf("dedup(%d)", uint8(d))
}

// MarshalText writes the word of the configuration.
func (d Dedup) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the word of the configuration.
func (d *Dedup) UnmarshalText(b []byte) error {
	v, err := ParseDedup(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ConversionID is the name of a conversion. It follows from what the conversion
// is, so two postbacks about the same one meet without a look-up, and it is
// stored for ever: how it is made must not change.
type ConversionID [16]byte

// conversionIDLength is the length of a written conversion ID.
const conversionIDLength = 26

var base32Lower = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewConversionID names the conversion that a postback about click speaks of.
// It begins with the second in which the click was made, in 4 bytes, most
// significant first: most conversions come within days of their clicks, so what
// is stored by ID is written close together. Second is that of the same click,
// whose key is not taken apart here. The other 12 bytes are the first of the SHA-256 of the mode's
// word, the click and, as far as the mode looks at them, the event and the
// transaction ID, each preceded by its length in 8 bytes, most significant
// first. Under DedupTxID a postback without transaction ID is one per click and
// event.
func NewConversionID(mode Dedup, click [16]byte, second uint32, event, txid string) ConversionID {
	b := make([]byte, 0, 128)
	b = appendSized(b, mode.String())
	b = appendSized(b, string(click[:]))
	if mode != DedupClick {
		b = appendSized(b, event)
	}
	if mode == DedupTxID {
		b = appendSized(b, txid)
	}
	sum := sha256.Sum256(b)
	var id ConversionID
	binary.BigEndian.PutUint32(id[:], second)
	copy(id[4:], sum[:])
	return id
}

func appendSized(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(s))), s...)
}

// String returns 26 characters from 0-9a-v.
func (id ConversionID) String() string { return base32Lower.EncodeToString(id[:]) }

// Compare orders IDs: by the second of the click, and then in no way that means
// anything, but the same everywhere.
func (id ConversionID) Compare(o ConversionID) int { return bytes.Compare(id[:], o[:]) }

// ParseConversionID reads what [ConversionID.String] wrote, in any case.
func ParseConversionID(s string) (ConversionID, error) {
	var id ConversionID
	if len(s) != conversionIDLength {
		return id, fmt.Errorf("reading conversion ID %q: it has %d characters instead of %d", clip(s), len(s), conversionIDLength)
	}
	lower := strings.ToLower(s)
	b, err := base32Lower.DecodeString(lower)
	if err != nil {
		return id, fmt.Errorf("reading conversion ID %q: only 0-9 and a-v occur in one: %w", s, err)
	}
	// The decoder skips line breaks, so the length may still be wrong.
	if len(b) != len(id) {
		return id, fmt.Errorf("reading conversion ID %q: line breaks do not occur in one", s)
	}
	// The last character carries three bits; a set fourth or fifth would be
	// a second name for the same conversion.
	if id = ConversionID(b); id.String() != lower {
		return ConversionID{}, fmt.Errorf("reading conversion ID %q: its last character is impossible", s)
	}
	return id, nil
}

// MarshalText writes the ID as [ConversionID.String] does.
func (id ConversionID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the ID as [ParseConversionID] does.
func (id *ConversionID) UnmarshalText(b []byte) error {
	v, err := ParseConversionID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}
