package clickid

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
)

const (
	keyInfo       = "caddy-capture click ID v1"
	keyLength     = 32
	minSecret     = 16
	defaultSecret = 32
)

// Codec mints and verifies click IDs. It is made by [New] and safe for
// concurrent use.
type Codec struct {
	keys []cipher.Block // the first one signs, all verify
}

// New derives one key from each secret. The first secret signs, all verify: a
// new secret is put in front, and an old one may go when its last click no
// longer matters. A secret needs 16 bytes at least; it is not kept.
func New(secrets ...[]byte) (*Codec, error) {
	if len(secrets) == 0 {
		return nil, errors.New("making a click ID codec: no secret given")
	}
	c := &Codec{keys: make([]cipher.Block, len(secrets))}
	for i, secret := range secrets {
		block, err := newCipher(secret)
		if err != nil {
			return nil, fmt.Errorf("making a click ID codec: secret %d of %d: %w", i+1, len(secrets), err)
		}
		c.keys[i] = block
	}
	return c, nil
}

func newCipher(secret []byte) (cipher.Block, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("has %d bytes, at least %d are needed", len(secret), minSecret)
	}
	key, err := hkdf.Key(sha256.New, secret, nil, keyInfo, keyLength)
	if err != nil {
		return nil, fmt.Errorf("deriving the key: %w", err)
	}
	return aes.NewCipher(key)
}

// NewSecret returns 32 random bytes, fit for [New].
func NewSecret() ([]byte, error) {
	secret := make([]byte, defaultSecret)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("making a click ID secret: %w", err)
	}
	return secret, nil
}

// Encode returns the click ID of r under the signing key. The same Ref always
// gives the same ID. It panics if a field of r is out of range.
func (c *Codec) Encode(r Ref) string {
	text := format(encipher(c.keys[0], r))
	return string(text[:])
}

// Append is Encode onto dst. It allocates nothing if dst has room for
// [Length] more bytes.
func (c *Codec) Append(dst []byte, r Ref) []byte {
	text := format(encipher(c.keys[0], r))
	return append(dst, text[:]...)
}

// Decode verifies a click ID, in letters of any case, and returns what it
// names. The error is [ErrLength], [ErrAlphabet] or [ErrForged], the first two
// wrapped with what is wrong with s. See the package comment for the
// probability that a string passes which was never minted.
func (c *Codec) Decode(s string) (Ref, error) {
	hi, lo, err := parse(s)
	if err != nil {
		return Ref{}, err
	}
	for _, key := range c.keys {
		if h, l := decipher(key, hi, lo); redundancy(h) == redundancyBits {
			return unpack(h, l), nil
		}
	}
	return Ref{}, ErrForged
}

// buffers lends the cipher its memory: what is handed to an interface's method
// escapes, and would be allocated anew for each ID.
var buffers = sync.Pool{New: func() any { return new([aes.BlockSize]byte) }}

func encipher(key cipher.Block, r Ref) (hi, lo uint64) {
	hi, lo = r.pack()
	return crypt(key.Encrypt, hi, lo)
}

func decipher(key cipher.Block, hi, lo uint64) (uint64, uint64) {
	return crypt(key.Decrypt, hi, lo)
}

func crypt(direction func(dst, src []byte), hi, lo uint64) (uint64, uint64) {
	b := buffers.Get().(*[aes.BlockSize]byte)
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	direction(b[:], b[:])
	hi, lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	buffers.Put(b)
	return hi, lo
}
