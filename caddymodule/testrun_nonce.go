package caddymodule

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// testHeader carries the nonce of a test click.
	testHeader = "X-Capture-Test"
	// testNonceLife is how long a nonce waits for its request.
	testNonceLife = 15 * time.Second
	// maxTestNonces bounds what is compared for each request that claims to
	// be a test: visitors can send the header, too.
	maxTestNonces = 16
	// testVar remembers in a request's variables that it is a test, for the
	// second handler that asks: the nonce is spent by then.
	testVar = "capture.test"
)

// testNonces are those that this process has issued and not seen again.
var testNonces nonceSet

// nonceSet holds nonces that are good once, for a short time.
type nonceSet struct {
	mu     sync.Mutex
	issued []issuedNonce
}

type issuedNonce struct {
	text    string
	expires time.Time
}

// issue returns a new nonce. If too many are waiting the oldest is forgotten.
func (s *nonceSet) issue(now time.Time) string {
	text := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	if len(s.issued) >= maxTestNonces {
		s.issued = s.issued[1:]
	}
	s.issued = append(s.issued, issuedNonce{text, now.Add(testNonceLife)})
	return text
}

// spend tells whether the nonce was issued a moment ago, and makes it worth
// nothing. How long it takes does not depend on how much of it was right.
func (s *nonceSet) spend(nonce string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	found := -1
	for i := range s.issued {
		if subtle.ConstantTimeCompare([]byte(s.issued[i].text), []byte(nonce)) == 1 {
			found = i
		}
	}
	if found < 0 {
		return false
	}
	s.issued = append(s.issued[:found:found], s.issued[found+1:]...)
	return true
}

// expire drops what is too old; the lock is held. Nonces are in the order of
// their age.
func (s *nonceSet) expire(now time.Time) {
	for len(s.issued) > 0 && now.After(s.issued[0].expires) {
		s.issued = s.issued[1:]
	}
}

// isTestRequest tells whether the request is one of `caddy capture test`. Only
// this process can make one: a visitor who could would hide clicks from
// reports.
func isTestRequest(r *http.Request) bool {
	values, ok := r.Header[testHeader]
	if !ok {
		return false
	}
	if test, _ := caddyhttp.GetVar(r.Context(), testVar).(bool); test {
		return true
	}
	if len(values) != 1 || !testNonces.spend(values[0], time.Now()) {
		return false
	}
	if r.Context().Value(caddyhttp.VarsCtxKey) != nil {
		caddyhttp.SetVar(r.Context(), testVar, true)
	}
	return true
}
