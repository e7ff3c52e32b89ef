package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"
)

func TestHTTPSignatureAlgorithms(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed := ed25519.NewKeyFromSeed(make([]byte, 32))
	ec := func(k *ecdsa.PrivateKey, digest []byte) []byte {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			t.Fatal(err)
		}
		size := (k.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	for _, c := range []struct {
		algorithm string
		public    crypto.PublicKey
		sign      func(base string) []byte
	}{
		{"ed25519", ed.Public(), func(base string) []byte { return ed25519.Sign(ed, []byte(base)) }},
		{"ecdsa-p256-sha256", p256.Public(), func(base string) []byte { d := sha256.Sum256([]byte(base)); return ec(p256, d[:]) }},
		{"ecdsa-p384-sha384", p384.Public(), func(base string) []byte { d := sha512.Sum384([]byte(base)); return ec(p384, d[:]) }},
		{"rsa-pss-sha512", rsaKey.Public(), func(base string) []byte {
			d := sha512.Sum512([]byte(base))
			sig, err := rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA512, d[:], &rsa.PSSOptions{SaltLength: 64})
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}},
		{"rsa-v1_5-sha256", rsaKey.Public(), func(base string) []byte {
			d := sha256.Sum256([]byte(base))
			sig, err := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, d[:])
			if err != nil {
				t.Fatal(err)
			}
			return sig
		}},
	} {
		der, err := x509.MarshalPKIXPublicKey(c.public)
		if err != nil {
			t.Fatal(err)
		}
		forms := [][]byte{
			pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), []byte(base64.StdEncoding.EncodeToString(der)),
		}
		switch k := c.public.(type) {
		case ed25519.PublicKey:
			forms = append(forms, []byte(base64.StdEncoding.EncodeToString(k)), []byte(hex.EncodeToString(k)+"\n"))
		case *rsa.PublicKey:
			forms = append(forms, pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(k)}))
		}
		p := get(created(now), "")
		p.sign = c.sign
		m := signed9421("GET", "https://example.com/p?x=1", "", nil, p)
		for i, form := range forms {
			v, err := NewHTTPSignature([]HTTPKey{{"k", c.algorithm, form}}, 0)
			if err != nil {
				t.Errorf("%s, form %d: %v", c.algorithm, i, err)
				continue
			}
			if _, err := v.Verify(m); err != nil {
				t.Errorf("%s, form %d: %v", c.algorithm, i, err)
			}
			bad := clone(m)
			bad.Request.RequestURI = "/p?x=2"
			if _, err := v.Verify(bad); verdict(t, err) != "bad" {
				t.Errorf("%s, form %d: a changed query passed", c.algorithm, i)
			}
		}
	}
}

func TestHTTPSignatureConfigErrors(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(small.Public())
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(small)
	if err != nil {
		t.Fatal(err)
	}
	ed := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for _, c := range []struct{ id, algorithm, key, want string }{
		{"", "hmac-sha256", "k", "no ID"},
		{"k", "hmac-sha256", "", "empty"},
		{"k", "hmac-sha256", "base64:%%", "not base64"},
		{"k", "hmac-sha512", "k", "allowed are hmac-sha256, ed25519"},
		{"k", "ed25519", "secret-value!", "neither PEM nor base64"},
		{"k", "ed25519", "c2VjcmV0", "not of a public key"},
		{"k", "ecdsa-p256-sha256", base64.StdEncoding.EncodeToString(der), "not one for the algorithm"},
		{"k", "ed25519", base64.StdEncoding.EncodeToString(der), "not one for the algorithm"},
		{"k", "rsa-pss-sha512", ed, "not of a public key"},
		{"k", "rsa-pss-sha512", base64.StdEncoding.EncodeToString(der), "at least 2048"},
		{"k", "rsa-pss-sha512", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "private key"},
		{"k", "rsa-pss-sha512", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "certificate"},
	} {
		_, err := NewHTTPSignature([]HTTPKey{{c.id, c.algorithm, []byte(c.key)}}, 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.20s: got %v, want an error with %q", c.algorithm, c.key, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-value") {
			t.Errorf("the error tells the key: %v", err)
		}
	}
	if _, err := NewHTTPSignature(nil, 0); err == nil {
		t.Error("no key was taken")
	}
	if _, err := NewHTTPSignature([]HTTPKey{{"k", "hmac-sha256", []byte("k")}}, -1); err == nil {
		t.Error("a negative tolerance was taken")
	}
}
