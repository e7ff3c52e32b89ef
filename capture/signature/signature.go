// Package signature verifies what senders of postbacks can prove: the schemes
// by which networks, checkouts and webhook services sign their messages.
//
// It works on the bytes as they arrived, compares in constant time, and knows
// neither Caddy nor the ledger.
package signature

import (
	"net/http"
	"time"
)

// Message is a request as a verifier sees it.
type Message struct {
	// Request has its body read already; all else is as it arrived. Schemes that
	// cover the path or the query take them from RequestURI, which therefore
	// has to be what the sender sent, not what a rewrite made of it.
	Request *http.Request
	Body    []byte
	// Now is the time of arrival.
	Now time.Time
	// Field returns a parameter by its name, or JSON path, from the query or
	// else from the body; "" if there is none. It is never nil.
	Field func(name string) string
}

// Proof is what a verification that passed has shown.
type Proof struct {
	// Once, if not empty, names this very message: a second one of the same
	// name before Expires is a replay. A sender's honest repeat has a fresh
	// timestamp and with it another name.
	Once    string
	Expires time.Time
	// Unsigned are those parts of the request that the scheme does not cover
	// although it covers the other one. Whoever has seen one signed message
	// can write into them what he likes, so nothing that is booked may be
	// read from there. Zero if the scheme covers both, or speaks for the
	// sender rather than for the content.
	Unsigned Part
}

// Part is a part of a request that carries parameters.
type Part uint8

const (
	// PartQuery is what follows the path.
	PartQuery Part = 1 << iota
	// PartBody is the body.
	PartBody

	anyPart = PartQuery | PartBody
)

// Verifier checks one scheme. It is safe for concurrent use.
type Verifier interface {
	// Name says what the proof rests on, for the journal.
	Name() string
	// Verify refuses with a *Failure.
	Verify(m *Message) (Proof, error)
}

// Decoder is a Verifier whose scheme also wraps the body. Decode is called
// after Verify, and again without it when what waits in quarantine is booked.
type Decoder interface {
	Decode(body []byte) (plain []byte, mediaType string, err error)
}

// Masker is a Verifier that finds secrets in parameters, which must not be
// shown.
type Masker interface {
	Secrets() []string
}

// Kind tells failures apart.
type Kind uint8

const (
	// BadSignature is a proof that is missing, broken or wrong.
	BadSignature Kind = iota + 1
	// StaleTimestamp is a message from too far in the past or the future.
	StaleTimestamp
	// Busy is a message that cannot be checked now, whether it is authentic or
	// not: so many were wrong of late that somebody may be guessing. The sender
	// is to try again.
	Busy
)

// Failure says why a message is not authentic, in a sentence for whoever set
// the sender up. It never holds a secret nor the signature that was expected.
type Failure struct {
	Kind   Kind
	Detail string
}

// Error returns the detail.
func (f *Failure) Error() string { return f.Detail }
