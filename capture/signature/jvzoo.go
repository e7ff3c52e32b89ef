package signature

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"

	"golang.org/x/time/rate"
)

const (
	jvzooRate  = 100 // wrong messages a second
	jvzooBurst = 1000
)

// jvzoo verifies JVZoo's IPN: the first 32 bits of the SHA-1 of all values and
// the secret; the names of the fields are not covered, only their order. So few
// bits can be guessed if the server is asked often enough; at 100 wrong ones a
// second it takes 16 months on average. Beyond that nothing is checked, not even
// what would be right, or guessing could go on: the sender comes again.
type jvzoo struct {
	secrets [][]byte
	limit   *rate.Limiter
}

// NewJVZoo returns a verifier of JVZoo's cverify.
func NewJVZoo(secrets [][]byte) (Verifier, error) {
	own, err := ownSecrets(secrets)
	if err != nil {
		return nil, err
	}
	return &jvzoo{own, rate.NewLimiter(jvzooRate, jvzooBurst)}, nil
}

// Name implements Verifier.
func (v *jvzoo) Name() string { return "jvzoo" }

// Verify implements Verifier.
func (v *jvzoo) Verify(m *Message) (Proof, error) {
	fields, err := form(m)
	if err != nil {
		return Proof{}, err
	}
	text := fields["cverify"]
	if text == "" {
		return Proof{}, bad("the field cverify is missing or empty: is this URL the JVZIPN URL of a product in JVZoo?")
	}
	sent, err := hex.DecodeString(text)
	if err != nil || len(sent) != 4 {
		return Proof{}, bad("the field cverify is not 8 hex digits")
	}
	if v.limit.TokensAt(m.Now) < 1 {
		return Proof{}, &Failure{Kind: Busy, Detail: fmt.Sprintf("more than %d wrong messages a second arrive, so somebody may be "+
			"guessing JVZoo's short signature: put a token into the URL, or list the sender's addresses", jvzooRate)}
	}
	names := sortedNames(fields, "cverify")
	fits := false
	for _, secret := range v.secrets {
		h := sha1.New()
		for _, name := range names {
			h.Write([]byte(fields[name] + "|"))
		}
		h.Write(secret)
		if hmac.Equal(sent, h.Sum(nil)[:4]) {
			fits = true
		}
	}
	if !fits {
		v.limit.AllowN(m.Now, 1)
		return Proof{}, bad("cverify does not fit: is the secret the JVZIPN secret key of the JVZoo account?")
	}
	return Proof{Unsigned: PartQuery}, nil
}
