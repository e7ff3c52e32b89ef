package attribution

import (
	"fmt"
	"strings"
)

// Status says how far the advertiser stands by a conversion.
// The zero value is no status at all.
type Status uint8

const (
	// Pending may still become anything; it never overrides a final status.
	Pending Status = iota + 1
	// Approved is the only status that counts as revenue.
	Approved
	// Rejected was never accepted by the advertiser.
	Rejected
	// Reversed was taken back: a refund or a chargeback.
	Reversed
)

var statusWords = [...]string{Pending: "pending", Approved: "approved", Rejected: "rejected", Reversed: "reversed"}

// ParseStatus reads one of the four canonical words in any case. A sender's own
// words have to be mapped to these before.
func ParseStatus(s string) (Status, error) {
	for st := Pending; st <= Reversed; st++ {
		if strings.EqualFold(s, statusWords[st]) {
			return st, nil
		}
	}
	return 0, fmt.Errorf("unknown status %q: use pending, approved, rejected or reversed", clip(s))
}

// String returns the canonical word, and "" for the zero value.
func (s Status) String() string {
	if int(s) < len(statusWords) {
		return statusWords[s]
	}
	return fmt.Sprintf("status(%d)", uint8(s))
}

// Final reports whether the status is a decision: every one but Pending.
func (s Status) Final() bool { return s > Pending && s <= Reversed }

// MarshalText writes the canonical word, and nothing for the zero value.
func (s Status) MarshalText() ([]byte, error) {
	if s > Reversed {
		return nil, fmt.Errorf("writing status %d: no such status", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText is the inverse of [Status.MarshalText].
func (s *Status) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*s = 0
		return nil
	}
	st, err := ParseStatus(string(b))
	if err != nil {
		return err
	}
	*s = st
	return nil
}

// clip bounds what a sender's value can put into an error message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
