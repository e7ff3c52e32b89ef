package signature

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// defaultTolerance is how far a timestamp may be from now, both ways.
	defaultTolerance = 5 * time.Minute
	// maxSignatureHeader bounds a header that is taken apart: real ones have
	// some hundred bytes.
	maxSignatureHeader = 4 << 10
	// maxCandidates bounds the signatures of one message that are compared.
	// Senders that change their secret send two.
	maxCandidates = 16
)

func bad(format string, args ...any) error {
	return &Failure{Kind: BadSignature, Detail: fmt.Sprintf(format, args...)}
}

func stale(format string, args ...any) error {
	return &Failure{Kind: StaleTimestamp, Detail: fmt.Sprintf(format, args...)}
}

// checkAge refuses what is more than tolerance away from now.
func checkAge(at, now time.Time, tolerance time.Duration) error {
	// Sub stops at the ends of its range, and the lower end has no positive
	// counterpart: so the age is never negated.
	switch age := now.Sub(at); {
	case age > tolerance:
		return stale("the timestamp is %.0f s old, %.0f s are allowed: check the clock of the sender and of this server, "+
			"and whether something held the message up", math.Ceil(age.Seconds()), tolerance.Seconds())
	case age < -tolerance:
		return stale("the timestamp lies %.0f s in the future, %.0f s are allowed: check the clock of the sender and of this server",
			math.Ceil(-age.Seconds()), tolerance.Seconds())
	}
	return nil
}

// once names a message. Each part goes in with its length, so that no two
// lists of parts have the same name.
func once(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write(p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// ownSecrets refuses a list that would let anybody pass, and copies it.
func ownSecrets(secrets [][]byte) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errors.New("no secret: give the one that the sender shows for this endpoint")
	}
	own := make([][]byte, len(secrets))
	for i, s := range secrets {
		if len(s) == 0 {
			return nil, fmt.Errorf("secret %d is empty: with it anybody could sign", i+1)
		}
		own[i] = bytes.Clone(s)
	}
	return own, nil
}

// anyBase64 decodes standard and URL-safe base64, padded or not. What is
// decoded is compared as a whole, so being lenient about how it is written
// lets nothing else pass.
func anyBase64(s string) ([]byte, error) {
	text := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; c {
		case '-':
			text = append(text, '+')
		case '_':
			text = append(text, '/')
		default:
			text = append(text, c)
		}
	}
	return base64.RawStdEncoding.Strict().DecodeString(string(bytes.TrimRight(text, "=")))
}

// cut bounds what a sender wrote, for a sentence that repeats it, and leaves
// out what would grow when it is quoted.
func cut(s string) string {
	const most = 48
	end := ""
	if len(s) > most {
		s, end = s[:most], "..."
	}
	return strings.Map(func(c rune) rune {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s) + end
}
