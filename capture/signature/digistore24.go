package signature

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
)

// digistore24 verifies Digistore24's IPN: the SHA-512 of all fields that are
// not empty, each with the passphrase behind it.
type digistore24 struct{ passphrases [][]byte }

// NewDigistore24 returns a verifier of Digistore24's sha_sign.
func NewDigistore24(passphrases [][]byte) (Verifier, error) {
	own, err := ownSecrets(passphrases)
	if err != nil {
		return nil, err
	}
	return &digistore24{own}, nil
}

// Name implements Verifier.
func (v *digistore24) Name() string { return "digistore24" }

// Verify implements Verifier.
func (v *digistore24) Verify(m *Message) (Proof, error) {
	fields, err := form(m)
	if err != nil {
		return Proof{}, err
	}
	text := fields["sha_sign"]
	if text == "" {
		text = fields["SHASIGN"]
	}
	if text == "" {
		return Proof{}, bad("the field sha_sign is missing or empty: is a passphrase set at this IPN connection in Digistore24, " +
			"and does it send by POST?")
	}
	sent, err := hex.DecodeString(text)
	if err != nil || len(sent) != sha512.Size {
		return Proof{}, bad("the field sha_sign is not %d hex digits", 2*sha512.Size)
	}
	names := sortedNames(fields, "sha_sign", "SHASIGN")
	fits := false
	for _, passphrase := range v.passphrases {
		h := sha512.New()
		for _, name := range names {
			if value := fields[name]; value != "" {
				h.Write([]byte(name + "=" + value))
				h.Write(passphrase)
			}
		}
		if hmac.Equal(sent, h.Sum(nil)) {
			fits = true
		}
	}
	if !fits {
		return Proof{}, bad("sha_sign does not fit: is the passphrase that of this IPN connection in Digistore24?")
	}
	return Proof{Unsigned: PartQuery}, nil
}
