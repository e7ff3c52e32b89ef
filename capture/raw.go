package capture

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/caddy-capture/caddy-capture/capture/signature"
)

// Raw is the postback as it arrived, byte for byte, so that it can be read and
// booked again: its texts need not be valid UTF-8. It contains the sender's
// secrets: [Raw.Masked] is for showing.
type Raw struct {
	Method      string `cbor:"1,keyasint"`
	Host        string `cbor:"2,keyasint,omitempty"`
	URI         string `cbor:"3,keyasint"`
	ContentType string `cbor:"4,keyasint,omitempty"`
	UserAgent   string `cbor:"5,keyasint,omitempty"`
	Body        []byte `cbor:"6,keyasint,omitempty"`
	// Headers are those that the route's parameters name, by their canonical
	// names. They are text.
	Headers map[string]string `cbor:"7,keyasint,omitempty"`
	// Unsigned are the parts that the sender's signature did not cover although
	// it covered the other: nothing is read from there.
	Unsigned signature.Part `cbor:"8,keyasint,omitempty"`
	// Secrets names the parameters that the route knew to hold secrets, so that
	// they are masked also when the route is gone.
	Secrets []string `cbor:"9,keyasint,omitempty"`
}

// What is kept of a request is bounded: whoever holds a genuine click ID, and
// every visitor does, can make a journal entry on a route without secrets.
const (
	maxURI       = 16 << 10 // senders stay below 8 KiB, which is what most servers take
	maxUserAgent = 256
	maxMediaType = 256
	maxHost      = 255
	maxHeader    = 1 << 10
)

// exactEntry encodes an Entry of which the raw request is not all text: CBOR
// keeps text apart from bytes, and text must be valid UTF-8. All others are
// encoded as they are, which costs less. Either is decoded as an Entry.
type exactEntry struct {
	*Entry
	Raw exactRaw `cbor:"14,keyasint"` // takes the place of Entry's
}

// exactRaw is Raw as bytes.
type exactRaw struct {
	Method      cbor.ByteString   `cbor:"1,keyasint"`
	Host        cbor.ByteString   `cbor:"2,keyasint,omitempty"`
	URI         cbor.ByteString   `cbor:"3,keyasint"`
	ContentType cbor.ByteString   `cbor:"4,keyasint,omitempty"`
	UserAgent   cbor.ByteString   `cbor:"5,keyasint,omitempty"`
	Body        []byte            `cbor:"6,keyasint,omitempty"`
	Headers     map[string]string `cbor:"7,keyasint,omitempty"`
	Unsigned    signature.Part    `cbor:"8,keyasint,omitempty"`
	Secrets     []string          `cbor:"9,keyasint,omitempty"`
}

// encodable returns what to encode for e.
func (e *Entry) encodable() any {
	r := &e.Raw
	for _, s := range [...]string{r.Method, r.Host, r.URI, r.ContentType, r.UserAgent} {
		if !utf8.ValidString(s) {
			return exactEntry{e, exactRaw{
				cbor.ByteString(r.Method), cbor.ByteString(r.Host), cbor.ByteString(r.URI),
				cbor.ByteString(r.ContentType), cbor.ByteString(r.UserAgent), r.Body, r.Headers, r.Unsigned, r.Secrets,
			}}
		}
	}
	return e
}

// rawDec takes bytes for text.
var rawDec = must(cbor.DecOptions{ByteStringToString: cbor.ByteStringToStringAllowed}.DecMode())

// UnmarshalCBOR decodes the raw request of an entry.
func (r *Raw) UnmarshalCBOR(data []byte) error {
	type plain Raw // without this method
	return rawDec.Unmarshal(data, (*plain)(r))
}

// query returns what is read as parameters, as it arrived.
func (r *Raw) query() string { return queryOf(r.URI) }

// queryOf is what follows the path.
func queryOf(uri string) string {
	_, query, _ := strings.Cut(uri, "?")
	return query
}

// newRaw keeps the request without its headers, except those that the route
// reads: others can be secrets.
func (rt *Route) newRaw(r *http.Request, body []byte) Raw {
	return Raw{
		Method:      r.Method,
		Host:        cut(r.Host, maxHost),
		URI:         requestURI(r),
		ContentType: cut(r.Header.Get("Content-Type"), maxMediaType),
		UserAgent:   cut(r.Header.Get("User-Agent"), maxUserAgent),
		Body:        body,
		Headers:     rt.match.keepHeaders(r.Header),
		Secrets:     rt.shielded,
	}
}

// requestURI is the target of the request as it was sent, unless something
// before this route has given it another query, which then counts.
func requestURI(r *http.Request) string {
	if _, query, _ := strings.Cut(r.RequestURI, "?"); r.RequestURI != "" && query == r.URL.RawQuery {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}

// cut cuts s to at most limit bytes: text without splitting a rune, anything
// else at the very byte.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	if utf8.ValidString(s) {
		return cutString(s, limit)
	}
	return s[:limit]
}

// sameRequest tells whether o is the same message from the same sender as e,
// sent once more.
func (e *Entry) sameRequest(o *Entry) bool {
	a, b := &e.Raw, &o.Raw
	return e.Route == o.Route && e.Claim.Key == o.Claim.Key && a.Method == b.Method && a.URI == b.URI &&
		a.ContentType == b.ContentType && bytes.Equal(a.Body, b.Body)
}

// Repeats tells whether o is e once more while o still waits in quarantine:
// the same request on the same route, about the same click as far as o names
// one. Where it names none, the host has to be the same as well: another site's
// sender may send the same, see [NewTxKey].
func (e *Entry) Repeats(o *Entry) bool {
	if !o.Waiting() || !e.sameRequest(o) {
		return false
	}
	if o.HasClick {
		return e.HasClick && e.Click == o.Click
	}
	return hostName(e.Raw.Host) == hostName(o.Raw.Host)
}

// Fingerprint is short for all that two entries have in common of which one
// repeats the other, for an index; ok is false where nothing of the request is
// kept.
func (e *Entry) Fingerprint() (fp uint64, ok bool) {
	r := &e.Raw
	if r.URI == "" {
		return 0, false
	}
	h := sha256.New()
	var size [8]byte
	for _, s := range [...]string{e.Route, e.Claim.Key, r.Method, r.URI, r.ContentType} {
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	h.Write(r.Body)
	return binary.BigEndian.Uint64(h.Sum(nil)), true
}

// unread says which part of the request was passed over, if there is anything
// in it.
func (r *Raw) unread() string {
	switch {
	case r.Unsigned&signature.PartQuery != 0 && r.query() != "":
		return "; nothing is read from the query, since the sender's signature does not cover it"
	case r.Unsigned&signature.PartBody != 0 && len(r.Body) > 0:
		return "; nothing is read from the body, since the sender's signature does not cover it"
	}
	return ""
}
