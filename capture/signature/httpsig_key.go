package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// check reports whether a signature is that of a base.
type check func(base, signature []byte) bool

// httpKey is an HTTPKey that was read.
type httpKey struct {
	id, algorithm string
	check         check
}

var httpAlgorithms = []string{
	"hmac-sha256", "ed25519", "ecdsa-p256-sha256", "ecdsa-p384-sha384", "rsa-pss-sha512", "rsa-v1_5-sha256",
}

// minRSA is the shortest RSA key that is taken, in bits.
const minRSA = 2048

func newCheck(algorithm string, key []byte) (check, error) {
	if len(key) == 0 {
		return nil, errors.New("it is empty")
	}
	if !slices.Contains(httpAlgorithms, algorithm) {
		return nil, fmt.Errorf("algorithm is %q; allowed are %s", algorithm, strings.Join(httpAlgorithms, ", "))
	}
	if algorithm == "hmac-sha256" {
		return hmacCheck(key)
	}
	public, err := publicKey(algorithm, key)
	if err != nil {
		return nil, err
	}
	mismatch := fmt.Errorf("this public key is not one for the algorithm %q", algorithm)
	switch algorithm {
	case "ed25519":
		k, ok := public.(ed25519.PublicKey)
		if !ok {
			return nil, mismatch
		}
		return func(base, sig []byte) bool { return ed25519.Verify(k, base, sig) }, nil
	case "ecdsa-p256-sha256", "ecdsa-p384-sha384":
		k, ok := public.(*ecdsa.PublicKey)
		curve := elliptic.P256()
		if algorithm == "ecdsa-p384-sha384" {
			curve = elliptic.P384()
		}
		if !ok || k.Curve != curve {
			return nil, mismatch
		}
		return ecdsaCheck(k), nil
	}
	k, ok := public.(*rsa.PublicKey)
	if !ok {
		return nil, mismatch
	}
	if k.N.BitLen() < minRSA {
		return nil, fmt.Errorf("this RSA key has %d bits, at least %d are needed", k.N.BitLen(), minRSA)
	}
	return rsaCheck(k, algorithm), nil
}

func hmacCheck(key []byte) (check, error) {
	secret := bytes.Clone(key)
	if text, ok := bytes.CutPrefix(key, []byte("base64:")); ok {
		var err error
		// The error of the decoder would show a piece of the secret.
		if secret, err = anyBase64(string(text)); err != nil || len(secret) == 0 {
			return nil, errors.New("what follows base64: is not base64")
		}
	}
	return func(base, sig []byte) bool {
		mac := hmac.New(sha256.New, secret)
		mac.Write(base)
		return hmac.Equal(sig, mac.Sum(nil))
	}, nil
}

func ecdsaCheck(k *ecdsa.PublicKey) check {
	size := (k.Curve.Params().BitSize + 7) / 8
	return func(base, sig []byte) bool {
		if len(sig) != 2*size {
			return false
		}
		var digest []byte
		if size == 32 {
			d := sha256.Sum256(base)
			digest = d[:]
		} else {
			d := sha512.Sum384(base)
			digest = d[:]
		}
		return ecdsa.Verify(k, digest, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
	}
}

func rsaCheck(k *rsa.PublicKey, algorithm string) check {
	if algorithm == "rsa-pss-sha512" {
		return func(base, sig []byte) bool {
			digest := sha512.Sum512(base)
			options := &rsa.PSSOptions{SaltLength: sha512.Size, Hash: crypto.SHA512}
			return rsa.VerifyPSS(k, crypto.SHA512, digest[:], sig, options) == nil
		}
	}
	return func(base, sig []byte) bool {
		digest := sha256.Sum256(base)
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], sig) == nil
	}
}

// publicKey reads a public key in any form that people have it in.
func publicKey(algorithm string, key []byte) (crypto.PublicKey, error) {
	if block, _ := pem.Decode(key); block != nil {
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, errors.New("this is a private key: give the public one, the private one is the sender's alone")
		case block.Type == "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("reading the certificate: %w", err)
			}
			return cert.PublicKey, nil
		case block.Type == "RSA PUBLIC KEY":
			return x509.ParsePKCS1PublicKey(block.Bytes)
		}
		return x509.ParsePKIXPublicKey(block.Bytes)
	}
	text := strings.TrimSpace(string(key))
	if algorithm == "ed25519" {
		if raw, err := hex.DecodeString(text); err == nil && len(raw) == ed25519.PublicKeySize {
			return ed25519.PublicKey(raw), nil
		}
	}
	der, err := anyBase64(text)
	if err != nil {
		return nil, errors.New("the public key is neither PEM nor base64")
	}
	if algorithm == "ed25519" && len(der) == ed25519.PublicKeySize {
		return ed25519.PublicKey(der), nil
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("the public key is base64, but not of a public key in DER (SubjectPublicKeyInfo)")
	}
	return public, nil
}
