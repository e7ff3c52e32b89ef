package capture

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/caddy-capture/caddy-capture/capture/clickid"
	"github.com/caddy-capture/caddy-capture/capture/signature"
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
	p := &Postback{
		Time: a.Time, Route: rt.Name, Rules: a.Rules, OnlyCampaign: rt.Campaign,
		Authentic: rt.proof, Sender: rt.Address.Keep(a.Sender), Raw: rt.newRaw(r, body),
	}
	// What the journal keeps is read, and not the request itself, so that
	// booking it again reads the same.
	f := rt.collectHead(p.Raw)
	defer func() { f.free() }()
	// The token costs less to check than a signature, and shields those that
	// are so short that wrong ones have to be counted.
	inBody, rej := rt.checkHead(r, p.Raw, f)
	if rej != nil {
		return nil, rej
	}
	proofs, rej := rt.verify(r, body, a)
	if rej != nil {
		return nil, rt.unsigned(r, body, rej)
	}
	if rej := rt.unseen(proofs, a.Time); rej != nil {
		return nil, rej
	}
	p.proofs, p.memory = proofs, rt.Memory
	if p.Raw.Unsigned = unsignedParts(proofs); p.Raw.Unsigned&signature.PartQuery != 0 {
		f.free()
		f = rt.collectHead(p.Raw) // without the query
	}
	err := checkEncoding(r.Header)
	if err == nil {
		err = rt.collectBody(f, p.Raw)
	}
	if err != nil {
		return nil, malformed("the body cannot be read: %v", err)
	}
	rt.mendForms(p, f)
	if inBody {
		if rej := rt.checkToken(r.Header.Get("Authorization"), f.first(rt.token)); rej != nil {
			return nil, rej
		}
	}
	if rej = rt.read(p, f, a.Codec); rej != nil {
		return nil, rej
	}
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
	f := rt.collectHead(p.Raw)
	defer f.free()
	if err := rt.collectBody(f, p.Raw); err != nil {
		p.note(MalformedRequest, "the body cannot be read: "+err.Error())
	}
	rt.mendForms(p, f)
	rt.read(p, f, a.Codec)
	p.Claim.ReceivedAt = e.Claim.ReceivedAt
	if p.Claim.ReceivedAt.IsZero() {
		p.Claim.ReceivedAt = e.Time
	}
	if p.Claim.Key == "" {
		p.Claim.Key = e.Claim.Key
	}
	return p
}

// collectHead reads what is not in the body.
func (rt *Route) collectHead(raw Raw) *found {
	f := rt.match.found()
	f.wantAll(rt.all)
	f.collectHeaders(func(name string) string { return raw.Headers[name] })
	if raw.Unsigned&signature.PartQuery == 0 {
		f.collectForm(raw.query(), fromQuery)
	}
	return f
}

// checkHead checks the token in header or query. If there is none and there
// is a body, it has to be in there.
func (rt *Route) checkHead(r *http.Request, raw Raw, f *found) (inBody bool, rej *Reject) {
	bearer, token := r.Header.Get("Authorization"), f.first(rt.token)
	rej = rt.checkToken(bearer, token)
	if rej != nil {
		if mended, ok := rt.mendedToken(raw, f); ok {
			token = mended
			rej = rt.checkToken(bearer, token)
		}
	}
	if rej != nil && token == "" && len(raw.Body) > 0 {
		return true, nil
	}
	return false, rej
}

// collectBody reads the body, unwrapped where the route's senders wrap it.
func (rt *Route) collectBody(f *found, raw Raw) error {
	contentType, body := raw.ContentType, raw.Body
	if len(body) > 0 && raw.Unsigned&signature.PartBody == 0 {
		for _, d := range rt.decoders {
			var err error
			if body, contentType, err = d.Decode(body); err != nil {
				return err
			}
		}
		if err := f.collectBody(contentType, body); err != nil {
			return err
		}
	}
	wrapped := f.first(rt.unwrap)
	if wrapped == "" {
		return nil
	}
	if err := f.collectJSON([]byte(wrapped)); err != nil {
		return fmt.Errorf("parameter %q: %w", rt.Unwrap, err)
	}
	return nil
}

