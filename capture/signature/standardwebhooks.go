package signature

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// standardWebhooks verifies what standardwebhooks.com describes. The
// specification's own Go library takes one secret, no public key and no clock.
type standardWebhooks struct {
	secrets [][]byte
	keys    []ed25519.PublicKey
}

// NewStandardWebhooks returns a verifier of Standard Webhooks. A secret is
// "whsec_" and base64, or base64 alone; a public key is "whpk_" and base64.
func NewStandardWebhooks(secrets [][]byte) (Verifier, error) {
	own, err := ownSecrets(secrets)
	if err != nil {
		return nil, err
	}
	v := &standardWebhooks{}
	for i, s := range own {
		if bytes.HasPrefix(s, []byte("whsk_")) {
			return nil, fmt.Errorf("secret %d is a private key (whsk_): give the public one, which begins with whpk_", i+1)
		}
		public, isPublic := bytes.CutPrefix(s, []byte("whpk_"))
		text := bytes.TrimPrefix(public, []byte("whsec_"))
		// The error of the decoder would show a piece of the secret.
		key, err := anyBase64(string(text))
		switch {
		case err != nil || len(key) == 0:
			return nil, fmt.Errorf("secret %d is not base64: such secrets begin with whsec_, or whpk_ if they are public keys", i+1)
		case !isPublic:
			v.secrets = append(v.secrets, key)
		case len(key) != ed25519.PublicKeySize:
			return nil, fmt.Errorf("public key %d has %d bytes, an Ed25519 key has %d", i+1, len(key), ed25519.PublicKeySize)
		default:
			v.keys = append(v.keys, ed25519.PublicKey(key))
		}
	}
	return v, nil
}

// Name implements Verifier.
func (v *standardWebhooks) Name() string { return "standard webhooks" }

// Verify implements Verifier.
func (v *standardWebhooks) Verify(m *Message) (Proof, error) {
	// The service that the specification grew out of sends the same headers
	// under its own name.
	family := "webhook-"
	if m.Request.Header.Get("webhook-id") == "" && m.Request.Header.Get("svix-id") != "" {
		family = "svix-"
	}
	const hint = "does the sender sign as Standard Webhooks say?"
	var id, timestamp, signatures string
	for _, h := range [...]struct {
		to         *string
		name, role string
	}{{&id, "id", "message's ID"}, {&timestamp, "timestamp", "timestamp"}, {&signatures, "signature", "signature"}} {
		var err error
		if *h.to, err = header(m.Request, family+h.name, h.role, hint); err != nil {
			return Proof{}, err
		}
	}
	if strings.Contains(id, ".") {
		// Dots part what is signed: with one in the ID, bytes could be moved
		// from the body into it.
		return Proof{}, bad("the header %sid contains a dot, which the specification forbids", family)
	}
	seconds, err := strconv.ParseUint(timestamp, 10, 40)
	if err != nil {
		return Proof{}, bad("the header %stimestamp is %q: expected are seconds since 1970", family, cut(timestamp))
	}
	payload := make([]byte, 0, len(id)+len(timestamp)+2+len(m.Body))
	payload = append(append(append(append(payload, id...), '.'), timestamp...), '.')
	if err := v.fits(append(payload, m.Body...), signatures, family); err != nil {
		return Proof{}, err
	}
	at := time.Unix(int64(seconds), 0)
	if err := checkAge(at, m.Now, defaultTolerance); err != nil {
		return Proof{}, err
	}
	return Proof{
		Once:     once([]byte("standard webhooks"), []byte(id), []byte(timestamp)),
		Expires:  at.Add(defaultTolerance),
		Unsigned: PartQuery,
	}, nil
}

// fits compares all that is there with all the keys that there are.
func (v *standardWebhooks) fits(payload []byte, signatures, family string) error {
	entries := strings.Fields(signatures)
	if len(entries) > maxCandidates {
		return bad("the header %ssignature holds %d signatures, at most %d are compared", family, len(entries), maxCandidates)
	}
	sums := make([][]byte, len(v.secrets))
	for i, secret := range v.secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write(payload)
		sums[i] = mac.Sum(nil)
	}
	fits, readable := false, false
	for _, entry := range entries {
		version, text, _ := strings.Cut(entry, ",")
		sig, err := anyBase64(text)
		if err != nil {
			continue
		}
		switch {
		case version == "v1" && len(sig) == sha256.Size && len(sums) > 0:
			readable = true
			for _, sum := range sums {
				if hmac.Equal(sig, sum) {
					fits = true
				}
			}
		case version == "v1a" && len(sig) == ed25519.SignatureSize:
			for _, key := range v.keys {
				readable = true
				if ed25519.Verify(key, payload, sig) {
					fits = true
				}
			}
		}
	}
	switch {
	case fits:
		return nil
	case !readable:
		return bad("the header %ssignature holds no signature that can be checked: expected is %s", family, v.expected())
	}
	return bad("the signature does not fit: is the secret that of this endpoint, " +
		"and does nothing in front of this server change what was sent?")
}

func (v *standardWebhooks) expected() string {
	switch {
	case len(v.keys) == 0:
		return "v1,<base64>"
	case len(v.secrets) == 0:
		return "v1a,<base64>"
	}
	return "v1,<base64> or v1a,<base64>"
}
