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
	"slices"
	"sync"
)

const (
	keyInfo       = "caddy-capture click ID v1"
	tagInfo       = "caddy-capture click ID key tag v1"
	keyLength     = 32
	minSecret     = 16
	defaultSecret = 32
)

// Codec mints and verifies click IDs. It is made by [New] and safe for
// concurrent use.
type Codec struct {
	keys []cipher.Block // the first one signs, all verify
	tags []uint16       // of the keys
}

// New derives one key from each secret. The first secret signs, all verify: a
// new secret is put in front, and an old one may go when its last click no
// longer matters. A secret needs 16 bytes at least; it is not kept.
func New(secrets ...[]byte) (*Codec, error) {
	if len(secrets) == 0 {
		return nil, errors.New("making a click ID codec: no secret given")
	}
	c := &Codec{keys: make([]cipher.Block, len(secrets)), tags: make([]uint16, len(secrets))}
	for i, secret := range secrets {
		block, err := newCipher(secret)
		if err != nil {
			return nil, fmt.Errorf("making a click ID codec: secret %d of %d: %w", i+1, len(secrets), err)
		}
		c.keys[i] = block
		if c.tags[i], err = newTag(secret); err != nil {
			return nil, fmt.Errorf("making a click ID codec: secret %d of %d: %w", i+1, len(secrets), err)
		}
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

// newTag derives what a key is recognised by where it may be seen. It says
// nothing about the key.
func newTag(secret []byte) (uint16, error) {
	tag, err := hkdf.Key(sha256.New, secret, nil, tagInfo, 2)
	if err != nil {
		return 0, fmt.Errorf("deriving the key's tag: %w", err)
	}
	return binary.BigEndian.Uint16(tag), nil
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

// Signer returns the tag of the signing key. Kept beside a Ref, it lets
// [Codec.EncodeAs] give the ID its old form after another key came to sign.
func (c *Codec) Signer() uint16 { return c.tags[0] }

// EncodeAs returns the click ID of r under the key of that tag, and under the
// signing key if there is no such key any more.
func (c *Codec) EncodeAs(tag uint16, r Ref) string {
	text := format(encipher(c.keys[max(0, slices.Index(c.tags, tag))], r))
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
	r, _, err := c.DecodeTag(s)
	return r, err
}

// DecodeTag is Decode, and tells the tag of the key that signed.
func (c *Codec) DecodeTag(s string) (Ref, uint16, error) {
	hi, lo, err := parse(s)
	if err != nil {
		return Ref{}, 0, err
	}
	for i, key := range c.keys {
		if h, l := decipher(key, hi, lo); redundancy(h) == redundancyBits {
			return unpack(h, l), c.tags[i], nil
		}
	}
	return Ref{}, 0, ErrForged
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
