package signature

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
)

// sharedSecret takes a message one of whose fields is a secret.
type sharedSecret struct {
	field string
	sums  [][sha256.Size]byte
}

// hashedSecret takes a message one of whose fields is the MD5 of other fields
// and a secret.
type hashedSecret struct {
	field   string
	secrets [][]byte
	made    template
}

// NewSharedSecret returns a verifier of secrets that are sent along, in a
// field of the query or the body. If md5 is not empty, the field holds the MD5,
// in hex, of what that template says, such as "{field.trans_id}-{secret}".
func NewSharedSecret(field string, secrets [][]byte, md5 string) (Verifier, error) {
	if field == "" {
		return nil, errors.New("no field is named that holds the secret")
	}
	own, err := ownSecrets(secrets)
	if err != nil {
		return nil, err
	}
	if md5 != "" {
		made, err := parseTemplate(md5, secretPlaceholders, holeField, holeSecret)
		switch {
		case err != nil:
			return nil, fmt.Errorf("md5: %w", err)
		case !made.has(holeSecret):
			return nil, fmt.Errorf("md5: the template %q has no {secret}, so anybody could make the hash", md5)
		case made.named(holeField, field):
			return nil, fmt.Errorf("md5: the template %q has the field %q, which holds the hash itself", md5, field)
		}
		return &hashedSecret{field, own, made}, nil
	}
	v := &sharedSecret{field: field}
	for _, s := range own {
		v.sums = append(v.sums, sha256.Sum256(s))
	}
	return v, nil
}

// Name implements Verifier.
func (v *sharedSecret) Name() string { return "shared secret" }

// Secrets implements Masker.
func (v *sharedSecret) Secrets() []string { return []string{v.field} }

// Verify implements Verifier.
func (v *sharedSecret) Verify(m *Message) (Proof, error) {
	value, err := parameter(m, v.field, "secret", anyPart)
	if err != nil {
		return Proof{}, err
	}
	// Compared by hashes, so that the length does not show in the time.
	sum := sha256.Sum256([]byte(value))
	right := 0
	for i := range v.sums {
		right |= subtle.ConstantTimeCompare(sum[:], v.sums[i][:])
	}
	if right != 1 {
		return Proof{}, bad("the secret in %q is wrong: is it the one that the sender shows for this account?", v.field)
	}
	return Proof{}, nil
}

// Name implements Verifier.
func (v *hashedSecret) Name() string { return "shared secret (md5)" }

// Verify implements Verifier.
func (v *hashedSecret) Verify(m *Message) (Proof, error) {
	text, err := parameter(m, v.field, "hash", anyPart)
	if err != nil {
		return Proof{}, err
	}
	sent, err := hex.DecodeString(text)
	if err != nil || len(sent) != md5.Size {
		return Proof{}, bad("the hash in %q is not %d hex digits", v.field, 2*md5.Size)
	}
	for _, p := range v.made {
		if p.hole == holeField {
			if _, err := parameter(m, p.text, "value that the hash covers", anyPart); err != nil {
				return Proof{}, err
			}
		}
	}
	fits := false
	for _, secret := range v.secrets {
		sum := md5.Sum(v.made.fill(m, filling{secret: secret}))
		if hmac.Equal(sent, sum[:]) {
			fits = true
		}
	}
	if !fits {
		return Proof{}, bad("the hash in %q does not fit: is the secret that of this account, and is it made of the fields configured?", v.field)
	}
	return Proof{}, nil
}
