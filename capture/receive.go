package capture

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// What is kept of a request is bounded: whoever holds a genuine click ID, and
// every visitor does, can make a journal entry on a route without secrets.
const (
	maxURI       = 16 << 10 // senders stay below 8 KiB, which is what most servers take
	maxUserAgent = 256
	maxMediaType = 256
	maxHost      = 255
)

// Receive reads and authenticates a request. It returns either a Postback to
// be booked, which is authentic and perhaps has a Problem, or a *Reject;
// nothing else.
func (rt *Route) Receive(r *http.Request, a Arrival) (*Postback, *Reject) {
	if rej := rt.admit(r, a); rej != nil {
		return nil, rej
	}
	body, rej := rt.readBody(r)
	if rej != nil {
		return nil, rej
	}
	raw := newRaw(r, body)
	var f found
	// It is read as the journal keeps it, so that booking it again reads the
	// same.
	rt.collectForm(&f, raw.query(), fromQuery)
	if err := rt.collectBody(&f, raw.ContentType, r.Header.Values("Content-Encoding"), body); err != nil {
		return nil, malformed("the body cannot be read: %v", err)
	}
	if rej := rt.checkToken(r.Header.Get("Authorization"), f[slotToken].value); rej != nil {
		return nil, rej
	}
	p := &Postback{
		Time: a.Time, Route: rt.Name, Rules: a.Rules, OnlyCampaign: rt.Campaign,
		Authentic: rt.authenticity(), Sender: rt.Address.Keep(a.Sender), Raw: raw,
	}
	if reason, detail := rt.nameClick(p, f[slotClickID].value, a.Codec); reason != "" {
		if p.Authentic == "" {
			return nil, &Reject{Status: http.StatusBadRequest, Reason: reason, Detail: detail}
		}
		p.note(reason, detail)
	} else if p.Authentic == "" {
		p.Authentic = authenticClickID
	}
	rt.readClaim(p, &f)
	return p, nil
}

// Reread reads what waits in quarantine again, as the route is configured now.
// That it is authentic was proved when it arrived. A route that takes a
// compressed body today took none then, so there is none.
func (rt *Route) Reread(e *Entry, a Arrival) *Postback {
	p := &Postback{
		Time: a.Time, Route: rt.Name, Rules: a.Rules, OnlyCampaign: rt.Campaign,
		Authentic: e.Authentic, Sender: e.Sender, Raw: e.Raw, Replays: e.Seq,
	}
	var f found
	rt.collectForm(&f, p.Raw.query(), fromQuery)
	if err := rt.collectBody(&f, e.Raw.ContentType, nil, e.Raw.Body); err != nil {
		p.note(MalformedRequest, "the body cannot be read: "+err.Error())
	}
	if reason, detail := rt.nameClick(p, f[slotClickID].value, a.Codec); reason != "" {
		p.note(reason, detail)
	}
	rt.readClaim(p, &f)
	p.Claim.ReceivedAt = e.Claim.ReceivedAt
	if p.Claim.ReceivedAt.IsZero() {
		p.Claim.ReceivedAt = e.Time
	}
	p.Claim.Key = e.Claim.Key
	return p
}

// readBody reads the body once, whatever the sender says of its length.
func (rt *Route) readBody(r *http.Request) ([]byte, *Reject) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.ContentLength > rt.MaxBody {
		return nil, tooLarge(rt.MaxBody)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, rt.MaxBody+1))
	if int64(len(body)) > rt.MaxBody {
		return nil, tooLarge(rt.MaxBody)
	}
	// A limit of the server's own may be lower.
	if limit := (*http.MaxBytesError)(nil); errors.As(err, &limit) {
		return nil, tooLarge(limit.Limit)
	}
	if err != nil {
		return nil, malformed("the body could not be read to its end")
	}
	if len(body) == 0 {
		return nil, nil
	}
	return body, nil
}

// nameClick reads the click ID. It returns why there is none.
func (rt *Route) nameClick(p *Postback, value string, codec *clickid.Codec) (reason Reason, detail string) {
	p.ClickID = cutString(value, maxEcho)
	if value == "" {
		return MissingClickID, "no click ID: it is looked for in the parameters " + joined(rt.Fields[FieldClickID])
	}
	if isMacro(value) {
		return UnresolvedMacro, macroDetail(FieldClickID, value)
	}
	ref, key, err := codec.DecodeTag(value)
	switch {
	case err == nil:
		p.Ref, p.Key, p.HasRef = ref, key, true
		return "", ""
	case errors.Is(err, clickid.ErrForged):
		return InvalidClickID, fmt.Sprintf("click_id is %q: it is not one that this site made", echo(value))
	default:
		return InvalidClickID, fmt.Sprintf("click_id is %q: %v", echo(value), err)
	}
}

// note keeps the first problem that is found.
func (p *Postback) note(reason Reason, detail string) {
	if p.Problem == "" {
		p.Problem, p.ProblemDetail = reason, detail
	}
}
