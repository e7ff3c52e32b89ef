package capture

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// tokenParam is the parameter that carries a route's secret.
const tokenParam = "token"

// What proved a postback authentic, for the journal.
const (
	authenticToken   = "token"
	authenticAddress = "address"
	authenticBoth    = "token and address"
	authenticClickID = "click ID"
)

// admit asks what can be asked before the body is read.
func (rt *Route) admit(r *http.Request, a Arrival) *Reject {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return &Reject{
			Status: http.StatusMethodNotAllowed, Reason: MethodNotAllowed, Allow: "GET, POST",
			Detail: "postbacks are sent with GET or POST",
		}
	}
	if a.Early {
		return &Reject{
			Status: http.StatusTooEarly, Reason: EarlyData,
			Detail: "this came in TLS early data, which can be a replay: send it again after the handshake",
		}
	}
	sender := a.Sender.Unmap().WithZone("")
	if !a.Secure && !rt.AllowHTTP && !sender.IsLoopback() {
		return forbidden(InsecureTransport, "this route takes postbacks by HTTPS only: change http:// to https://")
	}
	if len(rt.Allow) > 0 && !rt.allows(sender) {
		return forbidden(AddressNotAllowed, "the sender's address is not on this route's list")
	}
	if n := len(requestURI(r)); n > maxURI {
		return malformed("the address with its query has %d bytes: at most %d are taken", n, maxURI)
	}
	return nil
}

func (rt *Route) allows(sender netip.Addr) bool {
	return slices.ContainsFunc(rt.allow, func(p netip.Prefix) bool { return p.Contains(sender) })
}

// checkToken passes if the header or the parameter holds a right token.
// Everything is compared with everything, and by hashes, so neither which
// token came close nor how long one is shows in the time it takes.
func (rt *Route) checkToken(header, param string) *Reject {
	if len(rt.Tokens) == 0 {
		return nil
	}
	bearer := bearerToken(header)
	right := 0
	for _, candidate := range [...]string{bearer, param} {
		if candidate == "" {
			continue // no token is empty
		}
		sum := sha256.Sum256([]byte(candidate))
		for i := range rt.tokens {
			right |= subtle.ConstantTimeCompare(sum[:], rt.tokens[i][:])
		}
	}
	if right == 1 {
		return nil
	}
	detail := "the token is wrong: compare the one in the postback URL at the sender with this route's, letter by letter"
	if bearer == "" && param == "" {
		detail = fmt.Sprintf("no token: send it as parameter %q or in the header \"Authorization: Bearer <token>\"", tokenParam)
	}
	return unauthorized(BadToken, detail)
}

func bearerToken(header string) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// authenticity names what the route's own authentication, having passed,
// proves; "" if the route has none and the click ID has to speak for itself.
func (rt *Route) authenticity() string {
	var proofs []string
	switch token, address := len(rt.Tokens) > 0, len(rt.Allow) > 0; {
	case token && address:
		proofs = append(proofs, authenticBoth)
	case token:
		proofs = append(proofs, authenticToken)
	case address:
		proofs = append(proofs, authenticAddress)
	}
	for _, v := range rt.Verifiers {
		proofs = append(proofs, v.Name())
	}
	return strings.Join(proofs, ", ")
}
