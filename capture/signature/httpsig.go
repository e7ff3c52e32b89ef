package signature

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

const (
	// maxFieldBytes bounds Signature, Signature-Input and Content-Digest
	// together. An RSA signature with all that it covers has about 1 KiB.
	maxFieldBytes = 16 << 10
	// maxLabels bounds the signatures of a message that are checked, and
	// maxComponents what one covers: each costs the server more than the
	// sender.
	maxLabels     = 8
	maxComponents = 32
)

// HTTPKey is a key by which a sender signs.
type HTTPKey struct {
	// ID is the keyid of its signatures. Two keys can have the same one, while
	// a sender changes from one to the other. A signature without keyid is
	// checked with all keys.
	ID string
	// Algorithm is hmac-sha256, ed25519, ecdsa-p256-sha256, ecdsa-p384-sha384,
	// rsa-pss-sha512 or rsa-v1_5-sha256.
	Algorithm string
	// Key is the secret as it is, or "base64:" and base64 of it; or else the
	// public key in PEM, or in base64 (of its DER; for ed25519 of the 32 bytes
	// as well, also in hex).
	Key []byte
}

// httpSignature verifies HTTP message signatures (RFC 9421).
type httpSignature struct {
	keys      []httpKey
	tolerance time.Duration
	// lax leaves out what this package demands beyond the RFC, for the RFC's
	// own vectors.
	lax bool
}

// NewHTTPSignature returns a verifier of HTTP message signatures (RFC 9421).
// One signature by a known key is enough. It has to say when it was created,
// and to cover the method, the authority, the path, the query if there is one,
// and with a body its Content-Digest (RFC 9530), which has to be right. A
// tolerance of 0 is 5 minutes.
func NewHTTPSignature(keys []HTTPKey, tolerance time.Duration) (Verifier, error) {
	switch {
	case len(keys) == 0:
		return nil, errors.New("no key: name one with its ID and algorithm")
	case tolerance < 0:
		return nil, fmt.Errorf("tolerance is %s: it cannot be negative", tolerance)
	case tolerance == 0:
		tolerance = defaultTolerance
	}
	v := &httpSignature{tolerance: tolerance}
	for i, k := range keys {
		if k.ID == "" {
			return nil, fmt.Errorf("key %d has no ID: it is what the sender writes as keyid", i+1)
		}
		check, err := newCheck(k.Algorithm, k.Key)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.ID, err)
		}
		v.keys = append(v.keys, httpKey{k.ID, k.Algorithm, check})
	}
	return v, nil
}

// Name implements Verifier.
func (v *httpSignature) Name() string { return "http signature" }

// Verify implements Verifier.
func (v *httpSignature) Verify(m *Message) (Proof, error) {
	signatures, err := v.parse(m.Request.Header)
	if err != nil {
		return Proof{}, err
	}
	// Of several failures the most telling one is told: that of a signature
	// that fits but is old; else that of a key we know.
	var telling error
	rank := -1
	for _, s := range signatures {
		proof, progress, err := v.check(m, s)
		if err == nil {
			return proof, nil
		}
		if progress > rank {
			telling, rank = err, progress
		}
	}
	return Proof{}, telling
}

// check verifies one signature. Progress grows with how far it came.
func (v *httpSignature) check(m *Message, s labelled) (proof Proof, progress int, err error) {
	if s.broken != nil {
		return Proof{}, 1, s.broken
	}
	var keys []httpKey
	for _, k := range v.keys {
		if (s.keyID == "" || s.keyID == k.id) && (s.algorithm == "" || s.algorithm == k.algorithm) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return Proof{}, 0, bad("no key %q is configured for the algorithm %q, by which the signature %q is made",
			cut(s.keyID), cut(s.algorithm), s.label)
	}
	if !v.lax {
		if err := s.covers(m); err != nil {
			return Proof{}, 1, err
		}
	}
	fits, err := s.fits(m, keys)
	switch {
	case err != nil:
		return Proof{}, 1, err
	case !fits:
		return Proof{}, 2, bad("the signature %q does not fit: is the key that of this sender, "+
			"and does nothing in front of this server change the address, the headers or the body?", s.label)
	}
	if s.has("content-digest") {
		if err := checkDigest(m); err != nil {
			return Proof{}, 3, err
		}
	}
	created := time.Unix(s.created, 0)
	if err := checkAge(created, m.Now, v.tolerance); err != nil {
		return Proof{}, 4, err
	}
	if expires := time.Unix(s.expires, 0); s.hasExpires && m.Now.After(expires) {
		return Proof{}, 4, stale("the signature %q expired on %s", s.label, expires.UTC().Format(time.RFC3339))
	}
	// Named after the message rather than the signature: one that was signed
	// twice could else be sent again with the first signature left out.
	return Proof{
		Once: once([]byte("http signature"), []byte(s.nonce), []byte(strconv.FormatInt(s.created, 10)),
			[]byte(m.Request.Method), []byte(m.Request.Host), []byte(requestURI(m.Request)), m.Body),
		Expires: created.Add(v.tolerance),
	}, 5, nil
}

// fits builds the signature base and asks the keys. Behind a proxy that ends
// TLS nobody here knows the scheme, so either is tried.
func (s *labelled) fits(m *Message, keys []httpKey) (bool, error) {
	schemes := []string{"https"}
	if m.Request.TLS == nil {
		schemes = []string{"http", "https"}
	}
	fits := false
	for _, scheme := range schemes {
		base, err := s.base(m, scheme)
		if err != nil {
			return false, err
		}
		for _, k := range keys {
			if k.check(base, s.signature) {
				fits = true
			}
		}
	}
	return fits, nil
}

// has reports whether the signature covers a component, as a whole.
func (s *labelled) has(name string) bool {
	return slices.ContainsFunc(s.covered.Items, func(i httpsfv.Item) bool {
		return i.Value == name && len(i.Params.Names()) == 0
	})
}

// covers refuses a signature that leaves open what will be booked.
func (s *labelled) covers(m *Message) error {
	_, _, hasQuery := target(m.Request)
	for _, need := range [...]struct {
		needed bool
		by     []string
	}{
		{true, []string{"@method"}},
		{true, []string{"@authority", "@target-uri"}},
		{true, []string{"@path", "@target-uri", "@request-target"}},
		{hasQuery, []string{"@query", "@target-uri", "@request-target"}},
		{len(m.Body) > 0, []string{"content-digest"}},
	} {
		if need.needed && !slices.ContainsFunc(need.by, s.has) {
			return bad("the signature %q does not cover %s: let the sender sign it as well", s.label, strings.Join(need.by, " or "))
		}
	}
	return nil
}
