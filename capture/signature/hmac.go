package signature

import (
	"crypto/hmac"
	"encoding/hex"
	"hash"
	"strings"
	"time"
)

// HMACConfig describes how a sender signs. What is empty is as the preset has
// it, or else as the field says.
type HMACConfig struct {
	// Preset is one of [HMACPresets].
	Preset string
	// Secrets are the keys; any of them may have been used.
	Secrets [][]byte
	// SecretEncoding is "hex" or "base64" if the secrets are written so, but
	// the bytes behind are the key. Default: the key is the text itself.
	SecretEncoding string
	// Algorithm is sha256 (the default), sha512 or sha1.
	Algorithm string
	// Header and Parameter say where the signature stands: one of the two. It
	// may be there only once, but a header can list several, with commas or
	// spaces between them.
	Header, Parameter string
	// Prefix stands before each signature, like "sha256=".
	Prefix string
	// List, if set, says how the header or parameter lists its values.
	List *HMACList
	// Payload is the template of what is signed, with the placeholders
	//
	//	{body}           the body
	//	{timestamp}      the timestamp as it was sent
	//	{id}             the message's ID as it was sent
	//	{method}         GET or POST
	//	{path}           the path as it was sent, still percent-encoded
	//	{query}          the query as it was sent, without the "?" and without
	//	                 the parameter that holds the signature
	//	{query_sorted}   the same, its parameters sorted bytewise by their
	//	                 decoded names, those of one name in the sender's order;
	//	                 each as it was sent, with "&" between them
	//	{header.<name>}  a header; "" if there is none
	//	{field.<name>}   a parameter of the query or else of the body, decoded;
	//	                 "" if there is none
	//
	// and \n, \r, \t, \\, \{ and \}. Default: {body} if a header holds the
	// signature, {query} if a parameter does.
	Payload string
	// Encoding is hex (the default, in either case) or base64 (standard or
	// URL-safe, padded or not).
	Encoding string
	// TimestampHeader and TimestampParameter say where the timestamp stands,
	// unless it is in the List. It is in seconds or milliseconds since 1970,
	// or as in RFC 3339, or as in the header Date. It has to be signed: by
	// {timestamp}, or within what else the payload covers.
	TimestampHeader, TimestampParameter string
	// IDHeader and IDParameter say where the message's ID stands.
	IDHeader, IDParameter string
	// Tolerance is how far the timestamp may be from now; default 5 minutes.
	Tolerance time.Duration
}

// HMACList is a list of key=value like "t=1492774577,v1=...".
type HMACList struct {
	// Separator stands between the values; default ",".
	Separator string
	// Signatures are the keys of signatures; one can be there several times.
	Signatures []string
	// Timestamp is the key of the timestamp, or "".
	Timestamp string
}

// hmacVerifier is what NewHMAC made of a configuration.
type hmacVerifier struct {
	HMACConfig
	name      string
	hint      string // what to look at if nothing is signed
	hash      func() hash.Hash
	size      int
	payload   template
	timed     bool
	timeFrom  Part   // where TimestampParameter is signed
	canonical string // Header as Go writes it
	unsigned  Part
}

// Name implements Verifier.
func (v *hmacVerifier) Name() string { return v.name }

// Verify implements Verifier.
func (v *hmacVerifier) Verify(m *Message) (Proof, error) {
	sent, err := v.read(m)
	if err != nil {
		return Proof{}, err
	}
	fill := filling{timestamp: sent.timestamp, without: v.Parameter}
	if v.IDHeader != "" {
		fill.id, err = header(m.Request, v.IDHeader, "message's ID", v.hint)
	} else if v.IDParameter != "" {
		fill.id, err = parameter(m, v.IDParameter, "message's ID", anyPart)
	}
	if err != nil {
		return Proof{}, err
	}
	if err := v.unambiguous(fill); err != nil {
		return Proof{}, err
	}
	payload := v.payload.fill(m, fill)
	if !v.fits(payload, sent.signatures) {
		return Proof{}, bad("the signature does not fit: is the secret that of this endpoint, " +
			"and does nothing in front of this server change what was sent?")
	}
	if !v.timed {
		return Proof{Unsigned: v.unsigned}, nil
	}
	at, err := parseTime(sent.timestamp)
	if err != nil {
		return Proof{}, err
	}
	if err := checkAge(at, m.Now, v.Tolerance); err != nil {
		return Proof{}, err
	}
	// The name comes from what was signed, not from the signature: a message
	// with two signatures could else be sent again with one of them left out.
	return Proof{Once: once([]byte("hmac"), payload), Expires: at.Add(v.Tolerance), Unsigned: v.unsigned}, nil
}

// unambiguous refuses a timestamp or ID that holds the text which ends it in
// the template: whoever knows one signed message could else move bytes from
// one part of it to another.
func (v *hmacVerifier) unambiguous(f filling) error {
	for _, p := range [...]struct {
		hole  hole
		value string
		role  string
	}{{holeTimestamp, f.timestamp, "timestamp"}, {holeID, f.id, "message's ID"}} {
		if end := v.payload.follows(p.hole); end != "" && strings.Contains(p.value, end) {
			return bad("the %s contains %q, which ends it in what is signed", p.role, end)
		}
	}
	return nil
}

// fits compares every signature with that of every secret, so that the time it
// takes does not tell which came close.
func (v *hmacVerifier) fits(payload []byte, signatures [][]byte) bool {
	fits := false
	sum := make([]byte, 0, v.size)
	for _, secret := range v.Secrets {
		mac := hmac.New(v.hash, secret)
		mac.Write(payload)
		sum = mac.Sum(sum[:0])
		for _, s := range signatures {
			if hmac.Equal(s, sum) {
				fits = true
			}
		}
	}
	return fits
}

// decode returns the bytes of a signature, or nil.
func (v *hmacVerifier) decode(s string) []byte {
	decode := hex.DecodeString
	if v.Encoding == "base64" {
		decode = anyBase64
	}
	if b, err := decode(s); err == nil && len(b) == v.size {
		return b
	}
	return nil
}
