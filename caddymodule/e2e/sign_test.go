package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// How senders sign, written down here from their documentation once more.

func hmacBase64(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func shopifyMessage(secret, target, topic, body string) request {
	return post(target, body, jsonBody, "X-Shopify-Topic: "+topic, "X-Shopify-Hmac-Sha256: "+hmacBase64(secret, body))
}

// sortedKeys are those of a form but for the one that holds the signature.
func sortedKeys(v url.Values, without string) []string {
	var keys []string
	for key := range v {
		if key != without {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// digistoreMessage signs a form as Digistore24 does: all fields that are not empty, each with the passphrase
// behind it, hashed with SHA-512 into capital letters.
func digistoreMessage(t testing.TB, passphrase, target, fields string) request {
	t.Helper()
	v := parseForm(t, fields)
	v.Del("sha_sign")
	var b strings.Builder
	for _, key := range sortedKeys(v, "sha_sign") {
		if value := v.Get(key); value != "" {
			b.WriteString(key + "=" + value + passphrase)
		}
	}
	sum := sha512.Sum512([]byte(b.String()))
	v.Set("sha_sign", strings.ToUpper(hex.EncodeToString(sum[:])))
	return post(target, v.Encode(), form)
}

// jvzooMessage signs a form as JVZoo does: the values in the order of their names, each with a bar behind it,
// and the secret; of the SHA-1 of that the first eight digits in capital letters.
func jvzooMessage(t testing.TB, secret, target, fields string) request {
	t.Helper()
	v := parseForm(t, fields)
	var b strings.Builder
	for _, key := range sortedKeys(v, "cverify") {
		b.WriteString(v.Get(key) + "|")
	}
	sum := sha1.Sum([]byte(b.String() + secret))
	v.Set("cverify", strings.ToUpper(hex.EncodeToString(sum[:]))[:8])
	return post(target, v.Encode(), form)
}

// clickbankMessage enciphers a notification as ClickBank does: AES-256 in CBC mode; the key is the first 32
// hexadecimal digits of the secret's SHA-1.
func clickbankMessage(t testing.TB, secret, target, plain string) request {
	t.Helper()
	sum := sha1.Sum([]byte(secret))
	block, err := aes.NewCipher([]byte(hex.EncodeToString(sum[:])[:32]))
	if err != nil {
		t.Fatal(err)
	}
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	text := append([]byte(plain), slices.Repeat([]byte{byte(pad)}, pad)...)
	iv := sha256.Sum256(text)
	cipher.NewCBCEncrypter(block, iv[:aes.BlockSize]).CryptBlocks(text, text)
	body, err := json.Marshal(map[string]string{
		"notification": base64.StdEncoding.EncodeToString(text), "iv": base64.StdEncoding.EncodeToString(iv[:aes.BlockSize]),
	})
	if err != nil {
		t.Fatal(err)
	}
	return post(target, string(body), jsonBody)
}

func parseForm(t testing.TB, fields string) url.Values {
	t.Helper()
	v, err := url.ParseQuery(fields)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
