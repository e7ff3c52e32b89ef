package capture

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// maxFailure bounds what a verifier says in an answer.
const maxFailure = 300

// verify asks all verifiers. Nothing has been read of the request's
// parameters until they have passed, except what they ask for themselves: a
// forged request costs as little as it can.
func (rt *Route) verify(r *http.Request, body []byte, a Arrival) ([]signature.Proof, *Reject) {
	if len(rt.Verifiers) == 0 {
		return nil, nil
	}
	m := &signature.Message{Request: r, Body: body, Now: a.Time, Field: lookUp(r, body)}
	if a.Target != "" {
		sent := *r
		sent.RequestURI = a.Target
		m.Request = &sent
	}
	proofs := make([]signature.Proof, 0, len(rt.Verifiers))
	for _, v := range rt.Verifiers {
		proof, err := v.Verify(m)
		if err != nil {
			return nil, notAuthentic(v.Name(), err)
		}
		if proof.Once != "" {
			// What one scheme calls its message, another may call its own.
			proof.Once = v.Name() + "\x00" + proof.Once
		}
		proofs = append(proofs, proof)
	}
	return proofs, nil
}

// unsignedParts are those that one of the proofs leaves open. That another
// covers them cannot be told from its speaking for the sender alone.
func unsignedParts(proofs []signature.Proof) (parts signature.Part) {
	for _, proof := range proofs {
		parts |= proof.Unsigned
	}
	return parts
}

func notAuthentic(name string, err error) *Reject {
	var failure *signature.Failure
	if !errors.As(err, &failure) {
		return unauthorized(BadSignature, cutString(name, maxEcho)+": the proof could not be checked")
	}
	detail := cutString(strings.ToValidUTF8(failure.Detail, "\uFFFD"), maxFailure)
	switch failure.Kind {
	case signature.StaleTimestamp:
		return unauthorized(StaleTimestamp, detail)
	case signature.Busy:
		return &Reject{Status: http.StatusServiceUnavailable, Detail: detail}
	}
	return unauthorized(BadSignature, detail)
}

// lookUp returns what verifiers ask parameters with. Each time the request is
// read for the one parameter only.
func lookUp(r *http.Request, body []byte) func(name string) string {
	query := queryOf(requestURI(r))
	return func(name string) string {
		var m matcher
		if _, err := m.add(name); err != nil {
			return ""
		}
		f := m.found()
		defer f.free()
		f.collectHeaders(r.Header.Get)
		f.collectForm(query, fromQuery)
		if v := f.values[0].value; v != "" {
			return v
		}
		if f.collectBody(r.Header.Get("Content-Type"), body) != nil {
			return ""
		}
		return f.values[0].value
	}
}

// unseen refuses what was proved once and must not be proved again.
func (rt *Route) unseen(proofs []signature.Proof, now time.Time) *Reject {
	for _, proof := range proofs {
		if rt.Memory.Seen(proof.Once, now) {
			return unauthorized(ReplayedMessage, "this very message was booked before: the sender has to sign each message anew")
		}
	}
	return nil
}

// Booked has to be called when the ledger has taken the postback, whatever the
// outcome, and not if it has to be sent again: from then on the same signed
// message is a replay.
func (p *Postback) Booked() {
	for _, proof := range p.proofs {
		p.memory.Remember(proof.Once, proof.Expires, p.Time)
	}
}

// maxUnsigned is more than the body of any sender's ping.
const maxUnsigned = 256

// unsigned answers what has no signature because its sender gives it none, as
// far as that can be told at next to no cost; else it returns rej.
func (rt *Route) unsigned(r *http.Request, body []byte, rej *Reject) *Reject {
	if len(body) > maxUnsigned {
		return rej
	}
	var f *found
	for i := range rt.kinds {
		k := &rt.kinds[i]
		if !k.Unsigned {
			continue
		}
		if f == nil {
			f = rt.match.found()
			defer f.free()
			f.collectHeaders(r.Header.Get)
			f.collectForm(queryOf(requestURI(r)), fromQuery)
			if kindOf(r.Header.Get("Content-Type"), body) == formBody {
				f.collectForm(string(body), fromBody)
			}
		}
		if k.fits(f) {
			return ignored(k.Ignore)
		}
	}
	return rej
}

// SecretParams lists the parameters whose values are secrets: what the route
// shows of a request must not show them. See [Raw.Masked].
func (rt *Route) SecretParams() []string { return rt.secrets }
