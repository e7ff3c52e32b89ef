package caddymodule

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/caddy-capture/caddy-capture/capture"
)

// rawAnswer is the postback as it arrived, its secrets masked. What is not
// valid UTF-8 cannot be written as JSON: it is given percent-encoded, to be
// read, and byte for byte in base64.
type rawAnswer struct {
	Method            string `json:"method"`
	Host              string `json:"host"`
	HostBase64        []byte `json:"host_base64,omitempty"`
	URI               string `json:"uri"`
	URIBase64         []byte `json:"uri_base64,omitempty"`
	ContentType       string `json:"content_type,omitempty"`
	ContentTypeBase64 []byte `json:"content_type_base64,omitempty"`
	UserAgent         string `json:"user_agent,omitempty"`
	UserAgentBase64   []byte `json:"user_agent_base64,omitempty"`
	// Headers are those that the route reads.
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	// BodyBase64 replaces Body where that would not be valid UTF-8.
	BodyBase64 []byte `json:"body_base64,omitempty"`
}

func showRaw(raw capture.Raw) rawAnswer {
	a := rawAnswer{Method: percentEncoded(raw.Method), Headers: raw.Headers} // both are always text
	a.Host, a.HostBase64 = showText(raw.Host)
	a.URI, a.URIBase64 = showText(raw.URI)
	a.ContentType, a.ContentTypeBase64 = showText(raw.ContentType)
	a.UserAgent, a.UserAgentBase64 = showText(raw.UserAgent)
	if utf8.Valid(raw.Body) {
		a.Body = string(raw.Body)
	} else {
		a.BodyBase64 = raw.Body
	}
	return a
}

// showText returns s in a form that can be read, and where that is not s
// itself, its exact bytes.
func showText(s string) (text string, exact []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return percentEncoded(s), []byte(s)
}

// percentEncoded encodes what is not UTF-8. In a URI it means the same then.
func percentEncoded(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "%%%02X", s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
