package signature

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
)

// clickbank decrypts ClickBank's instant notifications. There is no signature:
// that the text makes sense with our key shows that it was enciphered with it.
// What somebody changed on the way could still make sense, if only a block of
// it is garbled; so a token in the URL is no luxury.
type clickbank struct{ ciphers []cipher.Block }

// NewClickBank returns a verifier that is a [Decoder] as well. The secrets are
// secret keys of ClickBank accounts.
func NewClickBank(secrets [][]byte) (Verifier, error) {
	own, err := ownSecrets(secrets)
	if err != nil {
		return nil, err
	}
	v := &clickbank{}
	for _, s := range own {
		// The key is 32 hex digits, taken as they are: 128 bits in 256.
		sum := sha1.Sum(s)
		block, err := aes.NewCipher([]byte(hex.EncodeToString(sum[:])[:32]))
		if err != nil {
			return nil, err
		}
		v.ciphers = append(v.ciphers, block)
	}
	return v, nil
}

// Name implements Verifier.
func (v *clickbank) Name() string { return "clickbank" }

// Verify implements Verifier.
func (v *clickbank) Verify(m *Message) (Proof, error) {
	if _, _, err := v.Decode(m.Body); err != nil {
		return Proof{}, err
	}
	return Proof{Unsigned: PartQuery}, nil
}

// Decode implements Decoder.
func (v *clickbank) Decode(body []byte) (plain []byte, mediaType string, err error) {
	var sealed struct {
		Notification []byte `json:"notification"` // encoding/json decodes the base64
		IV           []byte `json:"iv"`
	}
	if err := json.Unmarshal(body, &sealed); err != nil || len(sealed.Notification) == 0 || len(sealed.IV) == 0 {
		return nil, "", bad(`the body is not {"notification":"<base64>","iv":"<base64>"}: is this the URL ` +
			"of an instant notification (INS) in ClickBank?")
	}
	if len(sealed.IV) != aes.BlockSize || len(sealed.Notification)%aes.BlockSize != 0 {
		return nil, "", bad("the notification has %d bytes and its iv %d: expected are whole blocks of %d, and an iv of one block",
			len(sealed.Notification), len(sealed.IV), aes.BlockSize)
	}
	for _, block := range v.ciphers {
		text := make([]byte, len(sealed.Notification))
		cipher.NewCBCDecrypter(block, sealed.IV).CryptBlocks(text, sealed.Notification)
		if text, ok := unpad(text); ok && isNotification(text) && plain == nil {
			plain = text
		}
	}
	if plain == nil {
		// One sentence for all: telling broken padding from broken JSON would
		// let a stranger decrypt what he captured (a padding oracle).
		return nil, "", bad("the notification cannot be decrypted: is the secret the secret key of this ClickBank account?")
	}
	return plain, "application/json", nil
}

// unpad takes PKCS #7's padding off, in a time that does not depend on it.
func unpad(text []byte) ([]byte, bool) {
	n := int(text[len(text)-1])
	ok := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i := 1; i <= aes.BlockSize; i++ {
		within := subtle.ConstantTimeLessOrEq(i, n)
		same := subtle.ConstantTimeByteEq(text[len(text)-i], byte(n))
		ok &= subtle.ConstantTimeSelect(within, same, 1)
	}
	n = subtle.ConstantTimeSelect(ok, n, 0)
	// Some of ClickBank's own examples strip control characters at the end.
	return bytes.TrimRight(text[:len(text)-n], "\x00\t\n\r "), ok == 1
}

// isNotification reports whether this is what ClickBank writes: a JSON object
// that says what happened, in capital letters, and one thing more.
func isNotification(text []byte) bool {
	var n struct {
		Type    string          `json:"transactionType"`
		Receipt string          `json:"receipt"`
		Vendor  string          `json:"vendor"`
		Version json.RawMessage `json:"version"`
	}
	if err := json.Unmarshal(text, &n); err != nil || len(n.Type) < 3 || len(n.Type) > 40 {
		return false
	}
	for _, c := range n.Type {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return n.Receipt != "" || n.Vendor != "" || len(n.Version) > 0
}