// read makes of what was found what the postback says. It refuses what is not
// authentic by its click ID either.
func (rt *Route) read(p *Postback, f *found, codec *clickid.Codec) *Reject {
	p.IndexTxID = rt.byTxID
	k, known := rt.kindOf(f)
	v := rt.fieldsOf(f, k)
	v[slotClickID].value = rt.clickValue(f, k, codec)
	if !known {
		if name, value, ok := rt.macroKind(f); ok {
			p.note(UnresolvedMacro, macroDetail(name, value))
		} else {
			p.note(UnmappedStatus, rt.unknownKind(f))
		}
	}
	reason, detail := rt.name(p, k, &v, f, codec)
	if p.Authentic == "" {
		if k != nil && k.Ignore != "" {
			return ignored(k.Ignore)
		}
		return &Reject{Status: http.StatusBadRequest, Reason: reason, Detail: detail}
	}
	if reason != "" {
		p.note(reason, detail)
	}
	rt.readClaim(p, k, &v, f)
	if k != nil && k.Ignore != "" {
		p.Ignored, p.Problem, p.ProblemDetail = k.Ignore, "", ""
	}
	return nil
}

// macroKind returns the first parameter that would tell the kind of a message
// but holds a macro, which the sender did not replace.
func (rt *Route) macroKind(f *found) (name Field, value string, ok bool) {
	for i := range rt.kinds {
		for _, c := range rt.kinds[i].when {
			if v := f.values[c.param].value; IsMacro(v) {
				return Field(rt.match.params[c.param].text), v, true
			}
		}
	}
	return "", "", false
}

// name finds out which click it is about. It returns why that is unknown.
func (rt *Route) name(p *Postback, k *kind, v *fieldValues, f *found, codec *clickid.Codec) (reason Reason, detail string) {
	byTxID := k != nil && k.ByTxID
	// If all that proves a message is its click ID, it must not be about
	// another click: anybody could take back a conversion whose transaction
	// ID he guesses.
	if byTxID && p.Authentic != "" && p.Authentic != authenticClickID {
		return rt.nameTxID(p, k, v, f)
	}
	reason, detail = rt.nameClick(p, v[slotClickID].value, codec)
	if reason == "" && p.Authentic == "" {
		p.Authentic = authenticClickID
	}
	switch {
	case reason != MissingClickID:
	case byTxID:
		detail = fmt.Sprintf("messages of the kind %q name no click, so they are taken only from a sender that proves who it is: "+
			"add verify, token or allow to this route", echo(k.Name))
	case k != nil && k.fields[slotClickID] != nil:
		detail = "no click ID: it is looked for in the parameters " + rt.match.texts(k.fields[slotClickID])
	default:
		detail += p.Raw.unread()
	}
	return reason, detail
}

// nameTxID says that the transaction ID names the click.
func (rt *Route) nameTxID(p *Postback, k *kind, v *fieldValues, f *found) (reason Reason, detail string) {
	p.ByTxID, p.TxIDs = true, rt.txids(f, k)
	switch value := v[slotTxID].value; {
	case IsMacro(value):
		return UnresolvedMacro, macroDetail(FieldTxID, value)
	case value != "":
		return "", ""
	}
	return MissingClickID, fmt.Sprintf("no transaction ID to find the conversion by, which messages of the kind %q name "+
		"instead of a click: it is looked for in the parameters %s", echo(k.Name), rt.match.texts(k.fieldOf(rt, slotTxID)))
}

// readBody reads the body once, whatever the sender says of its length.
func (rt *Route) readBody(r *http.Request) ([]byte, *Reject) {
	// A length of 0 is what the server knows, not the sender: it is -1 where it
	// is not known. Reading would set deadlines for nothing.
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
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
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, malformed("the body did not arrive in time: it has to be sent within seconds, and as much of it as Content-Length says")
	}
	if err != nil {
		return nil, malformed("the body could not be read to its end")
	}
	if len(body) == 0 {
		return nil, nil
	}
	return body, nil
}

// note keeps the first problem that is found.
func (p *Postback) note(reason Reason, detail string) {
	if p.Problem == "" {
		p.Problem, p.ProblemDetail = reason, detail
	}
}
